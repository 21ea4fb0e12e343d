"""Time of a training step of MixNMatch's first stage on a CPU, in units of a convolution that any machine can run.

    python benchmarks/mixnmatch_speed.py        # published widths (CUB), batch 4 at 128

The unit is that of ``speed.py``: one forward and backward pass of a 3×3 convolution of 256 → 256 channels on [1, 256,
64, 64] in fp32, measured in the same process, between the steps. A step is what the trainer does with one batch: all
four phases, six optimisers, the generator's average, its checks and its log. The floor is a lower bound: the time for
the necessary arithmetic of convolutions and linear layers at the rate of the unit.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import torch
from torch import Tensor

import common
from stylebridge.engine import TrainerConfig
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


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Train so many steps and time them."""
    config = PRESETS[args.preset]
    with torch.device("meta"):
        planned = MixNMatch(MixNMatchNetworks(config))
    flops = common.step_flops(planned, {"images": random_batch(config, args.batch, "meta")})
    method = MixNMatch(MixNMatchNetworks(config), MixNMatchOptions(share_graphs=not args.remake))
    settings = TrainerConfig(
        steps=common.NEVER,
        batch=args.batch,
        checkpoint_every=common.NEVER,
        sample_every=0,
        channels_last=args.channels_last,
    )
    batches = {"images": lambda: random_batch(config, args.batch)}
    taken = common.time_steps(method, published_optimizers(), batches, settings, args)
    bars = (PUBLISHED, BAR) if (args.preset, args.batch) == ("mixnmatch", 4) else (None, None)
    choices = {
        "preset": args.preset,
        "batch": args.batch,
        "share_graphs": not args.remake,
        "channels_last": args.channels_last,
    }
    return choices | common.compared(taken, flops, *bars)


def main() -> None:
    """Measure, and print."""
    parser = common.options(__doc__, "mixnmatch_speed.json")
    parser.add_argument("--preset", choices=list(PRESETS), default="mixnmatch")
    parser.add_argument("--batch", type=int, default=4, help="images a step")
    parser.add_argument("--steps", type=int, default=5, help="steps to time; their median counts")
    parser.add_argument("--warm-up", type=int, default=3, help="steps before those")
    parser.add_argument("--channels-last", action="store_true", help="layout of weights and images")
    parser.add_argument("--remake", action="store_true", help="share_graphs: false (less memory, more time)")
    args = parser.parse_args()
    if args.here:
        common.row_here(lambda: measure(args), args.threads)
        return
    row = common.row_elsewhere(sys.argv[1:])
    title = (
        f"{args.preset}, first stage, batch {args.batch}, fp32, {common.cpu_name()}, {args.threads} threads"
    )
    common.show_steps(title, [row])
    common.write(args.json, args.threads, [row])


if __name__ == "__main__":
    main()
