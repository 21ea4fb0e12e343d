"""MixNMatch's networks against the specification: parameter counts, keys, and every block written out naively."""

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.losses.mixnmatch import units_of
from stylebridge.networks.mixnmatch import (
    FIELD_STRIDES,
    PRESETS,
    BackgroundDiscriminator,
    Codes,
    FeatureNetworks,
    Generator,
    MixNMatchConfig,
    MixNMatchNetworks,
    to_view,
)
from stylebridge.networks.mixnmatch.blocks import Joint, Residual, Up
from support.mixers import TINY, codes_of

torch.set_num_threads(1)


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def meta_networks(config: MixNMatchConfig) -> tuple[MixNMatchNetworks, FeatureNetworks]:
    with torch.device("meta"):
        networks = MixNMatchNetworks(config)
        return networks, FeatureNetworks(networks.generator)


# --- size and keys --------------------------------------------------------------------------------------------


def test_published_parameter_counts() -> None:
    m, f = meta_networks(PRESETS["mixnmatch"])
    g, e, bd = m.generator, m.encoders, m.pair_discriminators
    assert count(g) == 13_500_672
    assert len(g.state_dict()) == 155
    assert [count(stage) for stage in (g.background_stage, g.parent_stage, g.child_stage)] == [
        8_157_312,
        5_151_840,
        189_504,
    ]
    heads = (g.background_image, g.parent_image, g.parent_mask, g.child_image, g.child_mask)
    assert [count(head) for head in heads] == [864, 432, 144, 432, 144]
    assert count(m.background_discriminator) == 666_626
    assert count(m.parent_discriminator) == 3_006_357
    assert count(m.child_discriminator) == 13_320_137
    assert count(e) == 77_172_232
    assert [count(n) for n in (e.model_z, e.model_b, e.model_p, e.model_c)] == [
        19_047_268,
        19_866_568,
        18_391_828,
        19_866_568,
    ]
    assert count(bd) == 17_753_028
    assert count(f.extractor) == 39_126_688
    assert count(f.discriminator) == 174_081


def norm_keys(prefix: str) -> set[str]:
    return {
        f"{prefix}.{name}"
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }


def residual_keys(prefix: str) -> set[str]:
    own = {f"{prefix}.block.0.weight", f"{prefix}.block.3.weight"}
    return own | norm_keys(f"{prefix}.block.1") | norm_keys(f"{prefix}.block.4")


def pair_keys(prefix: str) -> set[str]:
    return {f"{prefix}.0.weight"} | norm_keys(f"{prefix}.1")


def test_published_keys_of_the_generator() -> None:
    expected = {
        f"{name}.img.0.weight"
        for name in ("background_image", "parent_image", "parent_mask", "child_image", "child_mask")
    }
    for stage in ("background_stage", "parent_stage"):
        expected |= pair_keys(f"{stage}.fc")
        for number in range(1, 6):
            expected |= {f"{stage}.upsample{number}.1.weight"} | norm_keys(f"{stage}.upsample{number}.2")
    expected |= (
        pair_keys("parent_stage.jointConv")
        | pair_keys("child_stage.jointConv")
        | pair_keys("child_stage.samesample")
    )
    for stage, blocks in (("parent_stage", 3), ("child_stage", 2)):
        for number in range(blocks):
            expected |= residual_keys(f"{stage}.residual.{number}")
    state = meta_networks(PRESETS["mixnmatch"])[0].generator.state_dict()
    assert state.keys() == expected
    shapes = {
        "background_stage.fc.0.weight": (16384, 300),
        "parent_stage.fc.0.weight": (16384, 120),
        "parent_stage.jointConv.0.weight": (32, 36, 3, 3),
        "child_stage.jointConv.0.weight": (64, 216, 3, 3),
    }
    assert {key: tuple(state[key].shape) for key in shapes} == shapes


