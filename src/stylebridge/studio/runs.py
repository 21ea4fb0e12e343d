"""The run folders that the page may use, and the models opened from them."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from stylebridge.errors import RunError
from stylebridge.jobs.runs.folder import RunFolder, command_of

#: How deep below the start folder runs are looked for, in how many folders, and how many models stay in memory.
_DEPTH, _FOLDERS, _MODELS = 4, 3000, 4


class Runs:
    """Runs by the names that the page shows: those given at start, and those below the start folder.

    The page can name no other folder of the machine.
    """

    def __init__(self, given: Sequence[Path], below: Path) -> None:
        self.below = below.resolve()
        self.given: dict[str, Path] = {}
        for path in dict.fromkeys(given):
            name, number = self._place(path), 2
            while name in self.given:
                name, number = f"{self._place(path)} ({number})", number + 1
            self.given[name] = path

    def _place(self, path: Path) -> str:
        path = path.resolve()
        inside = path.is_relative_to(self.below) and path != self.below
        return path.relative_to(self.below).as_posix() if inside else path.name

    def name_of(self, path: Path) -> str:
        """What the page calls a folder: its place below the start folder, or its own name alone."""
        return next((name for name, given in self.given.items() if given == path), self._place(path))

    def listed(self, kind: str) -> list[str]:
        """The names of all runs of a kind, the given ones first. Bridge runs translate too."""
        names = dict.fromkeys(name for name, path in self.given.items() if does(path, kind))
        names |= dict.fromkeys(self.name_of(path) for path in _runs_below(self.below) if does(path, kind))
        return list(names)

    def find(self, name: str, kind: str) -> Path:
        """The folder of a run.

        Raises:
            RunError: it is neither one of the given nor below the start folder.
        """
        name = name.strip().rstrip("/")
        if not name:
            raise RunError(
                f"No run is chosen: make one with `stylebridge {command_of(kind)}`, or choose one."
            )
        if name in self.given:
            return self.given[name]
        try:
            path = (self.below / name).resolve()
            inside = path.is_relative_to(self.below) and not Path(name).is_absolute()
        except (OSError, ValueError, RuntimeError):
            inside = False
        if not inside:
            raise RunError(
                "Only runs below the folder in which the studio was started can be opened here: choose one of the "
                "list, or start the studio with --run."
            )
        if not path.is_dir():
            raise RunError(f"There is no run {name!r}: choose one of the list.")
        return path


def identity(path: Path) -> str:
    """What changes when a run is made anew."""
    try:
        return f"{path.resolve()} {(path / 'run.yaml').stat().st_mtime_ns}"
    except OSError:
        return str(path.resolve())


def kind_of(path: Path) -> str | None:
    """The kind of a run folder; None if it is none."""
    try:
        return str(RunFolder(path).facts().get("kind"))
    except RunError:
        return "adapt" if (path / "stylebridge.json").is_file() else None


def does(path: Path, kind: str) -> bool:
    """Whether a run folder is of a kind, or holds a translator where one is wanted."""
    found = kind_of(path)
    bridge = kind == "translate" and found == "adapt"
    return found == kind or (bridge and any(path.glob("stages/*/networks/painters.safetensors")))


def _runs_below(root: Path) -> Iterator[Path]:
    """Run folders, breadth first, in order of name; hidden folders, links and the insides of runs are left out."""
    level, seen = [root], 0
    for _ in range(_DEPTH + 1):
        below: list[Path] = []
        for folder in level:
            if (folder / "run.yaml").is_file():
                yield folder
                continue
            seen += 1
            if seen > _FOLDERS:
                return
            below += _folders(folder)
        level = below


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [
                e.name for e in entries if not e.name.startswith(".") and e.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return []
    return [folder / name for name in sorted(names)]


class Models:
    """Opened models, the most recently used few of them. Networks run one at a time, under :attr:`lock`."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._kept: OrderedDict[tuple[Any, ...], Any] = OrderedDict()

    def get(self, key: tuple[Any, ...], path: Path, opened: Callable[[], Any]) -> Any:
        """The model of a key; opened if it is not kept, or if its run was made anew since."""
        with self.lock:
            key = (*key, identity(path))
            model = self._kept.pop(key, None)
            if model is None:
                model = opened()
            self._kept[key] = model
            while len(self._kept) > _MODELS:
                self._kept.popitem(last=False)
            return model
