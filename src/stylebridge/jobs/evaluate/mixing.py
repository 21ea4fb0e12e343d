"""Score a MixNMatch run: how well it separates the factors of photos, and how similar mixes are to photos."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor

from stylebridge.data.boxes import ViewDraw, object_view
from stylebridge.data.images import read_image
from stylebridge.errors import DataError, RecipeError
from stylebridge.jobs.apply.mixing.checks import (
    CHECKS,
    FEWEST,
    Check,
    check_of,
    compare,
    draw_groups,
    pictures_of,
)
from stylebridge.jobs.apply.models.mixer import BATCH, Mixing, Mode, check_mode, pixels, squared
from stylebridge.jobs.apply.models.model import open_model
from stylebridge.jobs.datasets.boxed_set import open_boxed_set
from stylebridge.jobs.evaluate.images import images_of, output_file, write_scores
from stylebridge.metrics.image_sets import Score, SetFeatures, compare_sets, limits, splits_for
from stylebridge.networks.image_features import FeatureNetwork, Kind, open_features
from stylebridge.terminal import open_console, open_progress, say

BASELINE = (
    "No mixing: of a check, the two photos' own pictures (all factors from one photo), which share nothing; of a "
    "distance, the photos' own pictures in place of mixes."
)


@dataclass(frozen=True)
class MixScores:
    """The results of ``stylebridge mix evaluate``, and everything needed to reproduce them."""

    run: str
    data: str
    mode: str
    photos: int
    pairs: int
    seed: int
    baseline: str
    checks: tuple[Check, ...]
    features: str
    resize: str
    mixes: tuple[Score, ...]
    unmixed: tuple[Score, ...]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, ready for `json.dumps`."""
        return asdict(self)


