"""Compare two sets of images by network features: Fréchet distance, kernel distance, inception score.

Features are accumulated batch by batch in constant memory, except for the features that the kernel distance draws its
subsets from: those of at most :data:`MOST_KEPT` images are kept (float32; 8 kB an image for 2,048 features).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from stylebridge.metrics.frechet import GaussianStatistics, frechet_distance
from stylebridge.metrics.inception_score import SplitEntropies, split_evenly
from stylebridge.metrics.kernel import kernel_distance

#: Published protocol of KID (Bińkowski et al. 2018) and IS (Salimans et al. 2016).
SUBSETS, SUBSET_SIZE, SPLITS = 100, 1000, 10
#: Images in each split of the published IS.
SPLIT_SIZE = 5000
#: Most images of a set whose features are kept; larger sets are sampled at random.
MOST_KEPT = 10_000


@dataclass(frozen=True)
class FeatureKind:
    """A kind of features, described for a table's caption.

    names: names of the Fréchet distance, kernel distance and inception score on these features.
    layer: network, weights and layer.
    resize: how images are resized to the network's input size.
    dims: D, the length of a feature vector.
    classes: K, the classes of the inception score's classifier.
    """

    names: tuple[str, str, str]
    layer: str
    resize: str
    dims: int
    classes: int


@dataclass(frozen=True)
class Score:
    """One number; ``deviation`` over subsets or splits (None without them); ``better``: the better direction."""

    name: str
    value: float
    deviation: float | None
    better: Literal["lower", "higher"]


@dataclass(frozen=True)
class ImageScores:
    """The scores of two sets of images, and everything needed to reproduce them.

    scores: the Fréchet distance, the kernel distance (mean over subsets) and the inception score (of the fake set).
    features, resize: a description of what was compared.
    subsets, subset_size: for the kernel distance; splits: for the inception score.
    notes: sentences on limitations: too few images, other features than requested.
    """

    real: str
    fake: str
    real_images: int
    fake_images: int
    features: str
    resize: str
    scores: tuple[Score, ...]
    subsets: int
    subset_size: int
    splits: int
    seed: int
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Score:
        """The score with this name, as in ``scores["FID"]``. Raises KeyError if there is none."""
        for score in self.scores:
            if score.name == name:
                return score
        raise KeyError(name)

    def as_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, ready for `json.dumps`."""
        return asdict(self)


class SetFeatures:
    """The accumulated features of one set of images.

    Args:
        images: number of images in the set.
        kind: the kind of features.
        splits: number of parts over which the inception score is averaged; 0: no inception score.
        seed: decides the split of each image and whose features are kept.
    """

    def __init__(
        self,
        images: int,
        kind: FeatureKind,
        splits: int = 0,
        seed: int = 0,
        device: torch.device | str | None = None,
        most_kept: int = MOST_KEPT,
    ) -> None:
        self.gaussian = GaussianStatistics(kind.dims, device)
        self.entropies = SplitEntropies(splits, kind.classes, device) if splits else None
        self._split = split_evenly(images, splits, seed) if splits else None
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(images, generator=generator)[:most_kept]
        self._is_kept = torch.zeros(images, dtype=torch.bool).index_fill_(0, chosen, True)
        self._kept = torch.empty(len(chosen), kind.dims)
        self._filled = 0

    @property
    def count(self) -> int:
        """Number of images so far."""
        return self.gaussian.count

    def update(self, pooled: Tensor, logits: Tensor | None = None) -> None:
        """Add the next images: features [B, D], and logits [B, K] if the inception score is computed."""
        first, last = self.count, self.count + len(pooled)
        if last > len(self._is_kept):
            raise ValueError(f"got {last} images, expected {len(self._is_kept)}")
        self.gaussian.update(pooled)
        wanted = pooled.cpu()[self._is_kept[first:last]]
        self._kept[self._filled : self._filled + len(wanted)] = wanted
        self._filled += len(wanted)
        if self.entropies is not None and self._split is not None and logits is not None:
            self.entropies.update(logits, self._split[first:last])

    def kept(self) -> Tensor:
        """Features for the kernel distance, float32 [N, D]."""
        return self._kept[: self._filled]


def splits_for(images: int) -> int:
    """The published number of splits, or the number of images if that is smaller."""
    return min(SPLITS, images)


def subset_size_for(real: int, fake: int) -> int:
    """Images in a subset: the published number if both sets have more; else half of the smaller set (at least 2):
    subsets as large as the set would all be equal, with deviation 0."""
    smaller = min(real, fake)
    return SUBSET_SIZE if smaller > SUBSET_SIZE else max(2, smaller // 2)


def compare_sets(real: SetFeatures, fake: SetFeatures, kind: FeatureKind, seed: int = 0) -> tuple[Score, ...]:
    """The scores of two sets; with the inception score if ``fake`` was created with splits.

    Raises:
        ValueError: a set has fewer than two images.
    """
    device = real.gaussian.mean.device
    size = subset_size_for(len(real.kept()), len(fake.kept()))
    frechet, kernel, inception = kind.names
    distance = kernel_distance(real.kept().to(device), fake.kept().to(device), SUBSETS, size, seed)
    scores = [
        Score(frechet, frechet_distance(real.gaussian, fake.gaussian), None, "lower"),
        Score(kernel, distance.mean, distance.deviation, "lower"),
    ]
    if fake.entropies is not None:
        scores.append(Score(inception, *fake.entropies.score(), "higher"))
    return tuple(scores)


def limits(real: int, fake: int, kind: FeatureKind) -> list[str]:
    """Sentences on how the numbers of images limit the scores; none for large sets.

    The Fréchet distance needs D + 1 images: with fewer, the covariance of D features is singular.
    """
    frechet, kernel, inception = kind.names
    said = []
    for name, count in (("real", real), ("fake", fake)):
        if count <= kind.dims:
            said.append(
                f"The {name} set has {count:,} images, fewer than the {kind.dims + 1:,} that a covariance of "
                f"{kind.dims:,} features needs: {frechet} comes out too high, so compare it only at equal numbers "
                f"of images."
            )
    size = subset_size_for(real, fake)
    if size < SUBSET_SIZE:
        said.append(
            f"{kernel} uses {SUBSETS} subsets of {size:,} images instead of {SUBSET_SIZE:,}: the smaller set has "
            f"{min(real, fake):,} images."
        )
    if fake < SPLITS * SPLIT_SIZE:
        splits = splits_for(fake)
        said.append(
            f"{inception} uses {splits} splits of about {fake // splits:,} images instead of {SPLIT_SIZE:,}, which "
            f"lowers it."
        )
    for name, count in (("real", real), ("fake", fake)):
        if count > MOST_KEPT:
            said.append(
                f"{kernel} draws its subsets from {MOST_KEPT:,} random images of the {count:,} in the {name} set."
            )
    return said
