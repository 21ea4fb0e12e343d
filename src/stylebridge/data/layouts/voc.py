"""Pascal VOC's layout, also exported by annotation tools (CVAT, Datumaro, labelme)."""

from __future__ import annotations

import re

from stylebridge.data.files import FileRef, Tree, open_file
from stylebridge.data.label_space import LabelSpace
from stylebridge.data.layouts.base import Layout, Listing, by_key, need, pair, unlabelled
from stylebridge.data.layouts.folder import describe, find_folders, unclear
from stylebridge.data.layouts.labelmap import listed_space
from stylebridge.errors import DataError

_IMAGES, _LISTS = "JPEGImages", "ImageSets/Segmentation"

#: Names of the development kit's photos, such as 2007_000032: other sets with this layout have other classes.
_KIT_NAME = re.compile(r"(19|20)\d\d_\d{6}")

#: Default lists for training and for evaluation, in order of preference.
_TRAINED, _SCORED = ("train", "training", "default"), ("val", "validation", "test", "default")

_ENDINGS = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG", ".bmp", ".webp", ".tif", ".tiff")


class PascalVOCLayout(Layout):
    """``JPEGImages/*.jpg`` and ``SegmentationClass/*.png``; ``ImageSets/Segmentation/SPLIT.txt`` lists the names of
    each split. ``labelmap.txt`` (CVAT) or ``class_names.txt`` (labelme) defines the classes; photos of the development
    kit, recognised by their names, have its 21. Source: PASCAL VOC development kit; CVAT's documentation."""

    name = "voc"
    title = "Pascal VOC (CVAT, labelme)"
    splits = ("train", "val", "trainval", "test")
    evaluation_split = "val"
    free_splits = "other lists, SPLIT+LABELS"

    def recognise(self, tree: Tree) -> bool:
        return tree.has(_IMAGES) and (
            tree.has(_LISTS) or any(folder.startswith("SegmentationClass") for folder in tree.folders())
        )

    def usual_split(self, tree: Tree, evaluation: bool) -> str | None:
        lists = _lists(tree)
        if len(lists) < 2:
            return next(iter(lists), None)
        by_lower = {name.lower(): name for name in lists}
        for name in _SCORED if evaluation else _TRAINED:
            if name in by_lower:
                return by_lower[name]
        raise DataError(
            f"{tree.root / _LISTS} lists {', '.join(lists)}: name one, as voc/{next(iter(lists))}:{tree.root}."
        )

    def list(self, tree: Tree, split: str | None, labelled: bool, name: str) -> Listing:
        folder = need(tree, _IMAGES, name, self.title)
        images = by_key(tree, folder, *_ENDINGS)
        listed, _, labels_named = (split or "").partition("+")
        wanted = _read_list(tree, listed, images, name) if listed else images
        images = {key: images[key] for key in wanted}
        at = tree.root / folder
        if not labelled:
            return unlabelled(images, at, name)
        found = find_folders(tree, f"{_IMAGES}+{labels_named}", labelled)
        if not found.clear:
            raise DataError(unclear(tree, found, f"{self.name}/{listed}+"))
        masks = by_key(tree, found.labels[0], ".png") if found.labels else {}
        if not masks:
            raise DataError(
                f"The {name} {tree.root} has no label maps in SegmentationClass/: it holds {describe(tree)}. Put the "
                f"label maps there."
            )
        if listed:
            masks = {key: masks[key] for key in wanted if key in masks}
        return pair(images, masks, at, tree.root / found.labels[0], name, _space(tree, images))


def _space(tree: Tree, images: dict[str, FileRef]) -> LabelSpace | str | None:
    """The space of a class list, or the 21 classes for photos of the development kit; else None."""
    if "classes.yaml" in tree.names():
        return None
    listed = listed_space(tree)
    if listed is None and images and all(_KIT_NAME.fullmatch(key) for key in images):
        return "voc-21"
    return listed


def _lists(tree: Tree) -> dict[str, FileRef]:
    """The files that list the splits, by the split's name, sorted."""
    found = tree.files(_LISTS, recursive=False)
    return {path.rsplit("/", 1)[-1][:-4]: file for path, file in found.items() if path.endswith(".txt")}


def _read_list(tree: Tree, split: str, images: dict[str, FileRef], name: str) -> list[str]:
    """The names of a split, sorted.

    Raises:
        DataError: the list does not exist, cannot be read, is empty, or lists a missing image.
    """
    lists = _lists(tree)
    if split not in lists:
        known = f"has the lists {', '.join(lists)}" if lists else "has no list of a split"
        raise DataError(
            f"The {name} {tree.root / _LISTS} {known}, not {split}.txt: name another split, or none "
            f"({tree.root})."
        )
    file = lists[split]
    try:
        with open_file(file) as opened:
            rows = opened.read().decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is not UTF-8 text: save it as UTF-8.") from error
    wanted: dict[str, None] = {}
    for line, row in enumerate(rows, start=1):
        key = row.strip().strip('"')
        if not key:
            continue
        # Lists of other VOC tasks have a flag after the name; names may contain spaces.
        key = key if key in images else key.split()[0]
        if key not in images:
            raise DataError(
                f"{file}, line {line}: there is no image {key} in {tree.root / _IMAGES}: add it, or remove the line."
            )
        wanted[key] = None
    if not wanted:
        raise DataError(f"{file} lists no image: name another split, or none ({tree.root}).")
    return sorted(wanted)
