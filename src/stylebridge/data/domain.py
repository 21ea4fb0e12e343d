"""Domains: folders of images that share a look, with labels or without."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from stylebridge.data.images import IMAGE_SUFFIXES, check_image, read_label
from stylebridge.data.label_space import IGNORE, LabelSpace
from stylebridge.data.statistics_cache import load_statistics, save_statistics, statistics_key
from stylebridge.errors import DataError

__all__ = ["IMAGE_SUFFIXES", "Domain", "DomainSummary", "check_domain", "open_domain"]


@dataclass(frozen=True)
class Domain:
    """A set of images that share a look.

    Attributes:
        name: what messages call it, as "source".
        root: the folder the user gave.
        images: image files, sorted by their path below the folder.
        labels: the label map of each image; None: not labelled, or labels are not to be read.
        space: how the label maps are read; None where there are none, or it is not known yet.
    """

    name: str
    root: Path
    images: tuple[Path, ...]
    labels: tuple[Path, ...] | None
    space: LabelSpace | None


@dataclass(frozen=True)
class DomainSummary:
    """What :func:`check_domain` found, image by image.

    Attributes:
        image_sizes: int64 [N, 2], (width, height) of each image.
        pixel_counts: int64 [N, K], pixels of each class; [N, 0] without labels.
        ignored_counts: int64 [N], pixels with no class (255); 0 without labels.
    """

    image_sizes: np.ndarray
    pixel_counts: np.ndarray
    ignored_counts: np.ndarray

    @property
    def sizes(self) -> Counter[tuple[int, int]]:
        """How many images have each (width, height)."""
        return Counter((int(w), int(h)) for w, h in self.image_sizes)

    @property
    def ignored_pixels(self) -> int:
        """Pixels with no class in the whole domain."""
        return int(self.ignored_counts.sum())

    @property
    def class_shares(self) -> np.ndarray:
        """float64 [K], each class's share of all labelled pixels; 0 where there are none."""
        totals = self.pixel_counts.sum(axis=0)
        return totals / max(1, totals.sum())


# --- opening ------------------------------------------------------------------------------------------------


def open_domain(path: Path | str, name: str, labelled: bool, space: LabelSpace | None = None) -> Domain:
    """List a domain's files.

    A labelled domain is a folder with ``images/`` and ``labels/``; a label map has its image's path and name
    but for the ending. An unlabelled one has ``images/``, or the images lie in it directly; its ``labels/``,
    if there is one, is not even listed. Folders below ``images/`` and ``labels/`` are followed, hidden files
    and files of other kinds are passed over.

    Raises:
        DataError: a folder is missing or empty, an image has no label or a label no image, or two files have
            the same name but for the ending.
    """
    root = Path(path)
    if not root.exists():
        raise DataError(f"The {name} folder {root} does not exist: check the path.")
    if not root.is_dir():
        raise DataError(f"The {name} {root} is a file: give the folder that holds the images.")
    if not labelled:
        folder = root / "images"
        found = _by_stem(folder, recursive=True) if folder.is_dir() else _by_stem(root, recursive=False)
        return Domain(name, root, tuple(found.values()), None, space)
    images_folder, labels_folder = root / "images", root / "labels"
    for folder in (images_folder, labels_folder):
        if not folder.is_dir():
            hint = (
                f"give {root.parent}" if root.name in ("images", "labels") else f"put the {folder.name} there"
            )
            raise DataError(
                f"The {name} folder {root} has no folder {folder.name}/ and needs its labels: {hint}."
            )
    images, labels = _by_stem(images_folder, recursive=True), _by_stem(labels_folder, recursive=True)
    bare = [file for stem, file in images.items() if stem not in labels]
    if bare:
        raise DataError(
            f"{_count(len(bare), 'image')} in {images_folder} {_have(len(bare))} no label map in "
            f"{labels_folder} (the first is {bare[0].relative_to(images_folder)}): add the label maps or "
            f"remove the images."
        )
    spare = [file for stem, file in labels.items() if stem not in images]
    if spare:
        raise DataError(
            f"{_count(len(spare), 'label map')} in {labels_folder} {_have(len(spare))} no image in "
            f"{images_folder} (the first is {spare[0].relative_to(labels_folder)}): add the images or remove "
            f"the label maps."
        )
    return Domain(name, root, tuple(images.values()), tuple(labels[stem] for stem in images), space)


