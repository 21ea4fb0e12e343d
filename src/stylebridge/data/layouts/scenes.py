"""Scenes, faces and façades: ADE20K, CelebAMask-HQ, CMP; and unpaired image sets."""

from __future__ import annotations

from pathlib import PurePosixPath

from stylebridge.data.files import FileRef, MaskStack, Tree
from stylebridge.data.layouts.base import Layout, Listing, by_key, first_found, need, pair, unlabelled
from stylebridge.errors import DataError


class ADE20KLayout(Layout):
    """The scene parsing benchmark (ADEChallengeData2016): ``images/SPLIT/*.jpg`` and ``annotations/SPLIT/*.png`` with
    150 classes from 1; 0 is ignored."""

    name = "ade20k"
    title = "ADE20K (150 classes)"
    splits = ("training", "validation")
    evaluation_split = "validation"
    space = "ade20k-150"

    def recognise(self, tree: Tree) -> bool:
        return tree.has("images/training") and tree.has("annotations/training")

    def list(self, tree: Tree, split: str | None, labelled: bool, name: str) -> Listing:
        folder = need(tree, f"images/{split}", name, self.title)
        images = by_key(tree, folder, ".jpg", ".png")
        if not labelled:
            return unlabelled(images, tree.root / folder, name)
        labels = need(tree, f"annotations/{split}", name, self.title)
        return pair(images, by_key(tree, labels, ".png"), tree.root / folder, tree.root / labels, name)


#: The parts of a face in painting order of CelebAMask-HQ's masks: id 1 first; 0 is background.
FACE_PARTS = (
    "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear",
    "mouth", "u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth",
)  # fmt: skip
#: Number of images for training, from the first (SPADE, SEAN).
FACES_TRAINED = 28_000


class CelebAMaskLayout(Layout):
    """``CelebA-HQ-img/N.jpg`` and ``CelebAMask-HQ-mask-anno/*/NNNNN_PART.png``, one mask per part, resized to the
    image; or, if the layout is named, already painted: ``train/images``, ``train/labels``, ``test/…``."""

    name = "celebamask-hq"
    title = "CelebAMask-HQ (19 classes)"
    splits = ("train", "test")
    evaluation_split = "test"
    space = "celebamask-19"

    def recognise(self, tree: Tree) -> bool:
        return tree.has("CelebA-HQ-img")

    def begins(self, tree: Tree) -> bool:
        return tree.has("CelebA-HQ-img") or (tree.has("train/images") and tree.has("train/labels"))

    def list(self, tree: Tree, split: str | None, labelled: bool, name: str) -> Listing:
        if not tree.has("CelebA-HQ-img"):
            folder = need(tree, f"{split}/images", name, self.title)
            images = by_key(tree, folder, ".jpg", ".png")
            if not labelled:
                return unlabelled(images, tree.root / folder, name)
            labels = need(tree, f"{split}/labels", name, self.title)
            return pair(images, by_key(tree, labels, ".png"), tree.root / folder, tree.root / labels, name)
        faces = {
            key: file for key, file in by_key(tree, "CelebA-HQ-img", ".jpg", ".png").items() if key.isdigit()
        }
        wanted = {
            f"{int(key):05}": file
            for key, file in faces.items()
            if (int(key) < FACES_TRAINED) == (split == "train")
        }
        if not labelled:
            return unlabelled(wanted, tree.root / "CelebA-HQ-img", name)
        folder = need(tree, "CelebAMask-HQ-mask-anno", name, self.title)
        labels = {key: stack for key, stack in _stacks(tree, folder).items() if key in wanted}
        return pair(wanted, labels, tree.root / "CelebA-HQ-img", tree.root / folder, name)


def _stacks(tree: Tree, folder: str) -> dict[str, MaskStack]:
    masks: dict[str, list[tuple[int, FileRef]]] = {}
    for path, file in tree.files(folder).items():
        number, _, part = path.rpartition("/")[2].removesuffix(".png").partition("_")
        if part in FACE_PARTS and number.isdigit():
            masks.setdefault(number, []).append((FACE_PARTS.index(part) + 1, file))
    # Later parts cover earlier ones: hair over skin, a hat over hair.
    return {
        number: MaskStack(
            PurePosixPath((tree.root / folder / number).as_posix()),
            tuple((file, raw) for raw, file in sorted(found, key=lambda entry: entry[0])),
        )
        for number, found in masks.items()
    }


class FacadesLayout(Layout):
    """CMP façades: ``base/*.jpg`` with ``base/*.png`` (palette, ids 1 to 12), and ``extended/``."""

    name = "cmp-facades"
    title = "CMP façades (12 classes)"
    splits = ("base", "extended")
    evaluation_split = "extended"
    space = "cmp-facades-12"

    def recognise(self, tree: Tree) -> bool:
        return any(name.startswith("cmp_") for folder in self.splits for name in tree.names(folder)[:5])

    def list(self, tree: Tree, split: str | None, labelled: bool, name: str) -> Listing:
        folder = need(tree, str(split), name, self.title)
        images, at = by_key(tree, folder, ".jpg"), tree.root / folder
        return (
            pair(images, by_key(tree, folder, ".png"), at, at, name)
            if labelled
            else unlabelled(images, at, name)
        )


class UnpairedLayout(Layout):
    """``trainA/``, ``trainB/``, ``testA/``, ``testB/``: images of two looks, without labels."""

    name = "unpaired"
    title = "unpaired images"
    splits = ("trainA", "trainB", "testA", "testB")

    def recognise(self, tree: Tree) -> bool:
        return first_found(tree, "trainA", "trainB") is not None

    def list(self, tree: Tree, split: str | None, labelled: bool, name: str) -> Listing:
        if labelled:
            raise DataError(f"The {name} {tree.root} is a set of unpaired images, which have no labels.")
        folder = need(tree, str(split), name, self.title)
        images = {key.rpartition("/")[2]: file for key, file in tree.images(folder).items()}
        return unlabelled(images, tree.root / folder, name)
