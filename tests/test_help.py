"""Every command explains itself."""

from collections.abc import Iterator

import pytest
from typer.main import get_command

from stylebridge.cli import app
from support import folders
from support.folders import CommandLine

stylebridge = folders.stylebridge


def commands(group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """All commands and groups of commands, by their words."""
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


ALL = list(commands(get_command(app)))


@pytest.mark.slow
@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help(words: tuple[str, ...], stylebridge: CommandLine) -> None:
    told = stylebridge(*words, "--help")
    assert told.code == 0, told.err
    assert "Usage" in told.out
    assert " ".join(words) in told.out


def test_all_of_them_were_found() -> None:
    assert {("adapt",), ("translate", "apply"), ("mix", "apply"), ("data", "doctor"), ("studio",)} <= set(ALL)
