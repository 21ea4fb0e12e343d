"""DeepLab-V2 against the figures measured on FADA's official networks."""

import re

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.errors import WeightsError
from stylebridge.layers.norm import FrozenBatchNorm2d
from stylebridge.networks.deeplab_v2 import (
    AtrousClassifier,
    ResNet101Features,
    VGG16Features,
    load_fada_state,
    upsample,
)


def on_meta(build, *args, **kwargs) -> nn.Module:
    """Build without memory and without initialisation: enough for counts, keys and shapes."""
    with torch.device("meta"):
        return build(*args, **kwargs)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def values(module: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """A state dict for ``module`` with small random values (positive variances)."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, own in module.state_dict().items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(7)
            continue
        value = torch.empty(own.shape).uniform_(-0.05, 0.05, generator=generator)
        if key.endswith("running_var"):
            value = value.abs() * 1e-3 + 1e-5  # small: here eps matters
        elif key.endswith("weight") and value.dim() == 1:
            value *= 0.3  # so that signals neither explode nor fade over 100 layers
        state[key] = value
    return state


@pytest.fixture(scope="module")
def frozen() -> ResNet101Features:
    return ResNet101Features(freeze_batch_norm=True)


@pytest.fixture(scope="module")
def trainable_state() -> dict[str, Tensor]:
    return values(on_meta(ResNet101Features, freeze_batch_norm=False))


def test_parameters_of_feature_extractors() -> None:
    f = on_meta(ResNet101Features, freeze_batch_norm=True)
    assert parameters(f) == 42_394_816
    assert sum(b.numel() for b in f.buffers()) == 210_688
    assert parameters(on_meta(ResNet101Features, freeze_batch_norm=False)) == 42_500_160
    assert parameters(on_meta(VGG16Features)) == 28_872_512


@pytest.mark.parametrize(
    ("channels", "classes", "count"),
    [(2048, 19, 1_400_908), (1024, 19, 700_492), (2048, 16, 1_179_712), (1024, 16, 589_888)],
)
def test_parameters_of_classifiers(channels: int, classes: int, count: int) -> None:
    assert parameters(on_meta(AtrousClassifier, channels, classes)) == count


def test_parameters_of_whole_segmenters() -> None:
    f, vgg = on_meta(ResNet101Features), on_meta(VGG16Features)
    for classes, resnet_count, vgg_count in [(19, 43_795_724, 29_573_004), (16, 43_574_528, 29_462_400)]:
        assert parameters(f) + parameters(on_meta(AtrousClassifier, 2048, classes)) == resnet_count
        assert parameters(vgg) + parameters(on_meta(AtrousClassifier, 1024, classes)) == vgg_count


def test_keys_of_resnet() -> None:
    f = on_meta(ResNet101Features).state_dict()
    assert len(f) == 520
    assert len(on_meta(ResNet101Features, freeze_batch_norm=False).state_dict()) == 624
    block = r"layer[1-4]\.\d+\.(conv[123]\.weight|bn[123]\.\w+|downsample\.0\.weight|downsample\.1\.\w+)"
    assert all(re.fullmatch(rf"backbone\.(conv1\.weight|bn1\.\w+|{block})", key) for key in f)
    assert {key for key in f if "downsample.0" in key} == {
        f"backbone.layer{stage}.0.downsample.0.weight" for stage in (1, 2, 3, 4)
    }
    assert f["backbone.layer3.22.conv2.weight"].shape == (256, 256, 3, 3)


def test_keys_of_vgg_and_classifier() -> None:
    vgg = on_meta(VGG16Features).state_dict()
    indices = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 23, 25, 27, 29, 31]
    assert list(vgg) == [f"backbone.{i}.{part}" for i in indices for part in ("weight", "bias")]
    assert vgg["backbone.29.weight"].shape == (1024, 512, 3, 3)
    assert vgg["backbone.31.weight"].shape == (1024, 1024, 3, 3)
    c = on_meta(AtrousClassifier, 2048, 19).state_dict()
    assert list(c) == [f"conv2d_list.{i}.{part}" for i in range(4) for part in ("weight", "bias")]
    assert c["conv2d_list.3.weight"].shape == (19, 2048, 3, 3)


def test_dilations_and_strides() -> None:
    f = on_meta(ResNet101Features)
    expected = {1: [1] * 3, 2: [1] * 4, 3: [1] + [2] * 22, 4: [2, 4, 4]}
    for stage, dilations in expected.items():
        convs = [block.conv2 for block in getattr(f.backbone, f"layer{stage}")]
        assert [conv.dilation[0] for conv in convs] == dilations
        assert [conv.padding[0] for conv in convs] == dilations
        assert convs[0].stride[0] == (2 if stage == 2 else 1)
    assert f.backbone.maxpool.ceil_mode is False
    convs = [layer for layer in on_meta(VGG16Features).backbone if isinstance(layer, nn.Conv2d)]
    assert [conv.dilation[0] for conv in convs] == [1] * 10 + [2] * 3 + [4] * 2


@pytest.mark.parametrize(
    ("size", "grid"), [((512, 1024), (64, 128)), ((720, 1280), (90, 160)), ((45, 61), (6, 8))]
)
def test_grid_of_features(size: tuple[int, int], grid: tuple[int, int]) -> None:
    image = torch.empty(1, 3, *size, device="meta")
    assert on_meta(ResNet101Features)(image).shape == (1, 2048, *grid)
    down = (size[0] // 8, size[1] // 8)
    assert on_meta(VGG16Features)(image).shape == (1, 1024, *down)


def test_classifier_sums_four_atrous_convolutions() -> None:
    torch.manual_seed(0)
    c = AtrousClassifier(3, 2).double()
    x = torch.randn(1, 3, 9, 11, dtype=torch.float64)
    expected = torch.zeros(1, 2, 9, 11, dtype=torch.float64)
    for index, rate in enumerate((6, 12, 18, 24)):
        w, b = c.state_dict()[f"conv2d_list.{index}.weight"], c.state_dict()[f"conv2d_list.{index}.bias"]
        padded = F.pad(x, (rate,) * 4)
        for i in range(3):
            for j in range(3):
                window = padded[..., i * rate : i * rate + 9, j * rate : j * rate + 11]
                expected += torch.einsum("bchw,kc->bkhw", window, w[:, :, i, j])
        expected += b.view(1, -1, 1, 1)
    torch.testing.assert_close(c(x), expected)
    torch.testing.assert_close(c(x, size=(17, 21)), upsample(expected, (17, 21)))


def test_classifier_starts_small() -> None:
    torch.manual_seed(0)
    weights = torch.cat([conv.weight.flatten() for conv in AtrousClassifier(512, 19).conv2d_list])
    assert weights.std().item() == pytest.approx(0.01, rel=0.02)
    assert abs(weights.mean().item()) < 1e-4


def test_upsampling_aligns_corners() -> None:
    """Fine pixel i lies at i·(h−1)/(H−1) of the coarse grid, so ramps stay ramps."""
    ramp = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 1, 3, 4) + 10 * torch.arange(3.0).view(1, 1, 3, 1)
    fine = upsample(ramp, (9, 13))
    expected = torch.arange(13.0) * 3 / 12 + 10 * (torch.arange(9.0) * 2 / 8).view(-1, 1)
    torch.testing.assert_close(fine[0, 0], expected)


def test_frozen_checkpoint_has_no_eps(frozen: ResNet101Features) -> None:
    state = values(frozen)
    load_fada_state(frozen, {f"module.{key}": value for key, value in state.items()})
    assert {layer.eps for layer in frozen.modules() if isinstance(layer, FrozenBatchNorm2d)} == {0.0}
    assert all(torch.equal(value, state[key]) for key, value in frozen.state_dict().items())


@pytest.mark.slow
def test_trainable_checkpoint_in_a_frozen_network(
    frozen: ResNet101Features, trainable_state: dict[str, Tensor]
) -> None:
    """Its 104 counters are dropped and eps is 1e-5, so it computes what the trainable network computes."""
    trainable = ResNet101Features(freeze_batch_norm=False).eval()
    load_fada_state(trainable, trainable_state)
    load_fada_state(frozen, trainable_state)
    assert len(trainable_state) - len(frozen.state_dict()) == 104
    image = torch.randn(1, 3, 33, 41, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(frozen(image), trainable(image), rtol=1e-3, atol=1e-4)
        frozen_with_no_eps = ResNet101Features(freeze_batch_norm=True)
        frozen_with_no_eps.load_state_dict(frozen.state_dict())
        assert not torch.allclose(frozen(image), frozen_with_no_eps(image), rtol=1e-2)


@pytest.mark.slow
def test_frozen_checkpoint_in_a_trainable_network(frozen: ResNet101Features) -> None:
    trainable = ResNet101Features(freeze_batch_norm=False)
    state = values(frozen, seed=4)
    load_fada_state(trainable, state)
    assert torch.equal(
        trainable.backbone.layer4[2].bn3.running_var, state["backbone.layer4.2.bn3.running_var"]
    )


def test_what_does_not_fit_is_named() -> None:
    c = AtrousClassifier(8, 3)
    state = dict(c.state_dict())
    state["conv2d_list.0.weight"] = torch.zeros(5, 8, 3, 3)
    del state["conv2d_list.3.bias"]
    state["conv2d_list.4.bias"] = torch.zeros(3)
    with pytest.raises(WeightsError) as caught:
        load_fada_state(c, state)
    text = str(caught.value)
    assert "missing: conv2d_list.3.bias" in text
    assert "surplus: conv2d_list.4.bias" in text
    assert "conv2d_list.0.weight [5, 8, 3, 3] instead of [3, 8, 3, 3]" in text
    assert c.conv2d_list[0].weight.shape == (3, 8, 3, 3)


def test_gradient_reaches_the_first_layer_and_no_batch_norm(frozen: ResNet101Features) -> None:
    for layer in frozen.modules():
        if isinstance(layer, FrozenBatchNorm2d):
            layer.running_var.fill_(1.0)
    frozen(torch.randn(1, 3, 33, 33)).square().mean().backward()
    assert frozen.backbone.conv1.weight.grad is not None
    assert frozen.backbone.conv1.weight.grad.abs().sum() > 0
    assert not any(".bn" in name for name, _ in frozen.named_parameters())
    frozen.zero_grad(set_to_none=True)


def test_vgg_takes_the_caffe_convolutions() -> None:
    """Without pool4 the indices of conv5_x are one lower than torchvision's; fc6, fc7 keep their start."""
    f = VGG16Features()
    before = f.backbone[29].weight.clone()
    caffe = {}
    for theirs, channels in [
        *((i, c) for i, c in zip((0, 2, 5, 7, 10, 12, 14), (64, 64, 128, 128, 256, 256, 256), strict=True)),
        *((i, 512) for i in (17, 19, 21, 24, 26, 28)),
    ]:
        inputs = {0: 3, 5: 64, 10: 128, 17: 256}.get(theirs, channels)
        caffe[f"features.{theirs}.weight"] = torch.full((channels, inputs, 3, 3), float(theirs))
        caffe[f"features.{theirs}.bias"] = torch.full((channels,), float(theirs))
    caffe["classifier.6.bias"] = torch.zeros(1000)
    f.load_imagenet(caffe)
    for ours, theirs in {0: 0, 2: 2, 21: 21, 23: 24, 25: 26, 27: 28}.items():
        assert f.backbone[ours].weight.unique().item() == theirs
    assert torch.equal(f.backbone[29].weight, before)
    del caffe["features.28.bias"]
    with pytest.raises(WeightsError, match=r"backbone\.27\.bias"):
        f.load_imagenet(caffe)
