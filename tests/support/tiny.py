"""A tiny adversarial method that uses everything a checkpoint must hold, and a way to train it.

Run as a program it trains (or resumes) in a folder: `python tiny.py FOLDER STEPS`.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from stylebridge.engine import (
    Average,
    Losses,
    Method,
    OptimizerConfig,
    Phase,
    ScheduleConfig,
    Step,
    Term,
    Trainer,
    TrainerConfig,
    open_accelerator,
)
from stylebridge.engine import checkpoint as ckpt
from stylebridge.engine.image_buffer import ImageBuffer


def stream(batch: int, process_index: int = 0, process_count: int = 1):
    """Images that are a function of their position alone."""

    def open_stream(first: int) -> Iterator[dict[str, torch.Tensor]]:
        number = first
        while True:
            start = (number * process_count + process_index) * batch
            positions = torch.arange(start, start + batch)
            generator = [torch.Generator().manual_seed(int(p)) for p in positions]
            yield {
                "image": torch.stack([torch.rand(3, 8, 8, generator=g) for g in generator]),
                "label": torch.stack([torch.randint(0, 4, (8, 8), generator=g) for g in generator]),
                "position": positions,
            }
            number += 1

    return open_stream


class TinyMethod(Method):
    """A maker with dropout against a critic that sees an image buffer; an average of the maker."""

    name = "tiny"
    streams: ClassVar = {"source": True}

    def __init__(self, dropout: float = 0.2, uneven: bool = False) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.uneven = uneven
        self.maker = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Dropout2d(dropout), nn.Conv2d(8, 3, 1)
        )
        self.critic = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 1, 1))
        self.networks = {"maker": self.maker, "critic": self.critic}
        self.averages = {"average": Average(of="maker", decay=0.9)}
        self.buffer = ImageBuffer(6, (3, 8, 8))
        self.local = {"fakes": self.buffer}
        self.calls: list[str] = []

    def phases(self):
        return [
            Phase("make", trains=("maker",), losses=self._make),
            Phase("judge", trains=("critic",), losses=self._judge, every=2),
        ]

    def _make(self, step: Step) -> Losses:
        self.calls.append("make")
        image = step.batch["source"]["image"]
        fake = self.maker(image + 0.1 * step.rand(len(image), 1, 1, 1))
        step.memo["fake"] = fake.detach()
        weight = torch.ones_like(image)
        if self.uneven:  # different numbers of counted pixels in each image
            weight = (step.batch["source"]["position"].view(-1, 1, 1, 1) % 3 + 1).float().expand_as(image)
        fit = Term("fit", step.mean((weight * (fake - image) ** 2).sum(), weight.sum()))
        yield [fit, Term("fool", self.critic(fake).mean(), weight=0.1)]

    def _judge(self, step: Step) -> Losses:
        self.calls.append("judge")
        fake = step.memo["fake"]
        # The buffer is each process's own; without it the outcome does not depend on how many there are.
        old = fake if self.uneven else self.buffer.swap(fake, step.rand(len(fake), 2))
        yield Term("real", (self.critic(step.batch["source"]["image"]) ** 2).mean())
        yield Term("fake", ((self.critic(old) - 1) ** 2).mean())


def make_trainer(
    folder: Path,
    steps: int,
    method: Method | None = None,
    batch: int = 4,
    accumulate: int = 1,
    checkpoint_every: int = 5,
    precision: str = "fp32",
    **changes,
) -> Trainer:
    """A trainer of the tiny method on the CPU, sharing the batch between the launched processes."""
    method = method or TinyMethod()
    accelerator = open_accelerator("cpu", precision)  # type: ignore[arg-type]
    images = batch // (accelerator.num_processes * accumulate)
    schedule = ScheduleConfig(kind="poly", warmup=3)
    config = TrainerConfig(
        steps=steps,
        batch=batch,
        accumulate=accumulate,
        checkpoint_every=checkpoint_every,
        log_every=1,
        sample_every=0,
        **changes,
    )
    folder.mkdir(parents=True, exist_ok=True)
    return Trainer(
        method=method,
        config=config,
        optimizers={
            "maker": OptimizerConfig(kind="adamw", lr=1e-2, schedule=schedule),
            "critic": OptimizerConfig(kind="sgd", lr=1e-2),
        },
        streams={"source": stream(images, accelerator.process_index, accelerator.num_processes)},
        run=folder,
        stage="1-tiny",
        seed=3,
        accelerator=accelerator,
        quiet=True,
    )


def train(folder: Path, steps: int, **options) -> Trainer:
    """Train to the end, from the newest checkpoint if there is one."""
    trainer = make_trainer(folder, steps, **options)
    saved = ckpt.find_checkpoints(folder / "trainer_state")
    if saved:
        trainer.resume(saved[-1])
    trainer.fit()
    return trainer


def wait_for_checkpoint(folder: Path, step: int, child: subprocess.Popen) -> None:
    """Until a checkpoint of that step is there, or the child has ended."""
    while child.poll() is None:
        if any(saved.step >= step for saved in ckpt.find_checkpoints(folder / "trainer_state")):
            return
        time.sleep(0.02)


def resume_and_train(folder: Path, steps: int, pipe) -> None:
    """A child process's work: tell the step it starts from, then train on. It lives here and not beside its test
    because a spawned process imports it by name, and `tests` may be the name of some other package."""
    torch.set_num_threads(1)
    trainer = make_trainer(folder, steps, checkpoint_every=2)
    saved = ckpt.find_checkpoints(folder / "trainer_state")
    if saved:
        trainer.resume(saved[-1])
    pipe.send(trainer.step)
    trainer.fit()


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(Path(sys.argv[1]), int(sys.argv[2]), method=TinyMethod(uneven=True))
