"""Adaptation methods on two pairs of domains: one command, one table, mean and spread over seeds.

    python benchmarks/adaptation.py                    # both pairs, 3 seeds, all methods
    python benchmarks/adaptation.py --pair toy --seeds 0 --methods source-only,self-training

Pairs: (toy) the built-in simulator → the built-in camera at 160×120; (camvid) CamVid day → dusk, trained on crops of
256×192 and predicted at 480×360, from `../shared/data/camvid` or --camvid. Every model is scored on target images that
no method saw: 60 camera scenes; the second half of the dusk drive (adaptation uses the first half). Target labels are
used only for evaluation and by the oracle. The oracle of the toy pair is trained only on labelled camera images, that
of CamVid on day and the first half of dusk. Finished runs are not repeated.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from stylebridge.data.domain import open_domain
from stylebridge.jobs.datasets.toy import draw_toy
from stylebridge.jobs.runs.machine import device_name
from stylebridge.jobs.train import adapt
from stylebridge.version import __version__

METHODS = (
    "source-only",
    "colour-transfer",
    "fada",
    "self-training",
    "fada-self-training",
    "translate-then-train",
    "oracle",
)
#: How often each labelled target image stands in the oracle's set beside the source's, so that both count alike.
ORACLE_REPEATS = {"toy": 1, "camvid": 10}


@dataclass(frozen=True)
class Pair:
    """Folders of one pair of domains."""

    name: str
    source: Path
    target: Path
    held_out: Path
    oracle: Path


def link_pairs(folder: Path, parts: list[tuple[Path, slice, int]]) -> Path:
    """A folder of links to (part of) labelled folders, each image ``repeats`` times."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for root, which, repeats in parts:
        domain = open_domain(root, "part", labelled=True)
        assert domain.labels is not None
        for image, label in list(zip(domain.images, domain.labels, strict=True))[which]:
            for copy in range(repeats):
                for kind, file in (("images", image), ("labels", label)):
                    link = folder / kind / f"{root.name}-{copy}-{file.name}"
                    if not link.exists():
                        link.symlink_to(Path(str(file)).resolve())
    return folder


def toy_pair(work: Path) -> Pair:
    """Draw the toy sets (the demo's seeds and size)."""
    data = work / "toy-data"
    for name, look, count, seed in (("sim", "sim", 300, 0), ("camera", "camera", 200, 10_000),
                                    ("held-out", "camera", 60, 20_000)):  # fmt: skip
        if not (data / name).exists():
            draw_toy(data / name, look, count, first_seed=seed, size=(160, 120))
    oracle = link_pairs(data / "oracle", [(data / "camera", slice(None), ORACLE_REPEATS["toy"])])
    return Pair("toy", data / "sim", data / "camera", data / "held-out", oracle)


def camvid_pair(work: Path, camvid: Path) -> Pair:
    """Split the dusk drive in the middle: the first half is adapted to, the second half is scored."""
    data = work / "camvid-data"
    half = len(open_domain(camvid / "dusk", "dusk", labelled=True).images) // 2
    day, first, second = slice(None), slice(0, half), slice(half, None)
    oracle = [(camvid / "day", day, 1), (camvid / "dusk", first, ORACLE_REPEATS["camvid"])]
    return Pair(
        "camvid",
        camvid / "day",
        link_pairs(data / "dusk-first", [(camvid / "dusk", first, 1)]),
        link_pairs(data / "dusk-second", [(camvid / "dusk", second, 1)]),
        link_pairs(data / "oracle", oracle),
    )


def run_one(
    pair: Pair, method: str, seed: int, work: Path, device: str, overrides: list[str]
) -> dict[str, Any]:
    """Train and score one method with one seed, or read the result if it is there."""
    out = work / "runs" / f"{pair.name}-{method}-{seed}"
    result = out / "benchmark.json"
    if result.exists():
        return json.loads(result.read_text())
    oracle = method == "oracle"
    shared = {"self-training": "colour-transfer", "fada-self-training": "fada"}.get(method, "source-only")
    first = work / "runs" / f"{pair.name}-{shared}-{seed}"
    start = time.perf_counter()
    outcome = adapt(
        pair.oracle if oracle else pair.source,
        pair.target,
        out,
        recipe="source-only-small" if oracle else f"{method}-small",
        label_space="camvid-11",
        evaluate_on=pair.held_out,
        seed=seed,
        device=device,
        # Colour transfer and FADA train for 600 steps before distillation: the ceiling gets as many.
        overrides=[*(["stages.0.trainer.steps=600"] if oracle else []), *overrides],
        overwrite=True,
        reuse=first if first.exists() and not oracle else None,
        quiet=True,
    )
    assert outcome.after is not None
    row = {
        "pair": pair.name,
        "method": method,
        "seed": seed,
        "miou": outcome.after.miou_present,
        "iou": dict(zip(outcome.after.classes, outcome.after.iou, strict=True)),
        "pixel_accuracy": outcome.after.pixel_accuracy,
        "protocol": outcome.after.protocol,
        "minutes": (time.perf_counter() - start) / 60,
        "stages_reused_from": shared if first.exists() and method not in ("source-only", "oracle") else None,
    }
    result.write_text(json.dumps(row, indent=1))
    return row


