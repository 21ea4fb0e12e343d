"""Plain folders: ``images/`` and ``labels/``, matched by path and name but for the ending."""

from __future__ import annotations

from stylebridge.data.files import IMAGE_SUFFIXES, FileRef, LabelRef, Tree
from stylebridge.data.layouts.base import Layout, Listing, pair
from stylebridge.errors import DataError


class FolderLayout(Layout):
    """A labelled domain has ``images/`` and ``labels/``. An unlabelled one has ``images/``, or the images lie in
    it directly; its ``labels/``, if there is one, is not even listed."""

    name = "folder"
    title = "a plain folder"

    def recognise(self, tree: Tree) -> bool:
        return tree.has("images") or any(tree.images(recursive=False))

    def list(self, tree: Tree, split: str | None, labelled: bool, name: str) -> Listing:
        root = tree.root
        if not labelled:
            inside = tree.has("images")
            found = _by_stem(tree, "images" if inside else "", recursive=inside)
            return Listing(list(found.values()), None)
        for folder in ("images", "labels"):
            if not tree.has(folder):
                alone = root.name in ("images", "labels")
                hint = f"give {root.parent}" if alone else f"put the {folder} there"
                raise DataError(
                    f"The {name} folder {root} has no folder {folder}/ and needs its labels: {hint}."
                )
        images = _by_stem(tree, "images", recursive=True)
        labels: dict[str, LabelRef] = {**_by_stem(tree, "labels", recursive=True)}
        return pair(images, labels, root / "images", root / "labels", name)


def _by_stem(tree: Tree, folder: str, recursive: bool) -> dict[str, FileRef]:
    """Image files by their path below the folder without the ending, sorted."""
    found: dict[str, FileRef] = {}
    start = len(folder) + 1 if folder else 0
    for path, file in tree.images(folder, recursive).items():
        stem = path[start : path.rindex(".")]
        if stem in found:
            raise DataError(
                f"{found[stem]} and {file} have the same name but for the ending, so their label map or "
                f"output would be the same: rename one of them."
            )
        found[stem] = file
    if not found:
        kinds = " ".join(sorted(IMAGE_SUFFIXES))
        where = tree.root / folder
        raise DataError(f"The folder {where} holds no images ({kinds}): put some in or check the path.")
    return dict(sorted(found.items()))
