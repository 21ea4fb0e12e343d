"""Cityscapes and sets with similar layouts: ACDC and Dark Zurich."""

from __future__ import annotations

from stylebridge.data.files import FileRef, Tree
from stylebridge.data.layouts.base import Layout, Listing, by_key, need, pair, unlabelled
from stylebridge.errors import DataError

RAW_IDS, TRAIN_IDS = "cityscapes-19", "cityscapes-19-trainids"


def _labels(tree: Tree, folder: str, stem: str) -> tuple[dict[str, FileRef], str]:
    """Label files by key, and the space of their ids: raw ids if present, else train ids."""
    for kind, space in (("labelIds", RAW_IDS), ("labelTrainIds", TRAIN_IDS)):
        found = by_key(tree, folder, f"{stem}_{kind}.png")
        if found:
            return found, space
    return {}, RAW_IDS


class CityscapesLayout(Layout):
    """``leftImg8bit/SPLIT/CITY/*_leftImg8bit.png`` and ``gtFine/SPLIT/CITY/*_gtFine_labelIds.png`` (or
    ``_labelTrainIds``; ``gtCoarse`` for ``train_extra``). Colour, instance and polygon files are skipped."""

    name = "cityscapes"
    title = "Cityscapes"
    splits = ("train", "val", "test", "train_extra")
    evaluation_split = "val"
    space = RAW_IDS

    def recognise(self, tree: Tree) -> bool:
        return tree.has("leftImg8bit")

    def list(self, tree: Tree, split: str | None, labelled: bool, name: str) -> Listing:
        folder = need(tree, f"leftImg8bit/{split}", name, self.title)
        images = by_key(tree, folder, "_leftImg8bit.png", "_leftImg8bit.jpg")
        if not labelled:
            return unlabelled(images, tree.root / folder, name)
        kind = "gtCoarse" if split == "train_extra" else "gtFine"
        labels, space = _labels(tree, f"{kind}/{split}", f"_{kind}")
        if not labels:
            hint = "its labels are not public" if split == "test" else f"unpack {kind}_trainvaltest there"
            raise DataError(
                f"The {name} {tree.root} has no label files in {kind}/{split}: {hint}, or choose another split "
                f"(cityscapes/train:PATH)."
            )
        return pair(images, labels, tree.root / folder, tree.root / kind / str(split), name, space)


CONDITIONS = ("fog", "night", "rain", "snow")
_ACDC_SPLITS = ("train", "val", "test", "train_ref", "val_ref", "test_ref")


class ACDCLayout(Layout):
    """``rgb_anon/CONDITION/SPLIT/SEQUENCE/*_rgb_anon.png`` and ``gt/…/*_gt_labelIds.png`` (or ``_labelTrainIds``);
    the clear-day reference frames are the splits ``…_ref``. ``night-val`` is one condition of ``val``."""

    name = "acdc"
    title = "ACDC"
    splits = (*_ACDC_SPLITS, *(f"{c}-{s}" for c in CONDITIONS for s in _ACDC_SPLITS))
    evaluation_split = "val"
    space = RAW_IDS

    def recognise(self, tree: Tree) -> bool:
        return any(tree.has(f"rgb_anon/{condition}") for condition in CONDITIONS)

    def list(self, tree: Tree, split: str | None, labelled: bool, name: str) -> Listing:
        condition, dash, kind = str(split).rpartition("-")
        conditions = (condition,) if dash else CONDITIONS
        images: dict[str, FileRef] = {}
        labels: dict[str, FileRef] = {}
        spaces = set()
        for each in conditions:
            where = f"{each}/{kind}"
            for key, file in by_key(tree, f"rgb_anon/{where}", "_rgb_anon.png", "_rgb_ref_anon.png").items():
                images[f"{where}/{key}"] = file
            if labelled:
                found, space = _labels(tree, f"gt/{where}", "_gt")
                spaces |= {space} if found else set()
                labels |= {f"{where}/{key}": file for key, file in found.items()}
        at = tree.root / "rgb_anon"
        if not labelled:
            return unlabelled(images, at, name)
        return _paired(images, labels, spaces, tree, name, f"{self.name}/val:PATH")


class DarkZurichLayout(Layout):
    """``rgb_anon/SPLIT/CONDITION/SEQUENCE/*_rgb_anon.png`` and, for the night validation frames,
    ``gt/val/night/…/*_gt_labelIds.png`` (or ``_labelTrainIds``)."""

    name = "dark-zurich"
    title = "Dark Zurich"
    splits = (
        "train-night",
        "train-twilight",
        "train-day",
        "val-night",
        "val_ref-day",
        "test-night",
        "test_ref-day",
    )
    evaluation_split = "val-night"
    space = RAW_IDS

    def recognise(self, tree: Tree) -> bool:
        return any(tree.has(f"rgb_anon/{s.replace('-', '/')}") for s in self.splits)

    def list(self, tree: Tree, split: str | None, labelled: bool, name: str) -> Listing:
        where = str(split).replace("-", "/")
        folder = need(tree, f"rgb_anon/{where}", name, self.title)
        images = by_key(tree, folder, "_rgb_anon.png", "_rgb_ref_anon.png")
        if not labelled:
            return unlabelled(images, tree.root / folder, name)
        labels, space = _labels(tree, f"gt/{where}", "_gt")
        return _paired(
            images, labels, {space} if labels else set(), tree, name, f"{self.name}/val-night:PATH"
        )


def _paired(
    images: dict[str, FileRef],
    labels: dict[str, FileRef],
    spaces: set[str],
    tree: Tree,
    name: str,
    example: str,
) -> Listing:
    if not labels:
        raise DataError(
            f"The {name} {tree.root} has no label files in gt/ for this split: choose a labelled split ({example})."
        )
    if len(spaces) > 1:
        raise DataError(
            f"The {name} {tree.root} has labelIds for some images and labelTrainIds for others: keep one kind."
        )
    return pair(images, labels, tree.root / "rgb_anon", tree.root / "gt", name, spaces.pop())
