"""Time of SEAN on a CPU, in units of a convolution that any machine can run.

    python benchmarks/synthesis_speed.py            # published size, 256×256, batch 1; 19 classes, and 150

Forward is the style encoder and the generator in training mode without a graph; forward and backward give gradients to
all weights. The unit is that of ``speed.py``: one forward and backward pass of a 3×3 convolution of 256 → 256 channels
on [1, 256, 64, 64] in fp32, measured in the same process between the passes. The floor is a lower bound: the time for
the arithmetic of convolutions and matrix products in these passes at the rate of the unit.

A row ``150:40`` is a network of 150 classes and a label map that shows 40 of them; ``150`` shows all. A photo of
ADE20K, the set with 150 classes, shows 10 or 20. Label maps are made of 16 × 16 patches, or (``--maps noise``) of a
class at random for every pixel.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import common
from stylebridge.networks.sean import SEANConfig, SEANNetworks

#: Units of the published code (19 classes), as measured by issue 5, and the most ours may cost.
PUBLISHED, BAR = {"forward": 93, "both": 353}, {"forward": 35, "both": 130}
#: The most that any row may cost, in terms of the first.
BAR_RATIO = 1.3
SIDE = 256
ROWS = ["19", "150", "150:40", "150:19"]


def label_maps(classes: int, shown: int, kind: str) -> Tensor:
    """[1, 256, 256] with exactly ``shown`` of the classes: ``patches`` of 16 × 16 pixels, or ``noise``."""
    generator = torch.Generator().manual_seed(0)
    side = 16 if kind == "patches" else SIDE
    drawn = torch.randperm(classes, generator=generator)[:shown]
    # Each once, and the others at random.
    which = torch.cat((torch.arange(shown), torch.randint(shown, (side**2 - shown,), generator=generator)))
    coarse = drawn[which[torch.randperm(side**2, generator=generator)]].view(1, 1, side, side)
    return F.interpolate(coarse.float(), size=(SIDE, SIDE))[:, 0].long()


def make_passes(classes: int, shown: int, maps: str) -> dict[str, Callable[[], None]]:
    """The two things that are measured."""
    networks = SEANNetworks(SEANConfig(classes=classes)).train()
    labels, image = label_maps(classes, shown, maps), torch.rand(1, 3, SIDE, SIDE)

    def forward() -> None:
        with torch.no_grad():
            networks(labels, image)

    def both() -> None:
        networks.zero_grad()
        networks(labels, image).mean().backward()

    return {"forward": forward, "both": both}


def measure(classes: int, shown: int, args: argparse.Namespace) -> dict[str, Any]:
    """Time so many passes of either kind, and units between them."""
    unit, unit_flops = common.make_unit()
    works = make_passes(classes, shown, args.maps)
    times: dict[str, list[float]] = {"unit": []}
    flops = {name: common.operations(work) for name, work in works.items()}
    for _ in range(args.warm_up - 1):
        for work in works.values():
            work()
    for _ in range(args.passes):
        for name, work in works.items():
            times["unit"] += [common.timed(unit) for _ in range(common.UNITS)]
            times.setdefault(name, []).append(common.timed(work))
    second = statistics.median(times["unit"])
    row: dict[str, Any] = {"classes": classes, "shown": shown, "maps": args.maps}
    row |= {"unit_seconds": second, "times": times}
    for name in works:
        taken = statistics.median(times[name])
        row |= {f"{name}_units": taken / second, f"{name}_seconds": taken}
        row[f"{name}_floor_units"] = flops[name] / unit_flops
    return row | {"peak_memory_gib": common.peak_memory()}


def cells(row: dict[str, Any], first: dict[str, Any]) -> list[dict[str, str]]:
    """The table's two lines of a row; ``first`` is what it is compared with."""
    return [
        {
            "classes": str(row["classes"]),
            "in the map": str(row["shown"]),
            "pass": "forward" if name == "forward" else "forward + backward",
            "units": f"{row[f'{name}_units']:.1f}",
            "bar": str(bar) if row is first else f"{BAR_RATIO * first[f'{name}_units']:.1f}",
            "× the first": f"{row[f'{name}_units'] / first[f'{name}_units']:.2f}",
            "published": str(PUBLISHED[name]) if row["classes"] == 19 else "–",
            "floor": f"{row[f'{name}_floor_units']:.1f}",
            "s": f"{row[f'{name}_seconds']:.2f}",
            "s/unit": f"{row['unit_seconds']:.4f}",
            "peak GiB": f"{row['peak_memory_gib']:.2f}",
        }
        for name, bar in BAR.items()
    ]


def main() -> None:
    """Measure every row, and print."""
    parser = common.options(__doc__, "synthesis_speed.json")
    parser.add_argument(
        "--classes", nargs="+", default=ROWS, help="K, or K:SHOWN of which so many are in the map"
    )
    parser.add_argument("--maps", choices=("patches", "noise"), default="patches", help="kind of label maps")
    parser.add_argument("--passes", type=int, default=5, help="passes to time; their median counts")
    parser.add_argument("--warm-up", type=int, default=2, help="passes before those, at least 1")
    args = parser.parse_args()
    if args.here:
        classes, _, shown = args.classes[0].partition(":")
        common.row_here(lambda: measure(int(classes), int(shown or classes), args), args.threads)
        return
    given = [
        "--maps",
        args.maps,
        "--passes",
        args.passes,
        "--warm-up",
        args.warm_up,
        "--threads",
        args.threads,
    ]
    rows = [common.row_elsewhere(["--classes", classes, *given]) for classes in args.classes]
    title = (
        f"SEAN with style encoder, {SIDE}×{SIDE}, batch 1, fp32, {common.cpu_name()}, {args.threads} threads"
    )
    common.show(title, [line for row in rows for line in cells(row, rows[0])])
    common.write(args.json, args.threads, rows)


if __name__ == "__main__":
    main()
