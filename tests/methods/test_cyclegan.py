"""CycleGAN's training step against the published one, written out naively."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stylebridge.engine import OptimizerConfig, Step, Trainer
from stylebridge.errors import DataError
from stylebridge.methods.cyclegan import (
    CycleGAN,
    CycleGANOptions,
    published_optimizers,
)
from stylebridge.networks.cyclegan import CycleGANConfig, CycleGANNetworks
from support.mini import SEED, assert_same_weights, batches, mini_trainer

SIDE = 16
CONFIG = CycleGANConfig(image_size=SIDE, channels=3, blocks=1, layers=2)
SGD = OptimizerConfig(kind="sgd", lr=0.1, momentum=0.0)


def make_networks() -> CycleGANNetworks:
    """The same networks each time, with larger weights than at the start so that the fakes differ."""
    torch.manual_seed(3)
    networks = CycleGANNetworks(CONFIG).double()
    with torch.no_grad():
        for parameter in networks.parameters():
            parameter.normal_(0, 0.2)
    return networks


def make_method(
    networks: CycleGANNetworks | None = None, kind: type[CycleGAN] = CycleGAN, **options
) -> CycleGAN:
    method = kind(networks or make_networks(), CycleGANOptions(**options))
    for buffer in method.buffers.values():
        buffer.double()
    return method


def make_streams(steps: int, images: int = 1, seed: int = 0) -> dict[str, list[dict[str, Tensor]]]:
    return {
        domain: batches(steps, (SIDE, SIDE), images, seed=10 * seed + n, labelled=False)
        for n, domain in enumerate("ab")
    }


def train(
    method: CycleGAN,
    folder: Path,
    streams: dict[str, list[dict[str, Tensor]]],
    optimizers: dict[str, OptimizerConfig] | None = None,
) -> Trainer:
    trainer = mini_trainer(method, streams, folder, optimizers or published_optimizers())  # type: ignore[arg-type]
    trainer.fit()
    return trainer


# --- the oracle -----------------------------------------------------------------------------------------------


class Pool:
    """Earlier fakes as a list: filled first, then each image is exchanged or not, by the numbers of the trainer."""

    def __init__(self, size: int) -> None:
        self.size, self.kept = size, []
        self.exchanged = 0

    def query(self, image: Tensor, number: Tensor) -> Tensor:
        if len(self.kept) < self.size:
            self.kept.append(image)
            return image
        if number[0, 0] >= 0.5:
            return image
        place = int(number[0, 1] * self.size)
        old, self.kept[place] = self.kept[place], image
        self.exchanged += 1
        return old


def published_step(
    g, d, adam, a: Tensor, b: Tensor, pools: dict[str, Pool], random: Step
) -> dict[str, float]:
    """One step as published, with everything in one graph; G_B paints domain b."""

    def distance(x: Tensor, y: Tensor) -> Tensor:
        return (x - y).abs().mean()

    a, b = 2 * a - 1, 2 * b - 1
    d.requires_grad_(False)
    fake_b, fake_a = g["b"](a), g["a"](b)
    terms = {
        "adversarial_b": (((d["b"](fake_b) - 1) ** 2).mean(), 1),
        "adversarial_a": (((d["a"](fake_a) - 1) ** 2).mean(), 1),
        "cycle_a": (distance(g["a"](fake_b), a), 10),
        "cycle_b": (distance(g["b"](fake_a), b), 10),
        "identity_b": (distance(g["b"](b), b), 10 * 0.5),
        "identity_a": (distance(g["a"](a), a), 10 * 0.5),
    }
    adam["generators"].zero_grad()
    sum(value * weight for value, weight in terms.values()).backward()  # type: ignore[union-attr]
    adam["generators"].step()

    d.requires_grad_(True)
    adam["discriminators"].zero_grad()
    told = {f"loss/generator/{name}": value.item() for name, (value, _) in terms.items()}
    for domain, real, fake in (("a", a, fake_a), ("b", b, fake_b)):
        shown = pools[domain].query(fake.detach(), random.rand(1, 2))
        loss = ((d[domain](real) - 1) ** 2).mean() + (d[domain](shown) ** 2).mean()
        (loss * 0.5).backward()
        told[f"loss/discriminator/adversarial_{domain}"] = loss.item()
    adam["discriminators"].step()
    return told


def test_steps_equal_the_published_ones(tmp_path: Path) -> None:
    """All losses and weights, both optimisers, the schedule and the buffers, over ten steps."""
    steps, size = 10, 2
    ours, theirs = make_networks(), make_networks()
    method = make_method(ours, buffer=size)
    train(method, tmp_path, make_streams(steps))
    adam = {
        kind: torch.optim.Adam(getattr(theirs, kind).parameters(), lr=2e-4, betas=(0.5, 0.999))
        for kind in ("generators", "discriminators")
    }
    pools = {domain: Pool(size) for domain in "ab"}
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    streams = make_streams(steps)
    for t, (a, b) in enumerate(zip(streams["a"], streams["b"], strict=True)):
        # As the published rule for epochs 1…10 of which 5 are constant: 1 − max(0, epoch − 5)/(5 + 1).
        for optimizer in adam.values():
            optimizer.param_groups[0]["lr"] = 2e-4 * (1 - max(0, t + 1 - 5) / 6)
        random = Step(number=t, batch={}, device=torch.device("cpu"), seed=SEED)
        expected = published_step(
            theirs.generators, theirs.discriminators, adam, a["image"], b["image"], pools, random
        )
        assert {k: lines[t][k] for k in expected} == pytest.approx(expected, rel=1e-5)
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        # Gradients of biases before a norm are rounding alone, which Adam magnifies.
        torch.testing.assert_close(mine, other, rtol=1e-8, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")
    assert min(pool.exchanged for pool in pools.values()) >= 1
    for domain, pool in pools.items():
        torch.testing.assert_close(method.buffers[domain].images, torch.cat(pool.kept), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("option", ["cycle_weight", "identity_weight", "discriminator_weight"])
def test_each_weight_moves_the_networks_by_much_more_than_the_tolerance(tmp_path: Path, option: str) -> None:
    plain, changed = make_networks(), make_networks()
    value = 1.01 * getattr(CycleGANOptions(), option)
    for name, networks, options in (("plain", plain, {}), ("changed", changed, {option: value})):
        train(
            make_method(networks, **options),
            tmp_path / name,
            make_streams(1),
            dict.fromkeys(CycleGAN.trains, SGD),
        )
    with pytest.raises(AssertionError):
        assert_same_weights(plain, changed, rtol=1e-6)


# --- what is computed ---------------------------------------------------------------------------------------


class Watching(CycleGAN):
    """Notes which networks ran."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.ran: list[str] = []
        for name, network in [*self.model.generators.items(), *self.model.discriminators.items()]:
            kind = type(network).__name__[0]
            network.register_forward_hook(lambda *_, of=f"{kind}_{name}": self.ran.append(of))


