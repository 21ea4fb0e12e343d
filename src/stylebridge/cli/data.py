"""``stylebridge data``: check, describe, pack and draw data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stylebridge.cli.options import (
    LabelSpaceOption,
    Overwrite,
    Quiet,
    ReadAs,
)
from stylebridge.terminal import open_console, say

data_app = typer.Typer(
    help="Check data, list layouts and label spaces, map classes, pack shards, draw the toy world.",
    no_args_is_help=True,
)

Workers = Annotated[int | None, typer.Option(help="Number of files read in parallel", min=1)]


@data_app.command("doctor")
def data_doctor(
    paths: Annotated[list[str], typer.Argument(help="Folders, zip files or LAYOUT:PATH", metavar="DATA…")],
    evaluation: Annotated[
        list[str] | None,
        typer.Option(help="Evaluation data: images that occur in both sets are reported", metavar="DATA"),
    ] = None,
    label_space: LabelSpaceOption = None,
    fix: Annotated[Path | None, typer.Option(help="Write a corrected copy to this new folder")] = None,
    out: Annotated[Path, typer.Option(help="HTML page to write")] = Path("doctor.html"),
    unlabelled: Annotated[bool, typer.Option("--unlabelled", help="Ignore label maps")] = False,
    boxes: Annotated[
        Path | None,
        typer.Option(help="Boxes file; default: boxes.csv or bounding_boxes.txt of the set"),
    ] = None,
    workers: Workers = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Read every file once and report problems that affect training.

    With --fix, the corrected copy is checked too, and its remaining problems are listed last. Exit code 1 if a problem
    prevents training (with --fix: a problem of the copy).
    """
    from stylebridge.jobs.datasets.doctor import doctor as job

    report = job(
        paths,
        label_space=label_space,
        evaluation=evaluation or (),
        out=out,
        fix=fix,
        unlabelled=unlabelled,
        workers=workers,
        overwrite=overwrite,
        quiet=quiet,
        boxes=boxes,
    )
    raise typer.Exit(0 if report.ready else 1)


@data_app.command("pack")
def data_pack(
    data: Annotated[str, typer.Argument(help="A folder, a zip file or LAYOUT:PATH", metavar="DATA")],
    out: Annotated[Path, typer.Option(help="Folder for the shards")],
    label_space: LabelSpaceOption = None,
    read_as: ReadAs = None,
    unlabelled: Annotated[bool, typer.Option("--unlabelled", help="Pack images without label maps")] = False,
    shard_mb: Annotated[float, typer.Option(help="Size of a shard in MB", min=0.01)] = 256,
    workers: Workers = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Pack a domain into WebDataset shards with an index; train from them with --source OUT or a URL."""
    from stylebridge.jobs.datasets.pack import pack as job

    packed = job(
        data,
        out,
        label_space=label_space,
        read_as=read_as,
        unlabelled=unlabelled,
        shard_mb=shard_mb,
        workers=workers,
        overwrite=overwrite,
        quiet=quiet,
    )
    say(
        open_console(),
        f"{packed.samples:,} samples in {packed.shards} shard(s), {packed.bytes / 1e6:,.1f} MB, in {packed.path}",
    )


@data_app.command("layouts")
def data_layouts() -> None:
    """List the supported data-set layouts and their splits."""
    from stylebridge.cli.tables import print_layouts

    print_layouts(open_console())


@data_app.command("spaces")
def data_spaces() -> None:
    """List the built-in label spaces and their classes."""
    from stylebridge.cli.tables import print_label_spaces

    print_label_spaces(open_console())


@data_app.command("class-map")
def data_class_map(
    source: Annotated[str, typer.Argument(help="Label space of the label files: a name or a YAML file")],
    target: Annotated[str, typer.Argument(help="Label space of the model")],
) -> None:
    """Print the class map between two label spaces as YAML. Edit it and pass it as --class-map."""
    from stylebridge.data.class_map import builtin_class_map, propose
    from stylebridge.data.label_space import LabelSpace

    spaces = LabelSpace.load(source), LabelSpace.load(target)
    print((builtin_class_map(*spaces) or propose(*spaces)).to_yaml(), end="")


@data_app.command("toy")
def data_toy(
    out: Annotated[Path, typer.Argument(help="Output folder: images/ and labels/")],
    look: Annotated[str, typer.Option(help="sim or camera")] = "sim",
    count: Annotated[int, typer.Option(help="Number of scenes", min=1)] = 100,
    first_seed: Annotated[int, typer.Option(help="Seed of the first scene", min=0)] = 0,
    width: Annotated[int, typer.Option(min=32)] = 240,
    height: Annotated[int, typer.Option(min=32)] = 180,
    labels: Annotated[bool, typer.Option(help="Also write label maps")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace scenes drawn there before")] = False,
) -> None:
    """Draw street scenes of the toy world, with exact labels."""
    from stylebridge.jobs.datasets.toy import draw_toy

    draw_toy(
        out, look, count, first_seed=first_seed, size=(width, height), labels=labels, overwrite=overwrite
    )
    say(open_console(), f"{count} scene(s) drawn in {out}")
