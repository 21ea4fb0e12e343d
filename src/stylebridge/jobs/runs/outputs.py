"""What a command may overwrite or remove: one rule for every output.

1. Our folders have a marker, ``.stylebridge.json``, that lists the files that we wrote, by kind of output (``shards``,
   ``label maps`` …). The files of a training run grow during training; they are recognised by name
   (:mod:`stylebridge.jobs.runs.files`).
2. Only listed files are replaced. If a folder contains others, replacing it is refused, and the message names these. A
   file that is not listed is never overwritten.
3. Old content is removed after the new content is complete (for a training run: after everything about the new run is
   checked).
4. An output that contains, equals or lies in an input is refused. Symbolic links are resolved, and folders are compared
   by identity, so that ``..``, links, bind mounts and letter case make no difference.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from stylebridge.atomic import (
    explained,
    give_usual_modes,
    open_folder,
    write_text,
)
from stylebridge.data.text_files import TextFileError, parse_json, read_json, read_text, read_yaml
from stylebridge.errors import RunError
from stylebridge.jobs.runs.files import HOLDER, LOCK, run_files
from stylebridge.jobs.runs.lock import hold, release
from stylebridge.version import __version__

MARKER = ".stylebridge.json"
#: While files are written one by one: the finished ones, one JSON line each, which the marker lists at the end.
WRITTEN = ".stylebridge.written"
#: The kinds of outputs in markers.
RUN, SHARDS, COPY, TRANSLATED, TOY = "run", "shards", "corrected copy", "translated set", "toy set"
PART = "part of a run"
LABEL_MAPS, PICTURES = "label maps", "pictures"

_WORDS = {RUN: "a stylebridge run", SHARDS: "a folder of shards", COPY: "a corrected copy by the doctor"}
#: A marker entry with this ending means numbered frames in a folder.
_FRAMES = re.compile(r"\d{6,}\.png")
_NAMED = 5
#: Largest marker, in bytes: millions of files.
_MOST_BYTES = 1 << 28


# --- inputs ---------------------------------------------------------------------------------------------------


def ensure_apart(out: str | Path, inputs: Mapping[str, object], option: str = "--out") -> None:
    """Refuse an output that contains, equals or lies in an input.

    Args:
        inputs: paths by their names in messages; None and URLs are ignored.

    Raises:
        RunError: names both.
    """
    target = Path(os.path.realpath(out))
    for what, given in inputs.items():
        if not isinstance(given, str | Path) or not str(given) or not os.path.exists(given):
            continue
        place = Path(os.path.realpath(given))
        if _same(target, place):
            relation = "is"
        elif any(_same(parent, place) for parent in target.parents):
            relation = "lies in"
        elif any(_same(parent, target) for parent in place.parents):
            relation = "contains"
        else:
            continue
        raise RunError(f"{option} {out} {relation} {what} {given}: choose a place apart from it.")


def _same(one: Path, other: Path) -> bool:
    """Whether two paths are the same place."""
    if one == other:
        return True
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


# --- markers --------------------------------------------------------------------------------------------------


def read_marker(folder: Path) -> dict[str, list[str]]:
    """The files in a folder's marker, by kind; {} without a marker."""
    found: dict[str, list[str]] = {}
    try:
        wrote = parse_json(_own_text(folder / MARKER))["wrote"]
        found = {str(kind): [f for f in files if _inside(f)] for kind, files in wrote.items()}
    except (OSError, TextFileError, ValueError, KeyError, TypeError, AttributeError):
        pass
    with contextlib.suppress(OSError, TextFileError):
        for line in _own_text(folder / WRITTEN).splitlines():  # of a running or killed command
            with contextlib.suppress(TextFileError, ValueError, TypeError):  # a truncated line
                kind, entry = parse_json(line)
                if isinstance(kind, str) and _inside(entry):
                    found.setdefault(kind, []).append(entry)
    return found


def _own_text(path: Path) -> str:
    if path.is_symlink() or not path.is_file():
        raise FileNotFoundError(path)
    return read_text(path, _MOST_BYTES)


