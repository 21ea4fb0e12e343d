"""NICE-GAN's training step against the specification's section 4, written out naively."""

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.engine import OptimizerConfig, Trainer
from stylebridge.errors import DataError
from stylebridge.methods.nice_gan import NiceGAN, NiceGANOptions, published_optimizers
from stylebridge.networks.nice_gan import Discriminator, NiceGanConfig, NiceGanNetworks
from support.mini import assert_same_weights, batches, mini_trainer

SIDE, STEPS = 48, 2
LIGHT = NiceGanConfig(image_size=SIDE, channels=3, blocks=1, layers=6)
SEVEN = NiceGanConfig(image_size=96, channels=2, blocks=1)
FULL = LIGHT.model_copy(update={"light": False})
ENCODER = ("model.", "fc.", "conv1x1.", "lamda")


def make_networks(config: NiceGanConfig = LIGHT) -> NiceGanNetworks:
    """The same networks each time, with λ and rho off their starting values."""
    torch.manual_seed(3)
    networks = NiceGanNetworks(config).double()
    with torch.no_grad():
        for name, parameter in networks.named_parameters():
            if name.endswith(("lamda", "rho")):
                parameter.add_(torch.randn_like(parameter))
    return networks


def make_streams(steps: int = STEPS, images: int = 1, side: int = SIDE) -> dict[str, list[dict[str, Tensor]]]:
    return {
        domain: batches(steps, (side, side), images, seed=seed, labelled=False)
        for seed, domain in enumerate("ab")
    }


def train(
    method: NiceGAN,
    folder: Path,
    streams: dict[str, list[dict[str, Tensor]]] | None = None,
    optimizers: dict[str, OptimizerConfig] | None = None,
    **settings,
) -> Trainer:
    trainer = mini_trainer(
        method, streams or make_streams(), folder, optimizers or published_optimizers(), **settings
    )  # type: ignore[arg-type]
    trainer.fit()
    return trainer


# --- the oracle -----------------------------------------------------------------------------------------------


class PublishedDiscriminator(Discriminator):
    """One pass at a time, with torch's hook and the weight W/σ spelt out, attention on joined maps."""

    def layer(self, name: str, x: Tensor, stride: int = 1, activate: bool = True) -> Tensor:
        module = self.get_submodule(name)
        matrix = module.weight_orig.detach().flatten(1)
        v = F.normalize(matrix.t() @ module.weight_u, dim=0, eps=1e-12)
        u = F.normalize(matrix @ v, dim=0, eps=1e-12)
        module.weight_u.copy_(u)
        module.weight_v.copy_(v)
        weight = module.weight_orig / (u @ module.weight_orig.flatten(1) @ v)
        if weight.dim() == 2:
            return x @ weight.t()
        y = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), weight, module.bias, stride)
        return F.leaky_relu(y, 0.2) if activate else y

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        h = self.layer("model.4", self.layer("model.1", image, 2), 2)
        pooled = torch.cat((F.adaptive_avg_pool2d(h, 1), F.adaptive_max_pool2d(h, 1)), 1).flatten(1)
        logit = self.layer("fc", pooled)
        attention = self.conv1x1(torch.cat((h, h), 1) * self.fc.weight_orig[..., None, None])
        z = F.leaky_relu(self.lamda * attention + h, 0.2)
        f = self.layer("Dis0_0.1", z, 2) if len(self.Dis0_0) else z
        local = self.layer("conv0", self.layer("Dis0_1.1", f), activate=False)
        wide = self.layer("Dis1_1.1", self.layer("Dis1_0.4", self.layer("Dis1_0.1", f, 2), 2))
        return local, self.layer("conv1", wide, activate=False), logit, z


