"""Bridge against its parts and the baselines: one command, one table, mean and spread over seeds.

    python benchmarks/bridge.py                        # both pairs, 3 seeds, all rows
    python benchmarks/bridge.py --pair toy --seeds 0 --rows bridge,global-style

Rows: the baselines of benchmarks/adaptation.py (same pairs, sizes and seeds; rows in its JSON file are reused),
``bridge`` (the built-in recipe bridge-small), and every recipe file in benchmarks/bridge/. Target labels are used only
for scores. Columns besides mIoU: the share of the gap from source-only to the oracle, the distance of translations to
the target (FD-lite0: Fréchet distance of EfficientNet-Lite0 features), minutes, peak memory, and how well the
label-free scores rank the checkpoints of a run (Spearman's ρ with true mIoU, mean over runs). Runs that are finished
are not repeated.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file

from adaptation import METHODS, Pair, camvid_pair, run_one, toy_pair
from stylebridge.data.domain import open_domain
from stylebridge.data.label_space import LabelSpace
from stylebridge.jobs.apply.models.inference import confusion_of
from stylebridge.jobs.recipe.reading import load_recipe
from stylebridge.jobs.runs.folder import RunFolder
from stylebridge.jobs.runs.machine import device_name
from stylebridge.jobs.tasks.adaptation.label_free import SCORES
from stylebridge.jobs.train import adapt
from stylebridge.metrics.label_free import rank_correlation
from stylebridge.networks.segmenters.build import load_segmenter
from stylebridge.version import __version__

HERE = Path(__file__).parent
RECIPES = {"bridge": "bridge-small"} | {
    path.stem.removeprefix("bridge-"): str(path) for path in sorted((HERE / "bridge").glob("*.yaml"))
}
CAMVID = HERE.parents[1] / "shared" / "data" / "camvid"


def open_pair(name: str, work: Path, camvid: Path) -> Pair:
    """The folders of a pair."""
    return toy_pair(work) if name == "toy" else camvid_pair(work, camvid)


def run_bridge(
    pair: Pair, row: str, seed: int, work: Path, device: str, reuse: Path | None
) -> dict[str, Any]:
    """Train and score one Bridge recipe with one seed; see :func:`main` for why this is a process of its own."""
    out = work / "runs" / f"{pair.name}-{row}-{seed}"
    start = time.perf_counter()
    outcome = adapt(
        pair.source, pair.target, out, recipe=RECIPES[row], label_space="camvid-11", evaluate_on=pair.held_out,
        seed=seed, device=device, overwrite=True, quiet=True, reuse=reuse, overrides=keep_checkpoints(RECIPES[row]),
    )  # fmt: skip
    assert outcome.after is not None
    return {
        "pair": pair.name,
        "method": row,
        "seed": seed,
        "miou": outcome.after.miou_present,
        "iou": dict(zip(outcome.after.classes, outcome.after.iou, strict=True)),
        "pixel_accuracy": outcome.after.pixel_accuracy,
        "protocol": outcome.after.protocol,
        "minutes": (time.perf_counter() - start) / 60,
        "stages_reused_from": reuse.name if reuse is not None else None,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "checkpoints": score_checkpoints(out, pair, torch.device("cpu")),
        "confusion": [[int(n) for n in row] for row in outcome.after.confusion],
        "confusion_before": (
            [[int(n) for n in row] for row in outcome.before.confusion] if outcome.before else None
        ),
    }


def shared_stages(one: str, other: str) -> int:
    """How many of the first stages of two rows are the same."""
    first, second = (load_recipe(RECIPES.get(name, f"{name}-small")).stages for name in (one, other))
    equal = [a == b for a, b in zip(first, second, strict=False)]
    return equal.index(False) if False in equal else len(equal)


def keep_checkpoints(recipe: str) -> list[str]:
    """Changes to a recipe: the weights of all checkpoints that are scored without labels are kept."""
    stages = load_recipe(recipe).stages
    return [
        f"stages.{i}.label_free.keep=true" for i, stage in enumerate(stages) if stage.label_free is not None
    ]


def score_checkpoints(run: Path, pair: Pair, device: torch.device) -> list[dict[str, Any]]:
    """True mIoU beside the label-free scores of every kept checkpoint; the snapshots are removed."""
    folder = RunFolder(run)
    if not (run / SCORES).is_file():
        return []
    space = LabelSpace.load("camvid-11")
    held_out = open_domain(pair.held_out, "held out", labelled=True, space=space)
    segmenter = load_segmenter(folder.segmenter).to(device)
    rows = []
    for line in map(json.loads, (run / SCORES).read_text().splitlines()):
        file = run / "snapshots" / f"{line['stage']}-{line['step']:06d}.safetensors"
        if file.is_file():
            segmenter.load_state_dict(load_file(file))
            confusion = confusion_of(segmenter, held_out, folder.recipe().inference, device)
            rows.append({**line, "miou": confusion.scores(space.classes, space.name).miou_present})
            file.unlink()
    return rows


def translation_distance(run: Path, pair: Pair, device: str) -> float | None:
    """FD-lite0 between translated source images and the target's, where the run has a translator."""
    from stylebridge.jobs.apply.translate import translate
    from stylebridge.jobs.evaluate.images import evaluate_images

    made = run / "translated"
    translate(run, [], made, labels="keep", device=device, quiet=True, overwrite=True)
    scores = evaluate_images(
        pair.target / "images", made / "images", features="lite0", device=device, quiet=True
    )
    return scores["FD-lite0"].value


