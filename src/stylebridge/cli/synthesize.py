"""``stylebridge synthesize``: pictures from label maps, each region in a style of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stylebridge.cli.options import (
    AcceptChangedData,
    AllowMissing,
    Changes,
    Device,
    LabelSpaceOption,
    Overwrite,
    Quiet,
    ReadAs,
    Resume,
    Seed,
    Workers,
    parse_size,
)
from stylebridge.terminal import open_console, say

synthesize_app = typer.Typer(
    help="Draw pictures from label maps: train a synthesizer, and use it.", no_args_is_help=True
)


@synthesize_app.command("train")
def synthesize_train(
    data: Annotated[str | None, typer.Option(help="Images with their label maps", metavar="DATA")] = None,
    out: Annotated[Path, typer.Option(help="Run folder to make")] = Path("runs/synthesize"),
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Synthesis recipe (see `stylebridge synthesize recipes`) or YAML file; without it sean-small"
        ),
    ] = None,
    label_space: LabelSpaceOption = None,
    read_as: ReadAs = None,
    allow_missing_classes: AllowMissing = False,
    set_: Changes = None,
    seed: Seed = None,
    device: Device = "auto",
    workers: Workers = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    accept_changed_data: AcceptChangedData = False,
    quiet: Quiet = False,
) -> None:
    """Train networks that draw a picture from a label map (SEAN: with a style for each class)."""
    from stylebridge.jobs.tasks.synthesize import train_synthesizer

    run = train_synthesizer(
        data,
        out,
        recipe,
        label_space=label_space,
        read_as=read_as,
        allow_missing_classes=allow_missing_classes,
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
        f"use it   stylebridge synthesize apply {run} --labels MAP.png --out picture.png",
    )


@synthesize_app.command("apply")
def synthesize_apply(
    run: Annotated[
        Path, typer.Argument(help="Run folder of `stylebridge synthesize train` or `import sean|spade`")
    ],
    labels: Annotated[Path, typer.Option(help="Label map, or a folder of them")],
    out: Annotated[Path, typer.Option(help="Picture to write (PNG), or a folder for a folder of maps")],
    style: Annotated[
        Path | None,
        typer.Option(
            help="Photo whose regions give the styles (SPADE with a VAE: the look); else each class's mean style"
        ),
    ] = None,
    style_labels: Annotated[
        Path | None, typer.Option(help="Its label map; else found beside it by name, or predicted")
    ] = None,
    region_style: Annotated[
        list[str] | None,
        typer.Option(
            help="One class from another photo: window=other.jpg (or window=mean); may be given again",
            metavar="CLASS=PHOTO",
        ),
    ] = None,
    mix: Annotated[
        list[str] | None,
        typer.Option(
            help="One class between two photos: roof=a.jpg:b.jpg:0.3 is 0.7 of a and 0.3 of b",
            metavar="CLASS=PHOTO:PHOTO:SHARE",
        ),
    ] = None,
    segmenter: Annotated[
        Path | None, typer.Option(help="Run of `stylebridge adapt` that predicts missing label maps")
    ] = None,
    instances: Annotated[
        Path | None,
        typer.Option(
            help="Instance map (or folder of them), for imported SPADE runs that take instance edges"
        ),
    ] = None,
    read_as: ReadAs = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Resize label maps, instance maps and style photos first: 256 or 512x256, as published programs do",
            metavar="SIDE|WIDTHxHEIGHT",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Of the noise and of a VAE's look: the same number, the same picture", min=0)
    ] = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Draw pictures from label maps."""
    from stylebridge.jobs.apply.synthesize import synthesize

    sides = parse_size(size, "--size")
    written = synthesize(
        run,
        labels,
        out,
        style=style,
        style_labels=style_labels,
        region_styles=region_style or (),
        mixes=mix or (),
        segmenter=segmenter,
        instances=instances,
        size=(sides, sides) if isinstance(sides, int) else sides,
        read_as=read_as,
        seed=seed,
        device=device,
        overwrite=overwrite,
        quiet=quiet,
    )
    say(open_console(), f"{written} picture(s) written to {out}")


@synthesize_app.command("recipes")
def synthesize_recipes() -> None:
    """The built-in synthesis recipes, a line each."""
    from stylebridge.cli.tables import print_synthesis_recipes

    print_synthesis_recipes(open_console())
