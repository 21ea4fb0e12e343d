"""``stylebridge synthesize``: synthesize images from label maps, with one style per region."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stylebridge.cli.options import (
    Device,
    Mixes,
    Overwrite,
    Quiet,
    ReadAs,
    RegionStyles,
    Samples,
    Style,
    StyleLabels,
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
    run: Annotated[Path, typer.Argument(help="Run folder that can synthesize: SEAN, SPADE …")],
    labels: Annotated[Path, typer.Option(help="Label map, or a folder of label maps")],
    out: Annotated[Path, typer.Option(help="Image to write (PNG); for a folder of label maps, a folder")],
    style: Style = None,
    style_labels: StyleLabels = None,
    region_style: RegionStyles = None,
    mix: Mixes = None,
    samples: Samples = None,
    segmenter: Annotated[
        Path | None, typer.Option(help="Run that can segment: predicts missing label maps")
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
        typer.Option(help="Random seed of the noise and of random styles", min=0),
    ] = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Synthesize images from label maps."""
    from stylebridge.jobs.apply.synthesize import synthesize

    sides = parse_size(size, "--size")
    square = (sides, sides) if isinstance(sides, int) else sides
    styles = {"style": style, "style_labels": style_labels, "samples": samples}
    styles |= {"region_styles": region_style or (), "mixes": mix or (), "segmenter": segmenter}
    common = {"read_as": read_as, "seed": seed, "device": device, "overwrite": overwrite, "quiet": quiet}
    written = synthesize(
        run, labels, out, instances=instances, size=square, **styles, **common  # type: ignore[arg-type]
    )  # fmt: skip
    say(open_console(), f"{written} picture(s) written to {out}")


synthesize_app.command("recipes")(recipes_of("synthesize"))
