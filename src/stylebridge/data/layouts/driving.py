"""Driving sets with their own layouts: BDD100K and Mapillary Vistas."""

from __future__ import annotations

from stylebridge.data.files import Tree
from stylebridge.data.layouts.base import Layout, Listing, by_key, first_found, need, pair, unlabelled
from stylebridge.errors import DataError


class BDD100KLayout(Layout):
    """``images/10k/SPLIT/*.jpg`` and ``labels/sem_seg/masks/SPLIT/*.png`` (train ids); or the older
    ``seg/images/SPLIT/*.jpg`` and ``seg/labels/SPLIT/*_train_id.png``."""

    name = "bdd100k"
    title = "BDD100K"
    splits = ("train", "val", "test")
    evaluation_split = "val"
    space = "cityscapes-19-trainids"
    _images = ("images/10k", "seg/images", "bdd100k/images/10k", "bdd100k/seg/images")
    _labels = ("labels/sem_seg/masks", "seg/labels", "bdd100k/labels/sem_seg/masks", "bdd100k/seg/labels")

    def recognise(self, tree: Tree) -> bool:
        return first_found(tree, *self._images) is not None

    def list(self, tree: Tree, split: str | None, labelled: bool, name: str) -> Listing:
        base = first_found(tree, *self._images) or self._images[0]
        folder = need(tree, f"{base}/{split}", name, self.title)
        images = by_key(tree, folder, ".jpg", ".png")
        if not labelled:
            return unlabelled(images, tree.root / folder, name)
        masks = first_found(tree, *(f"{each}/{split}" for each in self._labels))
        if masks is None:
            raise DataError(
                f"The {name} {tree.root} has no {self._labels[0]}/{split}/: put the masks there, or choose another "
                f"split (bdd100k/train:PATH)."
            )
        labels = by_key(tree, masks, "_train_id.png", ".png")
        return pair(images, labels, tree.root / folder, tree.root / masks, name)


class MapillaryLayout(Layout):
    """Mapillary Vistas 1.2: ``training/images/*.jpg`` and ``training/labels/*.png`` (in release 2.0:
    ``training/v1.2/labels``; its 124 new classes are not read)."""

    name = "mapillary"
    title = "Mapillary Vistas"
    splits = ("training", "validation", "testing")
    evaluation_split = "validation"
    space = "mapillary-vistas-65"

    def recognise(self, tree: Tree) -> bool:
        return tree.has("training/images") or (tree.has("validation/images") and not tree.has("images"))

    def list(self, tree: Tree, split: str | None, labelled: bool, name: str) -> Listing:
        folder = need(tree, f"{split}/images", name, self.title)
        images = by_key(tree, folder, ".jpg")
        if not labelled:
            return unlabelled(images, tree.root / folder, name)
        labels = first_found(tree, f"{split}/labels", f"{split}/v1.2/labels")
        if labels is None:
            hint = "its labels are not public" if split == "testing" else f"put them into {split}/labels"
            raise DataError(
                f"The {name} {tree.root} has no labels for {split} ({hint}): choose another split "
                f"(mapillary/training:PATH)."
            )
        return pair(images, by_key(tree, labels, ".png"), tree.root / folder, tree.root / labels, name)
