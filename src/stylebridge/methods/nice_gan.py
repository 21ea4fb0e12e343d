"""NICE-GAN's training (Chen et al., CVPR 2020, arXiv 2003.00273): unpaired translation.

Decoupled training: the encoder is the first part of its domain's discriminator and is only trained in the
discriminator's phase. In the generator's phase it is frozen, and gradients flow through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from stylebridge.engine.config import OptimizerConfig, ScheduleConfig, Strict
from stylebridge.engine.method import Losses, Method, Phase, Step, Term
from stylebridge.interop.nice_gan import IMPORTER
from stylebridge.layers.precision import at_least_float32
from stylebridge.losses.adversarial import sum_least_squares
from stylebridge.methods.registry import MethodSpec, Networks
from stylebridge.networks.nice_gan import (
    OTHER,
    PRESETS,
    Discriminator,
    Generator,
    NiceGanConfig,
    NiceGanNetworks,
)


class NiceGANOptions(Strict):
    """Weights of the losses; published values are the defaults. All heads weigh the same.

    ``exact_power_iterations``: in the generator's phase the published step runs whole discriminators on the real images
    although it only uses the codes, and thus advances the spectral norms of their heads once more. True advances them
    without running the heads; False does not, and the norms lag slightly behind the weights.
    """

    adversarial_weight: float = Field(default=1.0, ge=0)
    cycle_weight: float = Field(default=10.0, ge=0)
    reconstruction_weight: float = Field(default=10.0, ge=0)
    exact_power_iterations: bool = True


class NiceGAN(Method):
    """Phases: discriminators (with encoders) · generators, both domains in each.

    Unused results of the published step are not computed: graphs of the fakes in the discriminators' phase, gradients
    of frozen weights, scores of heads where only codes are used. Updates are the same.

    Args:
        networks: trained in place.
        options: weights of the losses.
    """

    name = "nice-gan"
    streams: ClassVar[dict[str, bool]] = {"a": False, "b": False}
    trains: ClassVar[tuple[str, ...]] = ("discriminators", "generators")
    Options = NiceGANOptions

    def __init__(self, networks: NiceGanNetworks, options: NiceGANOptions | None = None) -> None:
        super().__init__()
        self.options = options if options is not None else NiceGANOptions()
        self.model = networks
        self.networks["discriminators"] = networks.discriminators
        self.networks["generators"] = networks.generators

    def phases(self) -> Sequence[Phase]:
        return [
            Phase("discriminator", trains=("discriminators",), losses=self._discriminator_losses),
            Phase("generator", trains=("generators",), losses=self._generator_losses),
        ]

    def _discriminator(self, domain: str) -> Discriminator:
        network = self.model.discriminators[domain]
        assert isinstance(network, Discriminator)
        return network

    def _generator(self, domain: str) -> Generator:
        network = self.model.generators[domain]
        assert isinstance(network, Generator)
        return network

    def _discriminator_losses(self, step: Step) -> Losses:
        """Σ over heads of mean (score of real − 1)² + mean (score of fake)², for each domain."""
        encodings, logits = {}, {}
        for domain in OTHER:
            discriminator = self._discriminator(domain)
            encodings[domain] = discriminator.encode(_scaled(step, domain))
            logits[domain] = discriminator.attention_logit(encodings[domain].features)
        for domain, other in OTHER.items():
            discriminator = self._discriminator(domain)
            with torch.no_grad():
                fake = self._generator(domain)(encodings[other].code.detach())
            of_fake = discriminator.encode(fake)
            logit = discriminator.attention_logit(of_fake.features)
            # Both in one pass through the heads, which have many more weights than pixels.
            images = len(fake)
            scores = discriminator.judge(torch.cat((encodings[domain].code, of_fake.code)), passes=2)
            loss = sum_least_squares([*(s[:images] for s in scores), logits[domain]], 1.0)
            loss = loss + sum_least_squares([*(s[images:] for s in scores), logit], 0.0)
            yield Term(f"adversarial_{domain}", loss, weight=self.options.adversarial_weight)

    def _generator_losses(self, step: Step) -> Losses:
        """Σ over heads of mean (score of fake − 1)², the cycle and the reconstruction, for each domain."""
        o = self.options
        image = {domain: _scaled(step, domain) for domain in OTHER}
        with torch.no_grad():  # the encoders were updated: recompute their codes
            code = {domain: self._discriminator(domain).encode(image[domain]).code for domain in OTHER}
            if o.exact_power_iterations:
                for domain in OTHER:
                    self._discriminator(domain).advance_heads()
        for domain, other in OTHER.items():
            discriminator, generator = self._discriminator(domain), self._generator(domain)
            fake = generator(code[other])
            encoding = discriminator.encode(fake)
            heads = discriminator.judge(encoding.code)
            adversarial = sum_least_squares([*heads, discriminator.attention_logit(encoding.features)], 1.0)
            cycle = _mean_distance(self._generator(other)(encoding.code), image[other])
            yield [
                Term(f"adversarial_{domain}", adversarial, weight=o.adversarial_weight),
                Term(f"cycle_{other}", cycle, weight=o.cycle_weight),
            ]
            del fake, encoding, heads, adversarial, cycle
            again = _mean_distance(generator(code[domain]), image[domain])
            yield Term(f"reconstruction_{domain}", again, weight=o.reconstruction_weight)


def _scaled(step: Step, domain: str) -> Tensor:
    """The domain's images [B, 3, H, W] in [−1, 1]."""
    return step.batch[domain]["image"] * 2 - 1


def _mean_distance(image: Tensor, wanted: Tensor) -> Tensor:
    return F.l1_loss(at_least_float32(image), wanted)


def published_optimizers() -> dict[str, OptimizerConfig]:
    """The published settings of both optimisers; weight decay acts on all parameters."""
    one = OptimizerConfig(
        kind="adam",
        lr=1e-4,
        betas=(0.5, 0.999),
        weight_decay=1e-4,
        schedule=ScheduleConfig(kind="linear-from-half"),
    )
    return dict.fromkeys(NiceGAN.trains, one)


METHOD = MethodSpec(
    name="nice-gan",
    task="translate",
    method=NiceGAN,
    title="NICE-GAN",
    paper="Chen et al., CVPR 2020, arXiv 2003.00273",
    networks=Networks(NiceGanNetworks, NiceGanConfig, PRESETS),
    optimizers=published_optimizers,
    length="100,000 steps (the program's default: 300,000)",
    resample="bilinear",
    importers={"nice-gan": IMPORTER},
)
