"""NICE-GAN's networks: the specification's counts, keys and shapes, and the published forward pass written out."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.errors import DataError
from stylebridge.networks.nice_gan import (
    PRESETS,
    Discriminator,
    Encoder,
    Generator,
    NiceGanConfig,
    NiceGanNetworks,
)

TINY = NiceGanConfig(image_size=48, channels=3, blocks=2, layers=6)
TINY_FULL = TINY.model_copy(update={"light": False})
TINY_7 = NiceGanConfig(image_size=96, channels=2, blocks=1)

HEADS = {
    "model.1": (64, 3, 4, 4),
    "model.4": (128, 64, 4, 4),
    "fc": (1, 256),
    "Dis0_0.1": (256, 128, 4, 4),
    "Dis0_1.1": (512, 256, 4, 4),
    "conv0": (1, 512, 4, 4),
    "Dis1_0.1": (512, 256, 4, 4),
    "Dis1_0.4": (1024, 512, 4, 4),
    "Dis1_1.1": (2048, 1024, 4, 4),
    "conv1": (1, 2048, 4, 4),
}
NO_BIAS = ("fc", "conv0", "conv1")


def count(module: nn.Module | list[nn.Module]) -> int:
    modules = module if isinstance(module, list) else [module]
    return sum(p.numel() for m in modules for p in m.parameters())


def on_meta(kind: type, config: NiceGanConfig):
    with torch.device("meta"):
        return kind(config)


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


# --- counts and keys ------------------------------------------------------------------------------------------


def test_discriminator_parameters() -> None:
    d = on_meta(Discriminator, PRESETS["nice-gan"])
    assert count(d) == 46_874_433
    assert count([d.model]) == 134_336
    assert (count(d.fc), count(d.conv1x1), d.lamda.numel()) == (256, 32_896, 1)
    assert count(on_meta(Encoder, PRESETS["nice-gan"])) == 167_489
    parts = (d.Dis0_0, d.Dis0_1, d.conv0, d.Dis1_0, d.Dis1_1, d.conv1)
    assert [count(part) for part in parts] == [524_544, 2_097_664, 8_192, 10_487_296, 33_556_480, 32_768]


def test_generator_parameters() -> None:
    g = on_meta(Generator, PRESETS["nice-gan"])
    assert count(g) == 8_104_640
    parts = (g.UpBlock0, g.FC, g.gamma, g.beta, g.UpBlock1_1, g.UpBlock1_6, g.UpBlock2)
    assert [count(part) for part in parts] == [
        296_192,
        131_072,
        65_536,
        65_536,
        1_180_672,
        1_180_672,
        462_272,
    ]
    full = on_meta(Generator, PRESETS["nice-gan-full"])
    assert count(full) == 276_474_560
    assert count(full.FC) == 268_500_992
    assert count(on_meta(Generator, PRESETS["nice-gan-full-128"])) == 75_147_968
    assert count(on_meta(Generator, NiceGanConfig(image_size=512, light=False))) == 1_081_780_928
    assert count(on_meta(Generator, PRESETS["nice-gan-4-blocks"])) == 5_743_296


def test_discriminator_keys() -> None:
    expected: dict[str, tuple[int, ...]] = {
        "lamda": (1,),
        "conv1x1.weight": (128, 256, 1, 1),
        "conv1x1.bias": (128,),
    }
    for stem, shape in HEADS.items():
        columns = 1
        for side in shape[1:]:
            columns *= side
        expected |= {
            f"{stem}.weight_orig": shape,
            f"{stem}.weight_u": shape[:1],
            f"{stem}.weight_v": (columns,),
        }
        if stem not in NO_BIAS:
            expected[f"{stem}.bias"] = shape[:1]
    assert len(expected) == 40
    assert shapes(on_meta(Discriminator, PRESETS["nice-gan"])) == expected


def test_generator_keys() -> None:
    expected: dict[str, tuple[int, ...]] = {
        "FC.0.weight": (256, 256),
        "UpBlock0.1.weight": (256, 128, 3, 3),
        "UpBlock0.1.bias": (256,),
        "UpBlock2.1.weight": (128, 256, 3, 3),
        "UpBlock2.4.weight": (512, 128, 1, 1),
        "UpBlock2.4.bias": (512,),
        "UpBlock2.9.weight": (64, 128, 3, 3),
        "UpBlock2.12.weight": (256, 64, 1, 1),
        "UpBlock2.12.bias": (256,),
        "UpBlock2.17.weight": (3, 64, 7, 7),
    }
    expected |= {f"{name}.weight": (256, 256) for name in ("FC.2", "gamma", "beta")}
    norms = {"UpBlock0.2": 256, "UpBlock2.2": 128, "UpBlock2.6": 128, "UpBlock2.10": 64, "UpBlock2.14": 64}
    for stem, channels in norms.items():
        expected[f"{stem}.rho"] = (1, channels, 2)
        expected |= {f"{stem}.{name}": (1, channels, 1, 1) for name in ("gamma", "beta")}
    for block in range(1, 7):
        for half in (1, 2):
            expected[f"UpBlock1_{block}.conv{half}.weight"] = (256, 256, 3, 3)
            expected[f"UpBlock1_{block}.norm{half}.rho"] = (1, 256, 2)
    assert len(expected) == 52
    assert shapes(on_meta(Generator, PRESETS["nice-gan"])) == expected
    full = shapes(on_meta(Generator, PRESETS["nice-gan-full"]))
    assert full == expected | {"FC.0.weight": (256, 1_048_576)}


@pytest.mark.parametrize(
    ("size", "local", "wide"), [(96, (10, 10), (1, 1)), (128, (14, 14), (2, 2)), (256, (30, 30), (6, 6))]
)
def test_output_sizes(size: int, local: tuple[int, int], wide: tuple[int, int]) -> None:
    networks = on_meta(NiceGanNetworks, PRESETS["nice-gan"])
    with torch.device("meta"):
        outputs = networks.discriminators["a"](torch.empty(1, 3, size, size))
        image = networks.generators["b"](outputs[-1])
    sides = (size // 4, size // 4)
    assert [tuple(o.shape) for o in outputs] == [
        (1, 1, *local),
        (1, 1, *wide),
        (1, 1),
        (1, 1, *sides),
        (1, 128, *sides),
    ]
    assert image.shape == (1, 3, size, size)


# --- the published forward pass -------------------------------------------------------------------------------


def shaken(module: nn.Module, seed: int = 0) -> nn.Module:
    """λ, rho and the rest off their starting values, in float64: otherwise attention and norms would have little
    effect."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.double().named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(noise * (1.0 if name.endswith(("lamda", "rho")) else 0.05))
    return module


