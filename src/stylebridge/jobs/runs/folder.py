"""The folder of a run: self-contained, and protected against confusion and overwriting."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stylebridge.atomic import OTHER_OUT, explained, write_text, written_folder
from stylebridge.data.domain import DomainSpec
from stylebridge.data.label_space import LabelSpace
from stylebridge.data.text_files import TextFileError, read_yaml
from stylebridge.errors import DataError, RunError, one_line
from stylebridge.jobs.recipe.reading import parse_recipe
from stylebridge.jobs.runs.files import DATA_FILES, HOLDER, LOCK
from stylebridge.jobs.runs.lock import hold
from stylebridge.jobs.runs.outputs import MARKER, PART, RUN, ensure_free, mark, remove_ours, write_marker

_RECIPE, _RUN = "recipe.yaml", "run.yaml"
#: Keys of ``run.yaml`` with data paths.
DATA_KEYS = ("source", "target", "target_labels", "evaluate_on", "a", "b", "data", "boxes")


@dataclass(frozen=True)
class RunFolder:
    """A run: ``recipe.yaml`` as resolved, ``run.yaml`` (kind, domains, label space, versions), and the results."""

    path: Path

    @property
    def segmenter(self) -> Path:
        """The adapted segmenter, an ordinary Hugging Face folder."""
        return self.path / "segmenter"

    @property
    def onnx(self) -> Path:
        """The adapted segmenter as an ONNX file, if the recipe requests one."""
        return self.path / "segmenter.onnx"

    @property
    def report(self) -> Path:
        """The self-contained report page."""
        return self.path / "report.html"

    def stage(self, name: str) -> Path:
        """The result of a finished stage; the folder exists only if the stage is complete."""
        return self.path / "stages" / name

    def facts(self) -> dict[str, Any]:
        """The contents of ``run.yaml``."""
        return _read_yaml(self.path / _RUN)

    def recipe(self) -> Any:
        """The resolved recipe, of its task's class (:mod:`stylebridge.jobs.recipe`)."""
        task = str(self.facts().get("kind"))
        return parse_recipe(_read_yaml(self.path / _RECIPE), str(self.path / _RECIPE), task)

    def begin(self, recipe: Any, facts: dict[str, Any], data: dict[str, Any] | None = None) -> None:
        """Write recipe and facts before training. ``run.yaml`` comes last: a folder that has it is a run that can be
        resumed. Files of an old run in the folder are removed.

        Args:
            data: the files of each set of the run, with their sizes
                (:func:`stylebridge.jobs.runs.data_files.files_of`).

        Raises:
            RunError: another process uses the folder, or foreign files have appeared in it.
        """
        with explained(self.path, mend=OTHER_OUT):
            self.path.mkdir(parents=True, exist_ok=True)
        hold(self.path)
        ensure_free(self.path, RUN, overwrite=True)
        write_marker(self.path, {RUN: ()})  # first: leftovers of a killed start are recognised as ours
        (self.path / _RUN).unlink(missing_ok=True)  # the rest of an old run is not a run
        remove_ours(self.path, RUN, keep=frozenset((MARKER, LOCK, HOLDER)))
        write_text(self.path / _RECIPE, recipe.to_yaml(), mend=OTHER_OUT)
        if data is not None:
            write_text(self.path / DATA_FILES, json.dumps(data, ensure_ascii=True), mend=OTHER_OUT)
        facts_yaml = yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)
        write_text(self.path / _RUN, facts_yaml, mend=OTHER_OUT)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = read_yaml(path)
    except (OSError, TextFileError) as error:
        reason = one_line(error)
        raise RunError(f"{path} cannot be read ({reason}): the folder is not a stylebridge run.") from error
    if not isinstance(data, dict):
        raise RunError(f"{path} is not a mapping of keys: the folder is not a stylebridge run.")
    return data


def data_of(facts: Mapping[str, Any]) -> dict[str, Path]:
    """The paths of a run's data, by their names in messages."""
    found = {}
    for key in DATA_KEYS:
        if isinstance(facts.get(key), str):
            with contextlib.suppress(DataError):  # it no longer exists
                found[f"the run's {key.replace('_', ' ')}"] = DomainSpec.parse(facts[key]).path
    return found


