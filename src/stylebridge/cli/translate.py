"""``stylebridge translate``: carry images from one look to another, without pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stylebridge.cli.options import (
    AcceptChangedData,
    Changes,
    Device,
    Overwrite,
    Quiet,
    ReadAs,
    Resume,
    Seed,
    Workers,
)
from stylebridge.terminal import open_console, say

translate_app = typer.Typer(
    help="Translate images between two looks: train a translator, and use it.", no_args_is_help=True
)


@translate_app.command("train")
def translate_train(
    a: Annotated[str | None, typer.Option(help="Images of the one look", metavar="DATA")] = None,
    b: Annotated[str | None, typer.Option(help="Images of the other", metavar="DATA")] = None,
    out: Annotated[Path, typer.Option(help="Run folder to make")] = Path("runs/translate"),
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Translation recipe or YAML file (`stylebridge translate recipes`); without it nice-gan-small"
        ),
    ] = None,
    set_: Changes = None,
    seed: Seed = None,
    device: Device = "auto",
    workers: Workers = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    accept_changed_data: AcceptChangedData = False,
    quiet: Quiet = False,
) -> None:
    """Train a translator between two sets of images that need not correspond."""
    from stylebridge.jobs.tasks.translate import train_translator

    run = train_translator(
        a,
        b,
        out,
        recipe,
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
    say(open_console(), f"use it   stylebridge translate apply {run} PHOTOS --to b --out out/")


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
            help="Images, folders, patterns in quotes; with --labels keep one labelled set (default: the run's own)",
            metavar="INPUT…",
        ),
    ] = None,
    to: Annotated[
        str, typer.Option(help="The look they shall have: a or b (Bridge: the source's, the target's)")
    ] = "b",
    labels: Annotated[
        str | None,
        typer.Option(
            help="keep: write a labelled set: images, their label maps and a manifest", metavar="keep"
        ),
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Resize to this square first; without it at their own size", min=8)
    ] = None,
    pixels: Annotated[
        int | None,
        typer.Option(
            help="Translate at about this many pixels (as recipes with pixels: train), resize back", min=64
        ),
    ] = None,
    style: Annotated[
        Path | None,
        typer.Option(help="Bridge: photo whose regions give the styles; without it the mean styles"),
    ] = None,
    style_labels: Annotated[
        Path | None, typer.Option(help="Bridge: its label map; else found beside it by name, or predicted")
    ] = None,
    region_style: Annotated[
        list[str] | None,
        typer.Option(
            help="Bridge: one class from another photo: road=other.jpg (or road=mean)", metavar="CLASS=PHOTO"
        ),
    ] = None,
    mix: Annotated[
        list[str] | None,
        typer.Option(
            help="Bridge: between two photos: sky=a.jpg:b.jpg:0.3", metavar="CLASS=PHOTO:PHOTO:SHARE"
        ),
    ] = None,
    read_as: ReadAs = None,
    seed: Annotated[int, typer.Option(help="Of the styles that --labels keep draws", min=0)] = 0,
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write over files in --out")] = False,
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


@translate_app.command("recipes")
def translate_recipes() -> None:
    """The built-in translation recipes, a line each."""
    from stylebridge.cli.tables import print_translation_recipes

    print_translation_recipes(open_console())
