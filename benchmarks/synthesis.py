"""SEAN and SPADE on façades: one command, one table.

    python benchmarks/synthesis.py                              # both at the small preset
    python benchmarks/synthesis.py --recipes sean,spade --device cuda --set trainer.batch=8

Trained on the first 360 pairs of `../shared/data/facades` (or --data), tested on the label maps of the last 49, which
no network saw. SEAN takes the style of each region from the photo of the label map (reconstruction). Images are
compared with the photos at the generated size: PSNR and SSIM (torchmetrics), PD (LPIPS or PD-lite0), FD and KD (FID
and KID, or FD-lite0 and KD-lite0; 49 images are too few for comparisons with other sets). mIoU: a segmenter trained on
the 360 photos segments the images and is scored against the label maps; its score on the photos is the upper bound.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from stylebridge.data.domain import open_domain
from stylebridge.data.images import read_image
from stylebridge.data.label_space import LabelSpace
from stylebridge.jobs.apply.models.model import open_model
from stylebridge.jobs.apply.models.synthesizer import SEANSynthesizer
from stylebridge.jobs.evaluate.images import evaluate_images
from stylebridge.jobs.evaluate.pairs import evaluate_pairs
from stylebridge.jobs.evaluate.segmenter import evaluate
from stylebridge.jobs.recipe.reading import load_recipe
from stylebridge.jobs.runs.machine import device_name
from stylebridge.jobs.train import adapt, train_synthesizer
from stylebridge.version import __version__

HELD_OUT = 49


def split(data: Path, work: Path) -> tuple[Path, Path]:
    """Folders of links: the pairs to train on, and the last ones, which are held out."""
    domain = open_domain(data, "facades", labelled=True)
    assert domain.labels is not None
    pairs = list(zip(domain.images, domain.labels, strict=True))
    for name, part in (("train", pairs[:-HELD_OUT]), ("held-out", pairs[-HELD_OUT:])):
        for kind, place in (("images", 0), ("labels", 1)):
            (work / name / kind).mkdir(parents=True, exist_ok=True)
            for pair in part:
                link = work / name / kind / Path(str(pair[place])).name
                if not link.exists():
                    link.symlink_to(Path(str(pair[place])).resolve())
    return work / "train", work / "held-out"


def draw(run: Path, held_out: Path, out: Path, device: str) -> None:
    """The held-out label maps as pictures, at the trained size, beside the photos and maps at that size."""
    synthesizer = open_model(run, device).synthesizer
    domain = open_domain(held_out, "held-out", labelled=True, space=LabelSpace.load("cmp-facades-12"))
    assert domain.labels is not None
    assert domain.space is not None
    for kind in ("images", "labels", "photos"):
        (out / kind).mkdir(parents=True, exist_ok=True)
    for image, label in zip(domain.images, domain.labels, strict=True):
        photo = Image.fromarray(read_image(image)).resize(synthesizer.size, Image.Resampling.BICUBIC)
        labels = np.array(
            Image.fromarray(domain.space.read(label)).resize(synthesizer.size, Image.Resampling.NEAREST)
        )
        codes = None
        if isinstance(synthesizer, SEANSynthesizer):
            codes = synthesizer.complete(synthesizer.encode(np.array(photo), labels))
        Image.fromarray(synthesizer.render(labels, codes)).save(out / "images" / f"{image.stem}.png")
        photo.save(out / "photos" / f"{image.stem}.png")
        raw = Image.fromarray(labels)
        raw.save(out / "labels" / f"{image.stem}.png")


def agreement(out: Path) -> dict[str, float]:
    """PSNR in dB and SSIM, each the mean over the pictures."""
    values: dict[str, list[float]] = {"psnr": [], "ssim": []}
    for path in sorted((out / "images").iterdir()):
        ours, theirs = (
            torch.from_numpy(read_image(folder / path.name)).permute(2, 0, 1)[None].float() / 255
            for folder in (out / "images", out / "photos")
        )
        values["psnr"].append(float(peak_signal_noise_ratio(ours, theirs, data_range=1.0)))
        ssim = structural_similarity_index_measure(ours, theirs, data_range=1.0)
        assert isinstance(ssim, torch.Tensor)
        values["ssim"].append(float(ssim))
    return {name: float(np.mean(found)) for name, found in values.items()}


def score(out: Path, segmenter: Path, device: str) -> dict[str, Any]:
    """Everything that is said of one method's pictures."""
    distances = evaluate_images(out / "photos", out / "images", device=device, quiet=True).as_dict()
    distances = {
        key: value for key, value in distances.items() if key not in ("real", "fake")
    }  # folders here
    pairs = evaluate_pairs(out / "photos", out / "images", size=128, device=device, quiet=True)
    plain = {
        **LabelSpace.load("cmp-facades-12").as_dict(),
        "raw_ids": {**{k: k for k in range(12)}, 255: 255},
    }
    seen = evaluate(segmenter, out, label_space=LabelSpace.from_dict(plain), device=device, quiet=True)
    return {
        **agreement(out),
        pairs.name: pairs.mean,
        "distances": distances,
        "miou": seen.miou_present,
        "protocol": seen.protocol,
    }


