"""Atomic writes: a file or folder is written under a temporary name beside its place, then renamed.

New content for ``NAME`` is written to ``.partial-NAME`` in the same folder. A folder that is being replaced is renamed
to ``.replaced-NAME`` until the new one is in place. If a process is killed, the next one that writes ``NAME`` removes
the leftovers; if the old folder was moved away and the new one is not in place, the old one is restored.

Files get the permissions of the user's umask (or the folder's default ACL). Libraries that write through a private
temporary file (safetensors, ``tempfile``) would leave a file that only its owner can read.

A write that fails because of the disk (full, read-only, no permission, name too long) raises one sentence that names
the path and the remedy: :class:`~stylebridge.errors.WriteError`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from stylebridge.errors import StylebridgeError, WriteError, one_line

PARTIAL = ".partial-"
#: Remedy for an output that cannot be written, as the end of a sentence.
OTHER_OUT = "choose another --out"
#: Remedy for the last files of a run whose training is complete.
RESUME = "move the run to another disk; then continue it with --resume"
_REPLACED = ".replaced-"
#: Longest file name that common file systems accept, in bytes.
_NAME_BYTES = 255
#: Words in the messages of libraries that report a failed write by an exception other than OSError.
_WRITE_WORDS = ("No space left", "os error", "I/O error", "PytorchStreamWriter", "failed writing")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


def partial_path(path: Path, shared: bool = False) -> Path:
    """The temporary path for the new content of ``path``: in the same folder, with the same suffix.

    Args:
        shared: several processes or threads may write ``path`` at once; each gets a unique temporary name.
    """
    owner = f"{os.getpid()}-{threading.get_ident()}-" if shared else ""
    return _named(path, f"{PARTIAL}{owner}")


def _named(path: Path, prefix: str) -> Path:
    name = f"{prefix}{path.name}"
    if len(os.fsencode(name)) > _NAME_BYTES:  # the user's name is short enough, ours is not
        digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]
        name = f"{prefix}{digest}{path.suffix if len(os.fsencode(path.suffix)) < 16 else ''}"
    return path.with_name(name)


@contextlib.contextmanager
def written_file(
    path: Path,
    *,
    mend: str = "choose another folder",
    error: type[StylebridgeError] | None = WriteError,
    durable: bool = False,
    shared: bool = False,
) -> Iterator[Path]:
    """Yield a temporary path to write to; rename it to ``path`` if the block ends without an error.

    Parent folders are created. If ``path`` is a symbolic link, the link stays and its target is replaced.

    Args:
        mend: the remedy if ``path`` cannot be written, as the end of a sentence.
        error: the error to raise if ``path`` cannot be written; None: re-raise the system's error.
        durable: sync the file and its folder entry to the disk.
        shared: several processes or threads may write ``path`` at once.

    Raises:
        StylebridgeError: of the type ``error``; the file that was there before is unchanged.
    """
    with explained(path, mend=mend, error=error):
        place = Path(os.path.realpath(path))
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = partial_path(place, shared)
        try:
            beside.unlink(missing_ok=True)  # left by a killed process
            yield beside
            if not stat.S_IMODE(beside.lstat().st_mode) & 0o077:
                _set_mode(beside, _usual_mode(place.parent, shared))
            if durable:
                flush(beside)
            os.replace(beside, place)
            if durable:
                flush(place.parent)
        finally:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)


def write_text(
    path: Path,
    text: str,
    *,
    mend: str = "choose another folder",
    error: type[StylebridgeError] | None = WriteError,
    durable: bool = False,
) -> None:
    """Write a UTF-8 text file atomically; see :func:`written_file`."""
    with written_file(path, mend=mend, error=error, durable=durable) as beside:
        beside.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def written_folder(
    path: Path, *, mend: str = "choose another folder", error: type[StylebridgeError] | None = WriteError
) -> Iterator[Path]:
    """Yield a new empty folder to write into; it replaces ``path`` if the block ends without an error.

    The caller decides beforehand whether an existing folder may be replaced.

    Raises:
        StylebridgeError: of the type ``error``; the folder that was there before is unchanged.
    """
    with explained(path, mend=mend, error=error):
        beside = open_folder(path)
        try:
            yield beside
            put_in_place(beside, path)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def open_folder(path: Path) -> Path:
    """Create the empty temporary folder for a new ``path``, and remove what a killed process left.

    For work that cannot be wrapped in :func:`written_folder`; finish with :func:`put_in_place`.

    Raises:
        OSError: the folder cannot be created; see :func:`explained`.
    """
    place = Path(os.path.realpath(path))
    clear_leftovers(place)
    beside = partial_path(place)
    beside.mkdir(parents=True)
    return beside


def clear_leftovers(path: Path) -> None:
    """Remove what a killed process left while it wrote the folder ``path``; restore the old folder if the new one is
    not in place."""
    replaced = _named(path, _REPLACED)
    if replaced.is_dir() and not os.path.lexists(path):
        os.replace(replaced, path)
    for leftover in (partial_path(path), replaced):
        shutil.rmtree(leftover, ignore_errors=True)


def put_in_place(beside: Path, path: Path, durable: bool = False) -> None:
    """Rename a finished folder to ``path``; an existing folder there is removed afterwards.

    Args:
        durable: sync the folder entry to the disk.

    Raises:
        OSError: see :func:`explained`; ``path`` is unchanged.
    """
    place = Path(os.path.realpath(path))
    give_usual_modes(beside)
    if durable:
        flush(beside)
    replaced = _named(place, _REPLACED)
    there = place.is_dir()
    if there:
        shutil.rmtree(replaced, ignore_errors=True)
        os.rename(place, replaced)
    try:
        os.rename(beside, place)
    except OSError:
        if there:
            os.rename(replaced, place)
        raise
    if durable:
        flush(place.parent)
    if there:
        shutil.rmtree(replaced, ignore_errors=True)


def flush(path: Path) -> None:
    """Sync a file's contents, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- permissions ---------------------------------------------------------------------------------------------


