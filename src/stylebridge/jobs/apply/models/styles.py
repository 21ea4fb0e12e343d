"""Which style each region gets: wishes as a user writes them, and the label maps of style photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from stylebridge.data.files import FileRef
from stylebridge.data.images import read_image
from stylebridge.data.label_space import LabelSpace
from stylebridge.data.resizing import resized
from stylebridge.errors import DataError
from stylebridge.jobs.apply.models.inference import predict_labels
from stylebridge.jobs.apply.models.segmenter import AdaptedModel
from stylebridge.jobs.datasets.label_options import space_of_map
from stylebridge.jobs.pictures import as_tensor

#: In place of a photo: the mean style of the class.
MEAN = "mean"
#: Pixels of a style photo that are encoded.
MAX_STYLE_PIXELS = 4_000_000


@dataclass(frozen=True)
class RegionStyle:
    """The style of one class: that of ``first``, or a mixture ``(1 − share)·first + share·second``. Either may be
    :data:`MEAN`."""

    index: int
    first: str
    second: str | None = None
    share: float = 0.0


def parse_region_styles(
    styles: Sequence[str], mixes: Sequence[str], space: LabelSpace
) -> tuple[RegionStyle, ...]:
    """Read ``CLASS=PHOTO`` and ``CLASS=PHOTO:PHOTO:SHARE``.

    Raises:
        DataError: a wish is of another form, its class is unknown, or a class has two.
    """
    wishes = []
    for text in styles:
        name, sign, photo = text.partition("=")
        if not sign or not photo:
            raise DataError(
                f"--region-style {text!r} is not of the form CLASS=PHOTO, such as window=other.jpg."
            )
        wishes.append(RegionStyle(_class(name, space), photo))
    for text in mixes:
        name, sign, rest = text.partition("=")
        parts = rest.rsplit(":", 2)
        if not sign or len(parts) != 3 or not all(parts):
            raise DataError(
                f"--mix {text!r} is not of the form CLASS=PHOTO:PHOTO:SHARE, such as roof=a.jpg:b.jpg:0.3."
            )
        try:
            share = float(parts[2])
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            raise DataError(
                f"--mix {text!r}: the share of the second photo is a number from 0 to 1, not {parts[2]!r}."
            )
        wishes.append(RegionStyle(_class(name, space), parts[0], parts[1], share))
    indices = [wish.index for wish in wishes]
    twice = next((i for i in indices if indices.count(i) > 1), None)
    if twice is not None:
        raise DataError(f"Class {space.classes[twice]!r} is given two styles: leave one out.")
    return tuple(wishes)


def _class(name: str, space: LabelSpace) -> int:
    if name not in space.classes:
        raise DataError(f"There is no class {name!r} in this run: choose one of {', '.join(space.classes)}.")
    return space.classes.index(name)


class StylePhotos:
    """Photos with the label maps that say where each style is.

    Args:
        space: what the label maps are read by.
        labels: the label map of one photo (path), as given with it.
        segmenter: predicts the label maps that are not found; its classes must be those of the space.
        read_as: how label files are read whatever they show; None: as they show, else in ``space``.
    """

    def __init__(
        self,
        space: LabelSpace,
        labels: dict[str, Path] | None = None,
        segmenter: AdaptedModel | None = None,
        read_as: LabelSpace | None = None,
    ) -> None:
        if segmenter is not None and segmenter.space.classes != space.classes:
            raise DataError(
                f"The segmenter knows the classes of {segmenter.space.name}, the run those of {space.name}: give "
                f"one of the same classes."
            )
        self.space, self.labels, self.segmenter = space, labels or {}, segmenter
        self.read_as = read_as

    def read(self, photo: str | Path) -> tuple[np.ndarray, np.ndarray]:
        """The photo uint8 [H, W, 3] and its label map uint8 [H, W] (255 = no class). A photo of more than
        :data:`MAX_STYLE_PIXELS` is made smaller: an encoder takes some hundred times its memory.

        Raises:
            DataError: it cannot be read, no label map is given, beside it or predicted, or the map has another shape.
        """
        path = Path(photo)
        image = read_image(path)
        size = (image.shape[1], image.shape[0])
        given = self.labels.get(str(photo)) or labels_beside(path)
        if given is not None:
            return _reduced(image, read_style_map(self.space, given, path, size, self.read_as))
        if self.segmenter is None:
            raise DataError(
                f"{photo} has no label map (looked for {path.stem}.png in a folder labels beside it, and {path.stem}"
                f"_labels.png): give one with --style-labels, or a model that predicts it with --segmenter RUN."
            )
        image = _fitted(image)
        return image, predict_map(self.segmenter, image)


def _reduced(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A large photo and its map at the size that :func:`_fitted` gives the photo."""
    fitted = _fitted(image)
    if fitted is image:
        return image, labels
    size = (fitted.shape[1], fitted.shape[0])
    return fitted, resized(labels, size)


