"""``stylebridge synthesize``: synthesize images from label maps, with one style per region."""

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
    help="Synthesize images from label maps: train a synthesizer, and use it.", no_args_is_help=True
)


@synthesize_app.command("train")
def synthesize_train(
    data: Annotated[str | None, typer.Option(help="Images with their label maps", metavar="DATA")] = None,
    out: Annotated[Path, typer.Option(help="Run folder to create")] = Path("runs/synthesize"),
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Synthesis recipe (see `stylebridge synthesize recipes`) or YAML file; default: sean-small"
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
    """Train a synthesizer, which makes an image from a label map (SEAN: with one style per class)."""
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
    labels: Annotated[Path, typer.Option(help="Label map, or a folder of label maps")],
    out: Annotated[Path, typer.Option(help="Image to write (PNG); for a folder of label maps, a folder")],
    style: Annotated[
        Path | None,
        typer.Option(
            help="Style photo, one style per region (SPADE with a VAE: per image); default: mean style of each class"
        ),
    ] = None,
    style_labels: Annotated[
        Path | None,
        typer.Option(help="Label map of the style photo; default: found next to it by name, or predicted"),
    ] = None,
    region_style: Annotated[
        list[str] | None,
        typer.Option(
            help="Style of one class from another photo: window=other.jpg (or window=mean); can be repeated",
            metavar="CLASS=PHOTO",
        ),
    ] = None,
    mix: Annotated[
        list[str] | None,
        typer.Option(
            help="Interpolate the style of one class: roof=a.jpg:b.jpg:0.3 is 0.7 of a and 0.3 of b",
            metavar="CLASS=PHOTO:PHOTO:SHARE",
        ),
    ] = None,
    segmenter: Annotated[
        Path | None, typer.Option(help="Run of `stylebridge adapt` that predicts missing label maps")
    ] = None,
    instances: Annotated[
        Path | None,
        typer.Option(
            help="Instance map, or a folder of them, for imported SPADE runs with an instance-edge channel"
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
        int,
        typer.Option(
            help="Random seed of the noise and of a VAE's style: the same seed gives the same image", min=0
        ),
    ] = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Synthesize images from label maps."""
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
    """List the built-in synthesis recipes."""
    from stylebridge.cli.tables import print_synthesis_recipes

    print_synthesis_recipes(open_console())
