"""FADA's adversarial stage (Wang et al., ECCV 2020, arXiv 2007.09222): class-level domain alignment.

The discriminator has 2K outputs: domain and class jointly. Its targets are the segmenter's softened class
probabilities, placed in the source or the target half. Stages 1 and 3 are plain supervised training
(:mod:`stylebridge.methods.source_only`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from stylebridge.engine.method import Losses, Phase, Step, Term
from stylebridge.interop.fada import FADA as RELEASED
from stylebridge.losses.class_level import class_level_loss, domain_encoding
from stylebridge.methods.base import SegmentationMethod, SegmentationOptions, mean_cross_entropy
from stylebridge.methods.colour_transfer import match_colour
from stylebridge.methods.registry import MethodSpec
from stylebridge.networks.pixel_discriminator import PixelDiscriminator
from stylebridge.networks.segmenters.build import Segmenter


class FADAOptions(SegmentationOptions):
    """Published values are the defaults.

    ``temperature_in_segmentation``: the reference code also divides the logits of the segmentation loss by the
    temperature; the paper mentions it only for the encodings. ``colour_transfer`` (ours): source images first take the
    colours of random target images. ``feature_pool`` averages features over squares of this side before the
    discriminator: our small segmenter's features have stride 4, the published ones 8.
    """

    temperature: float = Field(default=1.8, gt=0)
    clip: float = Field(default=0.9, gt=0, le=1)
    adversarial_weight: float = Field(default=0.001, ge=0)
    discriminator_weight: float = Field(default=0.5, gt=0)
    temperature_in_segmentation: bool = True
    hard_encoding: bool = False
    colour_transfer: bool = False
    feature_pool: int = Field(default=1, ge=1)


class FADA(SegmentationMethod[FADAOptions]):
    """Phases: segmenter on source · segmenter against the class-level discriminator · discriminator.

    Each domain has one forward pass per step: the discriminator's phase uses the features and encodings of the
    segmenter's phase, from before the segmenter's update, as in the reference.
    """

    name = "fada"
    streams: ClassVar[dict[str, bool]] = {"source": True, "target": False}
    trains: ClassVar[tuple[str, ...]] = ("segmenter", "discriminator")
    Options = FADAOptions

    def __init__(self, segmenter: Segmenter, options: FADAOptions | None = None) -> None:
        super().__init__(segmenter, options)
        self.discriminator = PixelDiscriminator(segmenter.feature_channels, segmenter.num_classes)
        self.networks["discriminator"] = self.discriminator

    def phases(self) -> Sequence[Phase]:
        return [
            Phase("segmenter", trains=("segmenter",), losses=self.segmenter_losses),
            Phase("discriminator", trains=("discriminator",), losses=self.discriminator_losses),
        ]

    def _encode(self, logits: Tensor) -> Tensor:
        o = self.options
        return domain_encoding(logits, temperature=o.temperature, clip=o.clip, hard=o.hard_encoding)

    def segmenter_losses(self, step: Step) -> Losses:
        source, target = step.batch["source"], step.batch["target"]
        image, size = source["image"], _size(source["image"])
        if self.options.colour_transfer:
            image = match_colour(image, target["image"])
        features = self.segmenter.features(image)
        logits = self.segmenter.classify(features, size)
        step.memo["source"] = (features.detach(), self._encode(logits))
        temperature = self.options.temperature if self.options.temperature_in_segmentation else 1.0
        yield Term("segmentation", mean_cross_entropy(step, logits, source["label"], temperature=temperature))
        del features, logits

        size = _size(target["image"])
        features = self.segmenter.features(target["image"])
        with torch.no_grad():  # the adversarial loss trains the features only, not the classifier
            encoding = self._encode(self.segmenter.classify(features.detach(), size))
        step.memo["target"] = (features.detach(), encoding)
        yield Term(
            "adversarial", self._judge(features, encoding, "source"), weight=self.options.adversarial_weight
        )

    def discriminator_losses(self, step: Step) -> Losses:
        domains: tuple[Literal["source", "target"], ...] = ("source", "target")
        for domain in domains:
            features, encoding = step.memo[domain]
            loss = self._judge(features, encoding, domain)
            yield Term(domain, loss, weight=self.options.discriminator_weight)

    def _judge(self, features: Tensor, encoding: Tensor, domain: Literal["source", "target"]) -> Tensor:
        """The discriminator's loss for the target ``domain``."""
        canvas = self.segmenter.canvas(_size(encoding))
        if self.options.feature_pool > 1:
            features = F.avg_pool2d(features, self.options.feature_pool, ceil_mode=True)
        return class_level_loss(self.discriminator(features), encoding, domain, canvas)


def _size(image: Tensor) -> tuple[int, int]:
    height, width = image.shape[-2:]
    return height, width


METHOD = MethodSpec(
    name="fada",
    task="adapt",
    method=FADA,
    title="FADA",
    paper="Wang et al., ECCV 2020, arXiv 2007.09222",
    length="40,000 steps after 20,000 of source-only",
    importers={"fada": RELEASED},
)
