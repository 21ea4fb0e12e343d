"""Self-training as in DAFormer (Hoyer et al., CVPR 2022, section 3.1): a mean teacher labels the target.

An EMA teacher predicts hard labels for target images, weighted by the share of confident pixels; half of the classes of
a source image are pasted onto the target image (DACS; Tranheden et al. 2021), and the student learns from the mixed
image after colour jitter and blur. Rare-class sampling is the source stream's sampler (``sampler: rare-class``).
DAFormer's feature distance to ImageNet features is not part of this method.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from stylebridge.engine.method import Average, Losses, Phase, Step, Term
from stylebridge.methods.base import SegmentationMethod, SegmentationOptions, mean_cross_entropy
from stylebridge.methods.colour_transfer import match_colour
from stylebridge.methods.mixing import blur, class_mask, jitter_colour
from stylebridge.methods.registry import MethodSpec
from stylebridge.networks.segmenters.build import Segmenter


class SelfTrainingOptions(SegmentationOptions):
    """Published values are the defaults.

    Ours: ``colour_transfer`` (source images first take target colours) and ``weighting: pixel`` (pseudo-labels only
    count where the teacher is confident; ``share`` weights a batch by its share of confident pixels).
    """

    teacher_decay: float = Field(default=0.999, ge=0, lt=1)
    confidence: float = Field(default=0.968, ge=0, lt=1)
    mixed_weight: float = Field(default=1.0, ge=0)
    jitter_strength: float = Field(default=0.2, ge=0, le=1)
    jitter_probability: float = Field(default=0.8, ge=0, le=1)
    blur_probability: float = Field(default=0.5, ge=0, le=1)
    weighting: Literal["share", "pixel"] = "share"
    colour_transfer: bool = False
    result: Literal["segmenter", "teacher"] = "segmenter"


class SelfTraining(SegmentationMethod[SelfTrainingOptions]):
    """Segmenter on source and on class-mixed target images with the teacher's labels."""

    name = "self-training"
    streams: ClassVar[dict[str, bool]] = {"source": True, "target": False}
    Options = SelfTrainingOptions

    def __init__(self, segmenter: Segmenter, options: SelfTrainingOptions | None = None) -> None:
        super().__init__(segmenter, options)
        # The teacher only gets target images: its batch-norm statistics are the target's, not the student's.
        decay = self.options.teacher_decay
        self.averages["teacher"] = Average(of="segmenter", decay=decay, copy_buffers=False)
        self.result = self.options.result

    def phases(self) -> Sequence[Phase]:
        return [Phase("segmenter", trains=("segmenter",), losses=self._losses)]

    def _losses(self, step: Step) -> Losses:
        source, target = step.batch["source"], step.batch["target"]
        image = source["image"]
        if self.options.colour_transfer:
            image = match_colour(image, target["image"])
        yield Term("source", mean_cross_entropy(step, self.segmenter(image), source["label"]))

        pseudo, quality = self.trust(step, self.teach(target["image"]))
        yield self.mixed_term(step, image, source["label"], target["image"], pseudo, quality)

    def mixed_term(
        self, step: Step, source: Tensor, label: Tensor, target: Tensor, pseudo: Tensor, quality: Tensor
    ) -> Term:
        """The loss on class-mixed images.

        Args:
            source, target: images [B, 3, H, W] in [0, 1]; ``label``, ``pseudo``: their label maps [B, H, W].
            quality: [B, H, W], weights of the pseudo-labels.
        """
        mixed, label, weight = self._mix(step, source, label, target, pseudo, quality)
        loss = mean_cross_entropy(step, self.segmenter(mixed), label, weight=weight)
        return Term("mixed", loss, weight=self.options.mixed_weight)

    @torch.no_grad()
    def teach(self, image: Tensor) -> Tensor:
        """The teacher's logits [B, K, H, W] for target images; updates its batch-norm statistics."""
        teacher = self.networks["teacher"]
        use_batch_statistics(teacher)
        return teacher(image)

    @torch.no_grad()
    def trust(self, step: Step, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The teacher's hard labels [B, H, W] and their weights [B, H, W]."""
        confidence, label = logits.float().softmax(1).max(1)
        confident = (confidence > self.options.confidence).float()
        if self.options.weighting == "pixel":
            return label, confident
        count = torch.tensor(confident.numel(), dtype=torch.float64, device=label.device)
        share = step.sum_over_processes(confident.double().sum()) / step.sum_over_processes(count)
        return label, share.float().expand_as(confident)

    @torch.no_grad()
    def _mix(
        self, step: Step, source: Tensor, label: Tensor, target: Tensor, pseudo: Tensor, quality: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        images, o = len(source), self.options
        if source.shape != target.shape:  # different shapes: mix the common part
            height, width = (min(a, b) for a, b in zip(source.shape[-2:], target.shape[-2:], strict=True))
            source, target = source[..., :height, :width], target[..., :height, :width]
            label = label[..., :height, :width]
            pseudo, quality = pseudo[..., :height, :width], quality[..., :height, :width]
        pasted = class_mask(label, step.rand(images, self.segmenter.num_classes))
        mixed = torch.where(pasted[:, None], source, target)
        mixed = jitter_colour(mixed, step.rand(images, 5), o.jitter_strength, o.jitter_probability)
        mixed = blur(mixed, step.rand(images, 2), o.blur_probability)
        weight = torch.where(pasted, 1.0, quality)
        return mixed, torch.where(pasted, label, pseudo), weight


def use_batch_statistics(network: nn.Module, gather: bool = True) -> None:
    """Let batch norm use (and gather) the statistics of the network's inputs, as in the teachers of DACS and DAFormer;
    all else, dropout in particular, stays in evaluation mode. Frozen batch norm stays frozen."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.track_running_stats = gather
        else:
            module.training = False


METHOD = MethodSpec(
    name="self-training",
    task="adapt",
    method=SelfTraining,
    title="Self-training as in DAFormer",
    paper="Hoyer et al., CVPR 2022, arXiv 2111.14887",
    length="40,000 steps",
)
