"""What all pages share: the environment they are drawn in, and writing them whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from stylebridge.errors import RunError
from stylebridge.report.formats import breakable, count, duration, loss_title, percent, share, stage_title

#: Templates may use them by their names; the ones they import must find theirs too.
_FILTERS = (breakable, count, duration, loss_title, percent, share, stage_title)


def open_environment() -> Environment:
    """Templates of this package, with HTML escaped and nothing undefined."""
    environment = Environment(
        loader=PackageLoader("stylebridge.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in _FILTERS:
        environment.filters[function.__name__] = function
    return environment


def write_page(path: Path, html: str, what: str = "report") -> None:
    """Write a page beside and rename it; its folder is made if need be.

    Raises:
        RunError: it cannot be written.
    """
    beside: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(html)
        os.chmod(beside, 0o644)  # mkstemp gives 0o600, but a page is made to be passed on
        os.replace(beside, path)
    except OSError as error:
        raise RunError(
            f"The {what} {path} cannot be written ({error.strerror}): choose another folder."
        ) from error
    finally:
        if beside is not None:
            Path(beside).unlink(missing_ok=True)
