"""The run folders that the page may use, and the models opened from them."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from stylebridge.errors import RunError
from stylebridge.jobs.apply.models.model import CAPABILITIES, Model, capabilities_of

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

    def listed(self) -> dict[str, list[str]]:
        """The names of the runs that can do each of :data:`CAPABILITIES`, the given ones first."""
        paths = {**self.given, **{self.name_of(path): path for path in _runs_below(self.below)}}
        does = {name: capabilities_of(path) for name, path in paths.items()}
        return {each: [name for name in does if each in does[name]] for each in CAPABILITIES}

    def find(self, name: str, capability: str | None = None) -> Path:
        """The folder of a run.

        Args:
            capability: what is wanted of it, for messages.

        Raises:
            RunError: it is neither one of the given nor below the start folder.
        """
        name = name.strip().rstrip("/")
        if not name:
            made = f"make one with {CAPABILITIES[capability]}, or " if capability is not None else ""
            raise RunError(f"No run is chosen: {made}choose one.")
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
        self._kept: OrderedDict[str, Model] = OrderedDict()

    def get(self, path: Path, opened: Callable[[], Model]) -> Model:
        """The model of a run; opened if it is not kept, or if its run was made anew since."""
        with self.lock:
            key = identity(path)
            model = self._kept.pop(key, None)
            if model is None:
                model = opened()
            self._kept[key] = model
            while len(self._kept) > _MODELS:
                self._kept.popitem(last=False)
            return model
