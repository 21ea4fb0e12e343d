"""What a training step of MixNMatch's first stage costs on a CPU, in units that any machine can check.

    python benchmarks/mixnmatch_speed.py        # published widths (CUB), batch 4 at 128

The unit is that of ``speed.py``: one forward and backward pass of a 3×3 convolution of 256 → 256 channels on
[1, 256, 64, 64] in fp32, measured in the same process, between the steps. A step is what the trainer does with one
batch: all four phases, six optimisers, the generator's average, its checks and its log. The floor is the arithmetic of
convolutions and linear layers that a step cannot avoid, at the rate that the unit reached.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from speed import UNITS_A_STEP, Enough, cpu_name, make_unit, timed
from stylebridge.engine import Step, Trainer, TrainerConfig, open_accelerator
from stylebridge.methods.mixnmatch import MixNMatch, MixNMatchOptions, published_optimizers
from stylebridge.networks.mixnmatch import PRESETS, MixNMatchConfig, MixNMatchNetworks

#: Units of the published step (batch 4 at 128, 2 cores), as issue 7 gives it, and the most ours may cost.
PUBLISHED, BAR = 64, 45


def random_batch(config: MixNMatchConfig, images: int, device: str = "cpu") -> dict[str, Tensor]:
    """Images, background views and boxes."""
    side, view = config.image_size, config.view_size
    rows = torch.zeros(images, dtype=torch.int64, device=device)
    return {
        "image": torch.rand(images, 3, side, side, device=device),
        "background": torch.rand(images, 3, view, view, device=device),
        "box": torch.tensor([[40.0, 30.0, 90.0, 100.0]], device=device).expand(images, -1),
        "index": rows,
        "position": rows,
    }


class NoModules(contextlib.nullcontext):
    """In place of the counter's tracker of modules, whose hooks cannot stand gradients of inputs (the penalty's)."""

    parents = frozenset({"Global"})


def step_flops(config: MixNMatchConfig, images: int) -> int:
    """Operations of convolutions and linear layers in one step: shapes only, nothing is computed."""
    with torch.device("meta"):
        method = MixNMatch(MixNMatchNetworks(config))
    batch = {"images": random_batch(config, images, "meta")}
    step = Step(number=0, batch=batch, device=torch.device("meta"), seed=0)
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = NoModules()  # type: ignore[assignment]
    with counter:
        for phase in method.phases():
            for name, network in method.networks.items():
                network.requires_grad_(name in phase.trains)
            for terms in phase.losses(step):
                together = terms if isinstance(terms, list) else [terms]
                torch.stack([term.value * term.weight for term in together]).sum().backward()
    return counter.get_total_flops()


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Train so many steps and time them; the unit is timed between them."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    config = PRESETS[args.preset]
    unit, unit_flops = make_unit()
    times: dict[str, list[float]] = {"step": [], "unit": []}

    def stream(_: int) -> Iterator[dict[str, Tensor]]:
        # What lies between two requests is a step.
        start = 0.0
        for number in range(args.warm_up + args.steps + 1):
            if number > args.warm_up:
                times["step"].append(time.perf_counter() - start)
            if number >= args.warm_up:
                times["unit"] += [timed(unit) for _ in range(UNITS_A_STEP)]
            if number == args.warm_up + args.steps:
                raise Enough
            batch = random_batch(config, args.batch)
            start = time.perf_counter()
            yield batch

    method = MixNMatch(MixNMatchNetworks(config), MixNMatchOptions(share_graphs=not args.remake))
    never = 10**9
    settings = TrainerConfig(
        steps=never,
        batch=args.batch,
        checkpoint_every=never,
        sample_every=0,
        channels_last=not args.channels_first,
    )
    unit()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            method,
            settings,
            published_optimizers(),
            {"images": stream},
            run=Path(folder),
            stage="1-speed",
            seed=0,
            accelerator=open_accelerator("cpu"),
            quiet=True,
        )
        with contextlib.suppress(Enough):
            trainer.fit()
    second, step = statistics.median(times["unit"]), statistics.median(times["step"])
    floor = step_flops(config, args.batch) / unit_flops
    bars = (PUBLISHED, BAR) if (args.preset, args.batch) == ("mixnmatch", 4) else (None, None)
    return {
        "preset": args.preset,
        "batch": args.batch,
        "share_graphs": not args.remake,
        "channels_last": not args.channels_first,
        "units": step / second,
        "floor_units": floor,
        "published_units": bars[0],
        "bar_units": bars[1],
        "step_seconds": step,
        "unit_seconds": second,
        "floor_seconds": floor * second,
        "unit_gflops": unit_flops / second / 1e9,
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "steps": len(times["step"]),
        "step_seconds_all": times["step"],
        "unit_seconds_all": times["unit"],
    }


def show(row: dict[str, Any], threads: int) -> None:
    """Print the table."""
    view = Table(
        title=f"{row['preset']}, first stage, batch {row['batch']}, fp32, {cpu_name()}, {threads} threads"
    )
    cells = {
        "units": f"{row['units']:.1f}",
        "bar": str(row["bar_units"] or "–"),
        "published": str(row["published_units"] or "–"),
        "floor": f"{row['floor_units']:.1f}",
        "s/step": f"{row['step_seconds']:.2f}",
        "s/unit": f"{row['unit_seconds']:.4f}",
        "floor s": f"{row['floor_seconds']:.2f}",
        "peak GiB": f"{row['peak_memory_gib']:.2f}",
    }
    for column in cells:
        view.add_column(column, justify="right")
    view.add_row(*cells.values())
    Console().print(view)


def main() -> None:
    """Measure in a process of its own, for its peak memory, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", choices=list(PRESETS), default="mixnmatch")
    parser.add_argument("--batch", type=int, default=4, help="images a step")
    parser.add_argument("--steps", type=int, default=5, help="steps to time; their median counts")
    parser.add_argument("--warm-up", type=int, default=2, help="steps before those")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--channels-first", action="store_true", help="layout of weights and images")
    parser.add_argument("--remake", action="store_true", help="share_graphs: false (less memory, more time)")
    parser.add_argument(
        "--json", type=Path, default=Path(__file__).parent / "results" / "mixnmatch_speed.json"
    )
    parser.add_argument("--here", action="store_true", help="in this process, printed as JSON")
    args = parser.parse_args()
    if args.here:
        print(json.dumps(measure(args)))
        return
    command = [sys.executable, __file__, "--here", *sys.argv[1:]]
    # Threads that wait for each other sleep: see speed.py.
    policy = os.environ.get("OMP_WAIT_POLICY", "PASSIVE")
    environment = os.environ | {"OMP_WAIT_POLICY": policy}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    row = json.loads(done.stdout)
    show(row, args.threads)
    facts = {
        "command": " ".join(["python benchmarks/mixnmatch_speed.py", *sys.argv[1:]]),
        "device": cpu_name(),
        "wait_policy": policy,
        "threads": args.threads,
        "torch": torch.__version__,
    }
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(facts | {"rows": [row]}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
