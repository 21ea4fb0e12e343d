"""The output of a training run: metrics.jsonl, TensorBoard, and a progress bar."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard.writer import SummaryWriter

from stylebridge.atomic import written_file
from stylebridge.terminal import open_console, say


class MetricLog:
    """Writes means over a window of steps to ``metrics.jsonl`` and TensorBoard.

    A run that starts at ``step`` first removes the lines from there on, so that no step is logged twice.

    Args:
        state: the result of :meth:`state` in the checkpoint that the run continues from.

    Attributes:
        notice: a notice about missing lines, or None.
    """

    def __init__(self, folder: Path, stage: str, step: int, state: dict[str, Any] | None = None) -> None:
        self.path = folder / "metrics.jsonl"
        self.stage = stage
        state = state or {}
        self.notice = cut_back(self.path, stage, step, state.get("offset"))
        # Unbuffered: a write fails at once and not when the file is closed.
        self.file = self.path.open("ab", buffering=0)
        # Values are logged under the number of completed steps: the next one is step + 1.
        self.board = SummaryWriter(str(folder / "tensorboard" / stage), purge_step=step + 1)
        self.sums: dict[str, float] = defaultdict(float, state.get("sums", {}))
        self.counts: dict[str, int] = defaultdict(int, state.get("counts", {}))
        self.images = state.get("images", 0)
        self.window_start = time.perf_counter() - state.get("seconds", 0.0)

    def add(self, values: dict[str, float], images: int) -> None:
        """Add one step's values to the window."""
        for name, value in values.items():
            self.sums[name] += value
            self.counts[name] += 1
        self.images += images

    def write(self, step: int) -> dict[str, float]:
        """Close the window: write the means under the number of completed steps, and return them."""
        if not self.sums:
            return {}
        means = {name: total / self.counts[name] for name, total in self.sums.items()}
        elapsed = max(time.perf_counter() - self.window_start, 1e-9)
        means["samples_per_second"] = self.images / elapsed
        line: dict[str, Any] = {"stage": self.stage, "step": step, **means, "time": time.time()}
        self.file.write(json.dumps(line).encode() + b"\n")
        for name, value in means.items():
            self.board.add_scalar(name, value, step)
        self.sums.clear()
        self.counts.clear()
        self.images, self.window_start = 0, time.perf_counter()
        return means

    def state(self) -> dict[str, Any]:
        """The state for a checkpoint: the length of the file, which is synced to disk first, and the steps of the open
        window."""
        os.fsync(self.file.fileno())
        with contextlib.suppress(OSError):
            self.board.flush()
        return {
            "offset": self.file.tell(),
            "sums": dict(self.sums),
            "counts": dict(self.counts),
            "images": self.images,
            "seconds": time.perf_counter() - self.window_start,
        }

    def close(self) -> None:
        """Close. If TensorBoard cannot write (disk full), its values are dropped; metrics.jsonl has them."""
        self.file.close()
        with contextlib.suppress(OSError):
            self.board.close()


def cut_back(path: Path, stage: str, step: int, offset: int | None) -> str | None:
    """Cut a log at ``step`` of ``stage``, where a run is about to start.

    Args:
        offset: the length of the log at the checkpoint; None: the stage starts from its beginning.

    Returns:
        A sentence about missing lines, or None.
    """
    data = path.read_bytes() if path.exists() else b""
    lines = data[:offset].splitlines(keepends=True)
    kept = [line for line in lines if not _comes_later(line, stage, step)]
    wanted = b"".join(kept)
    if data.startswith(wanted):
        if len(wanted) < len(data):
            os.truncate(path, len(wanted))
    else:  # a line in the middle is damaged
        with written_file(path) as beside:
            beside.write_bytes(wanted)
    if offset is None or len(wanted) == offset:
        return None
    return (
        f"{path} has {len(wanted)} of its {offset} bytes at the checkpoint: some steps are missing from "
        f"the log. Training is not affected."
    )


def _comes_later(line: bytes, stage: str, step: int) -> bool:
    """Whether a line is of a later step, or is incomplete."""
    try:
        entry = json.loads(line)
        return not line.endswith(b"\n") or (entry["stage"] == stage and entry["step"] > step)
    except (ValueError, KeyError, TypeError):
        return True


class StepProgress:
    """A rich progress bar over the steps of one stage, with losses, throughput and remaining time."""

    def __init__(self, title: str, steps: int, done: int, console: Console | None, show: bool) -> None:
        self.console = console or open_console(stderr=True)
        self.live = show and self.console.is_terminal
        self.plain = show and not self.live
        self.title, self.steps, self.last_told = title, steps, time.perf_counter()
        self.bar = Progress(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
        )
        self.task = self.bar.add_task(title, total=steps, completed=done, note="")
        if self.live:
            self.bar.start()

    def advance(self, step: int, means: dict[str, float]) -> None:
        """Show that ``step`` steps are complete; ``means``: the last values of the log, or empty."""
        if self.live:
            self.bar.update(self.task, completed=step)
            if means:
                self.bar.update(self.task, note=describe(means))
        elif self.plain and means and (time.perf_counter() - self.last_told > 15 or step == self.steps):
            self.last_told = time.perf_counter()
            say(self.console, f"{self.title}  {step}/{self.steps}  {describe(means)}")

    def close(self) -> None:
        """Remove the bar."""
        if self.live:
            self.bar.stop()


def describe(means: dict[str, float]) -> str:
    """The losses, each as ``phase/loss``, and the throughput of a log line."""
    losses = "  ".join(
        f"{k.removeprefix('loss/')} {v:.3f}" for k, v in means.items() if k.startswith("loss/")
    )
    return f"{losses}  {means['samples_per_second']:.1f} img/s"