@dataclass(frozen=True)
class Line:
    """One method on one pair: mIoU in per cent over seeds, against colour transfer on the same seeds."""

    pair: str
    method: str
    scores: list[float]
    gain: float | None
    minutes: float

    @property
    def miou(self) -> str:
        spread = f" ± {statistics.stdev(self.scores):.1f}" if len(self.scores) > 1 else ""
        return f"{statistics.mean(self.scores):.1f}{spread}"

    def cells(self) -> list[str]:
        gain = "" if self.gain is None else f"{self.gain:+.1f}"
        each = ", ".join(f"{score:.1f}" for score in self.scores)
        return [self.pair, self.method, self.miou, gain, each, f"{self.minutes:.1f}"]


COLUMNS = ("pair", "method", "mIoU", "over colour transfer", "each seed", "minutes")


def summarise(rows: list[dict[str, Any]]) -> list[Line]:
    """One line per pair and method, in the order of METHODS."""
    scores = {(r["pair"], r["method"], r["seed"]): 100 * r["miou"] for r in rows}
    lines = []
    for pair in dict.fromkeys(row["pair"] for row in rows):
        for method in METHODS:
            mine = [r for r in rows if (r["pair"], r["method"]) == (pair, method)]
            if not mine:
                continue
            gains = [
                scores[pair, method, r["seed"]] - scores[pair, "colour-transfer", r["seed"]]
                for r in mine
                if (pair, "colour-transfer", r["seed"]) in scores
            ]
            lines.append(
                Line(
                    pair,
                    method,
                    [100 * r["miou"] for r in mine],
                    statistics.mean(gains) if gains and method != "colour-transfer" else None,
                    statistics.mean(r["minutes"] for r in mine),
                )
            )
    return lines


def table(lines: list[Line]) -> Table:
    """The table for the terminal."""
    view = Table(title="mIoU % on held-out target images, mean ± deviation over seeds")
    for column in COLUMNS:
        view.add_column(column, justify="left" if column in ("pair", "method") else "right")
    for before, line in zip([None, *lines], lines, strict=False):
        if before is not None and before.pair != line.pair:
            view.add_section()
        view.add_row(*line.cells())
    return view


def markdown(lines: list[Line]) -> str:
    """The table for the documentation."""
    rows = [COLUMNS, ["---", "---", "---:", "---:", "---:", "---:"], *(line.cells() for line in lines)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main() -> None:
    """Run the selected rows; write the table and the JSON file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pair", choices=["toy", "camvid", "both"], default="both")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument(
        "--camvid", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "camvid"
    )
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--set", action="append", default=[], dest="overrides", help="changes to every recipe"
    )
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "adaptation.json")
    args = parser.parse_args()
    console = Console()
    pairs = []
    if args.pair in ("toy", "both"):
        pairs.append(toy_pair(args.work))
    if args.pair in ("camvid", "both"):
        if args.camvid.is_dir():
            pairs.append(camvid_pair(args.work, args.camvid))
        else:
            console.print(f"{args.camvid} is absent: the camvid pair is left out.")
    rows = []
    for seed in [int(s) for s in args.seeds.split(",")]:
        for pair in pairs:
            for method in args.methods.split(","):
                rows.append(run_one(pair, method, seed, args.work, args.device, args.overrides))
                console.print(
                    f"{pair.name} {method} seed {seed}: {100 * rows[-1]['miou']:.1f}", highlight=False
                )
    lines = summarise(rows)
    console.print(table(lines))
    device = torch.device("cuda" if torch.cuda.is_available() and args.device != "cpu" else "cpu")
    args.json.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "command": "python benchmarks/adaptation.py",
        "overrides": args.overrides,
        "device": device_name(device),
        "versions": {
            "stylebridge": __version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
    }
    args.json.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")
    args.json.with_suffix(".md").write_text(markdown(lines))


if __name__ == "__main__":
    main()
