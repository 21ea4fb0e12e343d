"""``stylebridge mix train`` and ``mix recipes``: both stages of MixNMatch on photos with boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stylebridge.cli.options import AcceptChangedData, Device, Overwrite, Quiet, Resume, Seed
from stylebridge.terminal import open_console, say


def mix_train(
    data: Annotated[str | None, typer.Option(help="Photos: a folder or a zip file", metavar="DATA")] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(
            help="CSV with image, x, y, width, height, or CUB's bounding_boxes.txt; default: such a file in DATA"
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Run folder to create")] = Path("runs/mix"),
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Mixing recipe (see `stylebridge mix recipes`) or YAML file; default: mixnmatch-small"
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a recipe value: code.trainer.steps=100, networks.textures=40"),
    ] = None,
    seed: Seed = None,
    device: Device = "auto",
    workers: Annotated[int | None, typer.Option(help="Number of threads that load photos", min=0)] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    accept_changed_data: AcceptChangedData = False,
    quiet: Quiet = False,
) -> None:
    """Train both stages (code mode, then feature mode) on photos with a box around each object."""
    from stylebridge.jobs.tasks.mix import train_mixer

    run = train_mixer(
        data,
        out,
        recipe,
        boxes=boxes,
        seed=seed,
        device=device,
        overrides=set_,
        resume=resume,
        overwrite=overwrite,
        accept_changed_data=accept_changed_data,
        workers=workers,
        quiet=quiet,
    )
    say(open_console(), f"report   {run}/report.html")
    say(
        open_console(),
        f"use it   stylebridge mix apply {run} --pose a.jpg --background b.jpg --shape c.jpg --texture d.jpg "
        "--out mix.png",
    )


def mix_recipes() -> None:
    """List the built-in mixing recipes."""
    from stylebridge.cli.tables import print_mix_recipes

    print_mix_recipes(open_console())
