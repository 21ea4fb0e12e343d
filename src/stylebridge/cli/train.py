"""``stylebridge TASK train`` and ``stylebridge TASK recipes``, with the same options for every task."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from stylebridge.cli.options import (
    AcceptChangedData,
    AllowMissing,
    ClassMaps,
    Device,
    LabelSpaceOption,
    Overwrite,
    Quiet,
    ReadAs,
    ReadAsDomain,
    Resume,
    Seed,
    Workers,
)
from stylebridge.errors import RecipeError
from stylebridge.terminal import open_console, say


def _shared(
    recipe: Annotated[
        str | None, typer.Option(help="Recipe: a name (see `stylebridge recipes list`) or a YAML file")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Number of steps of every stage", min=1)] = None,
    batch: Annotated[int | None, typer.Option(help="Batch size of every stage", min=1)] = None,
    precision: Annotated[str | None, typer.Option(help="Numeric precision: fp32, bf16 or fp16")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Change a recipe value: seed=3, stages.0.trainer.steps=100, STAGE.options.KEY=VALUE",
            metavar="KEY=VALUE",
        ),
    ] = None,
    seed: Seed = None,
    device: Device = "auto",
    workers: Workers = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    accept_changed_data: AcceptChangedData = False,
    quiet: Quiet = False,
) -> None:
    """The options that every training has."""


def _training(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the shared options; it gets them as ``settings``, named as the jobs name them."""
    own = inspect.signature(command, eval_str=True).parameters
    parameters = [p for name, p in own.items() if name != "settings"]
    shared = list(inspect.signature(_shared, eval_str=True).parameters.values())

    def run(**given: Any) -> None:
        settings = {p.name: given.pop(p.name) for p in shared}
        settings["overrides"] = settings.pop("set_")
        command(**given, settings=settings)

    run.__doc__, run.__name__ = command.__doc__, command.__name__
    run.__signature__ = inspect.Signature([*parameters, *shared])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in (*parameters, *shared)}
    return run