def _by_stem(folder: Path, recursive: bool) -> dict[str, Path]:
    """Image files by their path below the folder without the ending, sorted."""
    found: dict[str, Path] = {}
    for file in _image_files(folder, recursive):
        stem = file.relative_to(folder).with_suffix("").as_posix()
        if stem in found:
            raise DataError(
                f"{found[stem]} and {file} have the same name but for the ending, so their label map or "
                f"output would be the same: rename one of them."
            )
        found[stem] = file
    if not found:
        kinds = " ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(f"The folder {folder} holds no images ({kinds}): put some in or check the path.")
    return dict(sorted(found.items()))


def _image_files(folder: Path, recursive: bool) -> list[Path]:
    files: list[Path] = []
    seen: set[str] = set()
    for place, below, names in os.walk(folder, followlinks=True):
        # Linked folders are followed (data sets are often laid out so), but no circle of links twice.
        real = os.path.realpath(place)
        below[:] = sorted(b for b in below if not b.startswith(".")) if recursive and real not in seen else []
        if real not in seen:
            files += [Path(place, n) for n in sorted(names) if _is_image_name(n)]
        seen.add(real)
    return files


def _is_image_name(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _have(number: int) -> str:
    return "has" if number == 1 else "have"


# --- checking -----------------------------------------------------------------------------------------------


def check_domain(
    domain: Domain,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    cache: bool = True,
) -> DomainSummary:
    """Decode every file once: are all whole, of fitting sizes, and with ids of the label space?

    What is found is kept in ``$XDG_CACHE_HOME/stylebridge/statistics`` (``~/.cache`` by default) under a key
    of the files' paths, sizes and times and of the label space, so unchanged data is checked once. A folder
    that cannot be written there only costs the time.

    Args:
        workers: threads; None: one a core.
        progress: called as (files done, files in all) after each image.
        cache: whether to look into and write that folder.

    Raises:
        DataError: the first file, in order, that is not what it should be.
    """
    if domain.labels is not None and domain.space is None:
        raise DataError(f"The {domain.name} labels of {domain.root} have no label space: name one.")
    key = statistics_key(domain.images, domain.labels, domain.space) if cache else None
    kept = load_statistics(key) if key else None
    if kept is not None:
        if progress is not None:
            progress(len(domain.images), len(domain.images))
        return DomainSummary(**kept)
    total = len(domain.images)
    sizes = np.zeros((total, 2), np.int64)
    classes = domain.space.num_classes if domain.space is not None and domain.labels is not None else 0
    counts, ignored = np.zeros((total, classes), np.int64), np.zeros(total, np.int64)
    labels = domain.labels or (None,) * total
    with ThreadPoolExecutor(max_workers=workers or os.cpu_count() or 1) as pool:
        # map() yields in order and cancels what is left when one raises.
        checked = pool.map(partial(_check_pair, domain.space), domain.images, labels)
        for i, (size, histogram) in enumerate(checked):
            sizes[i] = size
            if histogram is not None:
                counts[i], ignored[i] = histogram[:classes], histogram[IGNORE]
            if progress is not None:
                progress(i + 1, total)
    if key:
        save_statistics(key, {"image_sizes": sizes, "pixel_counts": counts, "ignored_counts": ignored})
    return DomainSummary(sizes, counts, ignored)


def _check_pair(
    space: LabelSpace | None, image: Path, label: Path | None
) -> tuple[tuple[int, int], np.ndarray | None]:
    """One image's (width, height), and how many pixels hold each train id, int64 [256]."""
    width, height = check_image(image)
    if label is None or space is None:
        return (width, height), None
    train_ids = space.to_train_ids(read_label(label), label)
    check_size(image, (width, height), label, train_ids)
    return (width, height), np.bincount(train_ids.ravel(), minlength=256)


def check_size(image: Path, size: tuple[int, int], label: Path, train_ids: np.ndarray) -> None:
    """See that a label map [H, W] fits its image's (width, height).

    Raises:
        DataError: it does not; the message names both files and sizes.
    """
    height, width = train_ids.shape
    if (width, height) == tuple(size):
        return
    turned = " as viewers show it, with its EXIF rotation" if (height, width) == tuple(size) else ""
    raise DataError(
        f"{label} is {width}×{height} but its image {image} is {size[0]}×{size[1]}: "
        f"give the label map the image's size{turned}."
    )
