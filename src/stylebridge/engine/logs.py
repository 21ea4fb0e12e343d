"""What a run tells while it trains: metrics.jsonl, TensorBoard, and a progress bar."""

from __future__ import annotations

import contextlib
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard.writer import SummaryWriter


class MetricLog:
    """Means over a window of steps, appended to ``metrics.jsonl`` and TensorBoard.

    The file is the truth; a resumed run cuts it back to the checkpoint's offset so that no step is told twice.
    """

    def __init__(self, folder: Path, stage: str, offset: int | None, step: int) -> None:
        self.path = folder / "metrics.jsonl"
        self.stage = stage
        if offset is not None and self.path.exists():
            with self.path.open("r+b") as file:
                file.truncate(offset)
        # Unbuffered: a line is on its way to the disk when it is written, and closing cannot fail late.
        self.file = self.path.open("ab", buffering=0)
        self.board = SummaryWriter(str(folder / "tensorboard" / stage), purge_step=step)
        self.sums: dict[str, float] = defaultdict(float)
        self.counts: dict[str, int] = defaultdict(int)
        self.images = 0
        self.window_start = time.perf_counter()

    def add(self, values: dict[str, float], images: int) -> None:
        """Take one step's values into the window."""
        for name, value in values.items():
            self.sums[name] += value
            self.counts[name] += 1
        self.images += images

    def write(self, step: int) -> dict[str, float]:
        """Close the window: write the means of its steps under the number of steps done, and return them."""
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

    def offset(self) -> int:
        """Bytes written so far."""
        return self.file.tell()

    def close(self) -> None:
        """Close; what TensorBoard could not write any more (a full disk) is let go, metrics.jsonl is the truth."""
        self.file.close()
        with contextlib.suppress(OSError):
            self.board.close()


class StepProgress:
    """A rich progress bar over the steps of one stage, with loss, throughput and time left."""

    def __init__(self, title: str, steps: int, done: int, console: Console | None, show: bool) -> None:
        self.console = console or Console(stderr=True)
        self.live = show and self.console.is_terminal
        self.plain = show and not self.live
        self.title, self.steps, self.last_told = title, steps, time.perf_counter()
        self.bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
        )
        self.task = self.bar.add_task(title, total=steps, completed=done, note="")
        if self.live:
            self.bar.start()

    def advance(self, step: int, means: dict[str, float]) -> None:
        """Show that ``step`` steps are done; ``means`` is what the log last wrote, or nothing."""
        if self.live:
            self.bar.update(self.task, completed=step)
            if means:
                self.bar.update(self.task, note=describe(means))
        elif self.plain and means and (time.perf_counter() - self.last_told > 15 or step == self.steps):
            self.last_told = time.perf_counter()
            self.console.print(f"{self.title}  {step}/{self.steps}  {describe(means)}", highlight=False)

    def close(self) -> None:
        """Take the bar down."""
        if self.live:
            self.bar.stop()


def describe(means: dict[str, float]) -> str:
    """The losses and the throughput of a log line, in a few words."""
    losses = "  ".join(f"{k.rsplit('/', 1)[-1]} {v:.3f}" for k, v in means.items() if k.startswith("loss/"))
    return f"{losses}  {means['samples_per_second']:.1f} img/s"
