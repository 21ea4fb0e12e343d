"""The files that a run was trained on, with sizes, so that a resumed run detects changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stylebridge.data.domain import Domain
from stylebridge.data.files import FileRef, LabelRef, MaskStack, PackedFile, path_below
from stylebridge.data.text_files import TextFileError, parse_json, read_text
from stylebridge.errors import RunError, one_line
from stylebridge.jobs.runs.files import DATA_FILES

#: The files of each set of a run, each with its size, and in archives also a checksum.
Files = dict[str, dict[str, str]]
_NAMED = 3
#: Largest list, in bytes: millions of files.
_MOST_BYTES = 1 << 28


def files_of(**domains: Domain | None) -> Files:
    """The images and label maps of a run's training sets."""
    found: Files = {}
    for name, domain in domains.items():
        if domain is None:
            continue
        files = dict(_marks(domain.images, domain.root))
        for path, mark in _marks(domain.labels or (), domain.root):
            files[f"{path} (labels)" if path in files else path] = mark
        found[name] = files
    return found


def files_below(root: Path, files: Sequence[FileRef], *others: Path) -> dict[str, str]:
    """The same for files outside domains, and for single files."""
    return dict(_marks(files, root)) | {str(path.name): _mark(path) for path in others}


def _marks(files: Sequence[LabelRef], root: Path) -> list[tuple[str, str]]:
    return [(_name(file, root), _mark(file)) for file in files]


def _name(file: LabelRef, root: Path) -> str:
    return str(file.path) if isinstance(file, MaskStack) else path_below(file, root).as_posix()


def _mark(file: LabelRef) -> str:
    try:
        if isinstance(file, MaskStack):
            return " ".join(f"{mask.name}:{_mark(mask)}:{raw}" for mask, raw in file.files)
        if isinstance(file, PackedFile):  # the archive may move: use size and checksum
            return "-".join(str(part) for part in file.fingerprint()[2:])
        return str(file.stat().st_size)
    except OSError:
        return "gone"


def ensure_unchanged(run: Path, now: Mapping[str, Mapping[str, str]], accept: bool) -> None:
    """Refuse to resume with other data than at the start. Runs of earlier versions have no list.

    Args:
        accept: resume anyway.

    Raises:
        RunError: names added, removed and changed files.
    """
    if accept or not (run / DATA_FILES).is_file():
        return
    try:
        kept: Any = parse_json(read_text(run / DATA_FILES, _MOST_BYTES))
        changes = [line for name, files in now.items() if (line := _changes(name, kept.get(name, {}), files))]
    except (OSError, TextFileError, ValueError, AttributeError) as error:
        raise RunError(
            f"{run / DATA_FILES} cannot be read ({one_line(error)}): resume with --accept-changed-data."
        ) from error
    if changes:
        raise RunError(
            f"The data of {run} changed since the run began ({'; '.join(changes)}): restore it, choose another --out, "
            f"or resume with the current data by --accept-changed-data."
        )


def _changes(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    kinds = {
        "added": sorted(now.keys() - before.keys()),
        "removed": sorted(before.keys() - now.keys()),
        "changed": sorted(file for file in before.keys() & now.keys() if before[file] != now[file]),
    }
    told = [
        f"{len(files)} {kind}: {', '.join(files[:_NAMED])}{' …' if len(files) > _NAMED else ''}"
        for kind, files in kinds.items()
        if files
    ]
    return f"{name}: {', '.join(told)}" if told else ""
