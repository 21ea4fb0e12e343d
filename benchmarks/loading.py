"""Samples/s of the loader alone, compared with the training step.

python benchmarks/loading.py            # toy images at 240×180; add --camvid DIR for real ones
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from stylebridge.data.augment import Augmentation
from stylebridge.data.dataset import DomainDataset
from stylebridge.data.domain import open_domain
from stylebridge.data.label_space import LabelSpace
from stylebridge.data.loader import Loader
from stylebridge.data.sampling import UniformSampler
from stylebridge.jobs.datasets.toy import draw_toy
from stylebridge.jobs.recipe.reading import load_recipe
from stylebridge.jobs.runs.machine import device_name
from stylebridge.losses.segmentation import cross_entropy
from stylebridge.networks.segmenters.build import build_segmenter

BATCH = 4


def loader_speed(dataset: DomainDataset, workers: int, batches: int) -> tuple[float, float]:
    """Samples/s of the first epoch (reading files) and afterwards (from the cache)."""
    batch_stream = iter(Loader(dataset, UniformSampler(len(dataset), 0), BATCH, workers=workers))
    speeds = []
    for count in (len(dataset) // BATCH, batches):
        start = time.perf_counter()
        for _ in itertools.islice(batch_stream, count):
            pass
        speeds.append(count * BATCH / (time.perf_counter() - start))
    return speeds[0], speeds[1]


def step_speed(dataset: DomainDataset, device: torch.device, steps: int) -> float:
    """Samples/s of the training step of source-only-small on one batch that lies ready."""
    segmenter = build_segmenter(load_recipe("source-only-small").segmenter, 11).to(device)
    segmenter = segmenter.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(segmenter.parameters(), 1e-4, fused=True)
    batch = next(iter(Loader(dataset, UniformSampler(len(dataset), 0), BATCH)))
    image = (batch["image"].float() / 255).to(device, memory_format=torch.channels_last)
    label = batch["label"].long().to(device)
    start = 0.0
    for number in range(steps + 3):
        if number == 3:  # the first steps make buffers
            torch.cuda.synchronize() if device.type == "cuda" else None
            start = time.perf_counter()
        optimizer.zero_grad()
        cross_entropy(segmenter(image), label).backward()
        optimizer.step()
    torch.cuda.synchronize() if device.type == "cuda" else None
    return steps * BATCH / (time.perf_counter() - start)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--camvid", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "camvid"
    )
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "loading.json")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    space = LabelSpace.load("camvid-11")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        draw_toy(Path(folder) / "toy", "sim", 80, quiet=True)
        roots = {"toy 240×180 PNG": Path(folder) / "toy"}
        if (args.camvid / "day").is_dir():
            roots["CamVid 480×360 JPEG → 240×180"] = args.camvid / "day"
        for name, root in roots.items():
            domain = open_domain(root, "source", labelled=True, space=space)
            augmentation = Augmentation(resize=(240, 180), flip=0.5)
            step = step_speed(DomainDataset(domain, augmentation, seed=0), device, 15)
            for workers in (0, 1, 2):
                first, later = loader_speed(DomainDataset(domain, augmentation, seed=0), workers, 100)
                rows.append(
                    {"data": name, "workers": workers, "first_epoch": first, "later": later, "step": step}
                )
    view = Table(title=f"samples/s, batch {BATCH}, {device_name(device)}")
    for column in ("data", "workers", "loader, first epoch", "loader, later", "training step"):
        view.add_column(column, justify="left" if column == "data" else "right")
    for row in rows:
        numbers = [f"{row[key]:.0f}" for key in ("first_epoch", "later", "step")]
        view.add_row(row["data"], str(row["workers"]), *numbers)
    Console().print(view)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(
        json.dumps(
            {"command": "python benchmarks/loading.py", "device": device_name(device), "rows": rows}, indent=1
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
