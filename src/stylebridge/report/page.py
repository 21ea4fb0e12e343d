"""What all pages share: the environment they are drawn in, and writing them whole or not at all."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from stylebridge.atomic import written_file
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


def write_page(path: Path, html: str, mend: str = "choose another folder") -> None:
    """Write a page, whole or not at all; its folder is made if need be.

    Raises:
        WriteError: it cannot be written.
    """
    with written_file(path, mend=mend) as beside:
        beside.write_text(html, encoding="utf-8")
