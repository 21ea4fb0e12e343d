"""``stylebridge translate``: carry images from one look to another, without pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stylebridge.cli.options import Device, Overwrite, Quiet

translate_app = typer.Typer(
    help="Translate images between two looks: train a translator, and use it.", no_args_is_help=True
)


@translate_app.command("train")
def translate_train(
    a: Annotated[str | None, typer.Option(help="Images of the one look", metavar="DATA")] = None,
    b: Annotated[str | None, typer.Option(help="Images of the other", metavar="DATA")] = None,
    out: Annotated[Path, typer.Option(help="Run folder to make")] = Path("runs/translate"),
    recipe: Annotated[
        str, typer.Option(help="Translation recipe (see `stylebridge translate recipes`) or YAML file")
    ] = "nice-gan-small",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change the recipe: trainer.steps=100")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Replaces the recipe's seed", min=0)] = None,
    device: Device = "auto",
    workers: Annotated[int | None, typer.Option(help="Processes that load images", min=0)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out")] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Train a translator between two sets of images that need not correspond."""
    from stylebridge.jobs.translate import train_translator

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
        workers=workers,
        quiet=quiet,
    )
    Console().print(f"report   {run}/report.html", highlight=False)
    Console().print(f"use it   stylebridge translate apply {run} PHOTOS --to b --out out/", highlight=False)


@translate_app.command("apply")
def translate_apply(
    run: Annotated[
        Path, typer.Argument(help="Run folder of `stylebridge translate train` or `import nice-gan`")
    ],
    images: Annotated[
        list[str], typer.Argument(help="Images, folders, patterns in quotes", metavar="INPUT…")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the translated images (PNG)")],
    to: Annotated[str, typer.Option(help="The look they shall have: a or b")] = "b",
    size: Annotated[
        int | None, typer.Option(help="Resize to this square first; without it at their own size", min=8)
    ] = None,
    pixels: Annotated[
        int | None,
        typer.Option(
            help="Translate at about this many pixels (as recipes with pixels: train), resize back", min=64
        ),
    ] = None,
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write over files in --out")] = False,
    quiet: Quiet = False,
) -> None:
    """Translate images with a trained translator."""
    from stylebridge.jobs.translator_folder import translate

    written = translate(
        run,
        list(images),
        out,
        to=to,
        size=size,
        pixels=pixels,
        device=device,
        overwrite=overwrite,
        quiet=quiet,
    )
    Console().print(f"{written} image(s) translated into {out}", highlight=False)


@translate_app.command("recipes")
def translate_recipes() -> None:
    """The built-in translation recipes, a line each."""
    from stylebridge.jobs.tables import print_translation_recipes

    print_translation_recipes(Console())
