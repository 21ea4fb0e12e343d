"""Training of image synthesis from label maps, as in SPADE (arXiv 1903.07291) and SEAN (arXiv 1911.12861)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from stylebridge.engine.config import OptimizerConfig, ScheduleConfig, Strict
from stylebridge.engine.method import Losses, Method, Phase, Step, Term
from stylebridge.layers.spade import LabelMaps
from stylebridge.losses.synthesis import (
    feature_matching,
    hinge_of_discriminator,
    hinge_of_generator,
    normal_divergence,
)
from stylebridge.networks.label_gan import MultiScaleDiscriminator, PerceptualLoss
from stylebridge.networks.sean import SEANNetworks
from stylebridge.networks.spade import SPADENetworks


class SynthesisOptions(Strict):
    """Weights of the losses; published values are the defaults.

    ``perceptual``: the network of the perceptual loss: ``vgg19`` (published), ``lite0``, ``none``, or ``auto``: VGG-19
    if its weights are available, else EfficientNet-Lite0 under its own name. ``perceptual_weights``: a file with
    torchvision's weights of VGG-19; None: torch.hub's cache or download. ``divergence_weight`` is for SPADE's VAE.
    """

    feature_weight: float = Field(default=10.0, ge=0)
    perceptual_weight: float = Field(default=10.0, ge=0)
    perceptual: Literal["auto", "vgg19", "lite0", "none"] = "auto"
    perceptual_weights: str | None = None
    divergence_weight: float = Field(default=0.05, ge=0)


class Synthesis(Method):
    """Phases: generator (with its encoder) · discriminator. SEAN gets the label map and the style of the same image: it
    is trained to reconstruct. The discriminator's phase generates new fakes after the generator's update, as published,
    without a graph.

    Args:
        networks: generator and encoder; trained in place.
        discriminator: trained in place.
        perceptual: the perceptual loss; None: off.
        options: weights of the losses.
    """

    name = "synthesis"
    streams: ClassVar[dict[str, bool]] = {"labelled": True}
    trains: ClassVar[tuple[str, ...]] = ("generator", "discriminator")
    Options = SynthesisOptions

    def __init__(
        self,
        networks: SEANNetworks | SPADENetworks,
        discriminator: MultiScaleDiscriminator,
        perceptual: PerceptualLoss | None = None,
        options: SynthesisOptions | None = None,
    ) -> None:
        super().__init__()
        self.options = options if options is not None else SynthesisOptions()
        self.model, self.discriminator, self.perceptual = networks, discriminator, perceptual
        self.networks["generator"] = networks
        self.networks["discriminator"] = discriminator

    def phases(self) -> Sequence[Phase]:
        return [
            Phase("generator", trains=("generator",), losses=self._generator_losses),
            Phase("discriminator", trains=("discriminator",), losses=self._discriminator_losses),
        ]

    def _generator_losses(self, step: Step) -> Losses:
        """−mean of the scores; feature matching; the perceptual loss; for a VAE the divergence."""
        o, image = self.options, step.batch["labelled"]["image"]
        maps = step.memo["maps"] = self._maps(step)
        fake, divergence = self._draw(step, maps, image)
        judged = self.discriminator(maps, fake)
        terms = [Term("adversarial", hinge_of_generator(judged))]
        if o.feature_weight:
            matching = feature_matching(judged, self._judge_again(maps, image))
            terms.append(Term("feature_matching", matching, weight=o.feature_weight))
        if self.perceptual is not None and o.perceptual_weight:
            distance = self.perceptual.to(step.device)(fake, image)
            terms.append(Term(self.perceptual.name, distance, weight=o.perceptual_weight))
        if divergence is not None:
            terms.append(Term("divergence", divergence, weight=o.divergence_weight))
        yield terms

    def _discriminator_losses(self, step: Step) -> Losses:
        """mean relu(1 − real) + mean relu(1 + fake)."""
        maps, image = step.memo["maps"], step.batch["labelled"]["image"]
        with torch.no_grad():
            fake, _ = self._draw(step, maps, image)
        of_fake, of_real = self.discriminator.compare(maps, fake, image)
        yield Term("hinge", hinge_of_discriminator(of_real, of_fake))

    def _maps(self, step: Step) -> LabelMaps:
        """Label maps, prepared once for all networks and phases of a step."""
        return self.model.generator.maps(step.batch["labelled"]["label"])

    def _draw(self, step: Step, maps: LabelMaps, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images [B, 3, H, W], and the divergence of a VAE's codes."""
        if isinstance(self.model, SEANNetworks) or self.model.encoder is None:
            return self.model(maps, image), None
        codes = self.model.encoder(image)
        # A sum over the global batch, unlike other losses; processes are averaged.
        divergence = step.process_count * normal_divergence(codes.mean, codes.logvar)
        return self.model.generator(maps, codes.sample()), divergence

    @torch.no_grad()
    def _judge_again(self, maps: LabelMaps, image: Tensor) -> list[list[Tensor]]:
        """The discriminator's outputs for real images, with the same spectral norms as for the fakes before.

        The published step passes fakes and real images in one batch, with gradients for both halves; evaluation mode
        keeps the norms, and unneeded parts have no graph."""
        training = self.discriminator.training
        judged = self.discriminator.eval()(maps, image)
        self.discriminator.train(training)
        return judged


def published_optimizers() -> dict[str, OptimizerConfig]:
    """Adam (0, 0.9), the generator's rate 1e-4 and the discriminator's 4e-4, both falling to 0 in the second half."""
    half = ScheduleConfig(kind="linear-from-half")
    rates = {"generator": 1e-4, "discriminator": 4e-4}
    return {
        n: OptimizerConfig(kind="adam", lr=lr, betas=(0.0, 0.9), schedule=half) for n, lr in rates.items()
    }
