"""Style photos, and label maps that locate their styles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from stylebridge.data.label_space import LabelSpace
from stylebridge.data.resizing import resized
from stylebridge.errors import DataError
from stylebridge.jobs.apply.files.arrays import Picture, as_image, as_labels, read_map
from stylebridge.jobs.apply.models.inference import predict_labels
from stylebridge.jobs.apply.models.segmenter import AdaptedModel

#: Most pixels of a style photo for encoding.
MAX_STYLE_PIXELS = 4_000_000


class StylePhotos:
    """Reads photos with label maps that locate their styles.

    Args:
        space: the label space of the label maps.
        style, style_labels: a photo, and its given label map.
        segmenter: predicts missing label maps; its classes must be those of ``space``.
        read_as: the label space regardless of the files' evidence; None: from evidence, else ``space``.
    """

    def __init__(
        self,
        space: LabelSpace,
        style: Picture | None = None,
        style_labels: Picture | None = None,
        segmenter: AdaptedModel | None = None,
        read_as: LabelSpace | None = None,
    ) -> None:
        if segmenter is not None and segmenter.space.classes != space.classes:
            raise DataError(
                f"The segmenter knows the classes of {segmenter.space.name}, the run those of {space.name}: give "
                f"one of the same classes."
            )
        self.space, self.segmenter, self.read_as = space, segmenter, read_as
        self.style, self.style_labels = style, style_labels

    def read(self, photo: Picture) -> tuple[np.ndarray, np.ndarray]:
        """The photo uint8 [H, W, 3] and its label map uint8 [H, W] (255 = no class). A photo of more than
        :data:`MAX_STYLE_PIXELS` is reduced: an encoder needs about a hundred times its memory.

        Raises:
            DataError: it cannot be read, has no label map (given, beside it or predicted), or one of another aspect
            ratio.
        """
        image = as_image(photo)
        path = Path(photo) if isinstance(photo, str | Path) else None
        given = self.style_labels if self.style is not None and same_picture(photo, self.style) else None
        if given is None and path is not None:
            given = labels_beside(path)
        if given is not None:
            name = str(path) if path is not None else "the style photo"
            return _reduced(image, _style_map(self.space, given, name, image, self.read_as))
        if self.segmenter is None:
            name, looked = "The style photo", ""
            if path is not None:
                beside = f"{path.stem}.png in a folder labels beside it, and {path.stem}_labels.png"
                name, looked = str(path), f" (looked for {beside})"
            raise DataError(
                f"{name} has no label map{looked}",
                "give one with --style-labels, or a model that predicts it with --segmenter RUN",
            )
        image = _fitted(image)
        return image, predict_map(self.segmenter, image)


def same_picture(one: Picture, other: Picture) -> bool:
    """Whether two pictures are the same: an equal path, or the same object."""
    paths = isinstance(one, str | Path) and isinstance(other, str | Path)
    return str(one) == str(other) if paths else one is other


def _reduced(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A large photo and its map at the size of :func:`_fitted`."""
    fitted = _fitted(image)
    if fitted is image:
        return image, labels
    size = (fitted.shape[1], fitted.shape[0])
    return fitted, resized(labels, size)


def _fitted(image: np.ndarray) -> np.ndarray:
    """The photo, reduced to at most :data:`MAX_STYLE_PIXELS`."""
    height, width = image.shape[:2]
    if width * height <= MAX_STYLE_PIXELS:
        return image
    scale = (MAX_STYLE_PIXELS / (width * height)) ** 0.5
    size = max(1, int(width * scale)), max(1, int(height * scale))
    return resized(image, size, reducing_gap=2.0)


def _style_map(
    space: LabelSpace, given: Picture, photo: str, image: np.ndarray, read_as: LabelSpace | None
) -> np.ndarray:
    """The label map uint8 [h, w] (255 = no class) of a photo [H, W, 3]; it may be smaller or larger.

    Raises:
        DataError: it cannot be read, has values that are not classes, or another aspect ratio than the photo.
    """
    height, width = image.shape[:2]
    if isinstance(given, str | Path):
        name, labels = str(given), read_map(space, Path(given), (width, height), read_as)
    else:
        name, labels = "The label map", as_labels(given, space)
    rows, columns = labels.shape
    # Rounding a resized map to whole pixels changes its size by less than one pixel.
    if abs(width * rows - height * columns) >= max(width, height):
        raise DataError(
            f"{name} is {columns}×{rows} and {photo} {width}×{height}: give the label map of this very photo."
        )
    return labels


@torch.inference_mode()
def predict_map(model: AdaptedModel, image: np.ndarray) -> np.ndarray:
    """The label map uint8 [H, W] predicted for an image uint8 [H, W, 3]."""
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].to(model.device).float() / 255
    return predict_labels(model.segmenter, tensor, image.shape[:2], model.inference)[0].cpu().numpy()


def labels_beside(photo: Path) -> Path | None:
    """The label map of a photo by its name: ``../labels/NAME.png`` if the photo is in a folder ``images``, or
    ``NAME_labels.png`` beside it."""
    for found in (
        # The parent of a bare file name has no name.
        photo.absolute().parent.parent / "labels" / f"{photo.stem}.png",
        photo.parent / "labels" / f"{photo.stem}.png",
        photo.with_name(f"{photo.stem}_labels.png"),
    ):
        if found.is_file() and found.absolute() != photo.absolute():
            return found
    return None
