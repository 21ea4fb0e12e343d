"""The segmenter's interface over smp models and DeepLab-V2."""

import pytest
import segmentation_models_pytorch as smp
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn import functional as F

from stylebridge.errors import RecipeError, UserError
from stylebridge.networks.segmenters.build import (
    SMP_ARCHS,
    DeepLabV2Segmenter,
    SegmenterConfig,
    SmpSegmenter,
    build_segmenter,
)

TINY = "tu-mobilenetv3_small_050"
SMALL = {
    "fpn": {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32},
    "unet": {"decoder_channels": [16, 16, 8, 8, 8]},
    "unetplusplus": {"decoder_channels": [16, 16, 8, 8, 8]},
    "manet": {"decoder_channels": [16, 16, 8, 8, 8]},
    "segformer": {"decoder_segmentation_channels": 16},
    "deeplabv3": {"decoder_channels": 16},
    "deeplabv3plus": {"decoder_channels": 16},
    "upernet": {"decoder_channels": 16},
}


def build(arch: str = "fpn", classes: int = 4, **changes) -> SmpSegmenter:
    torch.manual_seed(0)
    values = {"encoder": TINY, "weights": None, "options": SMALL.get(arch, {}), **changes}
    segmenter = build_segmenter(SegmenterConfig(arch=arch, **values), classes)
    assert isinstance(segmenter, SmpSegmenter)
    return segmenter


@pytest.mark.parametrize("arch", [arch for arch in SMP_ARCHS if arch != "dpt"])
@pytest.mark.parametrize("size", [(45, 61), (64, 96)])
def test_every_architecture_on_any_size(arch: str, size: tuple[int, int]) -> None:
    segmenter = build(arch)
    image = torch.rand(2, 3, *size)
    features = segmenter.features(image)
    assert features.shape[:2] == (2, segmenter.feature_channels)
    logits = segmenter.classify(features, size)
    assert logits.shape == (2, 4, *size)
    assert segmenter.num_classes == 4
    logits.square().mean().backward()
    groups = segmenter.parameter_groups()
    assert sum(p.grad.abs().sum() for p in groups["encoder"] if p.grad is not None) > 0
    assert sum(p.grad.abs().sum() for p in groups["head"] if p.grad is not None) > 0


def test_dpt() -> None:
    options = {
        "dynamic_img_size": True,
        "decoder_intermediate_channels": [8] * 4,
        "decoder_fusion_channels": 8,
    }
    segmenter = build("dpt", encoder="tu-vit_tiny_patch16_224", options=options).eval()
    with torch.no_grad():
        assert segmenter(torch.rand(1, 3, 45, 61)).shape == (1, 4, 45, 61)