def evaluate_mixing(
    run: str | Path,
    data: str | Path,
    *,
    boxes: str | Path | None = None,
    pairs: int = 500,
    seed: int = 0,
    out: str | Path | None = None,
    mode: Mode = "code",
    features: Kind = "auto",
    weights: str | Path | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> MixScores:
    """Mix photos in pairs and measure the kept factors; compare mixes of four photos with all photos.

    Args:
        data: photos, a folder or a zip file.
        boxes: as in :func:`stylebridge.jobs.tasks.mix.train_mixer`; photos are then cropped around their object as in
            training, without randomness. None: whole photos of any aspect ratio.
        pairs: number of pairs.
        seed: the seed of the pairs.
        out: JSON file for the results.
        features, weights: as in :func:`stylebridge.jobs.evaluate.images.evaluate_images`.

    Raises:
        UserError: the run, a photo, a box or the weights are invalid, or there are too few photos.
    """
    check_mode(mode)
    if pairs < 2:
        raise RecipeError(f"--pairs is {pairs}: give 2 or more.")
    path = output_file(out, {"the data": data})
    mixing = open_model(run, device, "mix").mixing(mode)
    count, read = _photos(data, boxes, mixing.side)
    if count < FEWEST:
        raise DataError(f"The data {data} has {count} photos: a mix needs {FEWEST}, so give more.")
    console = open_console(stderr=True, quiet=quiet)
    with console.status("weights"):
        network, note = open_features(features, weights)
    network.to(mixing.device)
    with open_progress(console) as progress:
        checks, mixes, unmixed = _measure(mixing, count, read, pairs, seed, network, progress)
    scores = MixScores(
        run=str(run),
        data=str(data),
        mode=mode,
        photos=count,
        pairs=pairs,
        seed=seed,
        baseline=BASELINE,
        checks=checks,
        features=network.kind.layer,
        resize=network.kind.resize,
        mixes=mixes,
        unmixed=unmixed,
        notes=(*filter(None, [note]), *_uncounted(checks, pairs), *limits(count, pairs, network.kind)),
    )
    if path is not None:
        write_scores(scores.as_dict(), path)
    return scores


def _measure(
    mixing: Mixing,
    count: int,
    read: Callable[[int], np.ndarray],
    pairs: int,
    seed: int,
    network: FeatureNetwork,
    progress: Progress,
) -> tuple[tuple[Check, ...], tuple[Score, ...], tuple[Score, ...]]:
    """The kept factors of the mixes, and the distances of mixes and of unmixed photos from all photos."""
    groups = draw_groups(count, pairs, seed)
    sets = [SetFeatures(count, network.kind, 0, seed, mixing.device)] + [
        SetFeatures(pairs, network.kind, splits_for(pairs), seed, mixing.device) for _ in range(2)
    ]
    views = _gather(count, read, np.unique(groups), network, sets[0], progress)
    checks = _mix(mixing, views, groups, network, sets[1:], progress)
    progress.add_task("distances", total=None)
    mixes, unmixed = (compare_sets(sets[0], made, network.kind, seed) for made in sets[1:])
    return checks, mixes, unmixed


def _uncounted(checks: Sequence[Check], pairs: int) -> list[str]:
    return [
        f"{check.name.capitalize()}: only {check.counted:,} of {pairs:,} pairs count; in the others a mask is empty, "
        f"or the masks leave no background."
        for check in checks
        if check.counted < pairs
    ]


def _photos(data: str | Path, boxes: str | Path | None, side: int) -> tuple[int, Callable[[int], np.ndarray]]:
    """The number of photos, and a function that reads one by number: uint8 [S, S, 3]."""
    if boxes is None:
        files = images_of(data, "data")
        return len(files), lambda index: squared(read_image(files[index]), side)
    boxed = open_boxed_set(Path(data), boxes)

    def cut(index: int) -> np.ndarray:
        image = read_image(boxed.images[index])
        inside = boxed.boxes.inside(boxed.names[index], image.shape[1], image.shape[0])
        return np.array(object_view(image, inside, side, ViewDraw(0.5, 0.5, False)))

    return len(boxed.images), cut


@torch.inference_mode()
def _gather(
    count: int,
    read: Callable[[int], np.ndarray],
    used: np.ndarray,
    network: FeatureNetwork,
    real: SetFeatures,
    progress: Progress,
) -> dict[int, np.ndarray]:
    """Compute the features of all photos; returns the photos to mix."""
    task, views = progress.add_task("photos", total=count), {}
    wanted, device = set(used.tolist()), next(network.parameters()).device

    def prepared(index: int) -> tuple[np.ndarray, Tensor]:
        view = read(index)
        return view, network.prepare(view)

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for first in range(0, count, BATCH):
            numbers = range(first, min(first + BATCH, count))
            taken, ready = zip(*pool.map(prepared, numbers), strict=True)
            views |= {n: view for n, view in zip(numbers, taken, strict=True) if n in wanted}
            real.update(*network(torch.stack(ready).to(device)))
            progress.advance(task, len(numbers))
    return views


@torch.inference_mode()
def _mix(
    mixing: Mixing,
    views: dict[int, np.ndarray],
    groups: np.ndarray,
    network: FeatureNetwork,
    sets: Sequence[SetFeatures],
    progress: Progress,
) -> tuple[Check, ...]:
    """The checks over all groups; adds the features of mixes and of unmixed pictures to two sets."""
    task, found = progress.add_task("mixes", total=len(groups)), []
    for made in pictures_of(mixing, views, groups):
        found.append(compare(made))
        for features, mixed in zip(sets, (made["all"], made["first"]), strict=True):
            # Rounded to 8 bits, like a picture read from a file.
            ready = torch.stack([network.prepare(picture) for picture in pixels(mixed.image)])
            features.update(*network(ready.to(mixing.device)))
        progress.advance(task, len(made["first"].image))
    columns = {name: zip(*(batch[name] for batch in found), strict=True) for name in CHECKS}
    return tuple(check_of(mixing.mode, name, *map(torch.cat, pair)) for name, pair in columns.items())


def print_mix_scores(scores: MixScores, console: Console) -> None:
    """Print a table of the checks, one of the distances, and notes."""
    table = _table(
        f"{scores.run}: mixes of pairs (A, B) of {scores.data}",
        ("check", "from B", "measure"),
        ("mixes", "no mixing", "ahead"),
    )
    for check in scores.checks:
        arrow = "↓" if check.better == "lower" else "↑"
        means = _number(check.mean, check.deviation), _number(check.baseline_mean, check.baseline_deviation)
        ahead = "–" if check.ahead is None else f"{check.ahead:.0%}"
        table.add_row(check.name, check.mixed, f"{check.short} {arrow}", *means, ahead)
    console.print(table)
    table = _table("Mixes of four photos against all photos", ("score",), ("mixes", "no mixing"))
    for mixed, unmixed in zip(scores.mixes, scores.unmixed, strict=True):
        arrow = "↓" if mixed.better == "lower" else "↑"
        table.add_row(f"{mixed.name} {arrow}", _score(mixed), _score(unmixed))
    console.print(table)
    lines = (
        f"photos    {scores.photos:,}; {scores.pairs:,} pairs, {scores.mode} mode, seed {scores.seed}",
        "kept      A's picture with one factor from B, beside A's own picture; taken: beside B's own",
        *(
            f"measure   {short}: {said}"
            for short, said in {c.short: c.measure for c in scores.checks}.items()
        ),
        f"baseline  {scores.baseline}",
        "±         over pairs; of distances over subsets or splits; ahead: pairs better than their baseline",
        f"features  {scores.features}",
        f"resize    {scores.resize}",
        *(f"note      {note}" for note in scores.notes),
    )
    for line in lines:
        say(console, line)


def _table(title: str, words: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(title=title, title_style="bold", title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for word in words:
        table.add_column(word)
    for number in numbers:
        table.add_column(number, justify="right")
    return table


def _number(value: float | None, deviation: float | None) -> str:
    return "–" if value is None else f"{value:.3f} ± {deviation:.3f}"


def _score(score: Score) -> str:
    spread = "" if score.deviation is None else f" ± {score.deviation:.2g}"
    return f"{score.value:.4g}{spread}"
