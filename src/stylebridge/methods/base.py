"""The base of methods that train a segmenter."""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from stylebridge.engine.config import Strict
from stylebridge.engine.method import Method, Step
from stylebridge.losses.segmentation import cross_entropy_sum
from stylebridge.networks.segmenters.build import Segmenter


class SegmentationOptions(Strict):
    """Options of a method; each method extends them. An unknown key is an error."""


OptionsT = TypeVar("OptionsT", bound=SegmentationOptions)


class SegmentationMethod(Method, Generic[OptionsT]):
    """A method whose first network is the ``segmenter`` being adapted.

    Args:
        segmenter: trained in place.
        options: an instance of the method's ``Options``.
    """

    trains: ClassVar[tuple[str, ...]] = ("segmenter",)
    #: The networks besides the segmenter that are copied from the previous stage, if it has them.
    inherits: ClassVar[tuple[str, ...]] = ()
    #: Whether :meth:`translate` gives source images the look of target images.
    translates: ClassVar[bool] = False
    Options: ClassVar[type[SegmentationOptions]] = SegmentationOptions
    #: The network passed to the next stage: the segmenter, or an average of it.
    result: str = "segmenter"

    def __init__(self, segmenter: Segmenter, options: OptionsT | None = None) -> None:
        super().__init__()
        self.options: OptionsT = options if options is not None else self.Options()  # type: ignore[assignment]
        self.segmenter = segmenter
        self.networks["segmenter"] = segmenter

    def translate(self, image: Tensor, label: Tensor, style: Tensor, segmenter: Segmenter) -> Tensor:
        """Source images [B, 3, H, W] with label maps [B, H, W] in the look of the target images ``style``, for sample
        images. The segmenter is in evaluation mode."""
        raise NotImplementedError

    def begin(self) -> None:
        """Called before the first step, when all networks have their initial weights."""


def mean_cross_entropy(
    step: Step, logits: Tensor, target: Tensor, weight: Tensor | None = None, temperature: float = 1.0
) -> Tensor:
    """Cross-entropy over the valid pixels of the *global* batch (see :meth:`Step.mean`)."""
    total, count = cross_entropy_sum(logits, target, weight=weight, temperature=temperature)
    return step.mean(total, torch.as_tensor(count, device=logits.device))
