"""fp16 in a phase with several networks: unscale all, step all, update the scale once. A scaler on the CPU stands in
for the GPU's; weights stay float32, so every step must be that of a training without a scaler."""

import pytest
import torch
from torch import nn

from stylebridge.engine import OptimizerConfig, Phase, Term
from stylebridge.engine.method import Method
from stylebridge.engine.trainer import Trainer
from stylebridge.errors import TrainingStopped
from support import tiny

NAMES = ("first", "second", "third")
STEPS = 4


class ThreeNetworks(Method):
    """One phase that trains three networks. ``overflow``: the network and step whose gradient is infinite."""

    name = "three"
    streams = {"source": True}  # noqa: RUF012

    def __init__(self, overflow: tuple[str, range] | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.networks = {name: nn.Conv2d(3, 3, 1) for name in NAMES}
        self.overflow = overflow

    def phases(self):
        return [Phase("all", trains=NAMES, losses=self._all)]

    def _all(self, step):
        image = step.batch["source"]["image"]
        for name in NAMES:
            loss = ((self.networks[name](image) - image.flip(1)) ** 2).mean()
            if self.overflow and self.overflow[0] == name and step.number in self.overflow[1]:
                loss = loss + (self.networks[name].weight.sum() * 0).sqrt()  # slope infinite × 0: not finite
            yield Term(name, loss)


class CountingScaler(torch.amp.GradScaler):  # pyright: ignore[reportPrivateImportUsage]
    def __init__(self) -> None:
        super().__init__("cpu", init_scale=2.0**12)
        self.calls: list[str] = []

    def unscale_(self, optimizer):
        self.calls.append("unscale")
        super().unscale_(optimizer)

    def step(self, optimizer, *args, **kwargs):
        self.calls.append("step")
        return super().step(optimizer, *args, **kwargs)

    def update(self, new_scale=None):
        self.calls.append("update")
        super().update(new_scale)


def make(folder, method, steps=STEPS) -> Trainer:
    base = tiny.make_trainer(folder, steps)
    return Trainer(
        method=method,
        config=base.config,
        # SGD: a gradient that is unscaled once too often makes a step that is as many times too small.
        optimizers={name: OptimizerConfig(kind="sgd", lr=0.1) for name in NAMES},
        streams=base.streams,
        run=folder,
        stage="1-three",
        seed=0,
        accelerator=base.accelerator,
        quiet=True,
    )


def scaled(trainer: Trainer) -> CountingScaler:
    trainer.accelerator.scaler = CountingScaler()
    return trainer.accelerator.scaler


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: trainer.method.networks[name].weight.detach().clone() for name in NAMES}  # type: ignore


def test_every_network_of_a_phase_steps_as_without_a_scaler(tmp_path):
    plain = make(tmp_path / "fp32", ThreeNetworks())
    plain.fit()
    trainer = make(tmp_path / "fp16", ThreeNetworks())
    scaler = scaled(trainer)
    trainer.fit()
    for name, expected in weights(plain).items():
        torch.testing.assert_close(weights(trainer)[name], expected, rtol=1e-6, atol=1e-7)
    assert scaler.calls == (["unscale"] * 3 + ["step"] * 3 + ["update"]) * STEPS


def test_a_network_that_overflows_is_skipped_alone_and_the_scale_falls_once(tmp_path):
    trainer = make(tmp_path, ThreeNetworks(overflow=("second", range(1, 2))))
    scaler = scaled(trainer)
    batches = trainer._micro_batches()
    before = weights(trainer)
    trainer._run_step([next(batches)])
    assert trainer.stepper.stepped == set(NAMES)
    first = weights(trainer)
    assert not any(torch.equal(first[name], before[name]) for name in NAMES)
    trainer.step += 1
    trainer._run_step([next(batches)])
    second = weights(trainer)
    assert trainer.stepper.stepped == {"first", "third"}
    assert [name for name in NAMES if torch.equal(second[name], first[name])] == ["second"]
    assert scaler.get_scale() == 2.0**11
    assert all(p.grad is None for network in trainer.method.networks.values() for p in network.parameters())


def test_a_network_that_never_steps_again_stops_the_training(tmp_path):
    """Also if the other networks of the phase are stepped: each network is counted separately."""
    trainer = make(tmp_path, ThreeNetworks(overflow=("third", range(2, 100))), steps=60)
    scaled(trainer)
    with pytest.raises(TrainingStopped, match=r"gradient of third\.weight is not finite"):
        trainer.fit()
    assert trainer.step == 2 + 19


def test_a_network_that_took_no_part_in_the_losses_stays_as_it_is(tmp_path):
    class TwoOfThree(ThreeNetworks):
        def _all(self, step):
            yield from (term for term in super()._all(step) if term.name != "second")

    trainer = make(tmp_path, TwoOfThree())
    scaler = scaled(trainer)
    before = weights(trainer)
    trainer.fit()
    assert [name for name in NAMES if torch.equal(weights(trainer)[name], before[name])] == ["second"]
    assert scaler.calls == (["unscale"] * 2 + ["step"] * 2 + ["update"]) * STEPS


def test_the_scale_continues_after_a_resume(tmp_path):
    trainer = make(tmp_path, ThreeNetworks(overflow=("first", range(3))))
    scaled(trainer)
    trainer.fit()
    again = make(tmp_path, ThreeNetworks())
    scaler = scaled(again)
    assert again.resume_newest()
    assert scaler.get_scale() == 2.0**9