def test_nothing_is_computed_twice(tmp_path: Path) -> None:
    """Fake, cycle and identity of each generator; one judgement in either phase: the fakes are not painted again."""
    method = make_method(kind=Watching)
    assert isinstance(method, Watching)
    train(method, tmp_path, make_streams(1))
    counts = {name: method.ran.count(name) for name in ("G_a", "G_b", "D_a", "D_b")}
    assert counts == {"G_a": 3, "G_b": 3, "D_a": 2, "D_b": 2}


def test_without_identity_its_passes_are_left_out(tmp_path: Path) -> None:
    method = make_method(kind=Watching, identity_weight=0.0)
    assert isinstance(method, Watching)
    train(method, tmp_path, make_streams(1))
    assert method.ran.count("G_a") == method.ran.count("G_b") == 2
    assert "identity" not in (tmp_path / "metrics.jsonl").read_text()


def test_batches_of_several_images(tmp_path: Path) -> None:
    """A batch of the same image twice moves the networks as the image alone does."""
    one, two = make_networks(), make_networks()
    single = make_streams(1)
    double = {d: [{k: torch.cat((v, v)) for k, v in made[0].items()}] for d, made in single.items()}
    for name, networks, streams in (("one", one, single), ("two", two, double)):
        train(make_method(networks), tmp_path / name, streams, dict.fromkeys(CycleGAN.trains, SGD))
    assert_same_weights(one, two, rtol=1e-8)


# --- the buffers ----------------------------------------------------------------------------------------------


def test_the_discriminators_see_the_fakes_of_before_the_generators_moved(tmp_path: Path) -> None:
    networks = make_networks()
    streams = make_streams(1)
    with torch.no_grad():
        expected = networks.generators["b"](streams["a"][0]["image"] * 2 - 1)
    method = make_method(networks)
    train(method, tmp_path, streams, dict.fromkeys(CycleGAN.trains, SGD))
    torch.testing.assert_close(method.buffers["b"].images[:1], expected)
    assert int(method.buffers["b"].filled) == 1
    with torch.no_grad():
        assert (networks.generators["b"](streams["a"][0]["image"] * 2 - 1) - expected).abs().max() > 1e-4


# --- options --------------------------------------------------------------------------------------------------


def test_published_defaults() -> None:
    o = CycleGANOptions()
    assert (o.cycle_weight, o.identity_weight, o.discriminator_weight, o.buffer) == (10, 0.5, 0.5, 50)
    one = published_optimizers()["discriminators"]
    assert (one.kind, one.lr, one.betas, one.weight_decay) == ("adam", 2e-4, (0.5, 0.999), 0)


def test_schedule() -> None:
    """The published rule, 1 − max(0, epoch − 100)/101 for epochs 1…200, with steps in place of epochs."""
    factors = [
        published_optimizers()["generators"].schedule.factor(epoch - 1, 200) for epoch in range(1, 201)
    ]
    assert factors == pytest.approx([1 - max(0, epoch - 100) / 101 for epoch in range(1, 201)])


def test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    streams = make_streams(1)
    streams["b"] = batches(1, (SIDE, SIDE + 4), 1, labelled=False)
    with pytest.raises(DataError, match="16×16, not 20×16"):
        train(make_method(), tmp_path, streams)
