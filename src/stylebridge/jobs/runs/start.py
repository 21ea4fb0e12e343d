"""How every training begins. The order is the same for all four jobs, so that a mistake never costs an earlier run:

recipe → (resume: hold recipe, options and data against the run's) → data → checks of all that can be checked without
training → :meth:`~stylebridge.jobs.runs.folder.RunFolder.begin`, which locks the folder and replaces an earlier run.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from stylebridge.data.domain import DomainSpec
from stylebridge.data.label_space import LabelSpace
from stylebridge.engine.config import OptimizerConfig, TrainerConfig
from stylebridge.engine.method import Method
from stylebridge.engine.optim import check_groups
from stylebridge.errors import DataError, RecipeError, RunError
from stylebridge.jobs.runs.folder import RunFolder, first_difference, open_run
from stylebridge.jobs.runs.lock import hold
from stylebridge.jobs.runs.outputs import RUN, ensure_apart, ensure_free, remove_ours
from stylebridge.launch import is_main


def take_run(
    out: str | Path,
    kind: str,
    *,
    resume: bool,
    overwrite: bool,
    data: Mapping[str, str | Path | None],
    options: Mapping[str, Any],
    inputs: Mapping[str, str | Path | None] | None = None,
) -> RunFolder:
    """The folder of a run that begins or goes on. Nothing is removed or made yet.

    Args:
        kind: such as ``adapt``.
        data: what the user gave, by the keys of ``run.yaml``, which are also the options' names.
        options: other options that decide what is trained (:func:`plain_options`).
        inputs: other folders that are read.

    Raises:
        RunError: it is in the way, another process has it, or (``resume``) it was begun with other data or options.
    """
    path = Path(out)
    if resume:
        if overwrite:
            raise RunError("--resume continues a run and --overwrite replaces it: give one of them.")
        run = open_run(path, kind)
        facts = run.facts()
        if facts.get("imported"):
            raise RunError(f"{run.path} was imported, so it has no training to resume: start a new run.")
        _ensure_same_data(run, facts, data)
        _ensure_same_options(run, facts, options)
    else:
        run = RunFolder(path)
        if is_main():  # of several launched processes, one looks after the folder
            places = {f"the {key.replace('_', ' ')}": place_of(given) for key, given in data.items()}
            ensure_apart(path, {**places, **(inputs or {})})
            ensure_free(path, RUN, overwrite, otherwise="continue it with --resume")
    if is_main() and path.is_dir() and any(path.iterdir()):
        hold(path)
    return run


def place_of(given: str | Path | None) -> Path | None:
    if given is None:
        return None
    try:
        return DomainSpec.parse(given).path
    except DataError:  # named when the data is opened
        return None


def _ensure_same_data(
    run: RunFolder, facts: Mapping[str, Any], data: Mapping[str, str | Path | None]
) -> None:
    for key, given in data.items():
        if given is None:
            continue
        kept = facts.get(key)
        ours, theirs = DomainSpec.parse(given), DomainSpec.parse(kept) if kept is not None else None
        same = (
            theirs is not None
            and (_real(ours.path), ours.split or theirs.split) == (_real(theirs.path), theirs.split)
            and ours.layout in (None, theirs.layout)
        )
        if not same:
            option = key.replace("_", "-")
            raise RunError(
                f"{run.path} was made with the {key} {kept}, not {given}: resume it without --{option}, or choose "
                f"another --out."
            )


def _real(path: object) -> str:
    return os.path.realpath(path) if isinstance(path, Path) else str(path)


def plain_options(**options: Any) -> dict[str, Any]:
    """Options as ``run.yaml`` keeps them: those that were given, as text."""
    return {name: _plain(value) for name, value in options.items() if value not in (None, (), [], False, "")}


def _plain(value: Any) -> Any:
    if isinstance(value, LabelSpace):
        return value.as_dict()
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, str | Path) and os.path.exists(value):
        return os.path.realpath(value)
    return value if isinstance(value, bool) else str(value)


def _ensure_same_options(run: RunFolder, facts: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    kept = facts.get("options") or {}
    for name, value in options.items():
        if kept.get(name) != value:
            option = f"--{name.replace('_', '-')}"
            said = f"with {option} {kept[name]}" if name in kept else f"without {option}"
            raise RunError(
                f"{run.path} was begun {said}, and a run is continued as it was begun: leave {option} out, or choose "
                f"another --out."
            )


def seed_changes(overrides: Sequence[str] | None, seed: int | None) -> list[str]:
    """The changes to a recipe that ``--set`` and ``--seed`` ask for."""
    return [*(overrides or ()), *([f"seed={seed}"] if seed is not None else [])]


def settle_recipe(
    run: RunFolder,
    resume: bool,
    load: Callable[[str | Path, list[str]], Any],
    recipe: str | Path | None,
    default: str,
    changes: Sequence[str],
) -> Any:
    """The recipe of the run, every default spelt out.

    Args:
        load: reads a recipe by name or file, and applies changes.

    Raises:
        RecipeError: there is no such recipe, or a key or value is wrong.
        RunError: ``resume`` with another recipe than the run's; names the setting.
    """
    if not resume:
        return load(default if recipe is None else recipe, list(changes)).spelt_out()
    own = run.path / "recipe.yaml"
    kept = load(own, []).spelt_out()
    if recipe is not None or changes:
        images = run.facts().get("images") or 1
        count = max(images.values()) if isinstance(images, dict) else int(images)
        given = load(own if recipe is None else recipe, list(changes)).for_images(count)
        ensure_same_settings(run, kept, given.spelt_out())
    return kept


def ensure_same_settings(run: RunFolder, kept: Any, given: Any) -> None:
    """Raises RunError, naming the first setting, where a run is to be continued with another recipe than its own."""
    difference = first_difference(
        kept.model_dump(mode="json", exclude={"description"}),
        given.model_dump(mode="json", exclude={"description"}),
    )
    if difference is not None:
        where, old, new = difference
        raise RunError(
            f"{run.path} was made with another recipe ({where} is {old!r} there and {new!r} now): resume it with its "
            f"own recipe, or choose another --out."
        )


def is_finished(run: RunFolder, results: Sequence[str], console: Console) -> bool:
    """Whether a run that is to go on has all its results; if so, this is printed."""
    done = all((run.path / name).exists() for name in results)
    if done and is_main():
        console.print(
            f"{run.path} is finished, there is nothing to continue: see {run.report}.", highlight=False
        )
    return done


def check_training(
    build: Callable[[], Method],
    config: TrainerConfig,
    optimizers: Mapping[str, OptimizerConfig],
    processes: int,
    stage: str,
) -> None:
    """Find before the run begins what would stop the trainer.

    Args:
        build: makes the method; its networks are built on no device and without values, which takes next to no time.

    Raises:
        UserError: names the key.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        method = build()
    trained = {name for phase in method.phases() for name in phase.trains}
    if trained != set(optimizers):
        raise RecipeError(
            f"{stage}: optimizers are given for {sorted(optimizers)}, but {method.name} trains {sorted(trained)}: give "
            f"exactly these under `optimizers`."
        )
    pieces = processes * config.accumulate
    if config.batch % pieces:
        raise RecipeError(
            f"{stage}: batch {config.batch} cannot be split over {pieces} (processes × accumulate): make it a multiple."
        )
    for network, settings in optimizers.items():
        check_groups(network, method.parameter_groups(network), settings)


def discard_start(run: RunFolder) -> None:
    """Remove what a start left that failed before anything was trained; other files, and then the folder, stay."""
    kept = ("trainer_state", "stages", "networks", "translated", "translator")
    if any((run.path / name).exists() and any((run.path / name).iterdir()) for name in kept):
        return
    with contextlib.suppress(OSError):
        remove_ours(run.path, RUN)
        run.path.rmdir()