def test_published_keys_of_encoders_extractor_and_pair_discriminators() -> None:
    m, f = meta_networks(PRESETS["mixnmatch"])
    encoders = set()
    for factor in "zbpc":
        p = f"model_{factor}"
        encoders |= {f"{p}.0.{n}.weight" for n in (0, 2, 5, 8)} | {f"{p}.4.weight", f"{p}.4.bias"}
        for n in (3, 6, 9):
            encoders |= norm_keys(f"{p}.0.{n}")
        for n in (1, 2, 3):
            encoders |= pair_keys(f"{p}.{n}")
    assert m.encoders.state_dict().keys() == encoders
    extractor = (
        pair_keys("first.0") | pair_keys("first.1") | residual_keys("last.0") | residual_keys("last.1")
    )
    for n in range(1, 7):
        for way in ("down", "up"):
            extractor |= pair_keys(f"{way}{n}") | {f"{way}{n}.0.bias"}
    assert f.extractor.state_dict().keys() == extractor
    pairs = {
        f"BD_{factor}.{part}.{n}.model.0.{name}"
        for factor in "zbpc"
        for part, layers in (("image_layer", 6), ("code_layer", 3), ("joint", 2))
        for n in range(layers)
        for name in ("weight", "bias")
    }
    assert m.pair_discriminators.state_dict().keys() == pairs


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_and_sizes_of_outputs(name: str) -> None:
    config = PRESETS[name]
    m, f = meta_networks(config)
    side = config.image_size
    image = torch.empty(2, 3, side, side, device="meta")
    pose = torch.empty(2, config.pose, device="meta")
    codes = Codes(
        pose, *(torch.empty(2, n, device="meta") for n in (config.textures, config.shapes, config.textures))
    )
    made = m.generator(codes)
    assert made.image.shape == made.background.shape == made.parent.shape == image.shape
    assert made.parent_mask.shape == made.child_mask.shape == (2, 1, side, side)
    assert made.features.shape == f.extractor(image).shape == (2, 16, side, side)
    assert [tuple(code.shape) for code in m.encoders(image)] == [tuple(code.shape) for code in codes]
    units = {64: 8, 128: 24}[side]
    view = torch.empty(2, 3, config.view_size, config.view_size, device="meta")
    patches = {64: 27, 128: 24}[side]  # those of 64 pixels see 10 pixels, every 2
    assert m.background_discriminator(view).real.shape == (2, 1, patches, patches)
    assert f.discriminator(made.features).shape == (2, 1, units, units)
    assert m.child_discriminator.judge(image).shape == (2,)
    assert m.child_discriminator.categorise(image).shape == (2, config.textures)
    assert m.parent_discriminator.categorise(image).shape == (2, config.shapes)
    assert m.pair_discriminators(image, codes).shape == (4, 2)


def test_256_pixels_are_one_doubling_more() -> None:
    config = MixNMatchConfig(image_size=256)
    m, f = meta_networks(config)
    codes = Codes(*(torch.empty(2, n, device="meta") for n in (100, 200, 20, 200)))
    made = m.generator(codes)
    assert made.image.shape == (2, 3, 256, 256)
    assert f.extractor(made.image).shape == (2, 16, 256, 256)
    assert m.encoders(made.image).shape.shape == (2, 20)
    assert m.pair_discriminators(made.image, codes).shape == (4, 2)


def test_every_shape_needs_a_texture() -> None:
    with pytest.raises(ValidationError, match="textures 4 are fewer than shapes 5"):
        MixNMatchConfig(shapes=5, textures=4)
    with pytest.raises(ValidationError, match="image_size"):
        MixNMatchConfig(image_size=96)  # type: ignore[arg-type]


# --- blocks ---------------------------------------------------------------------------------------------------


def normalised(x: Tensor) -> Tensor:
    """Batch norm in training, without scale and shift."""
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, correction=0)
    return (x - mean) / (var + 1e-5).sqrt()


def gated(x: Tensor) -> Tensor:
    half = x.shape[1] // 2
    return x[:, :half] * torch.sigmoid(x[:, half:])


@pytest.mark.parametrize("channels_last", [False, True])
def test_up_is_doubling_convolution_norm_and_gate(channels_last: bool) -> None:
    """Values and gradients, at the borders too."""
    torch.manual_seed(0)
    up = Up(3, 2).double()
    if channels_last:
        up = up.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    weight = up.get_submodule("1").weight
    doubled = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = gated(normalised(F.conv2d(doubled, weight, padding=1)))
    out = up(x)
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-12)
    g = torch.randn_like(out)
    ours = torch.autograd.grad(out, (x, weight), g)
    theirs = torch.autograd.grad(expected, (x, weight), g)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("size", "code_first"), [((6, 5), True), ((4, 4), False), ((2, 3), True)])
def test_joint_is_a_convolution_of_the_spread_code_and_the_features(
    size: tuple[int, int], code_first: bool
) -> None:
    torch.manual_seed(0)
    joint = Joint(4, 3, 2, code_first=code_first).double()
    code = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    features = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    weight = joint[0].weight
    spread = code[:, :, None, None].expand(-1, -1, *size)
    both = torch.cat((spread, features) if code_first else (features, spread), 1)
    expected = gated(normalised(F.conv2d(both, weight, padding=1)))
    out = joint(code, features)
    torch.testing.assert_close(out, expected, rtol=1e-9, atol=1e-11)
    g = torch.randn_like(out)
    ours = torch.autograd.grad(out, (code, features, weight), g)
    torch.testing.assert_close(
        ours, torch.autograd.grad(expected, (code, features, weight), g), rtol=1e-8, atol=1e-10
    )


def test_residual() -> None:
    torch.manual_seed(0)
    block = Residual(2).double()
    x = torch.randn(2, 2, 5, 5, dtype=torch.float64)
    inner = gated(normalised(F.conv2d(x, block.block[0].weight, padding=1)))
    expected = x + normalised(F.conv2d(inner, block.block[3].weight, padding=1))
    torch.testing.assert_close(block(x), expected)


# --- generator ------------------------------------------------------------------------------------------------


def tiny_generator() -> Generator:
    torch.manual_seed(2)
    return Generator(TINY).double()