@pytest.mark.parametrize("arch", ["fpn", "unet", "segformer", "deeplabv3plus"])
def test_is_the_smp_model_of_the_normalised_image(arch: str) -> None:
    segmenter = build(arch).eval()
    image = torch.rand(1, 3, 64, 96)
    mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
    normalised = (image - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(segmenter(image), segmenter.model(normalised))


def test_odd_sizes_are_mirrored_and_cut_back() -> None:
    segmenter = build().eval()
    image = torch.rand(1, 3, 45, 61)
    padded = F.pad(image, (0, 3, 0, 19), mode="reflect")
    with torch.no_grad():
        assert segmenter.canvas((45, 61)) == (64, 64)
        torch.testing.assert_close(segmenter(image), segmenter(padded)[..., :45, :61])
        assert segmenter(torch.rand(1, 3, 9, 70)).shape == (1, 4, 9, 70)  # too small to mirror


def test_state_holds_what_is_learnt() -> None:
    segmenter = build()
    assert set(segmenter.state_dict()) == {f"model.{key}" for key in segmenter.model.state_dict()}


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_batch_norm_stays(frozen: bool) -> None:
    segmenter = build("unet", freeze_batch_norm=frozen).train()
    encoder = {k: v.clone() for k, v in segmenter.model.encoder.named_buffers() if "running" in k}
    decoder = {k: v.clone() for k, v in segmenter.model.decoder.named_buffers() if "running" in k}
    segmenter.eval().train()
    segmenter(torch.rand(2, 3, 64, 64))
    now = dict(segmenter.model.encoder.named_buffers())
    assert all(torch.equal(now[key], value) for key, value in encoder.items()) == frozen
    now = dict(segmenter.model.decoder.named_buffers())
    assert not all(torch.equal(now[key], value) for key, value in decoder.items())  # fresh: it must learn
    modes = {m.training for m in segmenter.model.encoder.modules() if isinstance(m, nn.BatchNorm2d)}
    assert modes == {not frozen}


def test_config_is_strict_and_has_defaults() -> None:
    with pytest.raises(ValidationError, match="encodr"):
        SegmenterConfig(encodr="resnet18")  # type: ignore[call-arg]
    assert SegmenterConfig(weights="none").weights is None
    assert SegmenterConfig(arch="FPN").arch == "fpn"
    assert not SegmenterConfig().batch_norm_frozen
    assert SegmenterConfig(arch="deeplab-v2").batch_norm_frozen
    assert not SegmenterConfig(arch="deeplab-v2", freeze_batch_norm=False).batch_norm_frozen


@pytest.mark.parametrize(
    ("values", "key", "hint"),
    [
        ({"arch": "fpm"}, "segmenter.arch", "fpn"),
        ({"arch": "deeplabv2"}, "segmenter.arch", "deeplab-v2"),
        ({"encoder": "resnet19"}, "segmenter.encoder", "resnet18"),
        ({"encoder": "tf_efficientnet_lite0"}, "segmenter.encoder", "tu-tf_efficientnet_lite0"),
        ({"encoder": "tu-resnet19"}, "segmenter.encoder", "tu-resnet18"),
        ({"arch": "deeplab-v2", "encoder": "resnet50"}, "segmenter.encoder", "resnet101"),
        ({"encoder": "resnet18", "options": {"decoder_chanels": 4}}, "segmenter.options", "decoder_"),
        ({"options": {"decoder_chanels": 4}}, "segmenter.options", "decoder_chanels"),
        ({"options": {"activation": "softmax"}}, "segmenter.options", "activation"),
        ({"arch": "deeplab-v2", "encoder": "vgg16", "options": {"x": 1}}, "segmenter.options", "x"),
    ],
)
def test_mistakes_are_named(values: dict, key: str, hint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        build_segmenter(SegmenterConfig(weights=None, **values), 4)
    assert isinstance(caught.value, UserError)
    assert key in str(caught.value)
    assert hint in str(caught.value)


def test_deeplab_takes_vggs_caffe_images() -> None:
    """BGR in 0…255 minus the Caffe means (spec, section 5)."""
    with torch.device("meta"):
        segmenter = DeepLabV2Segmenter(SegmenterConfig(arch="deeplab-v2", encoder="vgg16", weights=None), 3)
    normalisation = segmenter.normalisation
    for name, values in (("mean", normalisation.mean), ("std", normalisation.std)):
        segmenter.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
    image = torch.rand(1, 3, 2, 2)
    blue, green, red = segmenter.normalise(image)[0]
    torch.testing.assert_close(blue, image[0, 2] * 255 - 103.939, rtol=0, atol=1e-3)
    torch.testing.assert_close(green, image[0, 1] * 255 - 116.779, rtol=0, atol=1e-3)
    torch.testing.assert_close(red, image[0, 0] * 255 - 123.68, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("encoder", "channels"), [("resnet101", 2048), ("vgg16", 1024)])
def test_deeplab_on_any_size(encoder: str, channels: int) -> None:
    segmenter = build_segmenter(SegmenterConfig(arch="deeplab-v2", encoder=encoder, weights=None), 3)
    assert segmenter.feature_channels == channels
    image = torch.rand(1, 3, 45, 61)
    features = segmenter.features(image)
    coarse = segmenter.classifier(features)
    logits = segmenter.classify(features, (45, 61))
    torch.testing.assert_close(
        logits, F.interpolate(coarse, size=(45, 61), mode="bilinear", align_corners=True)
    )
    groups = segmenter.parameter_groups()
    assert sum(map(len, groups.values())) == len(list(segmenter.parameters()))
    assert len(groups["head"]) == 8


def test_a_whole_fada_checkpoint(tmp_path) -> None:
    config = SegmenterConfig(arch="deeplab-v2", encoder="vgg16", weights=None)
    trained = build_segmenter(config, 3)
    checkpoint = {
        "iteration": 40000,
        "feature_extractor": {f"module.{k}": v for k, v in trained.feature_extractor.state_dict().items()},
        "classifier": {f"module.{k}": v for k, v in trained.classifier.state_dict().items()},
        "optimizer_fea": {"state": {}, "param_groups": [{"lr": 1e-4}]},
    }
    torch.save(checkpoint, tmp_path / "model_iter040000.pth")
    path = str(tmp_path / "model_iter040000.pth")
    loaded = build_segmenter(config.model_copy(update={"weights": path}), 3)
    assert all(torch.equal(v, trained.state_dict()[k]) for k, v in loaded.state_dict().items())


def test_all_smp_architectures_are_offered() -> None:
    assert set(SMP_ARCHS) == set(smp.MODEL_ARCHITECTURES_MAPPING)
