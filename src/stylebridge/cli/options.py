"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stylebridge.errors import DataError

Device = Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu or cuda")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress on the terminal")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is in --out")]
Seed = Annotated[int | None, typer.Option(help="Replaces the recipe's seed", min=0)]
AcceptChangedData = Annotated[
    bool,
    typer.Option(
        "--accept-changed-data",
        help="With --resume: continue although files of the data changed since the start",
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run in --out")]
Workers = Annotated[int | None, typer.Option(help="Processes that load images", min=0)]
Changes = Annotated[list[str] | None, typer.Option("--set", help="Change the recipe: trainer.steps=100")]
LabelSpaceOption = Annotated[
    str | None,
    typer.Option(
        "--label-space", help="Name or YAML file of the classes; without it, as the label files show"
    ),
]
ClassMaps = Annotated[
    list[Path] | None,
    typer.Option(
        "--class-map",
        help="YAML file, or a built-in one's name: how classes of one label space become those of another",
    ),
]
ReadAs = Annotated[
    str | None,
    typer.Option(
        "--read-as",
        metavar="SPACE",
        help="Read the label files in this label space whatever their palette says (`run`: the run's own)",
    ),
]
ReadAsDomain = Annotated[
    list[str] | None,
    typer.Option(
        "--read-as",
        metavar="DOMAIN=SPACE",
        help="Read the label files of source, target-labels or evaluation in a label space whatever their palette says",
    ),
]
AllowMissing = Annotated[
    bool,
    typer.Option(
        "--allow-missing-classes", help="Train although more than half of the classes are in no label map"
    ),
]


def parse_size(text: str | None, option: str) -> int | tuple[int, int] | None:
    """``256`` or ``512x256``. Raises DataError naming the option if it is neither."""
    if text is None:
        return None
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise DataError(f"{option} {text!r} is no size: give 256, or 512x256 (width x height).")
    sides = [int(part) for part in parts]
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])
