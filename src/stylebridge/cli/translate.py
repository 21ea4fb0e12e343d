"""``stylebridge translate``: translate images between two domains, without pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stylebridge.cli.options import (
    Device,
    Quiet,
    ReadAs,
)
from stylebridge.cli.train import recipes_of, translate_train
from stylebridge.terminal import open_console, say

translate_app = typer.Typer(
    help="Translate images between two domains: train a translator, and use it.", no_args_is_help=True
)


translate_app.command("train")(translate_train)


@translate_app.command("apply")
def translate_apply(
    run: Annotated[
        Path,
        typer.Argument(
            help="Run folder of `stylebridge translate train`, `import nice-gan`, or `adapt` with a Bridge recipe"
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the translated images (PNG)")],
    images: Annotated[
        list[str] | None,
        typer.Argument(
            help="Images, folders or quoted patterns; with --labels keep, one labelled set (default: that of the run)",
            metavar="INPUT…",
        ),
    ] = None,
    to: Annotated[str, typer.Option(help="Domain to translate to: a or b (Bridge: source or target)")] = "b",
    labels: Annotated[
        str | None,
        typer.Option(help="keep: write a labelled set of images, label maps and a manifest", metavar="keep"),
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Resize images to this square first; default: keep their size", min=8)
    ] = None,
    pixels: Annotated[
        int | None,
        typer.Option(
            help="Translate at about this number of pixels (as recipes with `pixels` do in training), then resize back",
            min=64,
        ),
    ] = None,
    style: Annotated[
        Path | None,
        typer.Option(help="Bridge: style photo, one style per region; default: mean styles"),
    ] = None,
    style_labels: Annotated[
        Path | None,
        typer.Option(
            help="Bridge: label map of the style photo; default: found next to it by name, or predicted"
        ),
    ] = None,
    region_style: Annotated[
        list[str] | None,
        typer.Option(
            help="Bridge: style of one class from another photo: road=other.jpg (or road=mean)",
            metavar="CLASS=PHOTO",
        ),
    ] = None,
    mix: Annotated[
        list[str] | None,
        typer.Option(
            help="Bridge: interpolate the style of one class between two photos: sky=a.jpg:b.jpg:0.3",
            metavar="CLASS=PHOTO:PHOTO:SHARE",
        ),
    ] = None,
    read_as: ReadAs = None,
    seed: Annotated[
        int, typer.Option(help="Random seed of the styles that --labels keep samples", min=0)
    ] = 0,
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files in --out")] = False,
    quiet: Quiet = False,
) -> None:
    """Translate images with a trained translator."""
    from stylebridge.jobs.apply.translate import apply_translator

    written = apply_translator(
        run,
        list(images or ()),
        out,
        to=to,
        labels=labels,
        size=size,
        pixels=pixels,
        style=style,
        style_labels=style_labels,
        region_styles=region_style or (),
        mixes=mix or (),
        read_as=read_as,
        seed=seed,
        device=device,
        overwrite=overwrite,
        quiet=quiet,
    )
    kept = ", with their labels" if labels else ""
    say(open_console(), f"{written} image(s) translated into {out}{kept}")


translate_app.command("recipes")(recipes_of("translate"))
