"""Time of a NICE-GAN training step on a CPU, in units of a convolution that any machine can run.

    python benchmarks/speed.py                  # light model, batch 1, at 128 and 256

The unit is one forward and backward pass of a 3×3 convolution of 256 → 256 channels on [1, 256, 64, 64] in fp32,
measured in the same process, between the steps, so that other load on the machine affects both. A step is what the
trainer does with one batch: both phases, both optimisers, its checks and its log. The floor is a lower bound: the time
for the necessary arithmetic of convolutions and linear layers at the rate of the unit.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import Tensor

import common
from stylebridge.engine import TrainerConfig
from stylebridge.methods.nice_gan import NiceGAN, published_optimizers
from stylebridge.networks.nice_gan import NiceGanConfig, NiceGanNetworks

#: Units of the published step (light, batch 1, 2 cores), as measured by issue 4, and the most ours may cost.
PUBLISHED, BAR = {128: 196, 256: 257}, {128: 100, 256: 150}


def measure(size: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train so many steps and time them."""
    config = NiceGanConfig(image_size=size)
    with torch.device("meta"):
        planned = NiceGAN(NiceGanNetworks(config))
        flops = common.step_flops(planned, {name: {"image": torch.rand(1, 3, size, size)} for name in "ab"})
    row = torch.zeros(1, dtype=torch.int64)

    def batch() -> dict[str, Tensor]:
        return {"image": torch.rand(1, 3, size, size), "index": row, "position": row}

    method = NiceGAN(NiceGanNetworks(config))
    settings = TrainerConfig(
        steps=common.NEVER,
        batch=1,
        checkpoint_every=common.NEVER,
        sample_every=0,
        channels_last=args.channels_last,
    )
    taken = common.time_steps(method, published_optimizers(), {"a": batch, "b": batch}, settings, args)
    return {"size": size} | common.compared(taken, flops, PUBLISHED.get(size), BAR.get(size))


def main() -> None:
    """Measure every size, and print."""
    parser = common.options(__doc__, "speed.json")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256], help="sides of the images")
    parser.add_argument("--steps", type=int, default=5, help="steps to time; their median counts")
    parser.add_argument("--warm-up", type=int, default=2, help="steps before those")
    parser.add_argument("--channels-last", action="store_true", help="layout of weights and images")
    args = parser.parse_args()
    if args.here:
        common.row_here(lambda: measure(args.sizes[0], args), args.threads)
        return
    given = ["--steps", args.steps, "--warm-up", args.warm_up, "--threads", args.threads]
    given += ["--channels-last"] * args.channels_last
    rows = [common.row_elsewhere(["--sizes", size, *given]) for size in args.sizes]
    title = f"NICE-GAN light, batch 1, fp32, {common.cpu_name()}, {args.threads} threads"
    common.show_steps(title, rows, "size")
    common.write(args.json, args.threads, rows)


if __name__ == "__main__":
    main()
