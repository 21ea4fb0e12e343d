"""Shared parts of the speed benchmarks: the unit, timed training steps, one process per row, and the results.

The unit is one forward and backward pass of a 3×3 convolution of 256 → 256 channels on [1, 256, 64, 64] in fp32,
measured in the same process, between the steps, so that other load on the machine affects both. The floor is a lower
bound: the time for the necessary arithmetic of convolutions and matrix products at the rate of the unit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from stylebridge.engine import Method, OptimizerConfig, Step, Trainer, TrainerConfig, open_accelerator
from stylebridge.engine.trainer import OpenStream

THREADS = 2
#: Times that the unit is measured before each piece of work.
UNITS = 3
#: More steps than any benchmark makes: where something is never to happen.
NEVER = 10**9
#: How threads wait for each other. By default they spin for a while, which is best on an idle machine; on a busy one
#: they spend their time slices on it: a step of many small operations then takes several times as long, the unit does
#: not. Set OMP_WAIT_POLICY=PASSIVE there.
WAIT_POLICY = os.environ.get("OMP_WAIT_POLICY", "default")


# --- the unit -----------------------------------------------------------------------------------------------------


def make_unit() -> tuple[Callable[[], None], int]:
    """The unit of work, and its floating-point operations."""
    conv = nn.Conv2d(256, 256, 3, padding=1)
    x = torch.randn(1, 256, 64, 64, requires_grad=True)

    def run() -> None:
        conv.zero_grad()
        x.grad = None
        conv(x).sum().backward()

    return run, operations(run)


def operations(work: Callable[[], object], modules: bool = True) -> int:
    """Floating-point operations of convolutions and matrix products in ``work``.

    Args:
        modules: False where the counter's own hooks on modules cannot stand what is done (gradients of inputs).
    """
    counter = FlopCounterMode(display=False)
    if not modules:
        counter.mod_tracker = _NoModules()  # type: ignore[assignment]
    with counter:
        work()
    return counter.get_total_flops()


class _NoModules(contextlib.nullcontext):
    parents = frozenset({"Global"})


def timed(work: Callable[[], object]) -> float:
    """Seconds that ``work`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


# --- steps of a trainer -------------------------------------------------------------------------------------------


def step_flops(method: Method, batch: dict[str, dict[str, Tensor]]) -> int:
    """Operations of one training step of a method on the meta device: shapes only, nothing is computed."""
    step = Step(number=0, batch=batch, device=torch.device("meta"), seed=0)

    def phases() -> None:
        for phase in method.phases():
            for name, network in method.networks.items():
                network.requires_grad_(name in phase.trains)
            for terms in phase.losses(step):
                together = terms if isinstance(terms, list) else [terms]
                torch.stack([term.value * term.weight for term in together]).sum().backward()

    return operations(phases, modules=False)


class _Enough(Exception):
    """All steps are measured: ends the training before it writes a checkpoint."""


def time_steps(
    method: Method,
    optimizers: dict[str, OptimizerConfig],
    batches: dict[str, Callable[[], dict[str, Tensor]]],
    config: TrainerConfig,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """Train ``args.steps`` steps after ``args.warm_up``, and time them; the unit is timed between them.

    Args:
        batches: what makes a batch of each stream.

    Returns:
        Seconds of steps and units, their ratio, and the peak memory.
    """
    unit, flops = make_unit()
    times: dict[str, list[float]] = {"step": [], "unit": []}

    def stream(name: str) -> Iterator[dict[str, Tensor]]:
        # What lies between two requests of the first stream is a step.
        first, start = name == next(iter(batches)), 0.0
        for number in range(args.warm_up + args.steps + 1):
            if first and number > args.warm_up:
                times["step"].append(time.perf_counter() - start)
            if first and number >= args.warm_up:
                times["unit"] += [timed(unit) for _ in range(UNITS)]
            if number == args.warm_up + args.steps:
                raise _Enough
            batch = batches[name]()
            start = time.perf_counter()
            yield batch

    streams: dict[str, OpenStream] = {name: lambda _, name=name: stream(name) for name in batches}
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(_Enough):
        Trainer(
            method,
            config,
            optimizers,
            streams,
            run=Path(folder),
            stage="1-speed",
            seed=0,
            accelerator=open_accelerator("cpu"),
            quiet=True,
        ).fit()
    second, step = statistics.median(times["unit"]), statistics.median(times["step"])
    return {
        "units": step / second,
        "step_seconds": step,
        "unit_seconds": second,
        "unit_flops": flops,
        "unit_gflops": flops / second / 1e9,
        "peak_memory_gib": peak_memory(),
        "steps": len(times["step"]),
        "step_seconds_all": times["step"],
        "unit_seconds_all": times["unit"],
    }


def compared(
    row: dict[str, Any], flops: int, published: int | None = None, bar: int | None = None
) -> dict[str, Any]:
    """A row of :func:`time_steps` with its floor, and the units that others need and that are allowed."""
    floor = flops / row["unit_flops"]
    return row | {
        "floor_units": floor,
        "floor_seconds": floor * row["unit_seconds"],
        "published_units": published,
        "bar_units": bar,
    }


def show_steps(title: str, rows: list[dict[str, Any]], *names: str) -> None:
    """Print rows of :func:`compared`; ``names`` are keys that come first."""
    cells = [
        {name: str(row[name]) for name in names}
        | {
            "units": f"{row['units']:.1f}",
            "bar": str(row["bar_units"] or "–"),
            "published": str(row["published_units"] or "–"),
            "floor": f"{row['floor_units']:.1f}",
            "s/step": f"{row['step_seconds']:.2f}",
            "s/unit": f"{row['unit_seconds']:.4f}",
            "floor s": f"{row['floor_seconds']:.2f}",
            "peak GiB": f"{row['peak_memory_gib']:.2f}",
        }
        for row in rows
    ]
    show(title, cells)


# --- processes and results ----------------------------------------------------------------------------------------


def options(description: str | None, results: str) -> argparse.ArgumentParser:
    """A command line with what every benchmark takes. ``results``: the default file's name in ``results/``."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / results)
    parser.add_argument("--here", action="store_true", help="one row in this process, printed as JSON")
    return parser


def row_here(measure: Callable[[], dict[str, Any]], threads: int) -> None:
    """Measure a row in this process, and print it for :func:`row_elsewhere`."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    print(json.dumps(measure()))


def row_elsewhere(arguments: Sequence[object]) -> dict[str, Any]:
    """One row, measured by this command with other arguments in a process of its own, for its peak memory."""
    command = [sys.executable, sys.argv[0], "--here", *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def peak_memory() -> float:
    """The most memory that this process has taken, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def cpu_name() -> str:
    """The processor's model where Linux tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    return next(
        (line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.machine()
    )


def show(title: str, rows: list[dict[str, str]]) -> None:
    """Print a table; the first row's keys are its columns."""
    view = Table(title=title)
    for column in rows[0]:
        view.add_column(column, justify="right")
    for row in rows:
        view.add_row(*row.values())
    # Into a file as wide as it takes, too: otherwise cut to 80 columns.
    Console(width=max(Console().width, 120)).print(view)


def write(path: Path, threads: int, rows: list[dict[str, Any]]) -> None:
    """Write the rows and what they were measured on as JSON."""
    facts = {
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "device": cpu_name(),
        "wait_policy": WAIT_POLICY,
        "threads": threads,
        "torch": torch.__version__,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(facts | {"rows": rows}, indent=1) + "\n", encoding="utf-8")
