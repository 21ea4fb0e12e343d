"""Why Bridge does what it does: confusions, translations by region, class features by domain, broken labels.

    python benchmarks/bridge.py --pair toy --seeds 0        # the runs to analyse
    python benchmarks/bridge_why.py --pair toy --seed 0     # docs/pictures/bridge-*.png, results/bridge_why.json

* confusions: where true pixels of each class go before adaptation and after it (held-out target images);
* class features: means of the segmenter's features for each class, by domain, on the first two principal axes, before
  and after; and how far the domains' means lie apart against the distance between classes;
* broken labels: how often a segmenter trained with target labels (the oracle) recovers a class at the pixels where the
  label map of a translated image has it; for closed-form looks (the default), learnt painters, those on the
  segmenter's first layers, and those without semantics.

Target labels are read only here, for analysis; no training uses them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.lines import Line2D
from PIL import Image

from adaptation import camvid_pair, run_one, toy_pair
from stylebridge.data.dataset import read_pair
from stylebridge.data.domain import Domain, open_domain
from stylebridge.data.images import read_image
from stylebridge.data.label_space import IGNORE, LabelSpace
from stylebridge.jobs.apply.models.bridge import BridgeRun
from stylebridge.jobs.apply.models.inference import predict_arrays
from stylebridge.jobs.apply.models.segmenter import AdaptedModel, load_adapted
from stylebridge.layers.sean import region_means
from stylebridge.networks.segmenters.build import load_segmenter
from stylebridge.report.pictures import sample_grid

HERE = Path(__file__).parent
SPACE = LabelSpace.load("camvid-11")
VARIANTS = ("bridge", "painters", "trunk", "no-semantics")


def chosen(domain: Domain, count: int) -> list[int]:
    """Some of a domain's images, evenly spaced."""
    return sorted({int(i) for i in np.linspace(0, len(domain.images) - 1, min(count, len(domain.images)))})


def translations(run: BridgeRun, source: Domain, target: Domain, count: int) -> list[tuple[np.ndarray, ...]]:
    """(source image, its labels, style image, translation), the styles of target images evenly spaced."""
    torch.manual_seed(0)
    styles = chosen(target, count)
    made = []
    for place, i in enumerate(chosen(source, count)):
        image, labels = read_pair(source, i)
        assert labels is not None
        style = read_image(target.images[styles[place % len(styles)]])
        made.append((image, labels, style, run.translate(image, "b", run.code(style, "b"), labels=labels)))
    return made


