"""Domains: folders of images that share a look, with or without labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from stylebridge.data.files import FileRef, LabelRef, Tree, open_tree
from stylebridge.data.images import check_image
from stylebridge.data.label_space import IGNORE, LabelSpace
from stylebridge.data.layouts import LAYOUTS, Layout
from stylebridge.data.layouts.folder import find_folders
from stylebridge.data.layouts.names import is_image_folder, is_label_folder
from stylebridge.data.shards import ShardSequence, open_shards, shard_place
from stylebridge.data.shards.place import UrlPath
from stylebridge.data.statistics_cache import load_statistics, save_statistics, statistics_key
from stylebridge.errors import DataError, did_you_mean

__all__ = ["Domain", "DomainSpec", "DomainSummary", "check_domain", "open_domain", "titles"]


#: Folder names that do not identify the data.
_GENERIC = {
    *("train", "training", "val", "valid", "validation", "eval", "evaluation", "test", "testing", "all"),
    *("images", "image", "imgs", "img", "jpegimages", "rgb", "photos", "frames", "pictures"),
    *("data", "dataset", "datasets", "source", "target", "a", "b", "traina", "trainb", "testa", "testb"),
}


@dataclass(frozen=True)
class Domain:
    """A set of images that share a look.

    Attributes:
        name: its name in messages, such as "source".
        root: the folder or archive the user gave.
        images: image files, sorted by their path below the folder.
        labels: the label map of each image; None: unlabelled, or labels are not read.
        space: the label space of the label maps; None without labels, or if not yet known.
        layout: the name of the layout.
        split: the layout's split; for a plain folder the named folders; else None.
    """

    name: str
    root: Path
    images: Sequence[FileRef]
    labels: Sequence[LabelRef] | None
    space: LabelSpace | None
    layout: str = "folder"
    split: str | None = None

    @property
    def title(self) -> str:
        """The name in reports, such as "cityscapes/train": layout and split, or the folder's name, with parent folders
        if it does not identify the data."""
        if self.layout not in ("folder", "shards"):
            return f"{self.layout}/{self.split}" if self.split else self.layout
        return self.place

    @property
    def place(self) -> str:
        """The path from its last distinctive part on."""
        address = isinstance(self.root, UrlPath)
        parts = [
            part for part in (self.root if address else Path(self.root).absolute()).parts if part not in "/"
        ]
        parts = [*parts[:-1], parts[-1].removesuffix(".zip")] if parts else [self.name]
        first = len(parts) - 1
        while first > 0 and len(parts) - first < 3 and parts[first].lower() in _GENERIC:
            first -= 1
        return "/".join(parts[first:])

    def ensure_space(self) -> None:
        """Raises DataError if there are labels without a label space."""
        if self.labels is not None and self.space is None:
            raise DataError(f"The {self.name} labels of {self.root} have no label space: give one.")

    @property
    def spec(self) -> str:
        """The specification for :func:`open_domain`."""
        if self.layout == "folder" and not self.split:
            return str(self.root)
        return f"{self.layout}{'/' + self.split if self.split else ''}:{self.root}"


def titles(*domains: Domain) -> tuple[str, ...]:
    """Names of domains in reports; equal titles (two folders of one layout) are extended by the place."""
    plain = [domain.title for domain in domains]
    return tuple(
        title if plain.count(title) == 1 or domain.place == title else f"{domain.place} ({title})"
        for title, domain in zip(plain, domains, strict=True)
    )


@dataclass(frozen=True)
class DomainSummary:
    """The result of :func:`check_domain`, image by image.

    Attributes:
        image_sizes: int64 [N, 2], (width, height) of each image.
        pixel_counts: int64 [N, K], pixels of each class; [N, 0] without labels.
        ignored_counts: int64 [N], pixels without a class (255); 0 without labels.
    """

    image_sizes: np.ndarray
    pixel_counts: np.ndarray
    ignored_counts: np.ndarray

    @property
    def sizes(self) -> Counter[tuple[int, int]]:
        """The number of images of each (width, height)."""
        return Counter((int(w), int(h)) for w, h in self.image_sizes)

    @property
    def ignored_pixels(self) -> int:
        """The number of pixels without a class in the domain."""
        return int(self.ignored_counts.sum())

    @property
    def class_shares(self) -> np.ndarray:
        """float64 [K], each class's share of all labelled pixels; 0 without labelled pixels."""
        totals = self.pixel_counts.sum(axis=0)
        return totals / max(1, totals.sum())


# --- opening ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DomainSpec:
    """``PATH``, ``LAYOUT:PATH`` or ``LAYOUT/SPLIT:PATH``, parsed."""

    path: Path
    layout: str | None = None
    split: str | None = None

    @classmethod
    def parse(cls, text: str | Path) -> DomainSpec:
        """Parse a specification.

        Raises:
            DataError: the path, layout or split does not exist.
        """
        shards = shard_place(text)
        if shards is not None:
            return cls(shards, "shards")
        head, colon, path = str(text).partition(":")
        # A single letter is a Windows drive, a double slash a URL.
        if not colon or len(head) < 2 or path.startswith("//") or Path(text).exists():
            return cls(Path(text))
        layout, slash, split = head.partition("/")
        if layout not in LAYOUTS:
            hint = did_you_mean(layout, LAYOUTS)
            raise DataError(
                f"{str(text)!r} names the unknown layout {layout!r}{hint}: choose one of "
                f"{', '.join(LAYOUTS)}, or give only the path."
            )
        splits, free = LAYOUTS[layout].splits, LAYOUTS[layout].free_splits
        if slash and split not in splits and not (split and free):
            raise DataError(
                f"{str(text)!r} names the split {split!r}, but {layout} has "
                f"{'the splits ' + ', '.join(splits) if splits else 'no splits'}: write "
                f"{layout}{'/' + splits[0] if splits else ''}:PATH."
            )
        return cls(Path(path), layout, split or None)


