"""What a NICE-GAN training step costs on a CPU, in units that any machine can check.

    python benchmarks/speed.py                  # light model, batch 1, at 128 and 256

The unit is one forward and backward pass of a 3×3 convolution of 256 → 256 channels on [1, 256, 64, 64] in fp32,
measured in the same process, between the steps, so that what else the machine does falls on both. A step is what the
trainer does with one batch: both phases, both optimisers, its checks and its log. The floor is the arithmetic of
convolutions and linear layers that a step cannot avoid, at the rate that the unit reached.
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from stylebridge.engine import Step, Trainer, TrainerConfig, open_accelerator
from stylebridge.methods.nice_gan import NiceGAN, published_optimizers
from stylebridge.networks.nice_gan import NiceGanConfig, NiceGanNetworks

THREADS = 2
UNITS_A_STEP = 3
#: Units of the published step (light, batch 1, 2 cores), as measured by issue 4, and the most ours may cost.
PUBLISHED, BAR = {128: 196, 256: 257}, {128: 100, 256: 150}


def cpu_name() -> str:
    """The processor's model where Linux tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    return next(
        (line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.machine()
    )


class Enough(Exception):
    """All steps are measured: ends the training before it writes a checkpoint."""


def make_unit() -> tuple[Callable[[], None], int]:
    """The unit of work, and its floating-point operations."""
    conv = nn.Conv2d(256, 256, 3, padding=1)
    x = torch.randn(1, 256, 64, 64, requires_grad=True)

    def run() -> None:
        conv.zero_grad()
        x.grad = None
        conv(x).sum().backward()

    with FlopCounterMode(display=False) as counter:
        run()
    return run, counter.get_total_flops()


def step_flops(size: int) -> int:
    """Operations of convolutions and linear layers in one step: shapes only, nothing is computed."""
    with torch.device("meta"):
        method = NiceGAN(NiceGanNetworks(NiceGanConfig(image_size=size)))
        batch = {domain: {"image": torch.rand(1, 3, size, size)} for domain in method.streams}
    step = Step(number=0, batch=batch, device=torch.device("meta"), seed=0)
    with FlopCounterMode(display=False) as counter:
        for phase in method.phases():
            for name, network in method.networks.items():
                network.requires_grad_(name in phase.trains)
            for terms in phase.losses(step):
                together = terms if isinstance(terms, list) else [terms]
                torch.stack([term.value * term.weight for term in together]).sum().backward()
    return counter.get_total_flops()


def timed(work: Callable[[], None]) -> float:
    """Seconds that ``work`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(size: int, steps: int, warm_up: int, channels_last: bool) -> dict[str, Any]:
    """Train so many steps and time them; the unit is timed between them."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    unit, unit_flops = make_unit()
    times: dict[str, list[float]] = {"step": [], "unit": []}

    def stream(first: bool) -> Iterator[dict[str, Tensor]]:
        # What lies between two requests of the first stream is a step.
        start, row = 0.0, torch.zeros(1, dtype=torch.int64)
        for number in range(warm_up + steps + 1):
            if first and number > warm_up:
                times["step"].append(time.perf_counter() - start)
            if first and number >= warm_up:
                times["unit"] += [timed(unit) for _ in range(UNITS_A_STEP)]
            if number == warm_up + steps:
                raise Enough
            images = torch.rand(1, 3, size, size)
            start = time.perf_counter()
            yield {"image": images, "index": row, "position": row}

    method = NiceGAN(NiceGanNetworks(NiceGanConfig(image_size=size)))
    never = 10**9
    config = TrainerConfig(
        steps=never, batch=1, checkpoint_every=never, sample_every=0, channels_last=channels_last
    )
    unit()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            method,
            config,
            published_optimizers(),
            {"a": lambda _: stream(True), "b": lambda _: stream(False)},
            run=Path(folder),
            stage="1-speed",
            seed=0,
            accelerator=open_accelerator("cpu"),
            quiet=True,
        )
        with contextlib.suppress(Enough):
            trainer.fit()
    second, step = statistics.median(times["unit"]), statistics.median(times["step"])
    return {
        "size": size,
        "units": step / second,
        "floor_units": step_flops(size) / unit_flops,
        "published_units": PUBLISHED.get(size),
        "bar_units": BAR.get(size),
        "step_seconds": step,
        "unit_seconds": second,
        "floor_seconds": step_flops(size) / unit_flops * second,
        "unit_gflops": unit_flops / second / 1e9,
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "steps": len(times["step"]),
        "step_seconds_all": times["step"],
        "unit_seconds_all": times["unit"],
    }


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    view = Table(title=f"NICE-GAN light, batch 1, fp32, {cpu_name()}, {THREADS} threads")
    for column in ("size", "units", "bar", "published", "floor", "s/step", "s/unit", "floor s", "peak GiB"):
        view.add_column(column, justify="right")
    for row in rows:
        view.add_row(
            str(row["size"]),
            f"{row['units']:.1f}",
            str(row["bar_units"] or "–"),
            str(row["published_units"] or "–"),
            f"{row['floor_units']:.1f}",
            f"{row['step_seconds']:.2f}",
            f"{row['unit_seconds']:.4f}",
            f"{row['floor_seconds']:.2f}",
            f"{row['peak_memory_gib']:.2f}",
        )
    Console().print(view)


def main() -> None:
    """Measure every size in a process of its own, for its peak memory, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256], help="sides of the images")
    parser.add_argument("--steps", type=int, default=5, help="steps to time; their median counts")
    parser.add_argument("--warm-up", type=int, default=2, help="steps before those")
    parser.add_argument("--channels-last", action="store_true", help="layout of weights and images")
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "speed.json")
    parser.add_argument("--here", action="store_true", help="one size in this process, printed as JSON")
    args = parser.parse_args()
    if args.here:
        print(json.dumps(measure(args.sizes[0], args.steps, args.warm_up, args.channels_last)))
        return
    rows = []
    for size in args.sizes:
        command = [sys.executable, __file__, "--here", "--sizes", str(size)]
        command += ["--steps", str(args.steps), "--warm-up", str(args.warm_up)]
        command += ["--channels-last"] * args.channels_last
        # Threads that wait for each other sleep. By default they spin, and on a busy machine spend their time slices
        # on it: a step of many small operations then takes several times as long, the unit does not.
        environment = os.environ | {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
        rows.append(json.loads(done.stdout))
    show(rows)
    facts = {"command": "python benchmarks/speed.py", "device": cpu_name()}
    facts |= {
        "wait_policy": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        "threads": THREADS,
        "torch": torch.__version__,
    }
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(facts | {"rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