def recall(model: AdaptedModel, images: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """The share of each class's labelled pixels that a segmenter finds."""
    found, total = np.zeros(SPACE.num_classes), np.zeros(SPACE.num_classes)
    for image, labels in images:
        ((_, _, predicted),) = predict_arrays(
            model.segmenter, [(0, image)], model.inference, torch.device("cpu")
        )
        valid = labels != IGNORE
        total += np.bincount(labels[valid], minlength=len(total))
        found += np.bincount(labels[valid & (predicted == labels)], minlength=len(total))
    return {name: float(f / t) for name, f, t in zip(SPACE.classes, found, total, strict=True) if t}


@torch.inference_mode()
def class_features(segmenter: torch.nn.Module, pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Mean features of each class over each image: rows (class, features …), of the classes that an image has."""
    rows = []
    for image, labels in pairs:
        x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        features = segmenter.features(x)  # type: ignore[operator]
        codes, present = region_means(features, torch.from_numpy(labels)[None].long(), SPACE.num_classes)
        kept = present[0].nonzero()[:, 0]
        rows.append(torch.cat((kept[:, None].float(), codes[0, kept]), 1))
    return torch.cat(rows).numpy()


def gap(source: np.ndarray, target: np.ndarray) -> float:
    """Mean distance between the domains' means of a class, over the mean distance between classes of the target."""
    classes = sorted(set(source[:, 0]) & set(target[:, 0]))
    ours = np.stack([source[source[:, 0] == k, 1:].mean(0) for k in classes])
    theirs = np.stack([target[target[:, 0] == k, 1:].mean(0) for k in classes])
    apart = np.linalg.norm(theirs[:, None] - theirs[None], axis=2)
    return float(
        np.linalg.norm(ours - theirs, axis=1).mean() / apart[np.triu_indices(len(classes), 1)].mean()
    )


def draw_features(panels: dict[str, tuple[np.ndarray, np.ndarray]], path: Path) -> dict[str, float]:
    """Principal axes of each panel's class features: dots are source (as trained on), rings target."""
    figure, axes = plt.subplots(1, len(panels), figsize=(5.2 * len(panels), 4.6), squeeze=False)
    gaps = {}
    for axis, (title, (source, target)) in zip(axes[0], panels.items(), strict=True):
        both = np.concatenate((source[:, 1:], target[:, 1:]))
        mean = both.mean(0)
        _, _, directions = np.linalg.svd(both - mean, full_matrices=False)
        for rows, style in ((source, {"s": 14}), (target, {"s": 26, "marker": "o", "facecolors": "none"})):
            places = (rows[:, 1:] - mean) @ directions[:2].T
            colours = np.array(SPACE.colours)[rows[:, 0].astype(int)] / 255
            paint = {"c": colours} if "facecolors" not in style else {"edgecolors": colours}
            axis.scatter(*places.T, **style, **paint, alpha=0.8, linewidths=1)
        gaps[title] = gap(source, target)
        axis.set_title(f"{title} · gap {gaps[title]:.2f}", fontsize=11)
        axis.set_xticks([])
        axis.set_yticks([])
    handles = [
        Line2D([], [], marker="o", linestyle="", color=(c[0] / 255, c[1] / 255, c[2] / 255), label=name)
        for name, c in zip(SPACE.classes, SPACE.colours, strict=True)
    ]
    figure.legend(handles=handles, ncols=6, loc="lower center", frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.12, 1, 1))
    figure.savefig(path, dpi=80)
    plt.close(figure)
    return gaps


def draw_confusions(before: np.ndarray, after: np.ndarray, path: Path) -> None:
    """Rows are true classes, columns what they are called; shares of a row in per cent."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 5.2))
    for axis, matrix, title in zip(axes, (before, after), ("source-only", "Bridge"), strict=True):
        shares = 100 * matrix / matrix.sum(1, keepdims=True).clip(min=1)
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=100)
        for (i, j), value in np.ndenumerate(shares):
            if value >= 3:
                colour = "white" if value > 55 else "black"
                axis.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=7, color=colour)
        axis.set_xticks(range(len(SPACE.classes)), SPACE.classes, rotation=60, ha="right", fontsize=8)
        axis.set_yticks(range(len(SPACE.classes)), SPACE.classes, fontsize=8)
        axis.set_title(title, fontsize=11)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)


def explain(pair_name: str, seed: int, work: Path, camvid: Path, pictures: Path) -> dict[str, Any]:
    """Everything for one pair; returns the numbers."""
    pair = toy_pair(work) if pair_name == "toy" else camvid_pair(work, camvid)
    source = open_domain(pair.source, "source", labelled=True, space=SPACE)
    held_out = open_domain(pair.held_out, "held out", labelled=True, space=SPACE)
    target = open_domain(pair.target, "target", labelled=False)
    if not (work / "runs" / f"{pair_name}-oracle-{seed}" / "segmenter").is_dir():
        run_one(pair, "oracle", seed, work, "cpu", [])
    oracle = load_adapted(work / "runs" / f"{pair_name}-oracle-{seed}")
    device = torch.device("cpu")
    folders = {name: work / "runs" / f"{pair_name}-{name}-{seed}" for name in VARIANTS}
    runs = {name: BridgeRun.open(path, device) for name, path in folders.items() if path.is_dir()}
    made = {name: translations(run, source, target, 40) for name, run in runs.items()}
    broken = {"untranslated": recall(oracle, [(image, labels) for image, labels, _, _ in made["bridge"]])}
    broken |= {
        name: recall(oracle, [(t, labels) for _, labels, _, t in these]) for name, these in made.items()
    }
    rows = [
        [image, *(made[name][i][3] for name in made), style]
        for i, (image, _, style, _) in list(enumerate(made["bridge"]))[:: max(1, len(made["bridge"]) // 4)][
            :4
        ]
    ]
    grid = sample_grid(rows, ["source", *made, "target (the style)"])
    Image.fromarray(grid).save(pictures / f"bridge-{pair_name}-translations.png")
    pairs = [(held_out, read_pair(held_out, i)) for i in chosen(held_out, 30)]
    theirs = [(image, labels) for _, (image, labels) in pairs if labels is not None]
    ours = [(image, labels) for image, labels, _, _ in made["bridge"]]
    translated = [(t, labels) for _, labels, _, t in made["bridge"]]
    first = load_segmenter(folders["bridge"] / "stages" / "1-source-only" / "segmenter")
    last = runs["bridge"].model.segmenter
    panels = {
        "source-only: source, target": (class_features(first, ours), class_features(first, theirs)),
        "source-only: translated, target": (class_features(first, translated), class_features(first, theirs)),
        "Bridge: translated, target": (class_features(last, translated), class_features(last, theirs)),
    }
    gaps = draw_features(panels, pictures / f"bridge-{pair_name}-features.png")
    result = json.loads((folders["bridge"] / "benchmark.json").read_text())
    before, after = (np.array(result[key]) for key in ("confusion_before", "confusion"))
    draw_confusions(before, after, pictures / f"bridge-{pair_name}-confusion.png")
    return {"pair": pair_name, "seed": seed, "recall_of_oracle": broken, "domain_gap": gaps}


def main() -> None:
    """Make the pictures and the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pair", choices=["toy", "camvid", "both"], default="both")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--camvid", type=Path, default=HERE.parents[1] / "shared" / "data" / "camvid")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--pictures", type=Path, default=HERE.parent / "docs" / "pictures")
    parser.add_argument("--json", type=Path, default=HERE / "results" / "bridge_why.json")
    args = parser.parse_args()
    names = ["toy", "camvid"] if args.pair == "both" else [args.pair]
    found = [explain(name, args.seed, args.work, args.camvid, args.pictures) for name in names]
    args.json.write_text(json.dumps(found, indent=1) + "\n")
    for each in found:
        print(json.dumps(each["domain_gap"], indent=1))
        for name, values in each["recall_of_oracle"].items():
            print(
                f"{name:14}",
                {k: round(100 * v) for k, v in values.items()},
                f"mean {100 * np.mean(list(values.values())):.1f}",
            )


if __name__ == "__main__":
    main()