def naive_parent(g: Generator, pose: Tensor, shape: Tensor) -> Tensor:
    state = g.state_dict()

    def norm(x: Tensor, key: str) -> Tensor:
        gamma, beta = (state[f"{key}.{name}"] for name in ("weight", "bias"))
        mean, var = (state[f"{key}.running_{name}"] for name in ("mean", "var"))
        form = (1, -1, *[1] * (x.dim() - 2))
        return (x - mean.view(form)) / (var.view(form) + 1e-5).sqrt() * gamma.view(form) + beta.view(form)

    p = "parent_stage."
    x = torch.cat((pose, shape), 1) @ state[p + "fc.0.weight"].t()
    x = gated(norm(x, p + "fc.1")).view(len(pose), -1, 4, 4)
    for n in range(1, 5):
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        x = gated(norm(F.conv2d(x, state[f"{p}upsample{n}.1.weight"], padding=1), f"{p}upsample{n}.2"))
    spread = shape[:, :, None, None].expand(-1, -1, *x.shape[-2:])
    x = F.conv2d(torch.cat((x, spread), 1), state[p + "jointConv.0.weight"], padding=1)
    x = gated(norm(x, p + "jointConv.1"))
    for n in range(3):
        b = f"{p}residual.{n}.block."
        y = gated(norm(F.conv2d(x, state[b + "0.weight"], padding=1), b + "1"))
        x = x + norm(F.conv2d(y, state[b + "3.weight"], padding=1), b + "4")
    return x


def test_layers_of_an_image_are_composed_as_published() -> None:
    g, codes = tiny_generator(), codes_of(TINY)
    g(codes)  # moves the running statistics off their start
    g.eval()
    made = g(codes)
    features = naive_parent(g, codes.pose, codes.shape)
    torch.testing.assert_close(made.features, features, rtol=1e-9, atol=1e-11)
    foreground = torch.tanh(F.conv2d(features, g.parent_image.img[0].weight, padding=1))
    mask = torch.sigmoid(F.conv2d(features, g.parent_mask.img[0].weight, padding=1))
    parent = foreground * mask + made.background * (1 - mask)
    torch.testing.assert_close(made.parent, parent, rtol=1e-9, atol=1e-11)
    m = made.child_mask
    torch.testing.assert_close(
        made.image, made.child_foreground * m + parent * (1 - m), rtol=1e-9, atol=1e-11
    )
    torch.testing.assert_close(made.masked_parent, foreground * mask, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(made.masked_child, made.child_foreground * m)


def test_the_background_has_its_own_pose() -> None:
    g, codes = tiny_generator().eval(), codes_of(TINY)
    other = codes.pose + 1
    made, moved = g(codes), g(codes, background_pose=other)
    assert torch.equal(made.parent_mask, moved.parent_mask)
    torch.testing.assert_close(moved.background, g(codes._replace(pose=other)).background)
    assert not torch.allclose(made.background, moved.background)


def test_given_features_take_the_place_of_pose_and_shape() -> None:
    g, codes = tiny_generator().eval(), codes_of(TINY)
    made = g(codes)
    again = g(codes._replace(shape=torch.zeros_like(codes.shape)), features=made.features)
    assert torch.equal(again.image, made.image)


def test_view() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert to_view(x, 2).flatten().tolist() == [0, 3, 12, 15]  # corners aligned


def test_initial_weights() -> None:
    torch.manual_seed(0)
    m = MixNMatchNetworks(TINY)
    weight = m.generator.background_stage.fc[0].weight
    torch.testing.assert_close(weight.t() @ weight, torch.eye(weight.shape[1]), atol=1e-4, rtol=0)
    gammas = torch.cat([n.weight.detach() for n in m.encoders.modules() if isinstance(n, nn.BatchNorm2d)])
    assert gammas.mean().item() == pytest.approx(1, abs=0.01)
    assert gammas.std().item() == pytest.approx(0.02, rel=0.3)
    layer = m.pair_discriminators.BD_z.code_layer[1].model[0].weight  # torch's own start, not orthogonal
    assert not torch.allclose(layer.t() @ layer, torch.eye(layer.shape[1]), atol=0.1)


@pytest.mark.parametrize("field", FIELD_STRIDES)
def test_an_output_of_the_background_discriminator_sees_its_field_and_no_more(field: int) -> None:
    torch.manual_seed(0)
    network = BackgroundDiscriminator(MixNMatchConfig(image_size=64, background_field=field))
    view = torch.randn(1, 3, 62, 62, requires_grad=True)
    scores = network(view).real
    units = units_of(62, field, FIELD_STRIDES[field])
    assert scores.shape == (1, 1, units, units)
    row, column = 2, 5
    scores[0, 0, row, column].backward()
    assert view.grad is not None
    seen = view.grad.abs().sum((0, 1)).nonzero()
    first = torch.tensor([row, column]) * FIELD_STRIDES[field]
    assert torch.equal(seen.min(0).values, first)
    assert torch.equal(seen.max(0).values, first + field - 1)