def _fitted(image: np.ndarray) -> np.ndarray:
    """A photo of at most :data:`MAX_STYLE_PIXELS`."""
    height, width = image.shape[:2]
    if width * height <= MAX_STYLE_PIXELS:
        return image
    scale = (MAX_STYLE_PIXELS / (width * height)) ** 0.5
    size = max(1, int(width * scale)), max(1, int(height * scale))
    return resized(image, size, reducing_gap=2.0)


def read_style_map(
    space: LabelSpace, file: Path, photo: Path, size: tuple[int, int], read_as: LabelSpace | None = None
) -> np.ndarray:
    """The label map uint8 [h, w] (255 = no class) of a photo of ``size`` (width, height); it may be smaller or larger.

    Raises:
        DataError: it cannot be read, holds what is no class, or has other proportions than the photo.
    """
    labels = read_map(space, file, size, read_as)
    (width, height), (rows, columns) = size, labels.shape
    # A map that was resized to whole pixels is off by less than one of them.
    if abs(width * rows - height * columns) >= max(width, height):
        raise DataError(
            f"{file} is {columns}×{rows} and {photo} {width}×{height}: give the label map of this very photo."
        )
    return labels


def read_map(
    space: LabelSpace,
    file: FileRef,
    size: tuple[int, int] | None = None,
    read_as: LabelSpace | None = None,
) -> np.ndarray:
    """A label map uint8 [H, W] (255 = no class), read as a run knows its classes.

    Args:
        read_as: the space that the file is read in whatever it shows.

    Raises:
        DataError: it cannot be read, shows other classes than the run's, or holds what is no class of the run.
    """
    try:
        return space_of_map(file, space, read_as).read(file, size)
    except DataError as error:
        # The classes of a run are fixed: there is no other label space to name.
        if error.option is None or "--label-space" not in error.option:
            raise
        raise DataError(error.problem, error.mend) from error


@torch.inference_mode()
def predict_map(model: AdaptedModel, image: np.ndarray) -> np.ndarray:
    """The label map uint8 [H, W] that a segmenter gives an image uint8 [H, W, 3]."""
    device = next(model.segmenter.parameters()).device
    tensor = as_tensor(image)[None].to(device)
    return predict_labels(model.segmenter, tensor, image.shape[:2], model.inference)[0].cpu().numpy()


def labels_beside(photo: Path) -> Path | None:
    """The label map of a photo by its name: ``../labels/NAME.png`` for one in a folder ``images``, or
    ``NAME_labels.png`` next to it."""
    for found in (
        # A bare name has a parent without a name of its own.
        photo.absolute().parent.parent / "labels" / f"{photo.stem}.png",
        photo.parent / "labels" / f"{photo.stem}.png",
        photo.with_name(f"{photo.stem}_labels.png"),
    ):
        if found.is_file() and found.absolute() != photo.absolute():
            return found
    return None
