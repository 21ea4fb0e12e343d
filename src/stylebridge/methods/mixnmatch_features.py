"""MixNMatch's second stage, feature mode (arXiv 1911.11758, section 3.4): images to the generator's parent features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from stylebridge.engine.config import OptimizerConfig, Strict
from stylebridge.engine.method import Conversions, Losses, Method, Phase, Step, Term
from stylebridge.layers.precision import at_least_float32
from stylebridge.losses.mixnmatch import cross_entropy_of_logits
from stylebridge.methods.mixnmatch import category, keeping_statistics, learning, normal, scaled
from stylebridge.methods.registry import MethodSpec
from stylebridge.networks.mixnmatch import LAYOUT, Categories, Codes, FeatureNetworks, conversions, one_hot

#: Epochs of the second stage.
PUBLISHED_EPOCHS = 400


class MixNMatchFeaturesOptions(Strict):
    """Published values are the defaults.

    ``soft_shapes``: probability that a batch's shape codes are softmax(N(0, 1)) instead of one-hot. ``share_graphs``:
    as in :class:`~stylebridge.methods.mixnmatch.MixNMatchOptions`.
    """

    soft_shapes: float = Field(default=0.2, ge=0, le=1)
    adversarial_weight: float = Field(default=1.0, ge=0)
    reconstruction_weight: float = Field(default=1.0, ge=0)
    share_graphs: bool = True


class _Shared(NamedTuple):
    """Generated images [B, 3, S, S] and their parent features; the extractor's output for real images."""

    image: Tensor
    features: Tensor
    extracted: Tensor


class MixNMatchFeatures(Method):
    """Phases: feature discriminator · feature extractor; the generator is frozen, in evaluation mode.

    Args:
        networks: extractor and discriminator are trained in place. The generator is the average from the first stage.
        options: weights of the losses.
    """

    name = "mixnmatch-features"
    layout = LAYOUT
    streams: ClassVar[dict[str, bool]] = {"images": False}
    trains: ClassVar[tuple[str, ...]] = ("feature_discriminator", "feature_extractor")
    Options = MixNMatchFeaturesOptions

    def __init__(self, networks: FeatureNetworks, options: MixNMatchFeaturesOptions | None = None) -> None:
        super().__init__()
        self.options = options if options is not None else MixNMatchFeaturesOptions()
        self.model, self.config = networks, networks.config
        networks.generator.requires_grad_(False)
        self.networks["generator"] = networks.generator
        self.networks["feature_extractor"] = networks.extractor
        self.networks["feature_discriminator"] = networks.discriminator

    def conversions(self, layout: int) -> Conversions:
        return {"generator": conversions(layout)}

    def phases(self) -> Sequence[Phase]:
        return [
            Phase("discriminator", trains=("feature_discriminator",), losses=self._discriminator_losses),
            Phase("extractor", trains=("feature_extractor",), losses=self._extractor_losses),
        ]

    def _discriminator_losses(self, step: Step) -> Losses:
        """Generated features are real, extracted ones fake."""
        m, o = self.model, self.options
        real = scaled(step.batch["images"]["image"])
        with torch.no_grad():
            generated = m.generator(self._codes(step, real))
        with learning(m.extractor) if o.share_graphs else torch.no_grad():
            extracted = m.extractor(real)
        step.memo["shared"] = _Shared(generated.image, generated.features, extracted)
        # Without batch norm: both in one pass.
        logits = m.discriminator(torch.cat((extracted.detach(), generated.features)))
        images = len(real)
        loss = cross_entropy_of_logits(logits[:images], 0.0) + cross_entropy_of_logits(logits[images:], 1.0)
        yield Term("adversarial", loss)

    def _extractor_losses(self, step: Step) -> Losses:
        """Features of real images should look generated; those of generated images should match."""
        m, o = self.model, self.options
        shared: _Shared = step.memo.pop("shared")
        extracted = shared.extracted
        if not o.share_graphs:
            with keeping_statistics(m.extractor):
                extracted = m.extractor(scaled(step.batch["images"]["image"]))
        adversarial = cross_entropy_of_logits(m.discriminator(extracted), 1.0)
        yield Term("adversarial", adversarial, weight=o.adversarial_weight)
        again = at_least_float32(m.extractor(shared.image))
        distance = F.l1_loss(again, at_least_float32(shared.features))
        yield Term("reconstruction", distance, weight=o.reconstruction_weight)

    def _codes(self, step: Step, like: Tensor) -> Codes:
        """Independent codes; sometimes with shapes between the categories."""
        images, c = len(like), self.config
        sizes = (c.textures, c.shapes, c.textures)
        categories = Categories(*(category(step, images, size) for size in sizes))
        codes = one_hot(normal(step, images, c.pose).to(like), categories, c)
        if bool(step.rand_of_step(1)[0] < self.options.soft_shapes):
            codes = codes._replace(shape=normal(step, images, c.shapes).to(like).softmax(1))
        return codes


def published_optimizers() -> dict[str, OptimizerConfig]:
    """The published settings of the second stage."""
    rates = {"feature_discriminator": 2e-5, "feature_extractor": 2e-4}
    return {name: OptimizerConfig(kind="adam", lr=lr, betas=(0.5, 0.999)) for name, lr in rates.items()}


METHOD = MethodSpec(
    name="mixnmatch-features",
    task="mix",
    method=MixNMatchFeatures,
    title="MixNMatch, feature mode",
    paper="Li et al., CVPR 2020, arXiv 1911.11758",
    optimizers=published_optimizers,
    length=f"{PUBLISHED_EPOCHS} epochs of CUB",
)
