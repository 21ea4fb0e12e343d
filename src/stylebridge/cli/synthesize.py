"""``stylebridge synthesize``: synthesize images from label maps, with one style per region."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stylebridge.cli.options import (
    Device,
    Overwrite,
    Quiet,
    ReadAs,
    parse_size,
)
from stylebridge.cli.train import recipes_of, synthesize_train
from stylebridge.terminal import open_console, say

synthesize_app = typer.Typer(
    help="Synthesize images from label maps: train a synthesizer, and use it.", no_args_is_help=True
)


synthesize_app.command("train")(synthesize_train)


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


synthesize_app.command("recipes")(recipes_of("synthesize"))
