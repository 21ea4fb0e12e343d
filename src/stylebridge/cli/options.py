"""Options shared by several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stylebridge.errors import DataError

Device = Annotated[str, typer.Option(help="auto (a GPU if available), cpu or cuda")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Do not print progress")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the contents of --out")]
Seed = Annotated[int | None, typer.Option(help="Random seed; replaces the seed of the recipe", min=0)]
AcceptChangedData = Annotated[
    bool,
    typer.Option(
        "--accept-changed-data",
        help="With --resume: continue even if data files changed since the start",
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run in --out")]
Workers = Annotated[int | None, typer.Option(help="Number of processes that load images", min=0)]
LabelSpaceOption = Annotated[
    str | None,
    typer.Option(
        "--label-space", help="Label space: a name or a YAML file; default: inferred from the label files"
    ),
]
ClassMaps = Annotated[
    list[Path] | None,
    typer.Option(
        "--class-map",
        help="Class map from one label space to another: a YAML file or the name of a built-in map",
    ),
]
ReadAs = Annotated[
    str | None,
    typer.Option(
        "--read-as",
        metavar="SPACE",
        help="Read the label files in this label space, regardless of their palette (`run`: that of the run)",
    ),
]
ReadAsDomain = Annotated[
    list[str] | None,
    typer.Option(
        "--read-as",
        metavar="DOMAIN=SPACE",
        help="Read the label files of source, target-labels or evaluation in this label space, regardless of palette",
    ),
]
AllowMissing = Annotated[
    bool,
    typer.Option(
        "--allow-missing-classes", help="Train even if more than half of the classes occur in no label map"
    ),
]

# --- styles, alike for all models that take them (jobs/apply/models/styles.py) --------------------------------
Style = Annotated[
    Path | None,
    typer.Option(
        help="Style photo: its look, or the look of each of its regions; default: mean styles, or a random style"
    ),
]
StyleLabels = Annotated[
    Path | None,
    typer.Option(help="Label map of the style photo; default: found next to it by name, or predicted"),
]
RegionStyles = Annotated[
    list[str] | None,
    typer.Option(
        "--region-style",
        help="Style of one class from another photo: window=other.jpg (or window=mean); can be repeated",
        metavar="CLASS=PHOTO",
    ),
]
Mixes = Annotated[
    list[str] | None,
    typer.Option(
        "--mix",
        help="Interpolate the style of one class: roof=a.jpg:b.jpg:0.3 is 0.7 of a and 0.3 of b; can be repeated",
        metavar="CLASS=PHOTO:PHOTO:SHARE",
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(
        help="Write this number of images with random styles for each input: NAME-1.png, NAME-2.png …", min=1
    ),
]


def parse_size(text: str | None, option: str) -> int | tuple[int, int] | None:
    """Parse ``256`` or ``512x256``. Raises DataError that names the option if the text is neither."""
    if text is None:
        return None
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise DataError(f"{option} {text!r} is not a size: give 256, or 512x256 (width x height).")
    sides = [int(part) for part in parts]
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])