def published_step(
    d: nn.ModuleDict, g: nn.ModuleDict, adam: dict[str, torch.optim.Adam], a: Tensor, b: Tensor
):
    """Section 4 as the published code has it: nothing is saved, everything is computed again."""

    def square(score: Tensor, target: float) -> Tensor:
        return ((score - target) ** 2).mean()

    def distance(x: Tensor, y: Tensor) -> Tensor:
        return (x - y).abs().mean()

    a, b = a * 2 - 1, b * 2 - 1
    adam["discriminators"].zero_grad()
    *real_a, z_a = d["a"](a)
    *real_b, z_b = d["b"](b)
    fake_b, fake_a = g["b"](z_a).detach(), g["a"](z_b).detach()
    *judged_a, _ = d["a"](fake_a)
    *judged_b, _ = d["b"](fake_b)
    d_a = sum(square(r, 1) + square(f, 0) for r, f in zip(real_a, judged_a, strict=True))
    d_b = sum(square(r, 1) + square(f, 0) for r, f in zip(real_b, judged_b, strict=True))
    (d_a + d_b).backward()
    adam["discriminators"].step()

    adam["generators"].zero_grad()
    z_a, z_b = d["a"](a)[-1], d["b"](b)[-1]
    fake_b, fake_a = g["b"](z_a), g["a"](z_b)
    *judged_b, z_of_b = d["b"](fake_b)
    *judged_a, z_of_a = d["a"](fake_a)
    terms = {
        "adversarial_a": sum(square(f, 1) for f in judged_a),
        "adversarial_b": sum(square(f, 1) for f in judged_b),
        "cycle_a": distance(g["a"](z_of_b), a),
        "cycle_b": distance(g["b"](z_of_a), b),
        "reconstruction_a": distance(g["a"](z_a), a),
        "reconstruction_b": distance(g["b"](z_b), b),
    }
    sum(v * (1 if name.startswith("adversarial") else 10) for name, v in terms.items()).backward()  # type: ignore[union-attr]
    adam["generators"].step()
    told = {f"loss/generator/{name}": value.item() for name, value in terms.items()}  # type: ignore[union-attr]
    return told | {
        "loss/discriminator/adversarial_a": d_a.item(),  # type: ignore[union-attr]
        "loss/discriminator/adversarial_b": d_b.item(),  # type: ignore[union-attr]
    }


def by_hand(networks: NiceGanNetworks, streams: dict[str, list[dict[str, Tensor]]]) -> list[dict[str, float]]:
    for network in networks.discriminators.values():
        network.__class__ = PublishedDiscriminator
    adam = {
        kind: torch.optim.Adam(
            getattr(networks, kind).parameters(), lr=1e-4, betas=(0.5, 0.999), weight_decay=1e-4
        )
        for kind in ("discriminators", "generators")
    }
    told = []
    for t, (a, b) in enumerate(zip(streams["a"], streams["b"], strict=True), start=1):
        # Half of the steps at the full rate, then lr0/(steps // 2) less each step.
        half = len(streams["a"]) // 2
        for optimizer in adam.values():
            optimizer.param_groups[0]["lr"] = 1e-4 - max(0, t - half) * 1e-4 / half
        told.append(
            published_step(networks.discriminators, networks.generators, adam, a["image"], b["image"])
        )
    return told


@pytest.mark.slow
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize(("config", "images"), [(LIGHT, 1), (FULL, 1), (LIGHT, 2), (SEVEN, 1)])
def test_steps_equal_the_published_ones(
    tmp_path: Path, config: NiceGanConfig, images: int, channels_last: bool
) -> None:
    """All losses and weights, both optimisers, the schedule, detachments, and every u and v: four steps."""
    ours, theirs = make_networks(config), make_networks(config)
    losses = by_hand(theirs, make_streams(4, images, config.image_size))
    streams = make_streams(4, images, config.image_size)
    train(NiceGAN(ours), tmp_path, streams, channels_last=channels_last)
    assert_same_weights(ours, theirs, rtol=1e-8)
    for (name, mine), (_, other) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-8, msg=name)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for line, expected in zip(lines, losses, strict=True):
        assert {k: line[k] for k in expected} == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_steps_move_the_weights_by_much_more_than_the_tolerance(tmp_path: Path) -> None:
    """The test above would detect a wrong weight or an encoder that is not updated."""
    results = {}
    for name, options in {
        "": {},
        "cycle": {"cycle_weight": 10.1},
        "adversarial": {"adversarial_weight": 1.1},
    }.items():
        results[name] = make_networks()
        train(NiceGAN(results[name], NiceGANOptions(**options)), tmp_path / f"run{name}")
    for name in ("cycle", "adversarial"):
        with pytest.raises(AssertionError):
            assert_same_weights(results[name], results[""], rtol=1e-7)