@_training
def adapt_train(
    settings: dict[str, Any],
    source: Annotated[
        str | None,
        typer.Option(
            help="Labelled images: a folder, a zip file or LAYOUT:PATH such as gta5:PATH", metavar="DATA"
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Unlabelled images; same formats as --source", metavar="DATA")
    ] = None,
    out: Annotated[Path, typer.Option(help="Run folder to create")] = Path("runs/adapt"),
    translator: Annotated[
        str | None,
        typer.Option(
            help="Translator of recipes that translate the source: a translation recipe, a run, nice-gan or cyclegan"
        ),
    ] = None,
    label_space: LabelSpaceOption = None,
    evaluate_on: Annotated[
        str | None,
        typer.Option(
            help="Labelled images of the target domain; used only for scores in the report", metavar="DATA"
        ),
    ] = None,
    target_labels: Annotated[
        str | None,
        typer.Option(
            help="Label maps of some target images (or labelled DATA), which are added to training",
            metavar="DATA",
        ),
    ] = None,
    class_map: ClassMaps = None,
    read_as: ReadAsDomain = None,
    allow_missing_classes: AllowMissing = False,
    reuse: Annotated[
        Path | None, typer.Option(help="Reuse finished stages of this run whose settings are all equal")
    ] = None,
) -> None:
    """Adapt a segmentation model from a labelled source to an unlabelled target."""
    from stylebridge.cli.tables import print_adaptation
    from stylebridge.jobs.train import adapt

    result = adapt(
        source,
        target,
        out,
        translator=translator,
        label_space=label_space,
        evaluate_on=evaluate_on,
        target_labels=target_labels,
        class_maps=class_map or (),
        read_as=read_as or (),
        allow_missing_classes=allow_missing_classes,
        reuse=reuse,
        **settings,
    )
    print_adaptation(result, open_console())


@_training
def translate_train(
    settings: dict[str, Any],
    a: Annotated[str | None, typer.Option(help="Images of the first domain", metavar="DATA")] = None,
    b: Annotated[str | None, typer.Option(help="Images of the second domain", metavar="DATA")] = None,
    out: Annotated[Path, typer.Option(help="Run folder to create")] = Path("runs/translate"),
) -> None:
    """Train a translator between two unpaired sets of images."""
    from stylebridge.jobs.apply.models.model import domains_of
    from stylebridge.jobs.train import train_translator

    run = train_translator(a, b, out, **settings)
    to = shlex.quote(domains_of(run).names[1])
    _say_use(run, f"stylebridge translate apply {run} PHOTOS --to {to} --out out/")


@_training
def synthesize_train(
    settings: dict[str, Any],
    data: Annotated[str | None, typer.Option(help="Images with label maps", metavar="DATA")] = None,
    out: Annotated[Path, typer.Option(help="Run folder to create")] = Path("runs/synthesize"),
    label_space: LabelSpaceOption = None,
    read_as: ReadAs = None,
    allow_missing_classes: AllowMissing = False,
) -> None:
    """Train a synthesizer, which makes an image from a label map (SEAN: with one style per class)."""
    from stylebridge.jobs.train import train_synthesizer

    run = train_synthesizer(
        data,
        out,
        label_space=label_space,
        read_as=read_as,
        allow_missing_classes=allow_missing_classes,
        **settings,
    )
    _say_use(run, f"stylebridge synthesize apply {run} --labels MAP.png --out picture.png")


@_training
def mix_train(
    settings: dict[str, Any],
    data: Annotated[str | None, typer.Option(help="Photos: a folder or a zip file", metavar="DATA")] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(
            help="CSV file with image, x, y, width, height, or CUB's bounding_boxes.txt; default: the one in DATA"
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Run folder to create")] = Path("runs/mix"),
) -> None:
    """Train both stages of MixNMatch on photos with a box around each object."""
    from stylebridge.jobs.train import train_mixer

    run = train_mixer(data, out, boxes=boxes, **settings)
    factors = "--pose a.jpg --background b.jpg --shape c.jpg --texture d.jpg"
    _say_use(run, f"stylebridge mix apply {run} {factors} --out mix.png")


def _say_use(run: Path, command: str) -> None:
    say(open_console(), f"report   {run}/report.html")
    say(open_console(), f"use it   {command}")


def recipes_of(task: str) -> Callable[[], None]:
    """The command ``stylebridge TASK recipes``."""

    def recipes() -> None:
        _print_recipes(task)

    recipes.__doc__ = f"List the recipes of {task}."
    return recipes


recipes_app = typer.Typer(help="Recipes of every task: list them, or show one.", no_args_is_help=True)


@recipes_app.command("list")
def recipes_list(
    task: Annotated[
        str | None, typer.Option(help="List only recipes of this task: adapt, translate, synthesize or mix")
    ] = None,
) -> None:
    """List the recipes of stylebridge and of installed methods."""
    from stylebridge.jobs.recipe.reading import TASKS

    if task not in (None, *TASKS):
        raise RecipeError(f"There is no task {task!r}", f"choose one of {', '.join(TASKS)}")
    _print_recipes(task)


@recipes_app.command("show")
def recipes_show(name: Annotated[str, typer.Argument(help="Recipe name or YAML file")]) -> None:
    """Print a recipe as YAML with every default: a starting point for your own."""
    from stylebridge.jobs.recipe.reading import load_recipe

    print(load_recipe(name, task=None).spelt_out().to_yaml(), end="")


def _print_recipes(task: str | None) -> None:
    from stylebridge.cli.tables import print_recipes
    from stylebridge.jobs.recipe.reading import describe_recipes
    from stylebridge.jobs.train import find_task

    recipes = describe_recipes(task)
    defaults = {find_task(of).default_recipe for of in {recipe.task for recipe in recipes}}
    print_recipes(recipes, defaults, task is None, open_console())
