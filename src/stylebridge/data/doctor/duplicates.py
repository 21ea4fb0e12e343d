"""Files that occur twice: in one set, or in training and evaluation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stylebridge.data.doctor.examine import Examined
from stylebridge.data.doctor.findings import Finding, Severity, examples, many

#: Mean difference of the grey thumbnails of one picture saved in two ways; other pictures differ by several.
_ALIKE = 1.5

#: A thumbnail with less contrast says too little to compare by.
_CONTRAST = 8.0

#: Training images that share a quarter of an image's signature and are compared with it; all would take too long.
_LARGEST_GROUP = 64


@dataclass(frozen=True)
class _Item:
    """One image: the set, its name with the set's, a hash of its file, what its label map holds, thumbnail."""

    place: int
    role: str
    shown: str
    image: bytes
    label: Hashable
    thumbnail: np.ndarray | None


def duplicate_findings(sets: Sequence[Examined]) -> list[Finding]:
    """Equal files by their bytes, and pictures that look the same but were saved anew, over all sets."""
    items = list(_items(sets))
    equal: dict[bytes, list[_Item]] = defaultdict(list)
    for item in items:
        equal[item.image].append(item)
    groups = [group for group in equal.values() if len(group) > 1]
    findings = _leaks(groups, "equal") + _within(groups)
    return findings + _leaks(_near(items), "alike")


def _items(sets: Sequence[Examined]) -> Iterator[_Item]:
    several = len(sets) > 1
    for place, examined in enumerate(sets):
        # The same ids as often are the same label map: the files may have been saved in different ways.
        labels = {
            id(pair): (label.size, tuple(sorted((label.ids or label.colours).items())))
            for pair, _, label in examined.labels()
        }
        for pair, file, image in examined.images():
            prefix = f"{examined.name}: " if several else ""
            clear = image.thumbnail if image.contrast >= _CONTRAST else None
            yield _Item(
                place,
                examined.listed.role,
                prefix + examined.show(file),
                image.digest,
                labels.get(id(pair)),
                clear,
            )


def _leaks(groups: list[list[_Item]], how: str) -> list[Finding]:
    """Groups that have images of both training and evaluation."""
    lines = []
    for group in groups:
        train = [item for item in group if item.role == "training"]
        held_out = [item for item in group if item.role == "evaluation"]
        lines += [f"{item.shown} = {train[0].shown}" for item in held_out if train]
    if not lines:
        return []
    if how == "equal":
        what = f"{many(len(lines), 'evaluation image is', 'evaluation images are')} in the training set too."
        advice = "Remove them from one of the two: scores on images that were trained on promise too much."
        kind = "leak"
    else:
        what = f"{many(len(lines), 'evaluation image looks', 'evaluation images look')} the same as one in training."
        advice = "Look at them: re-encoded, scaled or neighbouring video frames promise too much, as equal files do."
        kind = "near-leak"
    return [Finding(kind, Severity.MISLEADS, what, len(lines), advice, examples(lines))]


def _within(groups: list[list[_Item]]) -> list[Finding]:
    """Equal images among the sets of one role; worse where their labels differ."""
    same: list[str] = []
    differ: list[str] = []
    for group in groups:
        for role in ("training", "evaluation"):
            members = [item for item in group if item.role == role]
            by_label: dict[object, list[_Item]] = defaultdict(list)
            for item in members:
                by_label[item.label].append(item)
            first, *others = by_label.values() or [[]]
            # An unlabelled set beside a labelled one is no conflict.
            (differ if None not in by_label else same).extend(
                f"{o[0].shown} = {first[0].shown}" for o in others
            )
            same += [f"{item.shown} = {alike[0].shown}" for alike in by_label.values() for item in alike[1:]]
    findings = []
    if differ:
        what = f"{many(len(differ), 'image occurs', 'images occur')} twice with different label maps."
        advice = "Find out which label map is right and remove the other pair."
        findings.append(
            Finding("conflicting-duplicates", Severity.MISLEADS, what, len(differ), advice, examples(differ))
        )
    if same:
        what = f"{many(len(same), 'image is', 'images are')} there twice or more."
        advice = "They count more often than others; remove what is not meant. A corrected copy keeps them."
        findings.append(Finding("duplicates", Severity.KNOW, what, len(same), advice, examples(same)))
    return findings


# --- pictures that look the same ----------------------------------------------------------------------------


def _near(items: list[_Item]) -> list[list[_Item]]:
    """Pairs (training, evaluation) of different files that show the same picture.

    A signature of 64 bits says between which neighbours the thumbnail gets brighter; pictures whose signatures share
    one of four parts are compared by their thumbnails.
    """
    clear = [item for item in items if item.thumbnail is not None]
    if not any(item.role == "evaluation" for item in clear):
        return []
    small = np.stack([item.thumbnail for item in clear if item.thumbnail is not None]).astype(np.float32)
    coarse = small.reshape(len(small), 8, 2, 8, 2).mean(axis=(2, 4))
    brighter = np.roll(coarse, -1, axis=2) > coarse
    parts = np.packbits(brighter.reshape(len(small), 64), axis=1).view(np.uint16)
    found: dict[int, list[_Item]] = {}
    for part in range(parts.shape[1]):
        for group in _groups(parts[:, part]):
            _compare(group, clear, small, found)
    return list(found.values())


def _groups(keys: np.ndarray) -> Iterator[np.ndarray]:
    """Indices of equal keys, at least two of them."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order])) + 1
    for group in np.split(order, starts):
        if len(group) > 1:
            yield group


def _compare(group: np.ndarray, items: list[_Item], small: np.ndarray, found: dict[int, list[_Item]]) -> None:
    train = [i for i in group.tolist() if items[i].role == "training"][:_LARGEST_GROUP]
    held_out = [i for i in group.tolist() if items[i].role == "evaluation" and i not in found]
    if not train or not held_out:
        return
    for i in held_out:
        distance = np.abs(small[train] - small[i]).mean(axis=(1, 2))
        nearest = int(distance.argmin())
        if distance[nearest] <= _ALIKE and items[train[nearest]].image != items[i].image:
            found[i] = [items[train[nearest]], items[i]]