# --- who gets gradients ---------------------------------------------------------------------------------------


def test_fakes_do_not_move_the_encoder_they_came_from(tmp_path: Path) -> None:
    """In the discriminators' phase what D_B thinks of G_B(E_A(a)) must not reach E_A: with other images of b, the
    gradient of everything in D_A that its own game does not use stays the same."""
    gradients = []
    for seed in (1, 2):
        streams = make_streams(1)
        streams["b"] = batches(1, (SIDE, SIDE), 1, seed=seed + 10, labelled=False)
        networks = make_networks()
        with torch.no_grad():  # D_A's game does not depend on the fake, nor does it on b
            networks.generators["a"].UpBlock2[17].weight.zero_()
        plain = OptimizerConfig(kind="sgd", lr=1.0, momentum=0.0)
        train(NiceGAN(networks), tmp_path / str(seed), streams, dict.fromkeys(NiceGAN.trains, plain))
        gradients.append(networks)
    assert_same_weights(gradients[0].discriminators["a"], gradients[1].discriminators["a"], rtol=1e-12)
    with pytest.raises(AssertionError):
        assert_same_weights(gradients[0].discriminators["b"], gradients[1].discriminators["b"], rtol=1e-4)


def test_generators_learn_by_way_of_the_frozen_encoder(tmp_path: Path) -> None:
    """Without adversarial and reconstruction losses G_B is reached by the cycle alone, through E_B."""
    networks = make_networks()
    before = copy.deepcopy(networks.generators)
    options = NiceGANOptions(adversarial_weight=0.0, reconstruction_weight=0.0)
    plain = OptimizerConfig(kind="sgd", lr=0.1, momentum=0.0)
    train(NiceGAN(networks, options), tmp_path, make_streams(1), dict.fromkeys(NiceGAN.trains, plain))
    for domain in "ab":
        assert not torch.equal(
            networks.generators[domain].UpBlock2[17].weight, before[domain].UpBlock2[17].weight
        )


# --- options --------------------------------------------------------------------------------------------------


def test_without_exact_power_iterations_only_the_norms_of_the_heads_differ(tmp_path: Path) -> None:
    exact, saving = make_networks(), make_networks()
    train(NiceGAN(exact), tmp_path / "a", make_streams(1))
    train(NiceGAN(saving, NiceGANOptions(exact_power_iterations=False)), tmp_path / "b", make_streams(1))
    assert_same_weights(exact.discriminators, saving.discriminators, rtol=1e-12)  # the first step's D phase
    u = {
        name: net.discriminators["a"].Dis1_1[1].weight_v
        for name, net in (("exact", exact), ("saving", saving))
    }
    assert not torch.equal(u["exact"], u["saving"])
    torch.testing.assert_close(
        exact.discriminators["a"].model[1].weight_v, saving.discriminators["a"].model[1].weight_v
    )


def test_published_defaults() -> None:
    o = NiceGANOptions()
    assert (o.adversarial_weight, o.cycle_weight, o.reconstruction_weight) == (1, 10, 10)
    assert o.exact_power_iterations
    one = published_optimizers()["generators"]
    assert (one.kind, one.lr, one.betas, one.weight_decay) == ("adam", 1e-4, (0.5, 0.999), 1e-4)


def test_schedule() -> None:
    """Constant for half of the steps, 0 after the last; by the step alone, so that a resumed run cannot decay twice."""
    factors = [published_optimizers()["generators"].schedule.factor(step, 10) for step in range(10)]
    assert factors == pytest.approx([1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0.0])
    assert published_optimizers()["generators"].schedule.factor(149_999, 300_000) == 1
    assert published_optimizers()["generators"].schedule.factor(150_000, 300_000) == pytest.approx(
        1 - 1 / 150_000
    )


def test_images_too_small_for_the_wide_head_are_refused(tmp_path: Path) -> None:
    streams = {d: batches(1, (44, SIDE), 1, labelled=False) for d in "ab"}
    with pytest.raises(DataError, match="48×44 is too small"):
        train(NiceGAN(make_networks()), tmp_path, streams)