def _inside(name: object) -> bool:
    """Whether an entry is below the folder."""
    return isinstance(name, str) and not name.startswith("/") and ".." not in PurePosixPath(name).parts


def write_marker(folder: Path, wrote: Mapping[str, Iterable[str]]) -> None:
    """Write the marker; entries are sorted, so that equal folders have equal markers.

    Raises:
        RunError: it is a symbolic link, through which another file would be overwritten.
    """
    refuse_links(folder)
    lists = {kind: sorted(set(files)) for kind, files in sorted(wrote.items())}
    text = json.dumps({"stylebridge": __version__, "wrote": lists}, indent=1, ensure_ascii=True)
    write_text(folder / MARKER, f"{text}\n")


def refuse_links(folder: Path) -> None:
    """Raises RunError if the marker is a symbolic link."""
    for name in (MARKER, WRITTEN):
        if (folder / name).is_symlink():
            raise RunError(f"{folder / name} is a symbolic link that stylebridge did not make: remove it.")


def mark(folder: Path, kind: str) -> None:
    """Mark a finished folder: everything in it is ours."""
    write_marker(folder, {kind: contents(folder) - {MARKER}})


def contents(folder: Path) -> set[str]:
    """All files below a folder: paths with ``/``. Links are entries, and are not followed."""
    found: set[str] = set()
    for place, below, names in os.walk(folder):
        prefix = Path(place).relative_to(folder)
        links = [name for name in below if os.path.islink(os.path.join(place, name))]
        found.update((prefix / name).as_posix() for name in (*names, *links))
    return found


def ours(folder: Path, kind: str) -> set[str]:
    """The files in a folder that we wrote as this kind of output."""
    marker, there = read_marker(folder), contents(folder)
    if kind not in marker:
        own = there & {LOCK, HOLDER} if kind == RUN else set()
        return own | _of_earlier_version(folder, kind, there)
    if kind == RUN:
        # A run with a marker also marks every folder inside: one without is the user's.
        found = run_files(folder, there, lambda inner: read_marker(inner).get(PART, ()))
        return found | {name for name in there if name in set(marker[RUN])} | {MARKER}
    found = {name for name in there if is_listed(name, set(marker[kind]))}
    return found | (there & {MARKER, WRITTEN} if set(marker) == {kind} else set())


def foreign(folder: Path, kind: str) -> list[str]:
    """The files in a folder besides our output of this kind, sorted."""
    return sorted(contents(folder) - ours(folder, kind))


def is_listed(name: str, entries: set[str]) -> bool:
    """Whether a file is an entry of a marker, or one of its numbered frames."""
    above, _, last = name.rpartition("/")
    return name in entries or (f"{above}/" in entries and bool(_FRAMES.fullmatch(last)))


def _of_earlier_version(folder: Path, kind: str, there: set[str]) -> set[str]:
    """The files of versions without markers, if recognised by the folder's contents."""
    if kind == RUN and _is_old_run(folder):
        return run_files(folder, there, lambda inner: None)
    if kind == SHARDS and "index.json" in there:
        try:
            index = read_json(folder / "index.json")
            named = {str(shard["name"]) for shard in index["shards"]} if "samples" in index else set()
        except (OSError, TextFileError, ValueError, KeyError, TypeError):
            return set()
        return there & ({"index.json", "samples.npy", "sizes.npy"} | named)
    return set()


def _is_old_run(folder: Path) -> bool:
    try:
        facts = read_yaml(folder / "run.yaml")
    except (OSError, TextFileError):
        return False
    kinds = ("adapt", "translate", "synthesize", "mix")
    return isinstance(facts, dict) and facts.get("kind") in kinds and "versions" in facts


# --- folders that are written at once --------------------------------------------------------------------------


