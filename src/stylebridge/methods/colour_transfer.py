"""A simple baseline: give each source image the colour statistics of a random target image."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from stylebridge.engine.method import Losses, Step, Term
from stylebridge.layers.precision import at_least_float32
from stylebridge.methods.base import mean_cross_entropy
from stylebridge.methods.registry import MethodSpec
from stylebridge.methods.source_only import SourceOnly


def match_colour(image: Tensor, reference: Tensor) -> Tensor:
    """Match each channel's mean and standard deviation to those of the reference image in the same row.

    The classic global colour transfer (Reinhard et al. 2001, section 3), per channel in RGB.

    Args:
        image: [B, 3, H, W] in [0, 1].
        reference: [B, 3, h, w] in [0, 1].

    Returns:
        [B, 3, H, W] in the image's type, clipped to [0, 1]; computed in float32 at least.
    """
    given = image.dtype
    image, reference = at_least_float32(image), at_least_float32(reference)
    mean, deviation = image.mean((2, 3), keepdim=True), image.std((2, 3), keepdim=True)
    wanted_mean, wanted = reference.mean((2, 3), keepdim=True), reference.std((2, 3), keepdim=True)
    return ((image - mean) * (wanted / deviation.clamp(min=1e-5)) + wanted_mean).clamp_(0, 1).to(given)


class ColourTransfer(SourceOnly):
    """Source-only training on source images in the colours of random target images."""

    name = "colour-transfer"
    streams: ClassVar[dict[str, bool]] = {"source": True, "target": False}

    def _losses(self, step: Step) -> Losses:
        source = step.batch["source"]
        # Both streams are shuffled independently, so row i of the target is a random target image.
        image = match_colour(source["image"], step.batch["target"]["image"])
        loss = mean_cross_entropy(
            step, self.segmenter(image), source["label"], temperature=self.options.temperature
        )
        yield Term("cross_entropy", loss)


METHOD = MethodSpec(
    name="colour-transfer",
    task="adapt",
    method=ColourTransfer,
    title="Colour transfer",
    paper="a baseline: Reinhard et al., 2001",
)