def give_usual_modes(folder: Path) -> None:
    """Set the permissions of each file in a folder that we wrote to those of new files. Symbolic links and files with
    other hard links are left alone."""
    mode = _usual_mode(folder)
    for inside, _, names in os.walk(folder):
        for name in names:
            _set_mode(Path(inside, name), mode)


def _usual_mode(folder: Path, shared: bool = False) -> int:
    """The permissions of a new file in ``folder``, read from a temporary file: reading the umask changes it for the
    whole process, and the umask ignores default ACLs."""
    probe = partial_path(folder / "mode", shared)
    with contextlib.suppress(FileNotFoundError):
        probe.unlink()
    descriptor = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
        probe.unlink()


def _set_mode(path: Path, mode: int) -> None:
    state = path.lstat()
    if stat.S_ISREG(state.st_mode) and state.st_nlink == 1 and stat.S_IMODE(state.st_mode) != mode:
        path.chmod(mode)


# --- messages ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def explained(
    path: Path,
    *,
    what: str | None = None,
    mend: str = "choose another folder",
    error: type[StylebridgeError] | None = WriteError,
) -> Iterator[None]:
    """Turn a failed write into an error with one sentence.

    Args:
        path: the path that is written.
        what: its name in the message (default: the path).
        mend: the remedy besides freeing space or changing permissions, as the end of a sentence.
        error: the error to raise; None: re-raise the system's error, for a caller that explains it.

    Raises:
        StylebridgeError: of the type ``error``.
    """
    try:
        yield
    except Exception as problem:
        reason = write_problem(problem)
        if reason is None or error is None:
            raise
        why, first = reason
        raise error(f"{what or path} cannot be written ({why})", f"{first}, or {mend}") from problem


class WriteProblem(NamedTuple):
    """Why a write failed, and the remedy."""

    why: str
    mend: str


def write_problem(problem: Exception) -> WriteProblem | None:
    """What a failed write says; None if the exception has another cause."""
    if isinstance(problem, StylebridgeError):
        return None  # already explained
    text = one_line(problem)
    if not isinstance(problem, OSError):
        if not any(word in text for word in _WRITE_WORDS):
            return None
        full = "No space left" in text or "os error 28" in text
        return WriteProblem(text, "make room" if full else "check the disk")
    why = problem.strerror or text or type(problem).__name__
    # PyAV adds its own text to the system's.
    name = os.fspath(problem.filename) if isinstance(problem.filename, str | bytes | os.PathLike) else ""
    named = f"{why}: {os.fsdecode(name)}" if name else why
    if problem.errno in _FULL:
        return WriteProblem(why, "make room")
    if problem.errno in _FORBIDDEN:
        return WriteProblem(named, "change the permissions")
    if problem.errno == errno.ENAMETOOLONG:
        return WriteProblem(named, "give a shorter name")
    if problem.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP):
        return WriteProblem(named, "move the existing file or folder away")
    return WriteProblem(named, "check the disk")