def run_one(
    recipe: str, train: Path, held_out: Path, segmenter: Path, args: argparse.Namespace
) -> dict[str, Any]:
    """Train (unless a finished run is there), draw and score."""
    run = args.work / recipe
    minutes = None  # of a run that was there already: its report says
    if not (run / "networks").is_dir():
        start = time.perf_counter()
        train_synthesizer(
            train,
            run,
            recipe,
            read_as="cmp-facades-12",  # their palette is not the published one
            seed=args.seed,
            device=args.device,
            overrides=args.overrides,
            overwrite=True,
            quiet=True,
        )
        minutes = (time.perf_counter() - start) / 60
    draw(run, held_out, args.work / f"{recipe}-pictures", args.device)
    kept = load_recipe(run / "recipe.yaml", task="synthesize")
    about = {"recipe": recipe, "seed": kept.seed, "steps": kept.trainer.steps, "batch": kept.trainer.batch}
    return {**about, "minutes": minutes, **score(args.work / f"{recipe}-pictures", segmenter, args.device)}


def ceiling(run: Path, segmenter: Path, device: str) -> float:
    """mIoU of the segmenter on the photos themselves."""
    photos = run.parent / "photographs"
    for kind, origin in (("images", "photos"), ("labels", "labels")):
        (photos / kind).mkdir(parents=True, exist_ok=True)
        for path in (run / origin).iterdir():
            link = photos / kind / path.name
            if not link.exists():
                link.symlink_to(path.resolve())
    plain = {
        **LabelSpace.load("cmp-facades-12").as_dict(),
        "raw_ids": {**{k: k for k in range(12)}, 255: 255},
    }
    return evaluate(
        segmenter, photos, label_space=LabelSpace.from_dict(plain), device=device, quiet=True
    ).miou_present


def main() -> None:
    """Run what is asked for; write the table and the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "facades"
    )
    parser.add_argument("--recipes", default="sean-small,spade-small")
    parser.add_argument("--work", type=Path, default=Path("runs/synthesis"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--set", action="append", default=[], dest="overrides", help="changes to every recipe"
    )
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "synthesis.json")
    args = parser.parse_args()
    train, held_out = split(args.data, args.work / "data")
    segmenter = args.work / "segmenter"
    if not (segmenter / "segmenter").is_dir():
        adapt(train, held_out / "images", segmenter, "source-only-small", label_space="cmp-facades-12",
              read_as=["source=cmp-facades-12"], device=args.device, overwrite=True, quiet=True)  # fmt: skip
    rows = [run_one(recipe, train, held_out, segmenter, args) for recipe in args.recipes.split(",")]
    top = ceiling(args.work / f"{rows[0]['recipe']}-pictures", segmenter, args.device)
    view = Table(title=f"{HELD_OUT} held-out façades (mIoU of the segmenter on the photos: {100 * top:.1f})")
    names = [key for key in rows[0] if key not in ("distances", "protocol", "seed")]
    for name in names:
        view.add_column(name, justify="right")
    for row in rows:
        view.add_row(*(f"{v:.3g}" if isinstance(v := row[n], float) else str(v) for n in names))
    console = Console()
    console.print(view)
    device = torch.device("cuda" if torch.cuda.is_available() and args.device != "cpu" else "cpu")
    about = {
        "command": "python benchmarks/synthesis.py",
        "overrides": args.overrides,
        "device": device_name(device),
        "versions": {
            "stylebridge": __version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
        "miou_on_photos": top,
    }
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
