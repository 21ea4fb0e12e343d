"""The one training job: starts, resumes and finishes the runs of every task, in the same order.

recipe → (resume: compare recipe, data and options with those of the run) → data → all checks that need no training →
run folder (an earlier run is replaced only now) → stages → results and report.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

from accelerate import Accelerator
from rich.console import Console

from stylebridge.data.box_files import find_boxes
from stylebridge.data.label_space import LabelSpace
from stylebridge.engine import open_accelerator
from stylebridge.errors import DataError
from stylebridge.jobs.recipe.base import Recipe
from stylebridge.jobs.recipe.changes import short_forms
from stylebridge.jobs.recipe.reading import change_recipe, load_recipe, recipe_names
from stylebridge.jobs.runs.data_files import ensure_unchanged
from stylebridge.jobs.runs.folder import RunFolder, command_of
from stylebridge.jobs.runs.interrupts import resumable
from stylebridge.jobs.runs.machine import default_workers, facts_of_start
from stylebridge.jobs.runs.start import ensure_same_settings, is_finished, plain_options, take_run
from stylebridge.jobs.stages import run_stage
from stylebridge.jobs.tasks.base import Request, Settings, Task, Work
from stylebridge.launch import is_main
from stylebridge.terminal import open_console, say

if TYPE_CHECKING:
    from stylebridge.jobs.tasks.adapt import AdaptationResult


@cache
def find_task(name: str) -> Task[Any, Any]:
    """The task of a name: ``jobs/tasks/NAME.py`` holds it."""
    return import_module(f"stylebridge.jobs.tasks.{name}").TASK


class _Start(NamedTuple):
    """How a training starts; of it only the changes decide what comes out."""

    changes: list[str]
    short: list[str]
    device: str
    workers: int | None
    overwrite: bool
    accept_changed_data: bool
    console: Console
    quiet: bool


def train(
    task: str,
    data: Mapping[str, str | Path | None],
    out: str | Path,
    recipe: str | Path | Recipe | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    overrides: Sequence[str] | None = None,
    seed: int | None = None,
    steps: int | None = None,
    batch: int | None = None,
    precision: str | None = None,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    accept_changed_data: bool = False,
    workers: int | None = None,
    quiet: bool = False,
    console: Console | None = None,
) -> Any:
    """Train a run of any task. The functions below are this one with the names of each task's data and options.

    Args:
        task: ``adapt``, ``translate``, ``synthesize`` or ``mix``.
        data: by the task's roles; may be left out with ``resume``.
        out: the run folder to make.
        recipe: a built-in recipe's name, a YAML file, or a recipe; None: the task's default, or with ``resume`` the
            run's own.
        options: of the task.
        overrides: ``key.path=value`` changes to the recipe (:func:`~stylebridge.jobs.recipe.changes.apply_change`).
        seed: replaces the recipe's seed.
        steps, batch: replace ``trainer.steps`` and ``trainer.batch`` of every stage.
        precision: ``fp32``, ``bf16`` or ``fp16``; replaces the recipe's.
        device: ``auto``, ``cpu`` or ``cuda``.
        resume: continue the run in ``out``.
        overwrite: replace the run in ``out``, after all checks.
        accept_changed_data: continue although files of the data were added, removed or changed since the run began.
        workers: processes (mix: threads) that load images; None: chosen by the device.
        quiet: no progress on the terminal.

    Returns:
        What the task's function returns.

    Raises:
        UserError: a path, key or value is wrong; the message says which and how to mend it.
        TrainingStopped: a loss or gradient was not finite.
    """
    console = console or open_console(stderr=True, quiet=quiet or not is_main())
    short = short_forms(steps, batch, precision)
    changes = [*(overrides or ()), *short, *([f"seed={seed}"] if seed is not None else [])]
    start = _Start(changes, short, device, workers, overwrite, accept_changed_data, console, quiet)
    request = Request(data, options or {}, resume)
    with resumable(command_of(task), Path(out), resume):
        return _train(find_task(task), request, Path(out), recipe, start)


def _train(
    task: Task[Any, Any], request: Request, out: Path, recipe: str | Path | Recipe | None, start: _Start
) -> Any:
    console, resume = start.console, request.resume
    given = None if resume else _given_recipe(task, request, recipe, None, start)
    lasting = plain_options(**{name: request.options.get(name) for name in task.lasting_options})
    run = take_run(
        out,
        task.name,
        resume=resume,
        overwrite=start.overwrite,
        data=request.data,
        options=lasting,
        inputs=task.inputs(request, given),
    )
    kept = run.recipe().spelt_out() if resume else None
    finished = kept is not None and is_finished(run, task.results(kept)) and not task.reopens(request)
    if kept is not None:
        given = _given_recipe(task, request, recipe, kept, start)
        if given is None and finished:
            return _already(task, run, console)
        if given is not None and given.name != kept.name:
            ensure_same_settings(run, kept, given)
    elif any(request.data.get(role.key) is None for role in task.roles if role.required):
        raise DataError(task.data_needed)
    chosen: Any = given or kept
    accelerator = open_accelerator(start.device, chosen.precision)
    data = task.open(request, run.facts() if resume else {}, accelerator, console)
    resolved: Any = task.resolve(given, data) if given is not None else kept
    if kept is not None:
        ensure_same_settings(run, kept, resolved)
        ensure_unchanged(run.path, task.files(data), start.accept_changed_data)
        if finished:
            return _already(task, run, console)
    else:
        task.check(resolved, data, accelerator.num_processes, console)
        _say_what_is_meant(task, resolved, start, accelerator)
    workers = start.workers if start.workers is not None else default_workers(accelerator.device)
    work = Work(resolved, run, data, accelerator, workers, resume, console, start.quiet, train)
    if kept is None and work.is_main:
        _begin(task, work, request, lasting)
    accelerator.wait_for_everyone()
    return _run(task, work)


def _given_recipe(
    task: Task[Any, Any],
    request: Request,
    recipe: str | Path | Recipe | None,
    kept: Recipe | None,
    start: _Start,
) -> Any:
    """The recipe given by the user; None: a resumed run keeps its own (``kept``)."""
    if recipe is None:
        recipe = task.default_recipe if kept is None else kept
        if recipe is kept and not start.changes and not task.changes(recipe, request):
            return None
    if isinstance(recipe, Recipe):
        chosen = change_recipe(recipe, start.changes, task.name)
    else:
        chosen = load_recipe(recipe, start.changes, task.name)
    more = task.changes(chosen, request)
    return change_recipe(chosen, more, task.name) if more else chosen


def _say_what_is_meant(task: Task[Any, Any], recipe: Recipe, start: _Start, accelerator: Accelerator) -> None:
    """Which stages ``--steps`` and ``--batch`` change, and that a recipe of published size needs a GPU."""
    stages = ", ".join(stage.name for stage in recipe.stages)
    for change in start.short if len(recipe.stages) > 1 else ():
        key, _, value = change.partition("=")
        if key.startswith("stages.*."):
            say(start.console, f"{key.rpartition('.')[2]} = {value} in every stage: {stages}.")
    if accelerator.device.type == "cpu" and f"{recipe.name}-small" in recipe_names(task.name):
        say(
            start.console,
            f"{recipe.name} has the published size, and there is no GPU here: expect days. {recipe.name}-small is the "
            f"same method for CPUs.",
        )


def _begin(task: Task[Any, Any], work: Work[Any, Any], request: Request, lasting: Mapping[str, Any]) -> None:
    facts = {
        "kind": task.name,
        "recipe": work.recipe.name,
        **task.facts(work.recipe, work.data),
        **facts_of_start(work.accelerator.device),
        "options": lasting,
    }
    work.run.begin(work.recipe, facts, task.files(work.data))
    task.begun(work, request)


def _run(task: Task[Any, Any], work: Work[Any, Any]) -> Any:
    """All that takes time: what the stages need, the stages, results and report."""
    started = time.perf_counter()
    task.prepare(work)
    for index in range(len(work.recipe.stages)):
        run_stage(task, work, index)
    result = task.finish(work, time.perf_counter() - started)
    work.accelerator.wait_for_everyone()
    return result


def _already(task: Task[Any, Any], run: RunFolder, console: Console) -> Any:
    if is_main():
        console.print(
            f"{run.path} is finished, there is nothing to continue: see {run.report}.", highlight=False
        )
    return task.result(run)


def adapt(
    source: str | Path | None = None,
    target: str | Path | None = None,
    out: str | Path = "runs/adapt",
    recipe: str | Path | Recipe | None = None,
    *,
    translator: str | None = None,
    label_space: str | Path | LabelSpace | None = None,
    evaluate_on: str | Path | None = None,
    class_maps: Sequence[str | Path] = (),
    target_labels: str | Path | None = None,
    read_as: Sequence[str] = (),
    allow_missing_classes: bool = False,
    reuse: str | Path | None = None,
    **settings: Unpack[Settings],
) -> AdaptationResult:
    """Train a segmenter on a labelled source and adapt it to an unlabelled target.

    Args:
        source: labelled: ``PATH``, ``LAYOUT:PATH`` or ``LAYOUT/SPLIT:PATH`` (:func:`~stylebridge.data.open_domain`).
        target: unlabelled, in the same forms. Its labels are never read for training or for choosing a model; where
            they exist they are checked before training and scored after it, for the report.
        out, recipe, settings: see :func:`train`.
        translator: for recipes that translate the source first: a method (``nice-gan``, ``cyclegan``), a translation
            recipe, or the folder of a finished translation run.
        label_space: the model's: a built-in label space's name or a YAML file; None: inferred from the source, and
            printed. Label files that show other classes are mapped to it, and files that show nothing are read in it.
        evaluate_on: labelled images of the target's domain for the report, in place of ``target``.
        class_maps: YAML files that map classes of one label space to the model's, where equal names do not
            (:mod:`stylebridge.data.class_map`).
        target_labels: label maps of *some* target images (a folder of files with the images' names, or a labelled
            domain). They join the source wherever it is trained on; scores leave them out.
        read_as: ``DOMAIN=SPACE``: the label space that a domain (``source``, ``target-labels``, ``evaluation``) is read
            in, whatever its files show.
        allow_missing_classes: train although no label map holds more than half of the model's classes.
        reuse: another run on the same data; its finished stages are taken over as long as seed, segmenter and
            stage settings are the same.

    Raises:
        UserError, TrainingStopped: see :func:`train`.
    """
    options = {
        "translator": translator,
        "label_space": label_space,
        "evaluate_on": evaluate_on,
        "class_maps": tuple(class_maps),
        "target_labels": target_labels,
        "read_as": tuple(read_as),
        "allow_missing_classes": allow_missing_classes,
        "reuse": reuse,
    }
    return train("adapt", {"source": source, "target": target}, out, recipe, options=options, **settings)


def train_translator(
    a: str | Path | None = None,
    b: str | Path | None = None,
    out: str | Path = "runs/translate",
    recipe: str | Path | Recipe | None = None,
    **settings: Unpack[Settings],
) -> Path:
    """Train a translator between two sets of images without pairs.

    Args:
        a, b: unlabelled data, as :func:`stylebridge.data.open_domain` takes it.
        out, recipe, settings: see :func:`train`.

    Returns:
        The run folder.

    Raises:
        UserError, TrainingStopped: see :func:`train`.
    """
    return train("translate", {"a": a, "b": b}, out, recipe, **settings)


def train_synthesizer(
    data: str | Path | None = None,
    out: str | Path = "runs/synthesize",
    recipe: str | Path | Recipe | None = None,
    *,
    label_space: str | Path | LabelSpace | None = None,
    read_as: str | None = None,
    allow_missing_classes: bool = False,
    **settings: Unpack[Settings],
) -> Path:
    """Train networks that draw an image from a label map.

    Args:
        data: labelled images, as :func:`stylebridge.data.open_domain` takes them.
        out, recipe, settings: see :func:`train`.
        label_space: the classes: a built-in label space's name or a YAML file; None: inferred from the data, and
            printed. It is compared with what the label files show.
        read_as: the label space that the label files are read in, whatever they show.
        allow_missing_classes: train although no label map holds more than half of the classes.

    Returns:
        The run folder.

    Raises:
        UserError, TrainingStopped: see :func:`train`.
    """
    options = {
        "label_space": label_space,
        "read_as": read_as,
        "allow_missing_classes": allow_missing_classes,
    }
    return train("synthesize", {"data": data}, out, recipe, options=options, **settings)


def train_mixer(
    data: str | Path | None = None,
    out: str | Path = "runs/mix",
    recipe: str | Path | Recipe | None = None,
    *,
    boxes: str | Path | None = None,
    **settings: Unpack[Settings],
) -> Path:
    """Train generator and encoders (code mode), then the feature extractor (feature mode).

    When the first stage is done, the run can be used in code mode already.

    Args:
        data: photos, a folder or a zip file; of a folder with ``images/`` in it, those below that.
        out, recipe, settings: see :func:`train`.
        boxes: see :func:`~stylebridge.data.box_files.read_boxes`; a path that does not exist is looked for in ``data``.
            None: ``boxes.csv`` or ``bounding_boxes.txt`` of ``data``.

    Returns:
        The run folder.

    Raises:
        UserError, TrainingStopped: see :func:`train`.
    """
    found = find_boxes(Path(data or "."), boxes) if boxes else None
    return train("mix", {"data": data, "boxes": found}, out, recipe, options={"boxes": boxes}, **settings)
