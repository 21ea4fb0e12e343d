"""The source in the target's look: a translator trained between the two domains, and the images it makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from accelerate import Accelerator
from rich.console import Console
from torch import nn

from stylebridge.data.domain import Domain
from stylebridge.data.files import FileRef, path_below
from stylebridge.engine.processes import agreed
from stylebridge.errors import RecipeError
from stylebridge.jobs.apply.models.translator import load_networks, resample_of, translate_files
from stylebridge.jobs.datasets.together import make_together
from stylebridge.jobs.recipe.adapt import Recipe
from stylebridge.jobs.recipe.translate import load_translation_recipe
from stylebridge.jobs.recipe.translators import TRANSLATORS
from stylebridge.jobs.runs.folder import RunFolder
from stylebridge.jobs.tasks.translate import check_translation, train_translator


def choose_translator(recipe: Recipe, wanted: str) -> list[str]:
    """The changes that make a recipe use another translator.

    Args:
        wanted: a method's name (the recipe's size stays: ``nice-gan-small`` becomes ``cyclegan-small``), the name of a
            translation recipe, a YAML file, or the folder of a finished translation run.

    Raises:
        RecipeError: the recipe has no translator, or there is no such translator.
    """
    if recipe.translator is None:
        raise RecipeError(
            f"Recipe {recipe.name} has no translator to replace by {wanted}: use --recipe translate-then-train or "
            f"translate-then-train-small with --translator."
        )
    if Path(wanted).is_dir():
        load_networks(Path(wanted))
        return [f"translator.run={Path(wanted)}"]
    if wanted in TRANSLATORS:
        present = recipe.translator.recipe
        wanted += present.removeprefix(load_translation_recipe(present).method)
    load_translation_recipe(wanted, list(recipe.translator.overrides))
    return [f"translator.recipe={wanted}"]


def check_translator(recipe: Recipe, source: Domain, target: Domain, processes: int) -> None:
    """Find before a run begins what would stop its translator.

    Raises:
        UserError: there is no such recipe or run, or a key or value is wrong.
    """
    settings = recipe.translator
    if settings is None:
        return
    if settings.run is not None:
        load_networks(Path(settings.run))
        return
    chosen = load_translation_recipe(
        settings.recipe, [*settings.overrides, f"seed={recipe.seed}"]
    ).spelt_out()
    check_translation(chosen.for_images(max(len(source.images), len(target.images))), processes)


def translated_source(
    run: RunFolder,
    recipe: Recipe,
    source: Domain,
    target: Domain,
    accelerator: Accelerator,
    *,
    workers: int | None = None,
    quiet: bool = False,
    console: Console | None = None,
) -> Domain:
    """Train the recipe's translator from the source (a) to the target (b), and translate every source image.

    What is finished already is taken as it is: ``translator/`` below the run folder is an ordinary translation run,
    ``translated/`` holds the images as PNG files of the source's names and sizes.

    Returns:
        The source with the translated images and its own labels.
    """
    settings = recipe.translator
    assert settings is not None
    translator = Path(settings.run) if settings.run is not None else run.path / "translator"
    if settings.run is None and not agreed((translator / "networks").is_dir(), accelerator):
        begun = agreed((translator / "run.yaml").is_file(), accelerator)
        train_translator(
            None if begun else source.spec,
            None if begun else target.spec,
            translator,
            None if begun else settings.recipe,
            seed=None if begun else recipe.seed,
            device=accelerator.device.type,
            overrides=[] if begun else list(settings.overrides),
            resume=begun,
            overwrite=not begun,
            accept_changed_data=True,  # of the adaptation's data, which was compared
            workers=workers,
            quiet=quiet,
            console=console,
        )
    names = {image: path_below(image, source.root).with_suffix(".png") for image in source.images}

    def write(images: Sequence[FileRef], folder: Path) -> None:
        network = load_networks(translator).translator("b")  # type: ignore[operator]
        assert isinstance(network, nn.Module)
        network.to(accelerator.device)
        outputs = {image: folder / names[image] for image in images}
        hidden = quiet or not accelerator.is_main_process
        translate_files(
            network, outputs, pixels=settings.pixels, resample=resample_of(translator), quiet=hidden
        )

    folder = run.path / "translated"
    make_together(folder, source.images, accelerator, write)
    images = tuple(folder / names[image] for image in source.images)
    return replace(source, name="translated source", root=folder, images=images)
