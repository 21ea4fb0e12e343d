"""Peak memory and samples/s of packing and of training from shards, for growing data sets.

python benchmarks/shards.py             # 1,000, 10,000 and 100,000 toy samples of 64×48; needs 1.2 GB of disk

Each value is measured in a separate process. Samples repeat 300 drawn scenes; each sample has its own file.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SCENES, SIZE, CROP = 300, (64, 48), (48, 32)
BATCH, STEPS = 8, 500


def memory(field: str) -> float:
    """``VmRSS`` (now) or ``VmHWM`` (peak) of this process in MB. Unlike getrusage's, it leaves out what the parent
    process took before this program began."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1e3


# --- what runs in a process of its own ----------------------------------------------------------------------


class Repeated(Sequence[Path]):
    """``count`` images or label maps that repeat a few files; takes no memory."""

    def __init__(self, files: list[Path], count: int) -> None:
        self.files, self.length = files, count

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> Any:
        return self.files[index % len(self.files)]


def draw(folder: Path, count: int) -> dict[str, Any]:
    """The toy scenes as JPEG with label PNGs."""
    from PIL import Image

    from stylebridge.data.toy import write_toy

    write_toy(folder / "toy", "sim", SCENES, size=SIZE)
    for path in sorted((folder / "toy" / "images").iterdir()):
        Image.open(path).save(path.with_suffix(".jpg"), quality=85)
        path.unlink()
    return {}


def link(folder: Path, count: int) -> dict[str, Any]:
    """A folder of ``count`` pairs: hard links to the toy's."""
    for kind in ("images", "labels"):
        files = sorted((folder / "toy" / kind).iterdir())
        (folder / "links" / kind).mkdir(parents=True)
        for i in range(count):
            file = files[i % len(files)]
            os.link(file, folder / "links" / kind / f"{i:06d}{file.suffix}")
    return {}


def pack_only(folder: Path, count: int) -> dict[str, Any]:
    """Packing alone, of a domain that takes no memory."""
    from stylebridge.data.domain import Domain
    from stylebridge.data.label_space import LabelSpace
    from stylebridge.data.shards.writer import write_shards

    images, labels = (
        Repeated(sorted((folder / "toy" / kind).iterdir()), count) for kind in ("images", "labels")
    )
    domain = Domain("toy", folder, images, labels, LabelSpace.load("camvid-11"))
    (folder / "shards").mkdir()
    before, start = memory("VmRSS"), time.perf_counter()
    index = write_shards(domain, folder / "shards", shard_bytes=20_000_000, workers=1)
    seconds = time.perf_counter() - start
    return {
        "before_mb": before,
        "peak_mb": memory("VmHWM"),
        "samples_per_second": count / seconds,
        "shards": len(index["shards"]),
        "shards_mb": sum(shard["size"] for shard in index["shards"]) / 1e6,
        "index_mb": sum(table["size"] for table in index["tables"].values()) / 1e6,
    }


def pack_folder(folder: Path, count: int) -> dict[str, Any]:
    """``stylebridge data pack`` of a plain folder, whose list of files is kept in memory."""
    from stylebridge.jobs.datasets.pack import pack

    before, start = memory("VmRSS"), time.perf_counter()
    pack(
        folder / "links",
        folder / "packed",
        label_space="camvid-11",
        shard_mb=20,
        workers=1,
        quiet=True,
    )
    return {
        "before_mb": before,
        "peak_mb": memory("VmHWM"),
        "samples_per_second": count / (time.perf_counter() - start),
    }


def train(folder: Path, count: int, kind: str = "uniform", workers: int = 0) -> dict[str, Any]:
    """The training loader over draws that are spread over an epoch."""
    import torch

    from stylebridge.data import Augmentation, DomainDataset, Loader, UniformSampler, open_domain
    from stylebridge.data.sampling import ShardSampler

    torch.set_num_threads(1)
    before = memory("VmRSS")
    domain = open_domain(folder / "shards", "source", labelled=True)
    images: Any = domain.images
    dataset = DomainDataset(domain, Augmentation(crop=CROP, flip=0.5), seed=0)
    sampler = UniformSampler(count, 0) if kind == "uniform" else ShardSampler(images.shards.counts, 0)
    batches = iter(Loader(dataset, sampler, BATCH, workers=workers))
    seen: set[int] = set()
    start = time.perf_counter()
    for batch in itertools.islice(batches, STEPS):
        seen |= set(batch["index"].tolist())
    seconds = time.perf_counter() - start
    batches.close()  # type: ignore[attr-defined]
    found = {"before_mb": before, "peak_mb": memory("VmHWM"), "samples_per_second": BATCH * STEPS / seconds}
    if workers:
        found["worker_peak_mb"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
    return found | {"different_samples": len(seen), "highest_sample": max(seen)}


def train_windows(folder: Path, count: int) -> dict[str, Any]:
    """As :func:`train`, a few shards at a time, as shards at an address are read."""
    return train(folder, count, kind="windows")


def train_workers(folder: Path, count: int) -> dict[str, Any]:
    """As :func:`train`, with two loader processes."""
    return train(folder, count, workers=2)


def check(folder: Path, count: int) -> dict[str, Any]:
    """What a run does before training (the statistics), and the class-aware sampler made from them."""
    from stylebridge.data import RareClassSampler, check_domain, open_domain

    before, start = memory("VmRSS"), time.perf_counter()
    summary = check_domain(open_domain(folder / "shards", "source", labelled=True))
    shares = summary.class_shares.tolist()
    checked, seconds = memory("VmHWM"), time.perf_counter() - start
    sampler = RareClassSampler(summary.pixel_counts, 0)
    for position in range(1000):
        sampler.index(position)
    return {
        "before_mb": before,
        "peak_mb": checked,
        "seconds": seconds,
        "classes": len(shares),
        "peak_with_rare_class_sampler_mb": memory("VmHWM"),
    }


PHASES: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    f.__name__: f for f in (draw, link, pack_only, pack_folder, train, train_windows, train_workers, check)
}


# --- the whole ----------------------------------------------------------------------------------------------


def run(phase: str, folder: Path, count: int) -> dict[str, Any]:
    """One phase in a fresh process."""
    command = [sys.executable, __file__, "--phase", phase, "--folder", str(folder), "--count", str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(counts: list[int]) -> list[dict[str, Any]]:
    """All phases at all sizes."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        run("draw", Path(place), 0)
        for count in counts:
            run("link", Path(place), count)
            row: dict[str, Any] = {"samples": count}
            for phase in ("pack_only", "pack_folder", "train", "train_windows", "train_workers", "check"):
                row[phase] = run(phase, Path(place), count)
                print(count, phase, json.dumps(row[phase]), flush=True)
            rows.append(row)
            for name in ("links", "shards", "packed"):
                shutil.rmtree(Path(place) / name)
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "shards.json")
    parser.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.phase:
        print(json.dumps(PHASES[args.phase](args.folder, args.count)))
        return
    from importlib.metadata import version

    rows = measure(args.counts)
    result = {
        "command": "python benchmarks/shards.py",
        "device": f"CPU ({platform.machine()}, {os.cpu_count()} cores, shared)",
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "torch", "pillow", "webdataset")},
        },
        "settings": {"size": SIZE, "crop": CROP, "batch": BATCH, "steps": STEPS, "scenes": SCENES},
        "rows": rows,
    }
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
