"""SPADE's networks and the discriminator: the specification's counts and shapes, and the forward pass written out."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.errors import DataError
from stylebridge.networks.label_gan import LabelGanConfig, MultiScaleDiscriminator
from stylebridge.networks.sean import SEANConfig
from stylebridge.networks.spade import PRESETS, SPADEConfig, SPADEEncoder, SPADEGenerator, SPADENetworks
from support.published_label_gan import (
    below,
    blocks_of_labels,
    conv,
    generate,
    one_hot,
    published,
    shaken,
    spectral,
)

TINY = SPADEConfig(classes=3, channels=2, hidden=4, discriminator_channels=4, image_size=(64, 32))


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def on_meta(kind: type, config: LabelGanConfig) -> nn.Module:
    with torch.device("meta"):
        return kind(config)


# --- counts and shapes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "parameters"),
    [
        ({}, 92_538_819),
        ({"upsampling": "more"}, 92_538_819),
        ({"upsampling": "most"}, 93_002_723),
        ({"vae": True}, 109_205_443),
        ({"classes": 36}, 93_048_003),
    ],
)
def test_generator_parameters(settings: dict, parameters: int) -> None:
    assert count(on_meta(SPADEGenerator, SPADEConfig(**{"classes": 19} | settings))) == parameters


def test_parameters_by_part() -> None:
    generator = on_meta(SPADEGenerator, SPADEConfig(classes=19))
    parts = ("fc", "head_0", "G_middle_0", "G_middle_1", "up_0", "up_1", "up_2", "up_3", "conv_img")
    assert [count(getattr(generator, part)) for part in parts] == [
        176_128,
        23_643_136,
        23_643_136,
        23_643_136,
        13_572_608,
        4_918_784,
        2_017_280,
        922_880,
        1_731,
    ]
    assert count(on_meta(SPADEEncoder, SPADEConfig(classes=19))) == 10_463_424


def test_discriminator_parameters_and_shapes() -> None:
    spade = on_meta(MultiScaleDiscriminator, SPADEConfig(classes=19))
    assert count(spade) == 5_566_594
    sean = on_meta(MultiScaleDiscriminator, SEANConfig(classes=19))
    assert count(sean) == 1_364_098
    for network, wanted in (
        (
            spade,
            [
                [(64, 129), (128, 65), (256, 33), (512, 34), (1, 35)],
                [(64, 65), (128, 33), (256, 17), (512, 18), (1, 19)],
            ],
        ),
        (sean, [[(64, 129), (128, 65), (256, 33), (1, 34)], [(64, 65), (128, 33), (256, 17), (1, 18)]]),
    ):
        judgement = network._judge(
            torch.empty(1, 19, 256, 256, device="meta"), torch.empty(1, 3, 256, 256, device="meta")
        )
        assert [[(y.shape[1], y.shape[2]) for y in scale] for scale in judgement] == wanted


def test_weights_start_as_published() -> None:
    torch.manual_seed(0)
    generator = SPADEGenerator(SPADEConfig(classes=3, channels=16))
    block = generator.head_0
    for weight, fans in (
        (block.conv_0.weight_orig, 9 * 512),
        (block.norm_0.mask.shared.weight, 9 * (3 + 128)),
        (
            block.norm_0.mask.scale_shift.weight,
            9 * (128 + 256),
        ),  # of mlp_gamma and of mlp_beta, each 128 → 256
    ):
        assert weight.std().item() == pytest.approx(0.02 * (2 / fans) ** 0.5, rel=0.05)
    assert all(not p.any() for name, p in generator.named_parameters() if name.endswith("bias"))


# --- against the specification ------------------------------------------------------------------------------------

NORMAL = ["G_middle_0", "up_0", "up_1", "up_2", "up_3"]
MORE = [*NORMAL, "G_middle_1"]
MOST = [*MORE, "up_4"]


def no_noise(x: Tensor) -> Tensor:
    return torch.zeros_like(x[:, :1])


@pytest.mark.parametrize(("upsampling", "doublings"), [("normal", NORMAL), ("more", MORE), ("most", MOST)])
def test_generator_equals_the_table(upsampling: str, doublings: list[str]) -> None:
    config = TINY.model_copy(update={"upsampling": upsampling})
    network = shaken(SPADENetworks(config)).eval()
    height = 2 ** len(doublings)
    labels = blocks_of_labels(1, height, 2 * height if upsampling == "normal" else height, 3)
    expected = generate(published(network), labels, 3, doublings, None, no_noise, training=False)
    torch.testing.assert_close(network(labels), expected, rtol=0, atol=1e-10)
    assert expected.std() > 0.01


def test_gradients_equal_the_tables() -> None:
    network = shaken(SPADENetworks(TINY)).eval()
    labels = blocks_of_labels(1, 32, 32, 3)
    leaves = list(network.parameters())
    g = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    # σ's own gradient is the spectral layer's test: here u and v are constants for both.
    expected = generate(published(network), labels, 3, NORMAL, None, no_noise, training=False)
    pairs = zip(
        torch.autograd.grad(network(labels), leaves, g), torch.autograd.grad(expected, leaves, g), strict=True
    )
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


def test_vae() -> None:
    config = TINY.model_copy(update={"vae": True, "latent": 5})
    network = shaken(SPADENetworks(config)).eval()
    labels = blocks_of_labels(2, 32, 64, 3)
    code = torch.randn(2, 5, dtype=torch.float64)
    state = published(network)
    start = (code @ state["fc.weight"].t() + state["fc.bias"]).view(2, 32, 1, 2)
    maps = network.generator.maps(labels)
    torch.testing.assert_close(network.generator(labels, code), network.generator.paint(start, maps))
    one, two = (network(labels, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    assert not torch.allclose(one, two)
    assert network.encoder is not None
    posterior = network.encoder(torch.rand(2, 3, 32, 64, dtype=torch.float64))
    assert posterior.mean.shape == posterior.logvar.shape == (2, 5)
    drawn = torch.randn(2, 5, generator=torch.Generator().manual_seed(3)).double()
    torch.testing.assert_close(
        posterior.sample(torch.Generator().manual_seed(3)),
        posterior.mean + drawn * (posterior.logvar * 0.5).exp(),
    )
    with pytest.raises(DataError, match="64×32, not 32×32"):
        network(labels[..., :32])


@pytest.mark.parametrize("layers", [3, 4])
def test_discriminator_equals_the_table(layers: int) -> None:
    config = TINY.model_copy(update={"discriminator_layers": layers})
    network = shaken(MultiScaleDiscriminator(config)).eval()
    labels, image = blocks_of_labels(2, 32, 48, 3), torch.rand(2, 3, 32, 48, dtype=torch.float64)
    judgement = network(labels, image)
    x = torch.cat((one_hot(labels, 3), image * 2 - 1), 1)
    for scale, outputs in enumerate(judgement):
        if scale:
            ones = F.avg_pool2d(F.pad(torch.ones_like(x), (1, 1, 1, 1)), 3, 2)
            x = F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 2) / ones
        state, y, expected = below(network.state_dict(), f"discriminator_{scale}"), x, []
        for n in range(layers):
            if n == 0:
                y = conv(below(state, "model0.0"), y, 2, stride=2)
            else:
                part = below(state, f"model{n}.0.0")
                stride = 1 if (n, layers) == (3, 4) else 2
                y = spectral(part, F.pad(y, (2, 2, 2, 2)), 0)[..., ::stride, ::stride]
                y = y - y.mean((2, 3), keepdim=True)
                y = y / (y.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
            y = F.leaky_relu(y, 0.2)
            expected.append(y)
        expected.append(conv(below(state, f"model{layers}.0"), y, 2))
        for ours, theirs in zip(outputs, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_fake_and_real_are_judged_as_one_batch() -> None:
    network = MultiScaleDiscriminator(TINY).eval()
    labels = blocks_of_labels(2, 32, 32, 3)
    fake, real = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    both = network.compare(labels, fake, real)
    for found, alone in zip(both, (network(labels, fake), network(labels, real)), strict=True):
        for scale, expected in zip(found, alone, strict=True):
            torch.testing.assert_close(scale, expected)
    network.train()
    before = network.discriminator_0.model1[0][0].weight_u.clone()
    network.compare(labels, fake, real)
    conv_ = network.discriminator_0.model1[0][0]
    matrix = conv_.weight_orig.flatten(1)
    once = F.normalize(matrix @ F.normalize(matrix.t() @ before, dim=0), dim=0)
    torch.testing.assert_close(conv_.weight_u, once)  # one power iteration, not two


# --- limits -------------------------------------------------------------------------------------------------------


def test_errors() -> None:
    network = SPADENetworks(TINY)
    with pytest.raises(DataError, match=r"40×32 does not fit.*multiples of 32"):
        network(torch.zeros(1, 32, 40, dtype=torch.uint8))
    with pytest.raises(DataError, match="class 3"):
        network(torch.full((1, 32, 32), 3, dtype=torch.uint8))
    with pytest.raises(DataError, match="differ in size"):
        MultiScaleDiscriminator(TINY)(torch.zeros(1, 32, 32, dtype=torch.uint8), torch.rand(1, 3, 32, 64))


@pytest.mark.parametrize(
    "wrong", [{"image_size": (64, 40)}, {"upsampling": "much"}, {"ngf": 64}, {"classes": 0}]
)
def test_wrong_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SPADEConfig(**{"classes": 3} | wrong)


def test_presets() -> None:
    for name, settings in PRESETS.items():
        assert SPADEConfig(classes=7, **settings).classes == 7, name
    assert count(on_meta(SPADEGenerator, SPADEConfig(classes=12, **PRESETS["spade-small"]))) < 10_000_000
