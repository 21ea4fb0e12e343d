"""Speed of `stylebridge segment`, compared with the bare forward pass: one command, one table.

    python benchmarks/segmenting.py

Draws toy photos of 480×360 as JPEG, segments them with `segment` (reading, predicting, writing label maps) and runs
the same batches through the network alone, alternately; medians. The target: 0.9 of the forward pass's speed.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console

from stylebridge.data.label_space import LabelSpace
from stylebridge.data.toy import render
from stylebridge.jobs.apply.models.inference import predict_labels
from stylebridge.jobs.apply.models.segmenter import AdaptedModel
from stylebridge.jobs.apply.segment import segment
from stylebridge.jobs.recipe.adapt import InferenceConfig
from stylebridge.jobs.recipe.reading import load_recipe
from stylebridge.jobs.runs.machine import device_name
from stylebridge.networks.segmenters.build import build_segmenter

SIZE = (480, 360)


def main() -> None:
    """Measure and write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "segmenting.json")
    args = parser.parse_args()
    space, config = LabelSpace.load("camvid-11"), InferenceConfig(size=SIZE)
    torch.manual_seed(0)
    recipe = load_recipe("fada-small")
    segmenter = build_segmenter(recipe.segmenter, space.num_classes).eval()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "photos").mkdir()
        scenes = [render(seed, "camera", SIZE)[0] for seed in range(8)]
        for i in range(args.images):
            shifted = np.roll(scenes[i % 8], i, axis=1)
            Image.fromarray(shifted).save(root / "photos" / f"{i:03}.jpg", quality=92)
        model = AdaptedModel(segmenter, space, config)
        segmenter.save_pretrained(
            root / "run", extra={"label_space": space.as_dict(), "inference": config.model_dump(mode="json")}
        )
        batch = (
            torch.from_numpy(np.stack([scenes[i % 8] for i in range(config.batch)]))
            .permute(0, 3, 1, 2)
            .float()
            / 255
        )
        forward, whole = [], []
        for _ in range(args.rounds):
            start = time.perf_counter()
            for _ in range(args.images // config.batch):
                predict_labels(model.segmenter, batch, (SIZE[1], SIZE[0]), config)
            forward.append(args.images / (time.perf_counter() - start))
            start = time.perf_counter()
            segment(root / "run", root / "photos", root / "out", quiet=True, device="cpu")
            whole.append(args.images / (time.perf_counter() - start))
            shutil.rmtree(root / "out")
    ratio = statistics.median(w / f for w, f in zip(whole, forward, strict=True))
    result = {
        "command": "python benchmarks/segmenting.py",
        "images": args.images,
        "forward_per_second": statistics.median(forward),
        "segment_per_second": statistics.median(whole),
        "ratio": ratio,
        "rounds": [{"forward": f, "segment": w} for f, w in zip(forward, whole, strict=True)],
        "device": device_name(torch.device("cpu")),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    Console().print(
        f"forward {result['forward_per_second']:.1f}/s, segment {result['segment_per_second']:.1f}/s: {ratio:.2f}",
        highlight=False,
    )


if __name__ == "__main__":
    main()
