"""The report of a run that trained networks of images (translators, synthesizers)."""

from __future__ import annotations

import resource
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from stylebridge.engine.config import TrainerConfig
from stylebridge.jobs.runs.folder import RunFolder
from stylebridge.report.training_page import TrainingPage, write_training_page


def write_training_report(
    run: RunFolder,
    *,
    title: str,
    lead: str,
    rows: Sequence[str],
    data: Sequence[tuple[str, str]],
    recipe: Any,
    seconds: float,
    use: str,
) -> Path:
    """Write ``report.html`` into the run folder.

    Args:
        data: what was trained on: roles and descriptions.
        recipe: with ``name``, ``description``, ``trainer``, ``seed``, ``precision`` and ``preset``.
        seconds: of this start.

    Returns:
        The page.
    """
    facts, trainer = run.facts(), recipe.trainer
    assert isinstance(trainer, TrainerConfig)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    shown = [
        *data,
        ("command", shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])),
        ("recipe", f"{recipe.name}: {recipe.description}"),
        ("networks", recipe.preset),
        (
            "training",
            f"{trainer.steps:,} steps of {trainer.batch} image{'s' if trainer.batch > 1 else ''} a stream",
        ),
        ("seed", str(recipe.seed)),
        ("precision", recipe.precision),
        ("device", str(facts["device"])),
        ("versions", ", ".join(f"{k} {v}" for k, v in facts["versions"].items())),
        ("started", str(facts["started"])),
        ("time", f"{seconds / 60:.1f} minutes (of this start)"),
        ("peak memory", f"{memory:.1f} GiB"),
    ]
    if torch.cuda.is_available():
        shown.append(("peak GPU memory", f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"))
    samples = sorted((run.path / "samples").glob("[0-9]*.png")) if (run.path / "samples").is_dir() else []
    page = TrainingPage(title, recipe.name, lead, rows, samples, run.path / "metrics.jsonl", shown, use)
    write_training_page(run.report, page)
    return run.report
