"""What SEAN costs on a CPU, in units that any machine can check.

    python benchmarks/synthesis_speed.py            # published size, 256×256, batch 1, at 19 and at 150 classes

Forward is the style encoder and the generator in training mode without a graph; forward and backward give gradients to
all weights. The unit is that of ``speed.py``: one forward and backward pass of a 3×3 convolution of 256 → 256 channels
on [1, 256, 64, 64] in fp32, measured in the same process between the passes. The floor is the arithmetic of
convolutions and matrix products that these passes do, at the rate that the unit reached.

Label maps are made of patches, or (``--maps noise``) of a class at random for every pixel.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from speed import THREADS, cpu_name, make_unit, timed
from stylebridge.networks.sean import SEANConfig, SEANNetworks

UNITS_A_PASS = 3
#: Units of the published code (19 classes), as measured by issue 5, and the most ours may cost.
PUBLISHED, BAR = {"forward": 93, "both": 353}, {"forward": 35, "both": 130}
#: The most that 150 classes may cost, in terms of 19.
BAR_RATIO = 1.3
SIDE = 256


def label_maps(classes: int, kind: str) -> Tensor:
    """[1, 256, 256]: ``patches`` of 16 × 16 pixels, or ``noise``."""
    side = 16 if kind == "patches" else SIDE
    coarse = torch.randint(classes, (1, 1, side, side), generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse.float(), size=(SIDE, SIDE))[:, 0].long()


def make_passes(classes: int, maps: str) -> dict[str, Callable[[], None]]:
    """The two things that are measured."""
    torch.manual_seed(0)
    networks = SEANNetworks(SEANConfig(classes=classes)).train()
    labels, image = label_maps(classes, maps), torch.rand(1, 3, SIDE, SIDE)

    def forward() -> None:
        with torch.no_grad():
            networks(labels, image)

    def both() -> None:
        networks.zero_grad()
        networks(labels, image).mean().backward()

    return {"forward": forward, "both": both}


def measure(classes: int, maps: str, passes: int, warm_up: int) -> dict[str, Any]:
    """Time so many passes of either kind, and units between them."""
    torch.set_num_threads(THREADS)
    unit, unit_flops = make_unit()
    works = make_passes(classes, maps)
    times: dict[str, list[float]] = {"unit": []}
    flops: dict[str, int] = {}
    unit()
    for name, work in works.items():
        with FlopCounterMode(display=False) as counter:
            work()
        flops[name] = counter.get_total_flops()
        for _ in range(warm_up - 1):
            work()
    for _ in range(passes):
        for name, work in works.items():
            times["unit"] += [timed(unit) for _ in range(UNITS_A_PASS)]
            times.setdefault(name, []).append(timed(work))
    second = statistics.median(times["unit"])
    row: dict[str, Any] = {"classes": classes, "maps": maps, "unit_seconds": second, "times": times}
    for name in works:
        taken = statistics.median(times[name])
        row |= {f"{name}_units": taken / second, f"{name}_seconds": taken}
        row[f"{name}_floor_units"] = flops[name] / unit_flops
    row["peak_memory_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return row


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table, and what more classes cost."""
    view = Table(
        title=f"SEAN with style encoder, {SIDE}×{SIDE}, batch 1, fp32, {cpu_name()}, {THREADS} threads"
    )
    for column in (
        "classes",
        "maps",
        "pass",
        "units",
        "bar",
        "published",
        "floor",
        "s",
        "s/unit",
        "peak GiB",
    ):
        view.add_column(column, justify="right")
    for row in rows:
        for name in PUBLISHED:
            first = row["classes"] == rows[0]["classes"]
            view.add_row(
                str(row["classes"]),
                row["maps"],
                "forward" if name == "forward" else "forward + backward",
                f"{row[f'{name}_units']:.1f}",
                str(BAR[name]) if first else f"{BAR_RATIO * rows[0][f'{name}_units']:.1f}",
                str(PUBLISHED[name]) if row["classes"] == 19 else "–",
                f"{row[f'{name}_floor_units']:.1f}",
                f"{row[f'{name}_seconds']:.2f}",
                f"{row['unit_seconds']:.4f}",
                f"{row['peak_memory_gib']:.2f}",
            )
    Console().print(view)


def main() -> None:
    """Measure every number of classes in a process of its own, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--classes", type=int, nargs="+", default=[19, 150], help="of the label maps")
    parser.add_argument("--maps", choices=("patches", "noise"), default="patches", help="kind of label maps")
    parser.add_argument("--passes", type=int, default=5, help="passes to time; their median counts")
    parser.add_argument("--warm-up", type=int, default=2, help="passes before those, at least 1")
    parser.add_argument("--json", type=Path, help="default: results/synthesis_speed.json beside this file")
    parser.add_argument("--here", action="store_true", help="one row in this process, printed as JSON")
    args = parser.parse_args()
    if args.here:
        print(json.dumps(measure(args.classes[0], args.maps, args.passes, args.warm_up)))
        return
    rows = []
    for classes in args.classes:
        command = [sys.executable, __file__, "--here", "--classes", str(classes), "--maps", args.maps]
        command += ["--passes", str(args.passes), "--warm-up", str(args.warm_up)]
        environment = os.environ | {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
        rows.append(json.loads(done.stdout))
    show(rows)
    facts = {"command": " ".join(["python", "benchmarks/synthesis_speed.py", *sys.argv[1:]])}
    facts |= {"device": cpu_name(), "threads": THREADS, "torch": torch.__version__}
    path = args.json or Path(__file__).parent / "results" / "synthesis_speed.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(facts | {"rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
