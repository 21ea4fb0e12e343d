"""Console output. File and class names are printed verbatim, whatever characters they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from rich.progress import Progress


def open_console(stderr: bool = False, quiet: bool = False) -> Console:
    """A console that prints ``[red]`` and ``:car:`` literally.

    With rich's markup a folder ``[/x]`` would raise an error, and ``[red]`` would vanish from a path. Coloured
    text is passed as :class:`rich.text.Text` or with a ``style``.
    """
    return Console(stderr=stderr, quiet=quiet, markup=False, emoji=False, highlight=False)


def open_progress(console: Console, quiet: bool = False) -> Progress:
    """A temporary progress bar with counts and the remaining time."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    text = TextColumn("{task.description}", markup=False)
    columns = text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=console, transient=True, disable=quiet)


def say(console: Console, text: str | Text, style: str | None = None) -> None:
    """Print a sentence verbatim, also on a caller's console.

    Only the terminal wraps lines: a path that is wrapped by us could not be copied.
    """
    console.print(text, style=style or "", highlight=False, markup=False, emoji=False, soft_wrap=True)
