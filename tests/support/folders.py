"""Tiny image folders, recipes that train for two steps, and the command line within the test's process."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from stylebridge.jobs.recipe.reading import load_recipe
from stylebridge.jobs.tasks.adapt import AdaptationResult
from stylebridge.jobs.train import adapt

torch.set_num_threads(1)

NAMES = ("ground", "wall", "sky")
COLOURS = ((100, 90, 80), (160, 60, 50), (110, 160, 230))
SIZE = (64, 48)
#: The small recipes and the names of their stages.
STAGES = {
    "source-only-small": ["1-source-only"],
    "colour-transfer-small": ["1-source-only", "2-colour-transfer"],
    "fada-small": ["1-source-only", "2-adversarial", "3-self-distillation"],
    "fada-self-training-small": ["1-source-only", "2-adversarial", "3-self-training"],
    "self-training-small": ["1-source-only", "2-colour-transfer", "3-self-training"],
}


@dataclass(frozen=True)
class World:
    """A labelled source, an unlabelled target, labelled images of the target's kind, and their label space."""

    source: Path
    target: Path
    held_out: Path
    space: Path


def write_space(path: Path) -> Path:
    """A label space of three classes with raw ids 0, 1, 2; 255 is ignored."""
    entries = [f"  - {{name: {n}, colour: {list(c)}}}\n" for n, c in zip(NAMES, COLOURS, strict=True)]
    path.write_text("name: three\nclasses:\n" + "".join(entries))
    return path


