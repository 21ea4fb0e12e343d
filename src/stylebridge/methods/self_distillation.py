"""Supervised training on target images with pseudo-labels (FADA's stage 3)."""

from __future__ import annotations

from typing import ClassVar

from stylebridge.methods.registry import MethodSpec
from stylebridge.methods.source_only import SourceOnly


class SelfDistillation(SourceOnly):
    """Cross-entropy on target images with labels predicted by the previous stage (FADA's stage 3).

    The labels are *pseudo-labels*: hard predictions of the model. True target labels are never read.
    """

    name = "self-distillation"
    streams: ClassVar[dict[str, bool]] = {"target": True}


METHOD = MethodSpec(
    name="self-distillation",
    task="adapt",
    method=SelfDistillation,
    title="Self-distillation",
    paper="Wang et al., ECCV 2020, arXiv 2007.09222",
    length="20,000 steps",
)