@dataclass(frozen=True)
class Line:
    """One row of the table: mIoU in per cent over seeds, and what goes with it."""

    pair: str
    row: str
    scores: list[float]
    closed: float | None
    distance: float | None
    minutes: float
    memory: float | None
    rho: dict[str, float]

    def cells(self) -> list[str]:
        spread = f" ± {statistics.stdev(self.scores):.1f}" if len(self.scores) > 1 else ""
        return [
            self.pair,
            self.row,
            f"{statistics.mean(self.scores):.1f}{spread}",
            "" if self.closed is None else f"{self.closed:.0f} %",
            ", ".join(f"{score:.1f}" for score in self.scores),
            "" if self.distance is None else f"{self.distance:.0f}",
            f"{self.minutes:.1f}",
            "" if self.memory is None else f"{self.memory:.1f}",
            ", ".join(f"{value:+.2f}" for value in self.rho.values()),
        ]


COLUMNS = (
    "pair",
    "row",
    "mIoU",
    "gap closed",
    "each seed",
    "FD-lite0",
    "minutes",
    "GiB",
    "ρ certainty, agreement",
)


def summarise(rows: list[dict[str, Any]]) -> list[Line]:
    """A line a pair and row, in the order they came in."""
    scores = {(r["pair"], r["method"], r["seed"]): 100 * r["miou"] for r in rows}
    lines = []
    for pair, method in dict.fromkeys((r["pair"], r["method"]) for r in rows):
        mine = [r for r in rows if (r["pair"], r["method"]) == (pair, method)]
        ends = [
            [scores[pair, end, r["seed"]] for r in mine if (pair, end, r["seed"]) in scores]
            for end in ("source-only", "oracle")
        ]
        closed = None
        if all(len(end) == len(mine) for end in ends):
            low, high = map(statistics.mean, ends)
            closed = 100 * (statistics.mean(100 * r["miou"] for r in mine) - low) / (high - low)
        distances = [r["fd_lite0"] for r in mine if r.get("fd_lite0") is not None]
        memory = [r["peak_gib"] for r in mine if "peak_gib" in r]
        lines.append(
            Line(
                pair,
                method,
                [100 * r["miou"] for r in mine],
                closed if method not in ("source-only", "oracle") else None,
                statistics.mean(distances) if distances else None,
                statistics.mean(r["minutes"] for r in mine),
                max(memory) if memory else None,
                rank_correlations(mine),
            )
        )
    return lines


