"""Training of SPADE and SEAN: steps against the published ones written out in one graph."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.methods.synthesis import Synthesis, SynthesisOptions, published_optimizers
from stylebridge.networks.label_gan import MultiScaleDiscriminator, PerceptualLoss
from stylebridge.networks.sean import SEANConfig, SEANNetworks
from stylebridge.networks.spade import SPADEConfig, SPADENetworks
from support.mini import batches, mini_trainer

K, SIDE, STEPS = 3, 32, 6


class Thirds(PerceptualLoss):
    """A stand-in for VGG-19: five layers of means over squares."""

    name = "thirds_perceptual"

    def features(self, image: Tensor) -> list[Tensor]:
        return [F.avg_pool2d(image, size).square() for size in (1, 2, 3, 4, 5)]


def make_networks(kind: str) -> tuple[SEANNetworks | SPADENetworks, MultiScaleDiscriminator]:
    torch.manual_seed(3)
    size = {"classes": K, "channels": 1, "hidden": 4, "discriminator_channels": 3}
    networks: SEANNetworks | SPADENetworks
    if kind == "sean":
        networks = SEANNetworks(SEANConfig(**size, style_channels=16))
    else:
        networks = SPADENetworks(SPADEConfig(**size))
    discriminator = MultiScaleDiscriminator(networks.config)
    with torch.no_grad():  # the published gain of 0.02 would leave everything near 0
        for parameter in [*networks.parameters(), *discriminator.parameters()]:
            if parameter.dim() > 1:
                parameter.mul_(20)
    return networks.double(), discriminator.double()


def train(method: Synthesis, folder: Path, steps: int = STEPS) -> list[dict]:
    streams = {"labelled": batches(steps, (SIDE, SIDE), classes=K)}
    mini_trainer(method, streams, folder, published_optimizers()).fit()  # type: ignore[arg-type]
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def same_noise(generator: nn.Module) -> None:
    """SEAN's noise, a function of how often the generator ran."""
    calls = iter(range(1000))
    generator.register_forward_pre_hook(lambda *_: torch.manual_seed(next(calls)) and None)


def published_step(networks, discriminator, adam, image: Tensor, label: Tensor) -> dict[str, float]:
    """Generator, then discriminator; fakes and real images in one batch, gradients through all of it."""
    fake = networks(label, image)
    of_fake, of_real = discriminator.compare(label, fake, image)
    adversarial = sum(-scale[-1].mean() for scale in of_fake) / 2
    layers = [
        (a - b.detach()).abs().mean()
        for first, second in zip(of_fake, of_real, strict=True)
        for a, b in zip(first[:-1], second[:-1], strict=True)
    ]
    matching = sum(layers) / 2
    features = zip(
        (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1), Thirds().features(fake), Thirds().features(image), strict=True
    )
    perceptual = sum(weight * (a - b).abs().mean() for weight, a, b in features)
    adam["generator"].zero_grad()
    (adversarial + 10 * matching + 10 * perceptual).backward()
    adam["generator"].step()

    with torch.no_grad():
        fake = networks(label, image)
    adam["discriminator"].zero_grad()  # what the generator's loss left there is thrown away
    of_fake, of_real = discriminator.compare(label, fake, image)
    hinge = (
        sum(
            F.relu(1 - r[-1]).mean() + F.relu(1 + f[-1]).mean() for f, r in zip(of_fake, of_real, strict=True)
        )
        / 2
    )
    hinge.backward()
    adam["discriminator"].step()
    return {
        "loss/generator/adversarial": adversarial.item(),
        "loss/generator/feature_matching": matching.item(),
        "loss/generator/thirds_perceptual": perceptual.item(),
        "loss/discriminator/hinge": hinge.item(),
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sean", "spade"])
def test_steps_equal_the_published_ones(kind: str, tmp_path: Path) -> None:
    """All losses and weights, both optimisers, the falling rate, batch-norm statistics and spectral norms."""
    ours, theirs = make_networks(kind), make_networks(kind)
    same_noise(ours[0].generator)
    same_noise(theirs[0].generator)
    lines = train(Synthesis(*ours, Thirds()), tmp_path)
    adam = {
        name: torch.optim.Adam(network.parameters(), lr=lr, betas=(0.0, 0.9))
        for name, network, lr in zip(("generator", "discriminator"), theirs, (1e-4, 4e-4), strict=True)
    }
    for t, batch in enumerate(batches(STEPS, (SIDE, SIDE), classes=K)):
        for optimizer, lr in zip(adam.values(), (1e-4, 4e-4), strict=True):
            optimizer.param_groups[0]["lr"] = lr * (1 - max(0, t + 1 - STEPS // 2) / (STEPS // 2))
        expected = published_step(*theirs, adam, batch["image"], batch["label"])
        assert {k: lines[t][k] for k in expected} == pytest.approx(expected, rel=1e-6)
    for mine, other in zip(ours, theirs, strict=True):
        wanted = other.state_dict()
        for name, value in mine.state_dict().items():
            torch.testing.assert_close(
                value, wanted[name], rtol=1e-6, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}"
            )


def test_each_network_runs_once_a_phase(tmp_path: Path) -> None:
    networks, discriminator = make_networks("sean")
    ran = []
    for name, network in (("generator", networks.generator), ("encoder", networks.encoder)):
        network.register_forward_hook(lambda *_, of=name: ran.append(of))
    train(Synthesis(networks, discriminator, Thirds()), tmp_path, steps=2)
    assert ran.count("generator") == ran.count("encoder") == 4


@pytest.mark.parametrize("option", ["feature_weight", "perceptual_weight"])
def test_each_weight_moves_the_generator(tmp_path: Path, option: str) -> None:
    plain, changed = make_networks("spade"), make_networks("spade")
    train(Synthesis(*plain, Thirds()), tmp_path / "plain", steps=3)
    options = SynthesisOptions(**{option: 0.0})
    lines = train(Synthesis(*changed, Thirds(), options), tmp_path / "changed", steps=3)
    word = {"feature_weight": "matching", "perceptual_weight": "perceptual"}[option]
    assert not any(word in name for name in lines[0])
    assert not torch.allclose(
        plain[0].generator.conv_img.weight, changed[0].generator.conv_img.weight, rtol=1e-6
    )


def test_a_vae_is_kept_near_the_normal_distribution(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = SPADEConfig(
        classes=K, channels=1, hidden=4, discriminator_channels=3, vae=True, latent=4, image_size=(32, 32)
    )
    networks = SPADENetworks(config).double()
    method = Synthesis(networks, MultiScaleDiscriminator(config).double())
    lines = train(method, tmp_path, steps=1)
    codes = SPADENetworks(config).double()
    assert codes.encoder is not None
    assert lines[0]["loss/generator/divergence"] >= 0
    assert "loss/generator/thirds_perceptual" not in lines[0]


def test_published_settings() -> None:
    options = SynthesisOptions()
    assert (options.feature_weight, options.perceptual_weight, options.divergence_weight) == (10, 10, 0.05)
    rates = {name: (o.kind, o.lr, o.betas, o.weight_decay) for name, o in published_optimizers().items()}
    assert rates == {"generator": ("adam", 1e-4, (0, 0.9), 0), "discriminator": ("adam", 4e-4, (0, 0.9), 0)}
