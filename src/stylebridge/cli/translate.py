"""``stylebridge translate``: translate images between two domains, without pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stylebridge.cli.options import (
    Device,
    Mixes,
    Quiet,
    ReadAs,
    RegionStyles,
    Samples,
    Style,
    StyleLabels,
)
from stylebridge.cli.train import recipes_of, translate_train
from stylebridge.terminal import open_console, say

translate_app = typer.Typer(
    help="Translate images between two domains: train a translator, and use it.", no_args_is_help=True
)


translate_app.command("train")(translate_train)


@translate_app.command("apply")
def translate_apply(
    run: Annotated[Path, typer.Argument(help="Run folder that can translate: NICE-GAN, CycleGAN, Bridge …")],
    out: Annotated[Path, typer.Option(help="Folder for the translated images (PNG)")],
    images: Annotated[
        list[str] | None,
        typer.Argument(
            help="Images, folders or quoted patterns; with --labels keep, one labelled set (default: that of the run)",
            metavar="INPUT…",
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            help="Domain to translate to: the name of its data, a or b, source or target; default: b"
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="keep: write a labelled set of images, label maps and a manifest", metavar="keep"),
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Resize images to this square first; default: keep their size", min=8)
    ] = None,
    pixels: Annotated[
        int | None, typer.Option(help="Translate at about this number of pixels, then resize back", min=64)
    ] = None,
    style: Style = None,
    style_labels: StyleLabels = None,
    region_style: RegionStyles = None,
    mix: Mixes = None,
    samples: Samples = None,
    read_as: ReadAs = None,
    seed: Annotated[
        int,
        typer.Option(
            help="Random seed of the noise of Bridge runs, and of the styles that --labels keep samples",
            min=0,
        ),
    ] = 0,
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files in --out")] = False,
    quiet: Quiet = False,
) -> None:
    """Translate images with a finished run, in the style of photos where the run takes styles."""
    from stylebridge.jobs.apply.translate import translate

    styles = {"style": style, "style_labels": style_labels, "samples": samples}
    styles |= {"region_styles": region_style or (), "mixes": mix or ()}
    common = {"read_as": read_as, "seed": seed, "device": device, "overwrite": overwrite, "quiet": quiet}
    given = list(images or ())
    written = translate(
        run, given, out, to=to, labels=labels, size=size, pixels=pixels, **styles, **common  # type: ignore[arg-type]
    )  # fmt: skip
    kept = ", with their labels" if labels else ""
    say(open_console(), f"{written} image(s) translated into {out}{kept}")


translate_app.command("recipes")(recipes_of("translate"))
