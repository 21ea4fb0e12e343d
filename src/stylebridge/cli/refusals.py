"""Errors that any command can meet, as one sentence: names that are not UTF-8, and errors of the file system."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from stylebridge.errors import UserError

_MENDS = {
    errno.ENAMETOOLONG: "use a shorter name",
    errno.ENOSPC: "free space on its disk",
    errno.EDQUOT: "free space within the quota",
    errno.EACCES: "change its permissions, or choose another folder",
    errno.EPERM: "change its permissions, or choose another folder",
    errno.EROFS: "choose a writable folder",
    errno.ELOOP: "remove the link that leads back to itself",
    errno.ENOENT: "check that it still exists",
}


def ensure_utf8(arguments: Sequence[str]) -> None:
    """Runs, reports and YAML files name the paths that a command was given.

    Raises:
        UserError: an argument, or the current folder's path, is not UTF-8.
    """
    for what, text in [*(("The argument", each) for each in arguments), ("The current folder", os.getcwd())]:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise UserError(f"{what} {text} is not UTF-8: rename the file or folder.") from None


def refusal(error: OSError) -> UserError | None:
    """The error as one sentence; None if it names no file."""
    if error.filename is None or error.strerror is None:
        return None
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(error.filename)
    # A long name is cut, so that its folder and the reason stay visible.
    folder, base = os.path.split(name)
    shown = os.path.join(folder, base if len(base) < 100 else f"{base[:60]}…{base[-20:]}")
    mend = _MENDS.get(error.errno or 0, "check the path")
    return UserError(
        f"{shown} cannot be read or written ({error.strerror[0].lower()}{error.strerror[1:]}): {mend}."
    )