def rank_correlations(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Spearman's ρ of each label-free score with true mIoU over the checkpoints of a run, mean over runs."""
    found: dict[str, list[float]] = {"certainty": [], "agreement": []}
    for row in rows:
        points = row.get("checkpoints") or []
        if len(points) < 3:
            continue
        for name, values in found.items():
            values.append(rank_correlation([p[name] for p in points], [p["miou"] for p in points]))
    return {name: statistics.mean(values) for name, values in found.items() if values}


def known_rows(path: Path) -> dict[tuple[str, str, int], dict[str, Any]]:
    """Rows of an earlier table."""
    rows = json.loads(path.read_text())["rows"] if path.is_file() else []
    return {(r["pair"], r["method"], r["seed"]): r for r in rows}


def one_row(args: argparse.Namespace, name: str, row: str, seed: int) -> dict[str, Any]:
    """A row, from an earlier table, from a finished run, or trained now."""
    known = known_rows(args.json) | known_rows(HERE / "results" / "adaptation.json")
    if (name, row, seed) in known and not args.anew:
        return known[name, row, seed]
    if row in METHODS:
        return run_one(open_pair(name, args.work, args.camvid), row, seed, args.work, args.device, [])
    result = args.work / "runs" / f"{name}-{row}-{seed}" / "benchmark.json"
    if not result.is_file():
        command = [sys.executable, __file__, "--one", name, row, str(seed), "--work", str(args.work)]
        subprocess.run([*command, "--camvid", str(args.camvid), "--device", args.device], check=True)
    return json.loads(result.read_text())


def train_one(args: argparse.Namespace) -> None:
    """Train the row of ``--one`` and leave its result in the run folder."""
    name, row, seed = args.one[0], args.one[1], int(args.one[2])
    pair = open_pair(name, args.work, args.camvid)
    runs = args.work / "runs"
    others = {other: runs / f"{name}-{other}-{seed}" for other in (*RECIPES, "source-only") if other != row}
    finished = {other: path for other, path in others.items() if (path / "stages").is_dir()}
    reuse = max(finished, key=lambda other: shared_stages(other, row), default=None)
    result = run_bridge(pair, row, seed, args.work, args.device, finished[reuse] if reuse else None)
    out = runs / f"{name}-{row}-{seed}"
    result["fd_lite0"] = translation_distance(out, pair, args.device)
    (out / "benchmark.json").write_text(json.dumps(result, indent=1))


def show(lines: list[Line], console: Console) -> str:
    """Print the table; returns it as Markdown."""
    view = Table(title="mIoU % on held-out target images, mean ± deviation over seeds")
    for column in COLUMNS:
        view.add_column(column, justify="left" if column in ("pair", "row") else "right")
    for before, line in zip([None, *lines], lines, strict=False):
        if before is not None and before.pair != line.pair:
            view.add_section()
        view.add_row(*line.cells())
    console.print(view)
    rows = [COLUMNS, ["---", "---", *["---:"] * 7], *(line.cells() for line in lines)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main() -> None:
    """Run what is asked for; write the table and the JSON. Each Bridge run is a process of its own, so that its peak
    memory is its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pair", choices=["toy", "camvid", "both"], default="both")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--rows", default=",".join([*METHODS, *RECIPES]))
    parser.add_argument("--camvid", type=Path, default=CAMVID)
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--anew", action="store_true", help="take no row from earlier tables")
    parser.add_argument("--json", type=Path, default=HERE / "results" / "bridge.json")
    parser.add_argument("--one", nargs=3, metavar=("PAIR", "ROW", "SEED"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        train_one(args)
        return
    console = Console()
    names = ["toy", "camvid"] if args.pair == "both" else [args.pair]
    if "camvid" in names and not args.camvid.is_dir():
        console.print(f"{args.camvid} is absent: the camvid pair is left out.")
        names.remove("camvid")
    rows = []
    for name in names:
        for row in args.rows.split(","):
            for seed in map(int, args.seeds.split(",")):
                rows.append(one_row(args, name, row, seed))
                console.print(f"{name} {row} seed {seed}: {100 * rows[-1]['miou']:.1f}", highlight=False)
    table = show(summarise(rows), console)
    device = torch.device("cuda" if torch.cuda.is_available() and args.device != "cpu" else "cpu")
    about = {
        "command": "python benchmarks/bridge.py",
        "device": device_name(device),
        "versions": {
            "stylebridge": __version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
    }
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")
    args.json.with_suffix(".md").write_text(table)


if __name__ == "__main__":
    main()
