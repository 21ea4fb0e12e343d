"""Shared by all pages: the template environment, and atomic writing."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from stylebridge.atomic import written_file
from stylebridge.report.formats import breakable, count, duration, loss_title, percent, share, stage_title

#: Functions available in templates, also in imported ones.
_FILTERS = (breakable, count, duration, loss_title, percent, share, stage_title)


def open_environment() -> Environment:
    """The environment of this package's templates, with HTML escaping; undefined names are errors."""
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
    """Write a page atomically; its folder is created if needed.

    Raises:
        WriteError: it cannot be written.
    """
    with written_file(path, mend=mend) as beside:
        beside.write_text(html, encoding="utf-8")
