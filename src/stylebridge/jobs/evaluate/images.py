"""Score images against real ones: FID, KID and IS, or the same scores on other features with other names."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from stylebridge.atomic import OTHER_OUT, write_text
from stylebridge.data.domain import DomainSpec, open_domain
from stylebridge.data.files import FileRef, Tree, open_tree
from stylebridge.data.images import read_image
from stylebridge.data.layouts.names import is_image_folder, is_label_folder
from stylebridge.data.text_files import TextFileError, read_json
from stylebridge.engine import open_accelerator
from stylebridge.errors import DataError, RecipeError, RunError
from stylebridge.jobs.runs.outputs import ensure_apart
from stylebridge.metrics.image_sets import (
    SUBSETS,
    ImageScores,
    Score,
    SetFeatures,
    compare_sets,
    limits,
    splits_for,
    subset_size_for,
)
from stylebridge.networks.image_features import FeatureNetwork, ImageFeatures, Kind, open_features
from stylebridge.terminal import open_console, open_progress, say

#: Keys in the files of evaluations.
_SCORE_KEYS = {"confusion", "subset_size", "deviation", "mixes"}
#: Least number of images for a covariance.
FEWEST = 2


def evaluate_images(
    real: str | Path,
    fake: str | Path,
    *,
    features: Kind = "auto",
    weights: str | Path | None = None,
    batch: int = 16,
    device: str = "auto",
    out: str | Path | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> ImageScores:
    """Compare two sets of images by the features of a network.

    Images are read as RGB with their EXIF rotation; transparency is dropped, grey becomes RGB, sizes may differ. All
    images below a folder or inside a zip file are used, or those below its ``images/`` if it has one.

    Args:
        real: reference images: ``PATH``, ``LAYOUT:PATH`` or ``LAYOUT/SPLIT:PATH``.
        fake: images to score, likewise.
        features: ``inception`` (FID, KID, IS), ``lite0`` (FD-lite0, KD-lite0, IS-lite0), or ``auto``: Inception if its
            weights are available.
        weights: a file with the Inception weights of FID; None: torch.hub's cache or download.
        batch: images in each forward pass.
        out: JSON file for the scores.
        seed: the seed of subsets and splits.

    Raises:
        UserError: a set is missing, has fewer than two images or a damaged one; the weights are not available.
    """
    if batch < 1:
        raise RecipeError(f"batch is {batch}: give 1 or more.")
    path = output_file(out, {"the real images": real, "the fake images": fake})
    console = open_console(stderr=True, quiet=quiet)
    listed = {"real": images_of(real, "real"), "fake": images_of(fake, "fake")}
    accelerator = open_accelerator(device)
    with console.status("weights"):
        network, note = open_features(features, weights)
    network.to(accelerator.device)
    counts = {name: len(images) for name, images in listed.items()}
    splits = {"real": 0, "fake": splits_for(counts["fake"])}
    gathered: dict[str, SetFeatures] = {}
    with open_progress(console) as progress:
        for name, images in listed.items():
            task = progress.add_task(f"{name} images", total=len(images))
            gathered[name] = SetFeatures(len(images), network.kind, splits[name], seed, accelerator.device)
            for prepared in _batches(network, images, batch):
                gathered[name].update(*_features(network, prepared.to(accelerator.device)))
                progress.advance(task, len(prepared))
        progress.add_task("distances", total=None)
        scores = compare_sets(gathered["real"], gathered["fake"], network.kind, seed)
    found = _described(scores, network, counts, splits["fake"], seed, note, (str(real), str(fake)))
    if path is not None:
        write_scores(found.as_dict(), path)
    return found


def _described(
    scores: tuple[Score, ...],
    network: FeatureNetwork,
    counts: dict[str, int],
    splits: int,
    seed: int,
    note: str | None,
    places: tuple[str, str],
) -> ImageScores:
    real, fake = counts["real"], counts["fake"]
    return ImageScores(
        real=places[0],
        fake=places[1],
        real_images=real,
        fake_images=fake,
        features=network.kind.layer,
        resize=network.kind.resize,
        scores=scores,
        subsets=SUBSETS,
        subset_size=subset_size_for(real, fake),
        splits=splits,
        seed=seed,
        notes=(*([note] if note else []), *limits(real, fake, network.kind)),
    )


def print_image_scores(scores: ImageScores, console: Console) -> None:
    """Print a table of the scores, their settings, and notes."""
    table = Table(title=f"{scores.fake} against {scores.real}", title_style="bold", title_justify="left")
    table.add_column("score")
    table.add_column("value", justify="right")
    table.add_column("±", justify="right")
    table.add_column("better")
    for score in scores.scores:
        deviation = "–" if score.deviation is None else f"{score.deviation:.4g}"
        table.add_row(score.name, f"{score.value:.4g}", deviation, score.better)
    console.print(table)
    lines = (
        f"images    {scores.real_images:,} real, {scores.fake_images:,} fake",
        f"features  {scores.features}",
        f"resize    {scores.resize}",
        f"±         over {scores.subsets} subsets of {scores.subset_size:,} images, or {scores.splits} splits",
        *(f"note      {note}" for note in scores.notes),
    )
    for line in lines:
        say(console, line)


def output_file(out: str | Path | None, inputs: Mapping[str, str | Path | None]) -> Path | None:
    """The output file for scores.

    Args:
        inputs: the input sets, by their names in messages.

    Raises:
        RunError: it is a folder, is or lies in an input, or is a file without scores.
    """
    if out is None:
        return None
    path = Path(out)
    if path.is_dir():
        raise RunError(f"{out} is a folder: give a file name as --out, such as scores.json.")
    ensure_apart(path, {what: DomainSpec.parse(place).path for what, place in inputs.items() if place})
    if os.path.lexists(path) and not _holds_scores(path):
        raise RunError(
            f"{out} exists already and has no scores of `stylebridge evaluate`: choose another --out."
        )
    return path


def _holds_scores(path: Path) -> bool:
    """Whether a file was written by an evaluation."""
    try:
        found = read_json(path)
    except (OSError, TextFileError, ValueError):
        return False
    return isinstance(found, dict) and bool(found.keys() & _SCORE_KEYS)


def images_of(place: str | Path, name: str) -> Sequence[FileRef]:
    """The image files of a set, sorted by their path.

    Those below a folder or in a zip file, or below its ``images/`` if it has one (or ``img/`` etc., if label maps are
    beside it); or those of a layout.

    Raises:
        DataError: there are fewer than two, or the place does not exist; ``name`` identifies the set.
    """
    spec = DomainSpec.parse(place)
    if spec.layout is not None:
        images: Sequence[FileRef] = open_domain(place, name, labelled=False).images
    else:
        tree = open_tree(spec.path, name)
        # Archives often hold one folder with everything inside.
        while len(tree.folders()) == 1 and not tree.has("images") and not tree.images(recursive=False):
            tree = tree.below(tree.folders()[0])
        images = list(tree.images(_photos_in(tree)).values())
    if len(images) < FEWEST:
        held = "no images" if not images else "one image"
        raise DataError(
            f"The {name} set {place} has {held}: give at least {FEWEST}, and thousands for reliable scores."
        )
    return images


def _photos_in(tree: Tree) -> str:
    """The photo folder of a tree: ``images``, or an equivalent name if label maps are beside it."""
    here = tree.folders()
    photos = [folder for folder in here if is_image_folder(folder)]
    if "images" in photos or not any(map(is_label_folder, here)):
        return "images" if "images" in photos else ""
    return photos[0] if len(photos) == 1 else ""


def _batches(network: FeatureNetwork, images: Sequence[FileRef], batch: int) -> Iterator[Tensor]:
    """Prepared images float32 [B, 3, S, S], with one batch read ahead by threads."""

    def read(file: FileRef) -> Tensor:
        return network.prepare(read_image(file))

    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        pending = iter(images)
        queue = [pool.submit(read, file) for file in islice(pending, 2 * batch)]
        try:
            while queue:
                taken, queue = queue[:batch], queue[batch:]
                queue += [pool.submit(read, file) for file in islice(pending, len(taken))]
                yield torch.stack([future.result() for future in taken])
        finally:
            for future in queue:
                future.cancel()


@torch.inference_mode()
def _features(network: FeatureNetwork, prepared: Tensor) -> ImageFeatures:
    return network(prepared)


def write_scores(scores: dict[str, Any], path: Path) -> None:
    """Write JSON atomically."""
    write_text(path, json.dumps(scores, indent=1, ensure_ascii=False), mend=OTHER_OUT)
