"""Supervised training on the labelled source: the model without adaptation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from stylebridge.engine.method import Losses, Phase, Step, Term
from stylebridge.interop.fada import DEEPLAB
from stylebridge.methods.base import SegmentationMethod, SegmentationOptions, mean_cross_entropy
from stylebridge.methods.registry import MethodSpec


class SupervisedOptions(SegmentationOptions):
    """``temperature`` divides the logits inside the cross-entropy (1: plain)."""

    temperature: float = Field(default=1.0, gt=0)


class SourceOnly(SegmentationMethod[SupervisedOptions]):
    """Cross-entropy on labelled source images: the baseline without adaptation, and FADA's stage 1."""

    name = "source-only"
    streams: ClassVar[dict[str, bool]] = {"source": True}
    Options = SupervisedOptions

    def phases(self) -> Sequence[Phase]:
        return [Phase("segmenter", trains=("segmenter",), losses=self._losses)]

    def _losses(self, step: Step) -> Losses:
        (batch,) = step.batch.values()
        logits = self.segmenter(batch["image"])
        loss = mean_cross_entropy(step, logits, batch["label"], temperature=self.options.temperature)
        yield Term("cross_entropy", loss)


METHOD = MethodSpec(
    name="source-only",
    task="adapt",
    method=SourceOnly,
    title="Source only",
    paper="the baseline without adaptation",
    importers={"deeplab": DEEPLAB},
)
