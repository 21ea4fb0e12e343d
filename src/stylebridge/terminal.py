"""What the program prints: names of users' files and classes are shown as they are, whatever signs they hold."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text


def open_console(stderr: bool = False, quiet: bool = False) -> Console:
    """A console that takes ``[red]`` and ``:car:`` in a text for these five signs.

    With rich's markup a folder ``[/x]`` would end the program, and ``[red]`` vanish from a path. What is meant to be
    coloured is a :class:`rich.text.Text` or has a ``style``.
    """
    return Console(stderr=stderr, quiet=quiet, markup=False, emoji=False, highlight=False)


def say(console: Console, text: str | Text, style: str | None = None) -> None:
    """Print a sentence as it is on a console that may be the caller's own.

    Lines are broken by the terminal alone: a path that is broken over two lines cannot be copied.
    """
    console.print(text, style=style or "", highlight=False, markup=False, emoji=False, soft_wrap=True)