def draw_pair(rng: np.random.Generator, size: tuple[int, int], dark: bool) -> tuple[np.ndarray, np.ndarray]:
    """Noisy bands of sky, wall and ground at random heights, and their label map; a corner is ignored."""
    width, height = size
    edges = np.sort(rng.integers(height // 6, height - height // 6, 2))
    label = np.full((height, width), 2, np.uint8)
    label[edges[0] :, rng.integers(0, width // 2) :] = 1
    label[edges[1] :] = 0
    image = np.array(COLOURS)[label] * (0.5 if dark else 1.0) + rng.normal(0, 12, (height, width, 3))
    label[:4, :4] = 255
    return image.clip(0, 255).astype(np.uint8), label


def write_domain(
    root: Path,
    count: int,
    size: tuple[int, int] = SIZE,
    labels: bool = True,
    dark: bool = False,
    seed: int = 0,
) -> Path:
    """``root/images`` (JPEG) and, if asked, ``root/labels`` (PNG)."""
    rng = np.random.default_rng(seed)
    for folder in ("images", "labels") if labels else ("images",):
        (root / folder).mkdir(parents=True)
    for i in range(count):
        image, label = draw_pair(rng, size, dark)
        Image.fromarray(image).save(root / "images" / f"{i:03}.jpg", quality=95)
        if labels:
            Image.fromarray(label).save(root / "labels" / f"{i:03}.png")
    return root


def write_world(root: Path, target_size: tuple[int, int] = SIZE) -> World:
    """Six source pairs, four target images, three labelled images of the target's kind."""
    return World(
        source=write_domain(root / "source", 6, seed=1),
        target=write_domain(root / "target", 4, target_size, labels=False, dark=True, seed=2),
        held_out=write_domain(root / "held-out", 3, target_size, dark=True, seed=3),
        space=write_space(root / "three.yaml"),
    )


def tiny_overrides(recipe: str, steps: int = 2) -> list[str]:
    """``--set`` values that make a built-in recipe train for a few steps, on a network of 0.1 million weights."""
    changes = [
        "segmenter.encoder=tu-test_efficientnet",
        "segmenter.weights=none",
        "segmenter.options.decoder_pyramid_channels=16",
        "segmenter.options.decoder_segmentation_channels=32",
        "onnx=false",
    ]
    for i in range(len(load_recipe(recipe).stages)):
        trainer = {"steps": steps, "batch": 2, "checkpoint_every": 1, "sample_every": 0, "log_every": 1}
        changes += [f"stages.{i}.trainer.{key}={value}" for key, value in trainer.items()]
    return changes


def learning(steps: int, stages: int = 1) -> list[str]:
    """``--set`` values with which the tiny network learns something in so many steps."""
    changes = []
    for i in range(stages):
        changes += [f"stages.{i}.trainer.steps={steps}", f"stages.{i}.trainer.checkpoint_every={steps}"]
        for key, value in {"lr": 0.01, "schedule.warmup": 0}.items():
            changes.append(f"stages.{i}.optimizers.segmenter.{key}={value}")
    return changes


def tiny_adapt(world: World, out: Path, recipe: str = "source-only-small", **settings) -> AdaptationResult:
    """Adapt with the tiny form of a recipe; ``settings`` go to :func:`stylebridge.adapt`."""
    overrides = [*tiny_overrides(recipe), *settings.pop("overrides", [])]
    settings = {"label_space": world.space, "device": "cpu", "quiet": True} | settings
    return adapt(world.source, world.target, out, recipe, overrides=overrides, **settings)


@dataclass(frozen=True)
class Outcome:
    """The result of a command."""

    code: int
    out: str
    err: str

    def refused(self, *named: str) -> None:
        """Exit code 2 and one sentence on stderr that names what is wrong; no traceback."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        assert self.code == 2, self.err
        assert "Traceback" not in self.err
        assert len(lines) == 1, self.err
        assert lines[0].startswith("Error: "), self.err
        assert lines[0].endswith((".", "?")), self.err
        for part in named:
            assert part in lines[0], self.err


class CommandLine:
    """Calls ``stylebridge`` in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *arguments: object) -> Outcome:
        from stylebridge.cli import main

        self.monkeypatch.setattr(sys, "argv", ["stylebridge", *map(str, arguments)])
        self.capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        captured = self.capsys.readouterr()
        return Outcome(code, captured.out, captured.err)


# --- what files are touched ---------------------------------------------------------------------------------

_listeners: list[list[tuple[str, str]]] = []


def _hear(event: str, args: tuple) -> None:
    if _listeners and event in ("open", "os.rename", "os.listdir", "os.scandir"):
        named = [os.fsdecode(a) for a in args[:2] if isinstance(a, str | bytes | os.PathLike)]
        for heard in _listeners:
            heard += [(event, path) for path in named]


@contextlib.contextmanager
def touched_paths() -> Iterator[list[tuple[str, str]]]:
    """Every path that Python opens, lists or renames (from, then to) inside, in order, as (event, path)."""
    if _hear not in _hooked:
        sys.addaudithook(_hear)
        _hooked.append(_hear)
    heard: list[tuple[str, str]] = []
    _listeners.append(heard)
    try:
        yield heard
    finally:
        _listeners.remove(heard)


_hooked: list[Callable] = []


# --- fixtures (imported by the test files that use them) ----------------------------------------------------


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's statistics, or another test's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def stylebridge(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """The command line: ``stylebridge("segment", run, photo, "--out", out)``."""
    return CommandLine(monkeypatch, capsys)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One world for all test files; tests do not write into it."""
    if "world" not in _made:
        _made["world"] = write_world(tmp_path_factory.mktemp("world"))
    return _made["world"]


@pytest.fixture(scope="session")
def finished(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished source-only run whose model tells the classes apart; tests do not write into it."""
    if "finished" not in _made:
        _made["finished"] = _adapt_once(world, tmp_path_factory, overrides=learning(steps=20))
    return _made["finished"]


@pytest.fixture(scope="session")
def runs(world: World, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """An uninterrupted run of each small recipe, scored on labelled images; made when first asked for. Tests do
    not write into it."""

    def run(recipe: str) -> Path:
        if recipe not in _made:
            _made[recipe] = _adapt_once(world, tmp_path_factory, recipe, evaluate_on=world.held_out)
        return _made[recipe]

    return run


#: A fixture that several files import is set up for each of them; what it takes time to make is made once.
_made: dict[str, Any] = {}


def _adapt_once(
    world: World, tmp_path_factory: pytest.TempPathFactory, recipe: str = "source-only-small", **settings: Any
) -> Path:
    base = tmp_path_factory.mktemp("once")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(base / "cache"))
        return tiny_adapt(world, base / "run", recipe, **settings).run


def weights(run: Path) -> dict[str, torch.Tensor]:
    """The tensors of a run's segmenter."""
    return load_file(run / "segmenter" / "model.safetensors")


def assert_same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    """Two sets of tensors are equal to the bit."""
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def told(run: Path) -> list[dict]:
    """The lines of a run's metrics."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