def open_domain(
    path: Path | str, name: str, labelled: bool, space: LabelSpace | None = None, evaluation: bool = False
) -> Domain:
    """List a domain's files.

    Args:
        path: ``PATH``, ``LAYOUT:PATH`` or ``LAYOUT/SPLIT:PATH``; a folder or a zip file. Without a layout it is
            recognised (:mod:`stylebridge.data.layouts`). Shards, also at a URL (:mod:`stylebridge.data.shards`), are
            read in the label space they were packed in.
        name: its name in messages, such as "source".
        labelled: False: do not look for label files.
        space: the label space of the label maps; None: that of the layout, if it has one.
        evaluation: without a split, take the layout's split for evaluation instead of that for training.

    Raises:
        DataError: a folder is missing or empty, an image has no label or a label no image, or two files differ only in
            their suffix.
    """
    spec = DomainSpec.parse(path)
    if spec.layout == "shards":
        return Domain(name, spec.path, *open_shards(spec.path, name).listing(labelled, space, name), "shards")
    tree = open_tree(spec.path, name)
    layout, tree = find_layout(spec, tree, labelled)
    split = spec.split if spec.split is not None else layout.usual_split(tree, evaluation)
    listing = layout.list(tree, split, labelled, name)
    own = listing.space or layout.space
    if space is None and labelled and own is not None:
        space = own if isinstance(own, LabelSpace) else LabelSpace.load(own)
    return Domain(name, spec.path, listing.images, listing.labels, space, layout.name, split)


def find_layout(spec: DomainSpec, tree: Tree, labelled: bool) -> tuple[Layout, Tree]:
    """The layout, and its root folder: archives often hold one folder with everything inside."""
    place = tree
    tried = [each for each in LAYOUTS.values() if labelled or not each.known_by_labels]
    named = LAYOUTS[spec.layout] if spec.layout else None
    while True:
        if named is not None:
            found = named if named.begins(place) else None
        else:
            found = next((layout for layout in tried if layout.recognise(place)), None)
        if found is not None:
            return found, place
        inside = place.folders()
        if len(inside) != 1 or place.images(recursive=False):
            break
        if is_image_folder(inside[0]) or is_label_folder(inside[0]):
            break
        place = place.below(inside[0])
    # The reader of plain folders reports what is missing.
    return (LAYOUTS["folder"], place) if spec.layout in (None, "folder") else (LAYOUTS[spec.layout], tree)


def label_folders(path: Path | str, name: str) -> tuple[str, ...]:
    """The label map folders of a plain folder, as named in ``path`` or by their usual names.

    Raises:
        DataError: the path, or a folder that it names, does not exist.
    """
    spec = DomainSpec.parse(path)
    _, tree = find_layout(spec, open_tree(spec.path, name), labelled=False)
    found = find_folders(tree, spec.split, labelled=True)
    return found.labels if found.images else ()


# --- checking -----------------------------------------------------------------------------------------------


def check_domain(
    domain: Domain,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    cache: bool = True,
) -> DomainSummary:
    """Decode every file once and check that it is intact, has a fitting size, and ids of the label space.

    The result is cached in ``$XDG_CACHE_HOME/stylebridge/statistics`` (``~/.cache`` by default). The key depends on the
    files' paths, sizes and times and on the label space, so that unchanged data is checked once. If the folder cannot
    be written, the data is checked each time.

    Args:
        workers: number of threads; None: one for each core.
        progress: called with (files done, all files) after each image.
        cache: whether to use that cache.

    Raises:
        DataError: the first invalid file, in order.
    """
    domain.ensure_space()
    images, shard_labels = domain.images, isinstance(domain.labels, ShardSequence | None)
    if isinstance(images, ShardSequence) and shard_labels:  # every file was checked when it was packed
        return DomainSummary(**images.shards.statistics(domain.space if domain.labels is not None else None))
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
    labels = domain.labels if domain.labels is not None else (None,) * total
    with ThreadPoolExecutor(max_workers=workers or os.cpu_count() or 1) as pool:
        # map() yields in order and cancels the rest if one raises.
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
    space: LabelSpace | None, image: FileRef, label: LabelRef | None
) -> tuple[tuple[int, int], np.ndarray | None]:
    """One image's (width, height), and the number of pixels of each train id, int64 [256]."""
    width, height = check_image(image)
    if label is None or space is None:
        return (width, height), None
    train_ids = space.read(label, (width, height))
    check_size(image, (width, height), label, train_ids)
    return (width, height), np.bincount(train_ids.ravel(), minlength=256)


def check_size(image: FileRef, size: tuple[int, int], label: LabelRef, train_ids: np.ndarray) -> None:
    """Check that a label map [H, W] fits its image's (width, height).

    Raises:
        DataError: the sizes differ; names both files and sizes.
    """
    height, width = train_ids.shape
    if (width, height) == tuple(size):
        return
    turned = " as viewers show it, with its EXIF rotation" if (height, width) == tuple(size) else ""
    raise DataError(
        f"{label} is {width}×{height} but its image {image} is {size[0]}×{size[1]}: "
        f"give the label map the image's size{turned}."
    )