def ensure_free(folder: Path, kind: str, overwrite: bool, option: str = "--out", otherwise: str = "") -> None:
    """Refuse an existing folder that may not be replaced.

    Args:
        otherwise: another remedy if it is one of ours, such as "continue it with --resume".

    Raises:
        RunError: it is a file, or a non-empty folder that may not be replaced.
    """
    above = next(p for p in folder.absolute().parents if os.path.lexists(p))
    if not above.is_dir():
        raise RunError(f"{above} is a file, so {folder} cannot be created: choose another {option}.")
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise RunError(f"{folder} exists already and is a file: choose another {option}.")
    if not any(folder.iterdir()):
        return
    others = foreign(folder, kind)
    if kind == RUN and not others and not (folder / "run.yaml").exists():
        return  # leftovers of a killed start
    if not overwrite:
        also = f", {otherwise}" if otherwise else ""
        raise RunError(
            f"{folder} exists already: choose another {option}{also}, or replace it with --overwrite."
        )
    _refuse(folder, kind, others, option)


def _refuse(folder: Path, kind: str, others: Sequence[str], option: str) -> None:
    if not others:
        return
    if not ours(folder, kind) - {MARKER, LOCK, HOLDER}:
        what = _WORDS.get(kind, f"a {kind} of stylebridge")
        raise RunError(
            f"{folder} exists already and is not {what}, so --overwrite does not replace it: choose another {option}."
        )
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    raise RunError(
        f"{folder} exists already and has files that stylebridge did not write ({', '.join(others[:_NAMED])}{more}), "
        f"so --overwrite does not replace it: move them away, or choose another {option}."
    )


@contextlib.contextmanager
def replaced_folder(
    folder: Path, kind: str, mend: str = "choose another --out", option: str = "--out"
) -> Iterator[Path]:
    """Yields a new empty folder to write to. If the block ends without an error it is marked and replaces ``folder``,
    of which only our files are removed. Call :func:`ensure_free` before.

    Raises:
        RunError: foreign files have appeared in the folder.
        WriteError: the write fails.
    """
    with explained(folder, mend=mend):
        place = Path(os.path.realpath(folder))
        beside = open_folder(place)
        try:
            yield beside
            mark(beside, kind)
            give_usual_modes(beside)
            if place.is_dir():
                if kind == RUN and any(place.iterdir()):
                    hold(place)
                _refuse(folder, kind, foreign(place, kind), option)
            swap(beside, place, kind)
        finally:
            release(place)
            shutil.rmtree(beside, ignore_errors=True)


def swap(beside: Path, place: Path, kind: str) -> None:
    """Rename a finished folder to ``place``. Our files of an existing folder are removed; others are moved into the new
    one."""
    if not os.path.lexists(place):
        os.rename(beside, place)
        return
    old = place.with_name(f".replaced-{place.name}")
    os.rename(place, old)
    try:
        os.rename(beside, place)
    except OSError:
        os.rename(old, place)
        raise
    remove_ours(old, kind)
    for name in contents(old):  # appeared at the last moment
        target = place / name
        if not os.path.lexists(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(old / name, target)
    for empty, _, _ in os.walk(old):  # the user's
        (place / Path(empty).relative_to(old)).mkdir(parents=True, exist_ok=True)
    if not contents(old):
        shutil.rmtree(old, ignore_errors=True)


def remove_ours(folder: Path, kind: str, keep: frozenset[str] = frozenset()) -> None:
    """Remove our files and folders that become empty; the marker last."""
    names = ours(folder, kind) - keep
    held = {parent for name in names for parent in (folder / name).parents}
    for name in sorted(names, key=lambda n: (n == MARKER, n)):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(folder / name)
    for place, _, _ in os.walk(folder, topdown=False):
        if Path(place) != folder and Path(place) in held:
            with contextlib.suppress(OSError):
                os.rmdir(place)


# --- single files ----------------------------------------------------------------------------------------------


def ensure_writable(
    path: Path, inputs: Mapping[str, object], *, overwrite: bool = False, option: str = "--out"
) -> None:
    """Refuse a single output file that exists, or that is or lies in an input.

    Raises:
        RunError: names the file.
    """
    ensure_apart(path, inputs, option)
    if os.path.lexists(path) and not overwrite:
        raise RunError(f"{path} exists already: choose another {option} or give --overwrite.")
