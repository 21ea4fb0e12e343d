"""CycleGAN's training (Zhu et al., ICCV 2017, arXiv 1703.10593): unpaired translation by cycle consistency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field
from torch import Tensor, cat
from torch.nn import functional as F

from stylebridge.engine.config import OptimizerConfig, ScheduleConfig, Strict
from stylebridge.engine.image_buffer import ImageBuffer
from stylebridge.engine.method import Losses, Method, Phase, Step, Term
from stylebridge.errors import DataError
from stylebridge.layers.precision import at_least_float32
from stylebridge.losses.adversarial import least_squares
from stylebridge.methods.registry import MethodSpec, Networks
from stylebridge.networks.cyclegan import PRESETS, CycleGANConfig, CycleGANNetworks
from stylebridge.networks.two_domains import OTHER

#: Epochs at the full rate, and again with a falling rate; an epoch has the number of batches of the larger domain.
PUBLISHED_EPOCHS = 200


class CycleGANOptions(Strict):
    """Weights of the losses; published values are the defaults.

    ``identity_weight`` is a factor on ``cycle_weight``: 0.5 in the published code, 0 in most of the paper's results.
    ``discriminator_weight`` slows the discriminators down. ``buffer``: number of earlier fakes for the discriminators.
    """

    cycle_weight: float = Field(default=10.0, ge=0)
    identity_weight: float = Field(default=0.5, ge=0)
    discriminator_weight: float = Field(default=0.5, gt=0)
    buffer: int = Field(default=50, gt=0)


class CycleGAN(Method):
    """Phases: generators · discriminators, both domains in each.

    The discriminators' phase uses the fakes of the generators' phase, half of them exchanged for earlier ones: they are
    from the generators before their update, as published.

    Args:
        networks: trained in place, on images of their ``image_size``.
        options: weights of the losses.
    """

    name = "cyclegan"
    streams: ClassVar[dict[str, bool]] = {"a": False, "b": False}
    trains: ClassVar[tuple[str, ...]] = ("generators", "discriminators")
    Options = CycleGANOptions

    def __init__(self, networks: CycleGANNetworks, options: CycleGANOptions | None = None) -> None:
        super().__init__()
        self.options = options if options is not None else CycleGANOptions()
        self.model = networks
        self.networks["generators"] = networks.generators
        self.networks["discriminators"] = networks.discriminators
        side = networks.config.image_size
        self.buffers = {domain: ImageBuffer(self.options.buffer, (3, side, side)) for domain in OTHER}
        self.local.update({f"fakes_{domain}": buffer for domain, buffer in self.buffers.items()})

    def phases(self) -> Sequence[Phase]:
        return [
            Phase("generator", trains=("generators",), losses=self._generator_losses),
            Phase("discriminator", trains=("discriminators",), losses=self._discriminator_losses),
        ]

    def _generator_losses(self, step: Step) -> Losses:
        """mean (score of fake − 1)², the cycle and the identity, for each domain."""
        o, generators = self.options, self.model.generators
        image = {domain: self._scaled(step, domain) for domain in OTHER}
        for domain, other in OTHER.items():
            fake = generators[domain](image[other])
            step.memo[domain] = fake.detach()
            adversarial = least_squares(self.model.discriminators[domain](fake), 1.0)
            cycle = _mean_distance(generators[other](fake), image[other])
            yield [
                Term(f"adversarial_{domain}", adversarial),
                Term(f"cycle_{other}", cycle, weight=o.cycle_weight),
            ]
            del fake, adversarial, cycle
            if o.identity_weight:
                same = _mean_distance(generators[domain](image[domain]), image[domain])
                yield Term(f"identity_{domain}", same, weight=o.cycle_weight * o.identity_weight)

    def _discriminator_losses(self, step: Step) -> Losses:
        """mean (score of real − 1)² + mean (score of fake)², for each domain."""
        for domain in OTHER:
            real, fresh = self._scaled(step, domain), step.memo[domain]
            # The buffer is shared: each process has all of it, and exchanges the global batch.
            numbers = step.gather(step.rand(len(fresh), 2))
            fake = step.own(self.buffers[domain].swap(step.gather(fresh), numbers)).to(real.dtype)
            # Both at once: instance norm treats each image separately.
            scores = self.model.discriminators[domain](cat((real, fake)))
            loss = least_squares(scores[: len(real)], 1.0) + least_squares(scores[len(real) :], 0.0)
            yield Term(f"adversarial_{domain}", loss, weight=self.options.discriminator_weight)

    def _scaled(self, step: Step, domain: str) -> Tensor:
        """The domain's images [B, 3, H, W] in [−1, 1]. Raises DataError if their size is not the buffers'."""
        image = step.batch[domain]["image"]
        side = self.model.config.image_size
        if image.shape[-2:] != (side, side):
            height, width = image.shape[-2:]
            raise DataError(
                f"This CycleGAN trains on images of {side}×{side}, not {width}×{height}: set image_size, or crop them."
            )
        return image * 2 - 1


def _mean_distance(image: Tensor, wanted: Tensor) -> Tensor:
    return F.l1_loss(at_least_float32(image), wanted)


def published_optimizers() -> dict[str, OptimizerConfig]:
    """The published settings of both optimisers; the batch is 1."""
    one = OptimizerConfig(
        kind="adam", lr=2e-4, betas=(0.5, 0.999), schedule=ScheduleConfig(kind="linear-from-half-cyclegan")
    )
    return dict.fromkeys(CycleGAN.trains, one)


METHOD = MethodSpec(
    name="cyclegan",
    task="translate",
    method=CycleGAN,
    title="CycleGAN",
    paper="Zhu et al., ICCV 2017, arXiv 1703.10593",
    networks=Networks(CycleGANNetworks, CycleGANConfig, PRESETS),
    optimizers=published_optimizers,
    length=f"{PUBLISHED_EPOCHS} epochs",
    resample="bicubic",
)
