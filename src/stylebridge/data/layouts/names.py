"""Usual names of image and label map folders."""

from __future__ import annotations

#: Folders of images, in lower case.
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "img_dir", "jpegimages", "photos", "rgb")

#: Folders of label maps, in lower case.
LABEL_FOLDERS = (
    "labels",
    "label",
    "masks",
    "mask",
    "annotations",
    "annotation",
    "annots",
    "ann_dir",
    "gt",
    "gts",
    "groundtruth",
    "ground_truth",
    "segmentationclass",
    "segmentationclasspng",
    "segmentationclassaug",
    "segmentation",
    "segmentations",
    "segmaps",
)


def is_image_folder(name: str) -> bool:
    """Whether this is a usual name for an image folder."""
    return name.lower() in IMAGE_FOLDERS


def is_label_folder(name: str) -> bool:
    """Whether this is a usual name for a label map folder."""
    return name.lower() in LABEL_FOLDERS
