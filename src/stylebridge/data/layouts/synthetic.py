"""Renders: GTA5 (Playing for Data) and SYNTHIA-RAND-CITYSCAPES."""

from __future__ import annotations

import re

from stylebridge.data.files import Tree
from stylebridge.data.images import read_palette
from stylebridge.data.layouts.base import Layout, Listing, by_key, first_found, need, pair, unlabelled
from stylebridge.errors import DataError

#: Colours of road and car at their raw ids, which identify the Cityscapes palette.
_SIGNS = {7: (128, 64, 128), 26: (0, 0, 142)}


class GTA5Layout(Layout):
    """``images/NNNNN.png`` and ``labels/NNNNN.png``, palette files whose indices are Cityscapes' raw ids.

    A plain folder is recognised as GTA5 if its names have five digits and the first label file's palette has
    Cityscapes' colours at Cityscapes' ids.
    """

    name = "gta5"
    title = "GTA5"
    space = "cityscapes-19"
    known_by_labels = True

    def recognise(self, tree: Tree) -> bool:
        if not (tree.has("images") and tree.has("labels")):
            return False
        first = next(iter(tree.names("labels")), "")
        if not re.fullmatch(r"\d{5}\.png", first):
            return False
        try:
            palette = read_palette(tree.files("labels", recursive=False)[f"labels/{first}"])
        except DataError:
            return False
        return palette is not None and all(
            raw < len(palette) and palette[raw] == colour for raw, colour in _SIGNS.items()
        )

    def begins(self, tree: Tree) -> bool:
        return tree.has("images")

    def list(self, tree: Tree, split: str | None, labelled: bool, name: str) -> Listing:
        folder = need(tree, "images", name, self.title)
        images = by_key(tree, folder, ".png", ".jpg")
        if not labelled:
            return unlabelled(images, tree.root / folder, name)
        need(tree, "labels", name, self.title)
        return pair(images, by_key(tree, "labels", ".png"), tree.root / folder, tree.root / "labels", name)


class SynthiaLayout(Layout):
    """SYNTHIA-RAND-CITYSCAPES: ``RGB/`` beside ``GT/LABELS/`` (as released: 16 bits per channel, the class in the
    first), ``parsed_LABELS/`` (the same ids in 8 bits) or ``synthia_mapped_to_cityscapes/`` (8 bits, Cityscapes'
    raw ids); optionally inside ``RAND_CITYSCAPES/``."""

    name = "synthia"
    title = "SYNTHIA (RAND_CITYSCAPES)"
    space = "synthia-16"
    _labels = (
        ("GT/LABELS", "synthia-16"),
        ("parsed_LABELS", "synthia-16"),
        ("GT/parsed_LABELS", "synthia-16"),
        ("synthia_mapped_to_cityscapes", "synthia-16-cityscapes"),
    )

    def recognise(self, tree: Tree) -> bool:
        tree = _inside(tree)
        return tree.has("RGB") and first_found(tree, "GT", *(f for f, _ in self._labels)) is not None

    def list(self, tree: Tree, split: str | None, labelled: bool, name: str) -> Listing:
        tree = _inside(tree)
        images = by_key(tree, need(tree, "RGB", name, self.title), ".png")
        if not labelled:
            return unlabelled(images, tree.root / "RGB", name)
        for folder, space in self._labels:
            if tree.has(folder):
                return pair(
                    images, by_key(tree, folder, ".png"), tree.root / "RGB", tree.root / folder, name, space
                )
        raise DataError(
            f"The {name} {tree.root} has no labels: put GT/LABELS, parsed_LABELS or synthia_mapped_to_cityscapes "
            f"beside RGB."
        )


def _inside(tree: Tree) -> Tree:
    return tree.below("RAND_CITYSCAPES") if tree.has("RAND_CITYSCAPES") else tree
