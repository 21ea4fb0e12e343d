"""Every task at a tiny size: one table of them, and one way to train each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from stylebridge.jobs.train import adapt, train_mixer, train_synthesizer, train_translator
from support import folders
from support.mixers import tiny_mix

torch.set_num_threads(1)


def short(prefix: str) -> list[str]:
    """Two steps, a checkpoint after each."""
    wanted = {"steps": 2, "batch": 2, "checkpoint_every": 1, "sample_every": 0, "log_every": 1}
    return [f"{prefix}{name}={value}" for name, value in wanted.items()]


@dataclass(frozen=True)
class Task:
    """A task and how it is trained for a moment.

    Attributes:
        train: takes the data, the run folder and ``recipe``, ``overrides`` …; with None as data the run's own is taken.
        recipe: a built-in one.
        changes: make it tiny.
        trainer: the beginning of the trainer's keys in the recipe; of the first stage.
        weights: the folder of a finished run's weights.
        saves: checkpoints that a whole training writes.
    """

    train: Callable[..., object]
    recipe: str
    changes: tuple[str, ...]
    trainer: str
    weights: str
    saves: int = 2

    def begin(self, data: Path | None, out: Path, changes: tuple[str, ...] = (), **options: Any) -> object:
        """Train with the tiny recipe, changed further."""
        overrides = [*self.changes, *changes]
        return self.run(data, out, **{"recipe": self.recipe, "overrides": overrides, **options})

    def resume(self, out: Path, **options: Any) -> object:
        """Go on with a run as its folder says."""
        return self.run(None, out, resume=True, **options)

    def run(self, data: Path | None, out: Path, **options: Any) -> object:
        """The job itself."""
        options = {"device": "cpu", "quiet": True, "workers": 0, **options}
        return self.train(data, out, **options)

    def tensors(self, run: Path) -> dict[str, torch.Tensor]:
        """The weights of a finished run."""
        files = sorted((run / self.weights).glob("*.safetensors"))
        return {f"{path.stem}.{key}": value for path in files for key, value in load_file(path).items()}


def _adapt(data: Path | None, out: Path, **options: Any) -> object:
    return adapt(data, data, out, **_spaced(data, options))


def _translate(data: Path | None, out: Path, **options: Any) -> object:
    return train_translator(data, data, out, **options)


def _synthesize(data: Path | None, out: Path, **options: Any) -> object:
    return train_synthesizer(data, out, **_spaced(data, options))


def _spaced(data: Path | None, options: dict[str, Any]) -> dict[str, Any]:
    return options if data is None else {"label_space": data.parent / "three.yaml", **options}


SMALL_NETWORKS = ("channels=2", "hidden=8", "discriminator_channels=4", "style_channels=32")
TASKS = {
    "adapt": Task(
        _adapt,
        "source-only-small",
        tuple(folders.tiny_overrides("source-only-small")),
        "stages.0.trainer.",
        "segmenter",
    ),
    "translate": Task(
        _translate,
        "cyclegan-small",
        (
            "networks.image_size=32",
            "networks.channels=2",
            "networks.blocks=1",
            "networks.layers=2",
            "load=32",
            *short("trainer."),
        ),
        "trainer.",
        "networks",
    ),
    "synthesize": Task(
        _synthesize,
        "sean-small",
        (
            "size=[32, 32]",
            "options.perceptual=none",
            *(f"networks.{n}" for n in SMALL_NETWORKS),
            *short("trainer."),
        ),
        "trainer.",
        "networks",
    ),
    "mix": Task(train_mixer, "mixnmatch-small", tuple(tiny_mix()), "code.trainer.", "networks", saves=4),
}


def command(name: str, data: Path, *changes: str) -> list[object]:
    """The words after ``stylebridge`` that train a tiny task, but for ``--out``."""
    task, words = TASKS[name], [name] if name == "adapt" else [name, "train"]
    given: dict[str, object] = {
        "adapt": {"source": data, "target": data, "label-space": data.parent / "three.yaml"},
        "translate": {"a": data, "b": data},
        "synthesize": {"data": data, "label-space": data.parent / "three.yaml"},
        "mix": {"data": data},
    }[name]
    options = [part for key, value in given.items() for part in (f"--{key}", value)]
    sets = [part for change in (*task.changes, *changes) for part in ("--set", change)]
    return [*words, *options, "--recipe", task.recipe, *sets]


def write_data(top: Path) -> Path:
    """A labelled set of three classes that has a box for each photo, beside its label space."""
    root = folders.write_domain(top / "set", 6, seed=1)
    rows = [f"images/{path.name},8,8,24,24" for path in sorted((root / "images").iterdir())]
    (root / "boxes.csv").write_text("\n".join(["image,x,y,width,height", *rows]) + "\n", encoding="utf-8")
    folders.write_space(top / "three.yaml")
    return root
