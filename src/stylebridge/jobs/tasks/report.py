"""What the report of every run shows; the report of a task that trains networks of images."""

from __future__ import annotations

import resource
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from stylebridge.jobs.recipe.base import NetworksRecipe
from stylebridge.jobs.tasks.base import Work
from stylebridge.report.training_page import TrainingPage, write_training_page

Row = tuple[str, str]


def run_rows(work: Work[Any, Any], seconds: float, rows: Sequence[Row], time: str = "time") -> list[Row]:
    """The rows of a report's table: command, recipe and stages, then ``rows``, then how the run was made.

    Args:
        seconds: that this start of the run took; ``time`` is what its row is called.
    """
    facts, recipe = work.run.facts(), work.recipe
    stages = (
        f"{stage.name}: {stage.trainer.steps:,} steps of {stage.trainer.batch} images a stream"
        for stage in recipe.stages
    )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    shown = [
        ("command", shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])),
        ("recipe", f"{recipe.name}: {recipe.description}"),
        ("stages", "\n".join(stages)),
        *rows,
        ("seed", str(recipe.seed)),
        ("precision", recipe.precision),
        ("device", str(facts["device"])),
        ("processes", str(work.accelerator.num_processes)),
        ("versions", ", ".join(f"{k} {v}" for k, v in facts["versions"].items())),
        ("started", str(facts["started"])),
        (time, f"{seconds / 60:.1f} minutes (of this start)"),
        ("peak memory", f"{memory:.1f} GiB"),
    ]
    if work.accelerator.device.type == "cuda":
        shown.append(("peak GPU memory", f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"))
    return shown


def write_training_report(
    work: Work[Any, Any],
    seconds: float,
    *,
    title: str,
    lead: str,
    rows: Sequence[str],
    data: Sequence[Row],
    use: str,
) -> None:
    """Write ``report.html`` of a run that trained networks of images.

    Args:
        seconds: of this start.
        rows: what each row of a sample picture shows.
        data: what was trained on: roles and descriptions.
        use: the command that uses the run.
    """
    run, recipe = work.run, work.recipe
    assert isinstance(recipe, NetworksRecipe)
    shown = run_rows(work, seconds, [*data, ("networks", recipe.preset)])
    samples = sorted((run.path / "samples").glob("[0-9]*.png")) if (run.path / "samples").is_dir() else []
    page = TrainingPage(title, recipe.name, lead, rows, samples, run.path / "metrics.jsonl", shown, use)
    write_training_page(run.report, page)
