"""Instance maps of label maps: find them by name, read them, and compute edges for networks."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
import torch

from stylebridge.data.files import FileRef, is_image_name
from stylebridge.data.images import read_label
from stylebridge.data.resizing import resized
from stylebridge.errors import DataError
from stylebridge.jobs.apply.files.arrays import Picture
from stylebridge.jobs.apply.files.inputs import collect_inputs
from stylebridge.layers.label_maps import instance_edges

#: The ends of Cityscapes' file names.
LABEL_IDS, INSTANCE_IDS = "_labelIds", "_instanceIds"


class InstanceMaps:
    """The instance maps of label maps.

    Args:
        given: the instance map of one label map, or a folder or zip file of them.
        single: whether there is a single label map; then ``given`` may be a file.

    Raises:
        DataError: the path does not exist, or has the wrong form.
    """

    def __init__(self, given: Path, single: bool) -> None:
        self.given = given
        self.only: FileRef | None = None
        self.files: dict[PurePosixPath, FileRef] = {}
        if given.is_file() and is_image_name(given.name):
            if not single:
                raise DataError(
                    f"--instances {given} is one file, --labels a folder: give a folder of instance maps."
                )
            self.only = given
        else:
            self.files = {name: file for file, name in collect_inputs([given]).images.items()}

    def edges(
        self, file: FileRef, name: PurePosixPath, labels: np.ndarray, size: tuple[int, int] | None = None
    ) -> np.ndarray:
        """The edges between instances, bool [H, W].

        Args:
            file, name: the label map, and its path below its folder without suffix.
            labels: [H, W], as read.
            size: (width, height) of the instance map after resizing, before computing edges.

        Raises:
            DataError: there is no instance map of this name, it cannot be read, or has another size.
        """
        found = self._find(file, name)
        instances = read_label(found).astype(np.int32)
        if instances.shape != labels.shape:
            (rows, columns), (height, width) = instances.shape, labels.shape
            raise DataError(
                f"Instance map {found} is {columns}×{rows} and label map {file} {width}×{height}: "
                f"give both at the same size."
            )
        return _edges(resized(instances, size))

    def _find(self, file: FileRef, name: PurePosixPath) -> FileRef:
        if self.only is not None:
            return self.only
        for wanted in (name.with_name(name.name.replace(LABEL_IDS, INSTANCE_IDS)), name):
            if wanted in self.files:
                return self.files[wanted]
        raise DataError(f"{self.given} holds no instance map for {file}: give one of the same name.")


def edges_of(instances: Picture) -> np.ndarray:
    """Where the instances of one instance map [H, W] meet, bool [H, W]. Raises DataError if it cannot be read."""
    if isinstance(instances, str | Path):
        return _edges(read_label(Path(instances)).astype(np.int32))
    return _edges(np.asarray(instances).astype(np.int32))


def _edges(instances: np.ndarray) -> np.ndarray:
    return instance_edges(torch.from_numpy(instances)[None])[0].numpy()


def label_ids_only(files: dict[FileRef, PurePosixPath]) -> dict[FileRef, PurePosixPath]:
    """The label id files of a Cityscapes folder (which has four files for each image), else all files."""
    ids = {file: name for file, name in files.items() if name.name.endswith(LABEL_IDS)}
    return ids or files