def open_run(path: Path, kind: str) -> RunFolder:
    """Open an existing run.

    Raises:
        RunError: the run does not exist, or has another kind.
    """
    run, found = find_run(path, kind)
    facts = run.facts()
    if found != kind:
        raise RunError(
            f"{path} is a run of `stylebridge {command_of(found)}`, not of `stylebridge {command_of(kind)}`",
            "give another run",
        )
    missing = [key for key in ("source", "target", "label_space") if key not in facts]
    if kind == "adapt" and missing:
        raise RunError(f"{path / _RUN} has no {missing[0]!r}: it was changed or damaged; start a new run.")
    return run


def find_run(path: Path, kind: str | None = None) -> tuple[RunFolder, str]:
    """An existing run and its kind, for commands that accept several kinds.

    Args:
        kind: the kind named in error messages; None: no kind is named.

    Raises:
        RunError: the run does not exist.
    """
    made = f"`stylebridge {command_of(kind)}`" if kind is not None else "training or import"
    mend = f"give the --out folder of an earlier {made}"
    if not path.is_dir():
        raise RunError(f"{path} {'is a file' if path.exists() else 'does not exist'}", mend)
    if not (path / _RUN).is_file():
        raise RunError(f"{path} is not a stylebridge run (it has no {_RUN})", mend)
    run = RunFolder(path)
    return run, str(run.facts().get("kind"))


def command_of(kind: str) -> str:
    """The command that creates runs of a kind."""
    return kind if kind == "adapt" else f"{kind} train"  # `adapt` is short for `adapt train`


def new_run(path: Path, overwrite: bool, resumable: bool = True) -> RunFolder:
    """Check a folder for a new run. Nothing is removed yet: :meth:`RunFolder.begin` replaces an old run after all other
    checks.

    Args:
        resumable: whether an existing run could be resumed instead.

    Raises:
        RunError: the folder exists already, or cannot be created.
    """
    ensure_free(path, RUN, overwrite, otherwise="continue it with --resume" if resumable else "")
    return RunFolder(path)


def take_over_stages(other: RunFolder, run: RunFolder) -> list[str]:
    """Copy finished stages of another run that would be identical here; returns their names.

    Stages are compared in order: seed, segmenter, precision, data and all settings must be equal.

    Raises:
        RunError: the other run has other data.
    """
    theirs, ours = other.recipe().spelt_out(), run.recipe().spelt_out()
    old, new = other.facts(), run.facts()
    for key in ("source", "target", "target_labels", "read_as", "label_space"):
        # Runs of older versions lack some keys: a missing key means that the feature is not used.
        same = (old.get(key) or None) == (new.get(key) or None)
        if key == "label_space":
            same = LabelSpace.from_dict(old[key]) == LabelSpace.from_dict(new[key])
        if not same:
            raise RunError(f"{other.path} has another {key} than this run: omit --reuse.")
    taken: list[str] = []
    run.stage("x").parent.mkdir(exist_ok=True)
    if (theirs.seed, theirs.segmenter, theirs.precision) != (ours.seed, ours.segmenter, ours.precision):
        return taken
    translated = ours.translator is None or theirs.translator == ours.translator
    if translated:
        _take_over_translation(other, run)
    for index, (a, b) in enumerate(zip(theirs.stages, ours.stages, strict=False)):
        name = ours.stage_name(index)
        if a != b or not other.stage(name).is_dir() or (a.translated and not translated):
            break
        _copy_folder(other.stage(name), run.stage(name))
        taken.append(name)
    return taken


def _take_over_translation(other: RunFolder, run: RunFolder) -> None:
    """Copy finished translations: the folder `translated` exists only if it is complete."""
    if run.recipe().translator is not None and (other.path / "translated").is_dir():
        for name in ("translator", "translated"):
            if (other.path / name).is_dir():
                _copy_folder(other.path / name, run.path / name, whole=name == "translated")


def _copy_folder(old: Path, new: Path, whole: bool = True) -> None:
    with written_folder(new, mend=OTHER_OUT) as beside:
        shutil.copytree(old, beside, dirs_exist_ok=True)
        if whole:
            mark(beside, PART)


def first_difference(old: Any, new: Any, where: str = "") -> tuple[str, Any, Any] | None:
    """The first key, in the order of ``old``, with different values, and both values; or None."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old.keys() | new.keys() if old.keys() != new.keys() else old:
            found = first_difference(old.get(key), new.get(key), f"{where}.{key}".lstrip("."))
            if found:
                return found
        return None
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (a, b) in enumerate(zip(old, new, strict=True)):
            found = first_difference(a, b, f"{where}.{index}")
            if found:
                return found
        return None
    return None if old == new else (where, old, new)
