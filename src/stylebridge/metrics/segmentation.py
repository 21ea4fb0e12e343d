"""Segmentation accuracy: the confusion matrix and the scores computed from it.

With n[t, p] the number of pixels of true class t that were predicted as p, the intersection over union of class k is
n[k, k] / (Σ_p n[k, p] + Σ_t n[t, k] − n[k, k]): the Jaccard index, counted over the whole data set and not averaged
over images (Everingham et al., "The PASCAL Visual Object Classes Challenge", IJCV 2010).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stylebridge.data.label_space import IGNORE
from stylebridge.errors import DataError


@dataclass(frozen=True)
class SegmentationScores:
    """The scores of a segmenter on a labelled set. Ratios are in [0, 1].

    classes: the K class names.
    iou: intersection over union of each class; None where the class is neither in the truth nor predicted.
    accuracy: share of each class's true pixels that were predicted correctly (recall); None without true pixels.
    miou_present: mean IoU over the classes present in the truth. The main result.
    miou_all: mean IoU over all K classes; a class that is neither in the truth nor predicted counts as 0, so that a
        class missing from the set cannot raise the score.
    pixel_accuracy: share of all labelled pixels that were predicted correctly.
    pixels: number of labelled pixels.
    confusion: K×K counts, rows = truth, columns = prediction.
    protocol: label space and averaging of miou_present, as text for a table's caption.
    space: the label space's name.
    subsets: mean of the per-class IoUs over named subsets of the classes (SYNTHIA's 13 of 16), restricted to those
        present in the truth.
    """

    classes: tuple[str, ...]
    iou: tuple[float | None, ...]
    accuracy: tuple[float | None, ...]
    miou_present: float
    miou_all: float
    pixel_accuracy: float
    pixels: int
    confusion: tuple[tuple[int, ...], ...]
    protocol: str
    space: str = ""
    subsets: tuple[tuple[str, float], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, ready for `json.dumps`."""
        return {
            "protocol": self.protocol,
            "label_space": self.space,
            "subsets": dict(self.subsets),
            "miou_present": self.miou_present,
            "miou_all": self.miou_all,
            "pixel_accuracy": self.pixel_accuracy,
            "pixels": self.pixels,
            "classes": list(self.classes),
            "iou": list(self.iou),
            "accuracy": list(self.accuracy),
            "confusion": [list(row) for row in self.confusion],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SegmentationScores":
        """The inverse of `as_dict`. Raises KeyError if a field is missing."""
        return cls(
            classes=tuple(values["classes"]),
            iou=tuple(values["iou"]),
            accuracy=tuple(values["accuracy"]),
            miou_present=values["miou_present"],
            miou_all=values["miou_all"],
            pixel_accuracy=values["pixel_accuracy"],
            pixels=values["pixels"],
            confusion=tuple(tuple(row) for row in values["confusion"]),
            protocol=values["protocol"],
            space=values.get("label_space", ""),
            subsets=tuple(values.get("subsets", {}).items()),
        )


class ConfusionMatrix:
    """Counts of (true class, predicted class) over any number of label maps, exact up to 2**63 pixels.

    matrix: int64 [K, K] on `device`, rows = truth, columns = prediction.
    """

    def __init__(self, num_classes: int, device: torch.device | str | None = None) -> None:
        """Raises ValueError unless num_classes is from 1 to 255 (255 is the ignore label)."""
        if not 1 <= num_classes <= IGNORE:
            raise ValueError(f"num_classes must be from 1 to {IGNORE}, not {num_classes}")
        self.num_classes = num_classes
        self.matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=device)

    @torch.no_grad()
    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Count one or more label maps.

        prediction: integers in 0..K-1, any shape, any device.
        target: integers in 0..K-1 or 255 (ignored), the same shape.
        Raises ValueError if the shapes differ, a dtype is not integer, or a value is out of range; the counts are then
        unchanged.
        """
        if prediction.shape != target.shape:
            raise ValueError(
                f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} differ in shape"
            )
        truth = _as_indices(target, "target").to(self.matrix.device)
        guess = _as_indices(prediction, "prediction").to(self.matrix.device)
        counted = truth != IGNORE
        self._check_range(guess, "prediction")
        truth = truth[counted]
        self._check_range(truth, "target")
        pairs = truth * self.num_classes + guess[counted]
        counts = torch.bincount(pairs, minlength=self.num_classes**2)
        self.matrix += counts.reshape(self.num_classes, self.num_classes)

    def merge(self, other: "ConfusionMatrix") -> None:
        """Add the counts of another matrix (of another process, say). Raises ValueError if K differs."""
        if other.num_classes != self.num_classes:
            raise ValueError(f"cannot merge {other.num_classes} classes into {self.num_classes}")
        self.matrix += other.matrix.to(self.matrix.device)

    def scores(
        self,
        class_names: Sequence[str],
        space: str = "",
        subsets: Mapping[str, Sequence[str]] | None = None,
    ) -> SegmentationScores:
        """The scores of everything counted so far.

        space: the label space's name, for the protocol.
        subsets: named subsets of the classes, averaged in addition.

        Raises ValueError for other than K names, DataError if no labelled pixel was counted.
        """
        if len(class_names) != self.num_classes:
            raise ValueError(f"{len(class_names)} class names for {self.num_classes} classes")
        matrix = self.matrix.cpu()
        pixels = int(matrix.sum())
        if pixels == 0:
            raise DataError("no labelled pixel to score: every label map is empty or all ignore (255)")
        hits, in_truth = matrix.diagonal(), matrix.sum(dim=1)
        union = in_truth + matrix.sum(dim=0) - hits
        present = in_truth > 0
        # A class outside the union gives 0 / 0; clamping gives the 0 that miou_all needs.
        iou = hits.double() / union.clamp(min=1)
        accuracy = hits.double() / in_truth.clamp(min=1)
        return SegmentationScores(
            classes=tuple(class_names),
            iou=_known(iou, union > 0),
            accuracy=_known(accuracy, present),
            miou_present=float(iou[present].mean()),
            miou_all=float(iou.mean()),
            pixel_accuracy=int(hits.sum()) / pixels,
            pixels=pixels,
            confusion=tuple(tuple(row) for row in matrix.tolist()),
            protocol=(f"{space}: " if space else "") + _protocol(int(present.sum()), self.num_classes),
            space=space,
            subsets=tuple(
                (name, float(iou[chosen].mean()))
                for name, chosen in _chosen(class_names, subsets or {}, present)
                if chosen.any()
            ),
        )

    def _check_range(self, labels: Tensor, name: str) -> None:
        outside = labels[(labels < 0) | (labels >= self.num_classes)]
        if outside.numel():
            found = sorted(set(outside[:1000].tolist()))[:5]
            raise ValueError(f"{name} holds {found}, outside the classes 0..{self.num_classes - 1}")


def _as_indices(labels: Tensor, name: str) -> Tensor:
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"{name} must hold integer class numbers, not {labels.dtype}")
    return labels.reshape(-1).long()


def _known(values: Tensor, known: Tensor) -> tuple[float | None, ...]:
    return tuple(v if k else None for v, k in zip(values.tolist(), known.tolist(), strict=True))


def _chosen(
    class_names: Sequence[str], subsets: Mapping[str, Sequence[str]], present: Tensor
) -> list[tuple[str, Tensor]]:
    """bool [K] of each subset: its classes that are present."""
    return [
        (name, torch.tensor([c in classes for c in class_names]) & present)
        for name, classes in subsets.items()
    ]


def _protocol(present: int, num_classes: int) -> str:
    if present == num_classes:
        return f"mIoU over {num_classes} classes"
    return f"mIoU over the {present} of {num_classes} classes present in the truth"
