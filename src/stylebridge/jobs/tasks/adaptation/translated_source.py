"""The source in the target's look: a translator trained between the two domains, and the images it makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from stylebridge.data.domain import Domain
from stylebridge.data.files import FileRef, path_below
from stylebridge.engine.processes import agreed
from stylebridge.errors import RecipeError
from stylebridge.jobs.apply.models.translator import PlainTranslator, load_networks, translate_files
from stylebridge.jobs.datasets.together import make_together
from stylebridge.jobs.recipe.adapt import AdaptRecipe
from stylebridge.jobs.recipe.reading import load_recipe
from stylebridge.jobs.tasks.adaptation.work import AdaptWork
from stylebridge.jobs.tasks.translate import TASK as TRANSLATE
from stylebridge.jobs.tasks.translate import TwoSets
from stylebridge.methods.registry import method_names


def choose_translator(recipe: AdaptRecipe, wanted: str) -> list[str]:
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
    if wanted in method_names("translate"):
        present = recipe.translator.recipe
        wanted += present.removeprefix(load_recipe(present, task="translate").method)
    load_recipe(wanted, recipe.translator.overrides, "translate")
    return [f"translator.recipe={wanted}"]


def check_translator(
    recipe: AdaptRecipe, source: Domain, target: Domain, processes: int, console: Console
) -> None:
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
    chosen = load_recipe(settings.recipe, [*settings.overrides, f"seed={recipe.seed}"], "translate")
    data = TwoSets({"a": source, "b": target}, {})
    TRANSLATE.check(TRANSLATE.resolve(chosen, data), data, processes, console)


def translated_source(work: AdaptWork) -> Domain:
    """Train the recipe's translator from the source (a) to the target (b), and translate every source image.

    What is finished already is used as it is: ``translator/`` below the run folder is an ordinary translation run,
    ``translated/`` holds the images as PNG files with the source's names and sizes.

    Returns:
        The source with the translated images and its own labels.
    """
    settings, source, accelerator = work.recipe.translator, work.data.domains.source, work.accelerator
    assert settings is not None
    translator = Path(settings.run) if settings.run is not None else work.run.path / "translator"
    if settings.run is None and not agreed((translator / "networks").is_dir(), accelerator):
        _train_translator(work, translator)
    names = {image: path_below(image, source.root).with_suffix(".png") for image in source.images}

    def write(images: Sequence[FileRef], folder: Path) -> None:
        opened = PlainTranslator.open(translator, accelerator.device)
        outputs = {image: folder / names[image] for image in images}
        hidden = work.quiet or not work.is_main
        translate_files(partial(opened.translate, to="b", pixels=settings.pixels), outputs, quiet=hidden)

    folder = work.run.path / "translated"
    make_together(folder, source.images, accelerator, write)
    images = tuple(folder / names[image] for image in source.images)
    return replace(source, name="translated source", root=folder, images=images)


def _train_translator(work: AdaptWork, folder: Path) -> None:
    """Train or resume the translation run inside the adaptation."""
    settings, domains = work.recipe.translator, work.data.domains
    assert settings is not None
    new: dict[str, Any] = {
        "data": {"a": domains.source.spec, "b": domains.target.spec},
        "recipe": settings.recipe,
        "seed": work.recipe.seed,
        "overrides": list(settings.overrides),
        "overwrite": True,
    }
    begun = agreed((folder / "run.yaml").is_file(), work.accelerator)
    work.train(
        "translate",
        out=folder,
        **({"data": {"a": None, "b": None}, "resume": True} if begun else new),
        device=work.accelerator.device.type,
        accept_changed_data=True,  # of the adaptation's data, which was compared
        workers=work.workers,
        quiet=work.quiet,
        console=work.console,
    )
