"""Perceptual distances: diversity of one set, or distance between images of the same name in two sets."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F

from stylebridge.data.domain import DomainSpec
from stylebridge.data.files import FileRef, path_below
from stylebridge.data.images import read_image
from stylebridge.engine import open_accelerator
from stylebridge.errors import DataError, RecipeError
from stylebridge.jobs.evaluate.images import images_of, output_file, write_scores
from stylebridge.jobs.pictures import as_tensor
from stylebridge.metrics.perceptual import random_pairs
from stylebridge.networks.perceptual import SMALLEST, PerceptualDistance, open_perceptual
from stylebridge.terminal import open_console, open_progress, say

Pair = tuple[FileRef, FileRef]


@dataclass(frozen=True)
class PairScores:
    """Perceptual distances of pairs of images.

    name, title: of the distance. of: ``random pairs of a set`` (diversity) or ``images of one name``.
    mean, deviation: over pairs (divisor: their number). resize: how images were resized.
    """

    name: str
    title: str
    of: str
    first: str
    second: str
    pairs: int
    mean: float
    deviation: float
    resize: str
    seed: int
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, ready for `json.dumps`."""
        return asdict(self)


def evaluate_pairs(
    first: str | Path,
    second: str | Path | None = None,
    *,
    distance: Literal["auto", "lpips", "lite0"] = "auto",
    weights: str | Path | None = None,
    pairs: int = 1000,
    size: int = 256,
    batch: int = 8,
    device: str = "auto",
    out: str | Path | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> PairScores:
    """The diversity of one set (mean distance over random pairs), or the mean distance of images with the same name.

    Args:
        first: ``PATH``, ``LAYOUT:PATH`` or ``LAYOUT/SPLIT:PATH``.
        second: likewise; each image is compared with the image of the same path without suffix in ``first``.
        distance: ``lpips``, ``lite0`` (PD-lite0), or ``auto``: LPIPS if available.
        weights: a file with torchvision's AlexNet weights; None: torch.hub's cache or download.
        pairs: number of random pairs, at most all pairs; not used with ``second``.
        size: side in pixels of the squares that images are resized to.
        batch: pairs in each forward pass.
        out: JSON file for the result.

    Raises:
        UserError: a set is missing or has fewer than two images, names do not match, or the weights are not available.
    """
    for name, value, least in (("batch", batch, 1), ("pairs", pairs, 1), ("size", size, SMALLEST)):
        if value < least:
            raise RecipeError(f"{name} is {value}: give {least} or more.")
    path = output_file(out, {"the images": first, "the second images": second})
    console = open_console(stderr=True, quiet=quiet)
    chosen = _random_pairs(first, pairs, seed) if second is None else _same_names(first, second)
    accelerator = open_accelerator(device)
    with console.status("weights"):
        network, note = open_perceptual(distance, weights)
    network.to(accelerator.device)
    values = _distances(network, chosen, size, batch, accelerator.device, console)
    found = PairScores(
        name=network.name,
        title=network.title,
        of="random pairs of a set" if second is None else "images of one name",
        first=str(first),
        second=str(first if second is None else second),
        pairs=len(values),
        mean=float(values.mean()),
        deviation=float(values.std(correction=0)),
        resize=f"to {size}×{size} in float32, bilinear with antialiasing",
        seed=seed,
        notes=(note,) if note else (),
    )
    if path is not None:
        write_scores(found.as_dict(), path)
    return found


def print_pair_scores(scores: PairScores, console: Console) -> None:
    """Print the mean distance and its settings."""
    line = f"{scores.name} {scores.mean:.4g} ± {scores.deviation:.4g} over {scores.pairs:,} {scores.of}"
    say(console, line, style="bold")
    for text in (f"distance  {scores.title}", f"resize    {scores.resize}", *scores.notes):
        say(console, text)


def _random_pairs(place: str | Path, pairs: int, seed: int) -> list[Pair]:
    images = images_of(place, "first")
    return [(images[i], images[j]) for i, j in random_pairs(len(images), pairs, seed).tolist()]


def _same_names(first: str | Path, second: str | Path) -> list[Pair]:
    """Pairs of images with the same path below their sets, without suffix.

    Raises:
        DataError: an image has no counterpart in the other set, or two images of a set share a path.
    """
    sets = [_by_path(place, name) for place, name in ((first, "first"), (second, "second"))]
    for ours, theirs, own, other in ((*sets, first, second), (*reversed(sets), second, first)):
        lonely = sorted(ours.keys() - theirs.keys())
        if lonely:
            raise DataError(
                f"{len(lonely)} of {len(ours)} images of {own} have no image of the same name in {other} (the first is "
                f"{lonely[0]}): give sets with matching file names."
            )
    return [(sets[0][key], sets[1][key]) for key in sorted(sets[0])]


def _by_path(place: str | Path, name: str) -> dict[str, FileRef]:
    found: dict[str, FileRef] = {}
    root = DomainSpec.parse(place).path
    inner = root / "images" if (root / "images").is_dir() else root
    for file in images_of(place, name):
        key = str(path_below(file, inner).with_suffix(""))
        if key in found:
            raise DataError(
                f"{found[key]} and {file} differ only in their suffix: rename or remove one of them."
            )
        found[key] = file
    return found


def _distances(
    network: PerceptualDistance,
    pairs: Sequence[Pair],
    size: int,
    batch: int,
    device: torch.device,
    console: Console,
) -> Tensor:
    """Distances of the pairs in order, float64 [P] on the CPU."""

    def read(file: FileRef) -> Tensor:
        image = as_tensor(read_image(file))[None]
        side = (size, size)
        resized = F.interpolate(image, size=side, mode="bilinear", align_corners=False, antialias=True)
        return resized[0].clamp(0, 1)

    values = []
    with ThreadPoolExecutor(max_workers=2) as pool, open_progress(console) as progress:
        task = progress.add_task("pairs", total=len(pairs))
        for start in range(0, len(pairs), batch):
            firsts, seconds = zip(*pairs[start : start + batch], strict=True)
            left, right = (torch.stack(list(pool.map(read, files))) for files in (firsts, seconds))
            with torch.inference_mode():
                values.append(network(left.to(device), right.to(device)).cpu())
            progress.advance(task, len(left))
    return torch.cat(values).double()
