"""Duplicate files: in one set, or in training and evaluation."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from stylebridge.data.doctor.examine import Examined
from stylebridge.data.doctor.findings import EXAMPLES, Finding, Severity, examples, many
from stylebridge.data.doctor.same_picture import averaged, same_picture
from stylebridge.data.files import FileRef

#: Mean difference of grey thumbnails below which two images may be the same picture, saved twice.
_ALIKE = 3.0

#: Least contrast of a thumbnail for a comparison.
_CONTRAST = 8.0

#: Most images of each role that are compared with an image, among those that share a quarter of its signature.
_LARGEST_GROUP = 64

#: Most pairs with similar thumbnails that are decoded for comparison, the most similar first.
_MOST_VERIFIED = 2000


@dataclass(frozen=True)
class _Item:
    """One image: the set's name, its own with and without the set's, a hash of its file, the contents of its label map,
    and its thumbnail."""

    domain: str
    role: str
    name: str
    shown: str
    file: FileRef
    image: bytes
    label: Hashable
    thumbnail: np.ndarray | None


def duplicate_findings(sets: Sequence[Examined]) -> list[Finding]:
    """Files with equal bytes, and copies of pictures that were saved again, over all sets."""
    items = list(_items(sets))
    equal: dict[bytes, list[_Item]] = defaultdict(list)
    for item in items:
        equal[item.image].append(item)
    groups = [group for group in equal.values() if len(group) > 1]
    resaved = _resaved(items)
    leaks = [pair for pair in resaved if pair[0].role != pair[1].role]
    return (
        _leaks(groups) + _within(groups) + _near_leaks(leaks) + _near([p for p in resaved if p not in leaks])
    )


def _items(sets: Sequence[Examined]) -> Iterator[_Item]:
    several = len(sets) > 1
    for examined in sets:
        # Label maps with equal id counts are taken as equal: the files may be encoded differently.
        labels = {
            id(pair): (label.size, tuple(sorted((label.ids or label.colours).items())))
            for pair, _, label in examined.labels()
        }
        for pair, file, image in examined.images():
            prefix = f"{examined.name}: " if several else ""
            clear = image.thumbnail if image.contrast >= _CONTRAST else None
            name = examined.show(file)
            yield _Item(
                examined.name,
                examined.listed.role,
                name,
                prefix + name,
                file,
                image.digest,
                labels.get(id(pair)),
                clear,
            )


_Equal = tuple[_Item, _Item]


def _told(
    pairs: Sequence[_Equal], kind: str, severity: Severity, nouns: tuple[str, str], advice: str
) -> list[Finding]:
    """The finding about pairs of images; [] if there is none. Shows both pictures of the first pairs."""
    if not pairs:
        return []
    lines = examples(f"{item.shown} = {other.shown}" for item, other in pairs)
    files = tuple((item.domain, item.name) for pair in pairs[: (EXAMPLES + 1) // 2] for item in pair)
    what = f"{many(len(pairs), *nouns)}."
    return [Finding(kind, severity, what, len(pairs), advice, lines, files=files)]


def _leaks(groups: list[list[_Item]]) -> list[Finding]:
    """Equal images in training and evaluation."""
    pairs = []
    for group in groups:
        train = [item for item in group if item.role == "training"]
        held_out = [item for item in group if item.role == "evaluation"]
        pairs += [(item, train[0]) for item in held_out if train]
    return _told(
        pairs,
        "leak",
        Severity.MISLEADS,
        ("evaluation image is also in the training set", "evaluation images are also in the training set"),
        "Remove them from one of the two: scores on training images are too high.",
    )


def _near_leaks(pairs: list[_Equal]) -> list[Finding]:
    """Training images that are also in the evaluation set, recompressed or rescaled."""
    return _told(
        [(a, b) if a.role == "evaluation" else (b, a) for a, b in pairs],
        "near-leak",
        Severity.MISLEADS,
        (
            "evaluation image looks the same as a training image",
            "evaluation images look the same as training images",
        ),
        "Check them: recompressed or rescaled copies make scores too high, like equal files.",
    )


def _within(groups: list[list[_Item]]) -> list[Finding]:
    """Equal images among the sets of one role; more severe if their labels differ."""
    same: list[_Equal] = []
    differ: list[_Equal] = []
    for group in groups:
        for role in ("training", "evaluation"):
            members = [item for item in group if item.role == role]
            by_label: dict[object, list[_Item]] = defaultdict(list)
            for item in members:
                by_label[item.label].append(item)
            first, *others = by_label.values() or [[]]
            # An unlabelled set beside a labelled one is no conflict.
            (differ if None not in by_label else same).extend((o[0], first[0]) for o in others)
            same += [(item, alike[0]) for alike in by_label.values() for item in alike[1:]]
    return _told(
        differ,
        "conflicting-duplicates",
        Severity.MISLEADS,
        (
            "image occurs twice with different label maps",
            "images occur twice with different label maps",
        ),
        "Check which label map is right and remove the other pair.",
    ) + _told(
        same,
        "duplicates",
        Severity.KNOW,
        ("image occurs more than once", "images occur more than once"),
        "They have more weight than others; remove unwanted copies. A corrected copy keeps them.",
    )


def _near(pairs: list[_Equal]) -> list[Finding]:
    """Copies of images within one role, recompressed or rescaled."""
    return _told(
        pairs,
        "near-duplicates",
        Severity.MISLEADS,
        (
            "image is a recompressed or rescaled copy of another",
            "images are recompressed or rescaled copies of others",
        ),
        "They have more weight than others, and their label maps may differ; remove unwanted copies. A corrected copy "
        "keeps them.",
    )


# --- pictures that look the same ----------------------------------------------------------------------------


def _resaved(items: list[_Item]) -> list[_Equal]:
    """Different files that show the same picture, as pairs (copy, first).

    Each bit of a 64-bit signature says whether the thumbnail gets brighter between two neighbours. Images that share
    one of four parts of the signature are compared by thumbnails, and those that are similar by pixels.
    """
    clear = [item for item in items if item.thumbnail is not None]
    if len(clear) < 2:
        return []
    small = np.stack([item.thumbnail for item in clear if item.thumbnail is not None]).astype(np.float32)
    coarse = small.reshape(len(small), 8, 2, 8, 2).mean(axis=(2, 4))
    brighter = np.roll(coarse, -1, axis=2) > coarse
    parts = np.packbits(brighter.reshape(len(small), 64), axis=1).view(np.uint16)
    alike: dict[tuple[int, int], float] = {}
    for part in range(parts.shape[1]):
        for group in _groups(parts[:, part]):
            _compare(group, clear, small, alike)
    return _verified(sorted(alike, key=lambda pair: (alike[pair], pair))[:_MOST_VERIFIED], clear)


def _compare(
    group: np.ndarray, items: list[_Item], small: np.ndarray, alike: dict[tuple[int, int], float]
) -> None:
    """Find pairs with similar thumbnails: each image is compared with the previous ones in its group."""
    before: dict[str, list[int]] = defaultdict(list)
    for i in group.tolist():
        others = [j for members in before.values() for j in members[-_LARGEST_GROUP:]]
        if others:
            distance = np.abs(small[others] - small[i]).mean(axis=(1, 2))
            for place in np.flatnonzero(distance <= _ALIKE).tolist():
                if items[others[place]].image != items[i].image:
                    alike[others[place], i] = float(distance[place])
        before[items[i].role].append(i)


def _verified(pairs: list[tuple[int, int]], items: list[_Item]) -> list[_Equal]:
    """The pairs (copy, first) whose pixels agree too, each copy once, in the order of the copies."""
    wanted = sorted({i for pair in pairs for i in pair})
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        pictures = dict(zip(wanted, pool.map(lambda i: averaged(items[i].file), wanted), strict=True))
    first: dict[int, int] = {}
    for i, j in sorted(pairs):
        one, other = pictures[i], pictures[j]
        if one is not None and other is not None and same_picture(one, other):
            first.setdefault(j, first.get(i, i))
    return [(items[j], items[i]) for j, i in sorted(first.items())]


def _groups(keys: np.ndarray) -> Iterator[np.ndarray]:
    """Groups of indices with equal keys, at least two in each."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order])) + 1
    for group in np.split(order, starts):
        if len(group) > 1:
            yield group
