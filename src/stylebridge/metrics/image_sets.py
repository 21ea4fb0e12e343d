"""Two sets of images compared by a network's features: Fréchet distance, kernel distance, inception score.

A set is gathered as its images pass. Memory does not grow with it, but for the features that the kernel distance
draws its subsets from: of at most :data:`MOST_KEPT` images (float32; 8 kB an image for 2,048 features).
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
#: Images a split of the published IS has.
SPLIT_SIZE = 5000
#: Images of a set whose features are kept, drawn at random from larger sets.
MOST_KEPT = 10_000


@dataclass(frozen=True)
class FeatureKind:
    """What features are, in words for a table's caption.

    names: of the Fréchet distance, the kernel distance and the inception score on these features.
    layer: network, weights and layer.
    resize: how images are brought to the network's size.
    dims: D, length of a feature vector.
    classes: K, of the classifier that the inception score reads.
    """

    names: tuple[str, str, str]
    layer: str
    resize: str
    dims: int
    classes: int


@dataclass(frozen=True)
class Score:
    """One number: ``deviation`` over subsets or splits, None where there are none; which direction is ``better``."""

    name: str
    value: float
    deviation: float | None
    better: Literal["lower", "higher"]


@dataclass(frozen=True)
class ImageScores:
    """How two sets of images compare, and everything that a reader needs to repeat it.

    scores: the Fréchet distance, the kernel distance (mean over subsets) and the inception score (of the fake set).
    features, resize: what was compared, in words.
    subsets, subset_size: of the kernel distance; splits: of the inception score.
    notes: sentences on what limits the numbers: too few images, other features than were hoped for.
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
        """The score of that name, as ``scores["FID"]``. Raises KeyError if there is none."""
        for score in self.scores:
            if score.name == name:
                return score
        raise KeyError(name)

    def as_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, ready for `json.dumps`."""
        return asdict(self)


class SetFeatures:
    """What is kept of one set of images.

    Args:
        images: how many will come.
        kind: their features.
        splits: parts that the inception score is averaged over; 0: it is not computed.
        seed: which images go to which split, and whose features are kept.
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
        """Images that have come."""
        return self.gaussian.count

    def update(self, pooled: Tensor, logits: Tensor | None = None) -> None:
        """Take the next images: features [B, D], logits [B, K] where an inception score is wanted."""
        first, last = self.count, self.count + len(pooled)
        if last > len(self._is_kept):
            raise ValueError(f"{last} images came, and {len(self._is_kept)} were announced")
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
    """The published number of splits, or one an image where there are fewer."""
    return min(SPLITS, images)


def subset_size_for(real: int, fake: int) -> int:
    """Images in a subset: the published number where both sets have more; else half of the smaller set (2 at least),
    for subsets that are the whole set would be all the same and their deviation 0."""
    smaller = min(real, fake)
    return SUBSET_SIZE if smaller > SUBSET_SIZE else max(2, smaller // 2)


def compare_sets(real: SetFeatures, fake: SetFeatures, kind: FeatureKind, seed: int = 0) -> tuple[Score, ...]:
    """The scores of gathered sets; the inception score is there if ``fake`` was made for it.

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
    """Sentences on what the numbers of images do to the scores; none for large sets.

    The safe number of the Fréchet distance is D + 1: with fewer images the covariance of D features is singular.
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
            f"{kernel} is over {SUBSETS} subsets of {size:,} images instead of {SUBSET_SIZE:,}: the smaller set has "
            f"{min(real, fake):,}."
        )
    if fake < SPLITS * SPLIT_SIZE:
        splits = splits_for(fake)
        said.append(
            f"{inception} is over {splits} splits of about {fake // splits:,} images instead of {SPLIT_SIZE:,}, which "
            f"makes it lower."
        )
    for name, count in (("real", real), ("fake", fake)):
        if count > MOST_KEPT:
            said.append(
                f"{kernel} draws its subsets from {MOST_KEPT:,} random images of the {name} set's {count:,}."
            )
    return said
