"""The parts of a training's start: take the folder, compare a resumed run with what the user gives, check a stage."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from stylebridge.data.domain import DomainSpec
from stylebridge.data.label_space import LabelSpace
from stylebridge.engine.method import Method
from stylebridge.engine.optim import check_groups
from stylebridge.errors import DataError, RecipeError, RunError
from stylebridge.jobs.recipe.base import Stage
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
    """The folder of a new or resumed run. Nothing is removed or created yet.

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
                f"{run.path} was begun {said}, and a resumed run keeps its options: leave {option} out, or choose "
                f"another --out."
            )


def ensure_same_settings(run: RunFolder, kept: Any, given: Any) -> None:
    """Raises RunError, naming the first setting that differs, if a run is resumed with another recipe than its own."""
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


def is_finished(run: RunFolder, results: Sequence[str]) -> bool:
    """Whether a run has all its results."""
    return all((run.path / name).exists() for name in results)


def check_training(build: Callable[[], Method], stage: Stage, processes: int, what: str) -> None:
    """Find before the run begins what would stop a stage's trainer.

    Args:
        build: makes the method; its networks are built on no device and without values, which takes next to no time.
        what: what messages call the stage.

    Raises:
        UserError: names the key.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        method = build()
    config, optimizers = stage.trainer, stage.optimizers or {}
    trained = {name for phase in method.phases() for name in phase.trains}
    if trained != set(optimizers):
        raise RecipeError(
            f"{what}: optimizers has settings for {sorted(optimizers)}, but {method.name} trains {sorted(trained)}: "
            f"give exactly these under `optimizers`."
        )
    pieces = processes * config.accumulate
    if config.batch % pieces:
        raise RecipeError(
            f"{what}: batch {config.batch} cannot be split over {pieces} (processes × accumulate): make it a multiple."
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
