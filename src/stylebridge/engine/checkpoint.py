"""Checkpoints that survive a kill at any moment: written under a temporary name, synced to disk, then renamed.

``trainer_state/<stage>-<step>/`` holds

* ``state.json``: stage, step, loader positions, byte offset of ``metrics.jsonl``, scalars of the optimisers;
* ``network.<name>.safetensors`` and ``optimizer.<name>.safetensors``;
* ``process-<rank>.safetensors`` and ``.json``: random generators and image buffers of each process;
* ``files.json``: size and SHA-256 of each of these files, so that damage is detected before loading.

A folder with such a name is complete: renaming is the last step.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stylebridge.atomic import PARTIAL, flush, partial_path, put_in_place, write_problem
from stylebridge.errors import CheckpointError, RunError, one_line

_NAME = re.compile(r"^(?P<stage>.+)-(?P<step>\d{8})$")
#: The folder of a run's checkpoints.
STATE_FOLDER = "trainer_state"
_DISCARDED = ".discarded-"
_DAMAGED = ".damaged-"
_FILES = "files.json"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on the disk: complete when it was written."""

    path: Path
    stage: str
    step: int

    def state(self) -> dict[str, Any]:
        """The contents of ``state.json``."""
        return json.loads((self.path / "state.json").read_text())

    def damage(self) -> str | None:
        """The first damaged file and its damage; None: the checkpoint is intact."""
        try:
            known = json.loads((self.path / _FILES).read_text()) if (self.path / _FILES).is_file() else None
            state = self.state()
            names = {f"network.{name}" for name in state["optimizers"]}
            names |= {f"optimizer.{name}" for name in state["optimizers"]}
            names |= {f"process-{rank}" for rank in range(state["processes"])}
            expected = {f"{name}.safetensors" for name in names} | set(known or ())
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            return f"state.json or {_FILES}: {one_line(error) or type(error).__name__}"
        for name in sorted(expected):
            reason = _file_damage(self.path / name, known.get(name) if known else None)
            if reason is not None:
                return f"{name}: {reason}"
        return None


def _file_damage(path: Path, known: dict[str, Any] | None) -> str | None:
    """A file's damage. ``known``: its size and hash; None: written by an older version, without them."""
    if not path.is_file():
        return "it is missing"
    if known is not None:
        size = path.stat().st_size
        if size != known["bytes"]:
            return f"it has {size} bytes instead of {known['bytes']}"
        return None if _sha256(path) == known["sha256"] else "its contents changed after it was written"
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt"):  # checks the header against the file's size
                return None
        json.loads(path.read_text())
    except (OSError, ValueError, SafetensorError) as error:
        return one_line(error)
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_checkpoints(folder: Path) -> list[Checkpoint]:
    """All complete checkpoints, oldest first: by the leading number of the stage's name, then by step."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _NAME.match(path.name)
        if match and not path.name.startswith("."):
            found.append(Checkpoint(path, match["stage"], int(match["step"])))
    return sorted(found, key=lambda c: (_number(c.stage), c.stage, c.step))


def _number(stage: str) -> int:
    digits = stage.partition("-")[0]
    return int(digits) if digits.isdecimal() else 0


def clear_leftovers(folder: Path) -> None:
    """Remove what a killed process left partly written or partly removed."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name.startswith((PARTIAL, _DISCARDED)):
            shutil.rmtree(path, ignore_errors=True)


def last_good(folder: Path) -> str:
    """The checkpoint that a stopped run can resume from, as part of a sentence."""
    kept = find_checkpoints(folder)
    return f"the last good checkpoint is {kept[-1].path}" if kept else "no checkpoint was written yet"


def set_aside(path: Path) -> Path:
    """Rename a damaged checkpoint; returns the new path."""
    aside = path.with_name(f"{_DAMAGED}{path.name}")
    shutil.rmtree(aside, ignore_errors=True)
    os.rename(path, aside)
    return aside


def discard(path: Path) -> None:
    """Remove a checkpoint. Renamed first: a kill must not leave part of it under a valid name."""
    aside = path.with_name(f"{_DISCARDED}{path.name}")
    os.rename(path, aside)
    shutil.rmtree(aside, ignore_errors=True)


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write one safetensors file (tensors that share memory are written as copies)."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    save_file(plain, path)
    flush(path)


def save_json(value: Any, path: Path) -> None:
    """Write one JSON file and flush it."""
    path.write_text(json.dumps(value))
    flush(path)


def convert_tensors(
    tensors: dict[str, Tensor], conversions: Mapping[str, Callable[[Tensor], Tensor]]
) -> dict[str, Tensor]:
    """The tensors, converted where ``conversions`` has their name."""
    return {name: conversions[name](t) if name in conversions else t for name, t in tensors.items()}


def load_network(
    network: nn.Module, path: Path, conversions: Mapping[str, Callable[[Tensor], Tensor]] | None = None
) -> None:
    """Load a network's tensors, strictly.

    Args:
        conversions: for parameters stored in an older layout.

    Raises:
        RunError: the file's tensors do not match the network.
    """
    try:
        network.load_state_dict(convert_tensors(load_file(path), conversions or {}))
    except (RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise RunError(
            f"{path} does not fit the network of this recipe ({reason}): resume with the recipe of the original run."
        ) from error


@contextlib.contextmanager
def explain_full_disk(what: str, folder: Path) -> Iterator[None]:
    """Turn a failed write into a :class:`CheckpointError` that names the last intact checkpoint.

    Args:
        folder: the folder of the run, or of its checkpoints.
    """
    try:
        yield
    except Exception as error:
        reason = write_problem(error)
        if reason is None:
            raise
        kept = find_checkpoints(folder) or find_checkpoints(folder / STATE_FOLDER)
        whole = (
            f"the previous checkpoint {kept[-1].path} is intact" if kept else "no earlier checkpoint exists"
        )
        raise CheckpointError(
            f"{what} could not be written ({reason.why})",
            f"{reason.mend}, or choose another --out, then resume; {whole}",
        ) from error


class CheckpointWriter:
    """Writes one checkpoint. Every process writes its part; the main process renames the folder at the end."""

    def __init__(self, folder: Path, stage: str, step: int) -> None:
        self.final = folder / f"{stage}-{step:08d}"
        self.partial = partial_path(self.final)

    def open(self) -> None:
        """Create the temporary folder (main process, before the others write)."""
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir(parents=True)

    def commit(self, keep: int) -> Checkpoint:
        """Rename the finished folder and discard all but the newest ``keep`` checkpoints (main process)."""
        folder = self.final.parent
        files = sorted(self.partial.iterdir())
        save_json(
            {file.name: {"bytes": file.stat().st_size, "sha256": _sha256(file)} for file in files},
            self.partial / _FILES,
        )
        if self.final.exists():  # a resumed run may write a checkpoint again
            discard(self.final)
        put_in_place(self.partial, self.final, durable=True)
        for old in find_checkpoints(folder)[:-keep]:
            discard(old.path)
        match = _NAME.match(self.final.name)
        assert match is not None
        return Checkpoint(self.final, match["stage"], int(match["step"]))

    def abandon(self) -> None:
        """Remove the unfinished folder."""
        shutil.rmtree(self.partial, ignore_errors=True)
