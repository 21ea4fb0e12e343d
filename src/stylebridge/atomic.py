"""Files and folders that are whole or not there: written beside their place, then renamed.

What is being written is called ``.partial-NAME`` and lies in the folder of ``NAME``. A folder that is replaced is
called ``.replaced-NAME`` until the new one has its name. Whatever a killed process leaves under these names is removed
by the next one that writes ``NAME``; an old folder whose new one never got the name is put back.

What is written gets the permissions that the user's umask (or the folder's default ACL) gives new files. Libraries
that write through a private temporary file (safetensors, ``tempfile``) would leave it readable by its owner alone.

A write that fails because of the disk (full, read-only, no permission, a name that is too long) is one sentence that
names the path and what to do: :class:`~stylebridge.errors.WriteError`.
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

from stylebridge.errors import StylebridgeError, WriteError

PARTIAL = ".partial-"
#: What a user can do if an output cannot be written, as the end of a sentence.
OTHER_OUT = "choose another --out"
#: The same for the last files of a run whose training is done.
RESUME = "move the run to another disk; then continue it with --resume"
_REPLACED = ".replaced-"
#: Bytes of a file name that common file systems take.
_NAME_BYTES = 255
#: Words of libraries that report a failed write by an exception which is no OSError.
_WRITE_WORDS = ("No space left", "os error", "I/O error", "PytorchStreamWriter", "failed writing")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


def partial_path(path: Path, shared: bool = False) -> Path:
    """Where the new content of ``path`` is written: beside it, with the same ending.

    Args:
        shared: several processes or threads may write ``path`` at the same time; each gets a name of its own.
    """
    owner = f"{os.getpid()}-{threading.get_ident()}-" if shared else ""
    return _named(path, f"{PARTIAL}{owner}")


def _named(path: Path, prefix: str) -> Path:
    name = f"{prefix}{path.name}"
    if len(os.fsencode(name)) > _NAME_BYTES:  # the user's own name is allowed, ours is longer
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
    """Gives the path to write a file to; the file gets its name when the block ends without an error.

    Folders above are made. A symbolic link at ``path`` stays: the file that it points to is replaced.

    Args:
        mend: what the user can do if the place cannot be written, as the end of a sentence.
        error: what is raised if it cannot be written; None: what the system raised.
        durable: the file and its name are on the disk when the block ends.
        shared: several processes or threads may write ``path`` at the same time.

    Raises:
        StylebridgeError: of the type ``error``; the file that was there before is unchanged.
    """
    with explained(path, mend=mend, error=error):
        place = Path(os.path.realpath(path))
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = partial_path(place, shared)
        try:
            beside.unlink(missing_ok=True)  # of a killed process
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
    """Write a text file in UTF-8, whole or not at all; see :func:`written_file`."""
    with written_file(path, mend=mend, error=error, durable=durable) as beside:
        beside.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def written_folder(
    path: Path, *, mend: str = "choose another folder", error: type[StylebridgeError] | None = WriteError
) -> Iterator[Path]:
    """Gives a new empty folder to write into; it takes the place of ``path`` when the block ends without an error.

    Whether a folder that is there may be replaced is for the caller to decide beforehand.

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
    """Make the empty folder in which the new ``path`` is written, and remove what a killed process left.

    For work that :func:`written_folder` cannot enclose; :func:`put_in_place` ends it.

    Raises:
        OSError: the folder cannot be made; see :func:`explained`.
    """
    place = Path(os.path.realpath(path))
    clear_leftovers(place)
    beside = partial_path(place)
    beside.mkdir(parents=True)
    return beside


def clear_leftovers(path: Path) -> None:
    """Remove what a killed process left of writing the folder ``path``; put back the folder that it was replacing if
    the new one did not get its name."""
    replaced = _named(path, _REPLACED)
    if replaced.is_dir() and not os.path.lexists(path):
        os.replace(replaced, path)
    for leftover in (partial_path(path), replaced):
        shutil.rmtree(leftover, ignore_errors=True)


def put_in_place(beside: Path, path: Path, durable: bool = False) -> None:
    """Give a finished folder its name. A folder that has the name is removed after the new one has it.

    Args:
        durable: the name is on the disk when this returns.

    Raises:
        OSError: see :func:`explained`; ``path`` is what it was.
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
    """Make sure that a file's contents, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- permissions ---------------------------------------------------------------------------------------------


def give_usual_modes(folder: Path) -> None:
    """Give each file in a folder of ours the permissions that the user's new files have there. Links, and files that
    have another name elsewhere, are left alone."""
    mode = _usual_mode(folder)
    for inside, _, names in os.walk(folder):
        for name in names:
            _set_mode(Path(inside, name), mode)


def _usual_mode(folder: Path, shared: bool = False) -> int:
    """The permissions of a new file in ``folder``: of one that is made and removed, because umask is for the whole
    process to read and does not know about default ACLs."""
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
    """Turn a write that the disk refuses into one sentence.

    Args:
        path: what is being written.
        what: what a message calls it (default: the path).
        mend: what the user can do besides freeing space or changing permissions, as the end of a sentence.
        error: what is raised; None: what the system raised, for a caller who explains it.

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


def write_problem(problem: Exception) -> tuple[str, str] | None:
    """Why the disk refused a write, and what to do about it; None: the exception is about something else."""
    if isinstance(problem, StylebridgeError):
        return None  # explained already
    text = " ".join(str(problem).split())
    if not isinstance(problem, OSError):
        if not any(word in text for word in _WRITE_WORDS):
            return None
        full = "No space left" in text or "os error 28" in text
        return text, "make room" if full else "check the disk"
    why = problem.strerror or text or type(problem).__name__
    # PyAV adds its own words to those of the system.
    name = os.fspath(problem.filename) if isinstance(problem.filename, str | bytes | os.PathLike) else ""
    named = f"{why}: {os.fsdecode(name)}" if name else why
    if problem.errno in _FULL:
        return why, "make room"
    if problem.errno in _FORBIDDEN:
        return named, "change the permissions"
    if problem.errno == errno.ENAMETOOLONG:
        return named, "give a shorter name"
    if problem.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP):
        return named, "move what is in the way"
    return named, "check the disk"
