"""Time of the doctor for 1,000 labelled pairs of 480×360, including the page.

python benchmarks/doctor.py                # 1,000 JPEG and PNG pairs; needs about 100 MB of disk

The pairs are 40 drawn scenes, each shifted and with different noise, so that all files differ.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

SCENES, SIZE = 40, (480, 360)
RESULT = Path(__file__).parent / "results" / "doctor.json"


def make_pairs(root: Path, count: int) -> None:
    """``root/images`` (JPEG, quality 90) and ``root/labels`` (PNG)."""
    from stylebridge.data.toy import write_toy

    write_toy(root / "toy", "camera", SCENES, size=SIZE)
    images = [np.array(Image.open(p)) for p in sorted((root / "toy" / "images").iterdir())]
    labels = [np.array(Image.open(p)) for p in sorted((root / "toy" / "labels").iterdir())]
    for folder in ("images", "labels"):
        (root / "set" / folder).mkdir(parents=True)
    for i in range(count):
        rng = np.random.default_rng(i)
        shift = int(rng.integers(0, SIZE[0]))
        image = np.roll(images[i % SCENES], shift, axis=1).astype(np.int16)
        image += rng.integers(-6, 7, image.shape, dtype=np.int16)
        picture = Image.fromarray(image.clip(0, 255).astype(np.uint8))
        picture.save(root / "set" / "images" / f"{i:05}.jpg", quality=90)
        Image.fromarray(np.roll(labels[i % SCENES], shift, axis=1)).save(
            root / "set" / "labels" / f"{i:05}.png"
        )


def measure(folder: Path, out: Path, workers: int | None) -> tuple[float, float, dict[str, Any]]:
    """Seconds of the whole job, seconds that reading took of it, and what was found."""
    from stylebridge.jobs.datasets.doctor import doctor

    begin = time.perf_counter()
    report = doctor([folder], out=out, workers=workers, console=Console(file=open(os.devnull, "w")))  # noqa: SIM115
    seconds = time.perf_counter() - begin
    return seconds, report.seconds, {"healthy": report.healthy, "findings": [f.kind for f in report.findings]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    found: dict[str, Any] = {
        "command": f"python benchmarks/doctor.py --count {given.count}",
        "device": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, shared with other work",
        "pairs": given.count,
        "size": list(SIZE),
        "bar_seconds": 15,
    }
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_pairs(root, given.count)
        found["load_average"] = round(os.getloadavg()[0], 1)
        for workers in (1, 2):
            seconds, reading, what = measure(root / "set", root / "page.html", workers)
            key = f"{workers}_thread{'s' if workers > 1 else ''}"
            found[key] = {"seconds": round(seconds, 2), "seconds_reading": round(reading, 2), **what}
        found["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1)
        found["page_kb"] = round((root / "page.html").stat().st_size / 1e3, 1)
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
