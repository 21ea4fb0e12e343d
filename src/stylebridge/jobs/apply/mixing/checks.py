"""Checks of a MixNMatch run: are factors kept when another one comes from a second photo?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from stylebridge.jobs.apply.models.mixer import FACTORS, Mixed, Mixing
from stylebridge.metrics.disentanglement import background_difference, colour_distance, mask_iou

#: Photos in a mix of all factors: the least number for an evaluation.
FEWEST = 4
#: Groups encoded at once in feature mode, where an encoded photo takes a megabyte.
_GROUPS = 64


@dataclass(frozen=True)
class Check:
    """One measure over pairs of photos (A, B).

    mixed: the factors of A's picture that come from B (``object``: all but the background). against: the photo whose
        own picture the mix is compared with. short: a word for the measure.
    mean, deviation: of the mixes, over ``counted`` pairs (others have an empty mask, or no common background); None if
        no pair counts. baseline_mean, baseline_deviation: of A's and B's own pictures, over the same pairs.
    ahead: share of the pairs whose mix is better than the baseline.
    """

    name: str
    mixed: str
    against: str
    measure: str
    short: str
    better: str
    counted: int
    mean: float | None
    deviation: float | None
    baseline_mean: float | None
    baseline_deviation: float | None
    ahead: float | None


def draw_groups(photos: int, groups: int, seed: int) -> np.ndarray:
    """Groups of four different photos, int64 [N, 4]: all photos occur about equally often."""
    rng = np.random.default_rng(seed)
    rounds = -(-groups // (photos // FEWEST))
    drawn = [rng.permutation(photos)[: photos // FEWEST * FEWEST] for _ in range(rounds)]
    return np.concatenate(drawn).reshape(-1, FEWEST)[:groups]


#: The pictures of a group (A, B, C, D): the photos that give pose, background, shape and texture.
PICTURES = {
    "first": (0, 0, 0, 0),
    "second": (1, 1, 1, 1),
    "pose": (1, 0, 0, 0),
    "texture": (0, 0, 0, 1),
    "object": (1, 0, 1, 1),
    "all": (0, 1, 2, 3),
}


def pictures_of(
    mixing: Mixing, views: dict[int, np.ndarray], groups: np.ndarray
) -> Iterator[dict[str, Mixed]]:
    """All of :data:`PICTURES`, for one batch of groups at a time."""
    plan = PICTURES
    if mixing.mode == "feature":  # pose and shape are one
        plan = {**PICTURES, "pose": (1, 0, 1, 0)}
    step = len(groups) if mixing.mode == "code" else _GROUPS
    for first in range(0, len(groups), step):
        used, places = np.unique(groups[first : first + step], return_inverse=True)
        places = places.reshape(-1, FEWEST)
        photos = np.stack([views[number] for number in used.tolist()])
        coded = {factor: mixing.encode(factor, photos) for factor in mixing.factors}
        streams = [
            mixing.paint(coded, {f: places[:, taken[FACTORS.index(f)]].tolist() for f in mixing.factors})
            for taken in plan.values()
        ]
        for batch in zip(*streams, strict=True):
            yield dict(zip(plan, batch, strict=True))


def _colours(one: Mixed, other: Mixed) -> Tensor:
    return colour_distance(one.image, one.object_mask, other.image, other.object_mask)


def _outlines(one: Mixed, other: Mixed) -> Tensor:
    return mask_iou(one.object_mask, other.object_mask)


def _backgrounds(one: Mixed, other: Mixed) -> Tensor:
    return background_difference(one.image, one.object_mask, other.image, other.object_mask)


@dataclass(frozen=True)
class _Measure:
    of: Callable[[Mixed, Mixed], Tensor]
    said: str
    short: str
    better: str


_COLOURS = _Measure(
    _colours, "distance of the colour histograms inside the masks, 0 to 1", "colours", "lower"
)
_OUTLINES = _Measure(_outlines, "intersection over union of the masks, 0 to 1", "IoU", "higher")
_BACKGROUNDS = _Measure(
    _backgrounds, "mean difference of the pixels outside both masks, 0 to 1", "pixels", "lower"
)


@dataclass(frozen=True)
class _Plan:
    """picture: a key of :data:`PICTURES`. own: whether it is compared with A's own picture, else with B's."""

    picture: str
    mixed: str
    own: bool
    measure: _Measure


#: The paper's three checks; and whether the mixed factor is transferred, since a generator that ignores it keeps all
#: the others.
CHECKS = {
    "texture kept": _Plan("pose", "pose", True, _COLOURS),
    "shape kept": _Plan("texture", "texture", True, _OUTLINES),
    "background kept": _Plan("object", "object", True, _BACKGROUNDS),
    "pose taken": _Plan("pose", "pose", False, _OUTLINES),
    "texture taken": _Plan("texture", "texture", False, _COLOURS),
}


def compare(made: dict[str, Mixed]) -> dict[str, tuple[Tensor, Tensor]]:
    """The measures of each check for a batch of pairs: of the mixes and of the baseline, each float64 [B] on the CPU.

    Args:
        made: from :func:`pictures_of`.
    """
    own, other = made["first"], made["second"]
    return {
        name: (
            plan.measure.of(made[plan.picture], own if plan.own else other).cpu(),
            plan.measure.of(own, other).cpu(),
        )
        for name, plan in CHECKS.items()
    }


def check_of(mode: str, name: str, mixes: Tensor, baseline: Tensor) -> Check:
    """One of :data:`CHECKS` from its measures of all pairs, float64 [N] (NaN: the pair does not count)."""
    plan = CHECKS[name]
    better = plan.measure.better
    counts = ~(mixes.isnan() | baseline.isnan())
    mixes, baseline = mixes[counts], baseline[counts]
    ahead = (mixes < baseline if better == "lower" else mixes > baseline).double()

    def spread(values: Tensor) -> float | None:
        return float(values.std(correction=0)) if len(values) else None

    def mean(values: Tensor) -> float | None:
        return float(values.mean()) if len(values) else None

    both = mode == "feature" and plan.picture == "pose"
    return Check(
        name=name.replace("pose", "shape") if both else name,
        mixed="pose+shape" if both else plan.mixed,
        against="A" if plan.own else "B",
        measure=plan.measure.said,
        short=plan.measure.short,
        better=better,
        counted=len(mixes),
        mean=mean(mixes),
        deviation=spread(mixes),
        baseline_mean=mean(baseline),
        baseline_deviation=spread(baseline),
        ahead=mean(ahead),
    )