def published_discriminator(state: dict[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    """The specification's table, section 2, row by row (evaluation mode: u and v as stored)."""

    def weight(stem: str) -> Tensor:
        w, u, v = (state[f"{stem}.weight_{name}"] for name in ("orig", "u", "v"))
        return w / (u @ w.flatten(1) @ v)

    def layer(stem: str, x: Tensor, stride: int) -> Tensor:
        padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
        y = F.conv2d(padded, weight(stem), state.get(f"{stem}.bias"), stride)
        return y if stem.startswith("conv") else F.leaky_relu(y, 0.2)

    h = layer("model.4", layer("model.1", x, 2), 2)
    logit = torch.cat((h.mean((2, 3)), h.amax((2, 3))), 1) @ weight("fc").t()
    attended = torch.cat((h, h), 1) * state["fc.weight_orig"][0][:, None, None]
    attended = F.conv2d(attended, state["conv1x1.weight"], state["conv1x1.bias"])
    z = F.leaky_relu(state["lamda"] * attended + h, 0.2)
    f = layer("Dis0_0.1", z, 2) if "Dis0_0.1.bias" in state else z
    local = layer("conv0", layer("Dis0_1.1", f, 1), 1)
    wide = layer("Dis1_0.4", layer("Dis1_0.1", f, 2), 2)
    return local, layer("conv1", layer("Dis1_1.1", wide, 1), 1), logit, z.sum(1, keepdim=True), z


@pytest.mark.parametrize("config", [TINY, TINY_7])
def test_discriminator_equals_the_table(config: NiceGanConfig) -> None:
    d = shaken(Discriminator(config)).eval()
    x = torch.rand(2, 3, 104, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    expected = published_discriminator(d.state_dict(), x)
    for ours, theirs in zip(d(x), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(Encoder.forward(d, x), expected[-1], rtol=1e-10, atol=1e-12)


def published_generator(state: dict[str, Tensor], z: Tensor, config: NiceGanConfig) -> Tensor:
    """The specification's table, section 3, row by row."""

    def conv(stem: str, x: Tensor, pad: int) -> Tensor:
        x = F.pad(x, (pad,) * 4, mode="reflect") if pad else x
        return F.conv2d(x, state[f"{stem}.weight"], state.get(f"{stem}.bias"))

    def norm(stem: str, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        instance = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), keepdim=True) + 1e-5).sqrt()
        layer = (x - x.mean((1, 2, 3), keepdim=True)) / (x.var((1, 2, 3), keepdim=True) + 1e-5).sqrt()
        share = state[f"{stem}.rho"].softmax(-1)[..., None, None]
        return (share[:, :, 0] * instance + share[:, :, 1] * layer) * gamma + beta

    def own_norm(stem: str, x: Tensor) -> Tensor:
        return norm(stem, x, state[f"{stem}.gamma"], state[f"{stem}.beta"]).relu()

    x = own_norm("UpBlock0.2", conv("UpBlock0.1", z, 1))
    style = x.mean((2, 3)) if config.light else x.flatten(1)
    for stem in ("FC.0", "FC.2"):
        style = (style @ state[f"{stem}.weight"].t()).relu()
    gamma, beta = ((style @ state[f"{name}.weight"].t())[..., None, None] for name in ("gamma", "beta"))
    for block in range(1, config.blocks + 1):
        y = norm(f"UpBlock1_{block}.norm1", conv(f"UpBlock1_{block}.conv1", x, 1), gamma, beta).relu()
        x = x + norm(f"UpBlock1_{block}.norm2", conv(f"UpBlock1_{block}.conv2", y, 1), gamma, beta)
    for first in (1, 9):
        x = own_norm(f"UpBlock2.{first + 1}", conv(f"UpBlock2.{first}", x, 1))
        x = F.pixel_shuffle(conv(f"UpBlock2.{first + 3}", x, 0), 2)
        x = own_norm(f"UpBlock2.{first + 5}", x)
    return conv("UpBlock2.17", x, 3).tanh()


@pytest.mark.parametrize("config", [TINY, TINY_FULL])
def test_generator_equals_the_table(config: NiceGanConfig) -> None:
    g = shaken(Generator(config))
    z = torch.randn(2, 6, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(g(z), published_generator(g.state_dict(), z, config), rtol=0, atol=1e-12)


def test_at_init_the_code_is_the_trunk_twice_leaky() -> None:
    d = Discriminator(TINY)
    features = d.encode(torch.rand(1, 3, 48, 48)).features
    torch.testing.assert_close(d._attend(features), F.leaky_relu(features, 0.2))
    assert features.min() < 0


# --- translation ----------------------------------------------------------------------------------------------


def test_translator_is_the_generator_on_the_other_domains_code() -> None:
    networks = NiceGanNetworks(TINY)
    shaken(networks).eval()
    translator = networks.translator("b")
    image = torch.rand(2, 3, 48, 52, dtype=torch.float64)
    code = networks.discriminators["a"](image * 2 - 1)[-1]
    expected = (networks.generators["b"](code) + 1) / 2
    torch.testing.assert_close(translator(image), expected, rtol=0, atol=1e-12)
    assert not torch.allclose(networks.translator("a")(image), expected)
    assert sum(p.numel() for p in translator.encoder.parameters()) < count(networks.discriminators["a"]) / 2


@pytest.mark.parametrize(("height", "width"), [(50, 61), (48, 49), (5, 7), (1, 1)])
def test_other_sizes_are_padded_and_cropped_back(height: int, width: int) -> None:
    translator = NiceGanNetworks(TINY).translator("a")
    image = torch.rand(1, 3, height, width)
    out = translator(image)
    assert out.shape == image.shape
    right, below = (max(8, -(-n // 4) * 4) - n for n in (width, height))
    padded = F.pad(image, (0, right, 0, below), mode="replicate")
    torch.testing.assert_close(out, translator(padded)[..., :height, :width])
    assert out.min() >= 0
    assert out.max() <= 1


def test_errors() -> None:
    networks = NiceGanNetworks(TINY)
    with pytest.raises(DataError, match="50×48"):
        networks.discriminators["a"](torch.rand(1, 3, 48, 50))
    with pytest.raises(DataError, match=r"48×44 is too small.*48 pixels"):
        networks.discriminators["a"](torch.rand(1, 3, 44, 48))
    with pytest.raises(DataError, match="48×48, not 96×48"):
        NiceGanNetworks(TINY_FULL).translator("b")(torch.rand(1, 3, 48, 96))


@pytest.mark.parametrize(
    "wrong", [{"image_size": 92}, {"image_size": 98}, {"layers": 5}, {"ngf": 64}, {"channels": 0}]
)
def test_wrong_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        NiceGanConfig(**wrong)


def test_presets() -> None:
    published = PRESETS["nice-gan"]
    assert (published.image_size, published.channels, published.blocks, published.layers) == (256, 64, 6, 7)
    assert published.light
    assert PRESETS["nice-gan-128"] == published.model_copy(update={"image_size": 128})
    assert published.smallest_image == 96
    small = on_meta(NiceGanNetworks, PRESETS["nice-gan-small"])
    assert count(small) < 10_000_000
