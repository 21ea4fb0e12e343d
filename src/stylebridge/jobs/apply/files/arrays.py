"""Images and label maps as arrays, PIL images or files."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageOps

from stylebridge.data.files import FileRef
from stylebridge.data.images import read_image
from stylebridge.data.label_space import IGNORE, LabelSpace
from stylebridge.errors import DataError
from stylebridge.jobs.datasets.label_options import space_of_map

#: An RGB image or a label map: a file, a PIL image, or an array uint8 [H, W, 3] or [H, W].
Picture: TypeAlias = str | Path | Image.Image | np.ndarray


def as_image(given: Picture) -> np.ndarray:
    """An RGB image uint8 [H, W, 3]; PIL images are rotated by their EXIF data.

    Raises:
        DataError: a file cannot be read as an image, or an array has another shape or type.
    """
    if isinstance(given, Image.Image):
        return np.array(ImageOps.exif_transpose(given).convert("RGB"))
    if not isinstance(given, np.ndarray):
        return read_image(Path(given))
    if given.ndim != 3 or given.shape[2] != 3 or given.dtype != np.uint8 or not given.size:
        raise DataError(
            f"An image is an array {given.dtype} {list(given.shape)}", "give uint8 [height, width, 3], RGB"
        )
    return given


def as_labels(given: Picture, space: LabelSpace) -> np.ndarray:
    """A label map uint8 [H, W] of class indices of a label space (255 = no class).

    A file is read with the label space; values of arrays and PIL images are class indices.

    Raises:
        DataError: a file cannot be read, an array has another shape or type, or a value is not a class.
    """
    if isinstance(given, str | Path):
        return read_map(space, Path(given))
    labels = np.asarray(given)
    if labels.ndim != 2 or labels.dtype != np.uint8 or not labels.size:
        raise DataError(
            f"A label map is an array {labels.dtype} {list(labels.shape)}", "give uint8 [height, width]"
        )
    wrong = labels[(labels >= space.num_classes) & (labels != IGNORE)]
    if wrong.size:
        raise DataError(
            f"A label map holds {wrong[0]}, and the run has the classes 0 to {space.num_classes - 1}",
            "give class indices, and 255 where there is no class",
        )
    return labels


def read_map(
    space: LabelSpace,
    file: FileRef,
    size: tuple[int, int] | None = None,
    read_as: LabelSpace | None = None,
) -> np.ndarray:
    """Read a label map uint8 [H, W] (255 = no class) with a run's classes.

    Args:
        read_as: the label space regardless of the file's evidence.

    Raises:
        DataError: it cannot be read, or has other classes than the run.
    """
    try:
        return space_of_map(file, space, read_as).read(file, size)
    except DataError as error:
        # The classes of a run are fixed, so no other label space is suggested.
        if error.option is None or "--label-space" not in error.option:
            raise
        raise DataError(error.problem, error.mend) from error
