"""CamVid in its two forms: SegNet's eleven classes, and the original 32 colours."""

from __future__ import annotations

from collections.abc import Sequence

from stylebridge.data.files import FileRef, Tree
from stylebridge.data.layouts.base import Layout, Listing, by_key, need, pair, unlabelled
from stylebridge.errors import DataError


class CamVidLayout(Layout):
    """SegNet's form: ``train/``, ``val/``, ``test/`` with ``trainannot/`` … of index files (11 is void)."""

    name = "camvid"
    title = "CamVid (SegNet's 11 classes)"
    splits = ("train", "val", "test")
    evaluation_split = "test"
    space = "camvid-11"

    def recognise(self, tree: Tree) -> bool:
        return tree.has("train") and tree.has("trainannot")

    def list(self, tree: Tree, split: str | None, labelled: bool, name: str) -> Listing:
        folder = need(tree, str(split), name, self.title)
        images = by_key(tree, folder, ".png", ".jpg")
        if not labelled:
            return unlabelled(images, tree.root / folder, name)
        annotations = need(tree, f"{split}annot", name, self.title)
        return pair(
            images, by_key(tree, annotations, ".png"), tree.root / folder, tree.root / annotations, name
        )


class CamVidColoursLayout(Layout):
    """The original form: all frames in one folder, and ``*_L.png`` in the 32 colours in another; or both split into
    ``train/``, ``train_labels/`` … The 32 classes are read as SegNet's eleven. ``images/`` with ``labels/*_L.png`` is
    read if the layout is named."""

    name = "camvid-colours"
    title = "CamVid (the original 32 colours, as 11 classes)"
    splits = ("all", "train", "val", "test")
    evaluation_split = "all"
    space = "camvid-11-colours"
    _pairs = (
        ("701_StillsRaw_full", "LabeledApproved_full"),
        ("701_StillsRaw_full", "LabeledApproved"),
        ("701_StillsRaw_full", "labels"),
        ("images", "labels"),
    )

    def recognise(self, tree: Tree) -> bool:
        if tree.has("701_StillsRaw_full"):
            return True
        labels = tree.names("train_labels") if tree.has("train") else []
        return any(name.endswith("_L.png") for name in labels[:20])

    def list(self, tree: Tree, split: str | None, labelled: bool, name: str) -> Listing:
        folders = self._folders(tree, str(split))
        if not folders:
            raise DataError(
                f"The {name} {tree.root} has neither 701_StillsRaw_full/ with LabeledApproved_full/ nor train/ with "
                f"train_labels/: check the path, or name another split (camvid-colours/train:PATH)."
            )
        images: dict[str, FileRef] = {}
        labels: dict[str, FileRef] = {}
        for images_at, labels_at in folders:
            images |= {f"{images_at}/{k}": f for k, f in by_key(tree, images_at, ".png", ".jpg").items()}
            if labelled:
                labels |= {f"{images_at}/{k}": f for k, f in by_key(tree, labels_at, "_L.png").items()}
        if not labelled:
            return unlabelled(images, tree.root, name)
        return pair(images, labels, tree.root, tree.root, name)

    def _folders(self, tree: Tree, split: str) -> Sequence[tuple[str, str]]:
        """Image folders, each with its label folder; for the whole of a split set, all three."""
        whole = [p for p in self._pairs if tree.has(p[0]) and tree.has(p[1])]
        if split == "all" and whole:
            return whole[:1]
        wanted = self.splits[1:] if split == "all" else (split,)
        return [(s, f"{s}_labels") for s in wanted if tree.has(s) and tree.has(f"{s}_labels")]
