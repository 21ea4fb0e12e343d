"""MixNMatch's first stage, code mode (Li et al., CVPR 2020, arXiv 1911.11758): generator, encoders, discriminators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.engine.config import OptimizerConfig, Strict
from stylebridge.engine.method import Average, Conversions, Losses, Method, Phase, Step, Term
from stylebridge.errors import RecipeError
from stylebridge.interop.mixnmatch import IMPORTER
from stylebridge.layers.precision import at_least_float32
from stylebridge.losses.mixnmatch import (
    background_real_sum,
    background_units,
    cross_entropy_of_logits,
    gradient_penalty,
)
from stylebridge.methods.registry import MethodSpec, Networks
from stylebridge.networks.mixnmatch import (
    FIELD_STRIDES,
    LAYOUT,
    PRESETS,
    Categories,
    Codes,
    Encoded,
    Generated,
    MixNMatchConfig,
    MixNMatchNetworks,
    conversions,
    one_hot,
    parent_of,
    to_view,
)

#: Epochs of the first stage, with batches of 12.
PUBLISHED_EPOCHS, PUBLISHED_BATCH = 600, 12


class MixNMatchOptions(Strict):
    """Weights of the losses; published values are the defaults.

    ``background_weight``: real or fake backgrounds (the weight of their class is 1). ``pose_weight`` …
    ``texture_weight``: recovery of independent codes by the encoders. ``average_decay``: of the generator's average.

    ``share_graphs``: fakes and encoded codes are computed once per step, and the graph for the generator's phase is
    kept during the discriminators' phases; False: computed without graph for the discriminators and again with a graph
    for the generator: the same updates in more time and less memory.
    """

    background_weight: float = Field(default=10.0, ge=0)
    penalty_weight: float = Field(default=10.0, ge=0)
    pose_weight: float = Field(default=5.0, ge=0)
    background_code_weight: float = Field(default=5.0, ge=0)
    shape_weight: float = Field(default=10.0, ge=0)
    texture_weight: float = Field(default=10.0, ge=0)
    average_decay: float = Field(default=0.999, ge=0, lt=1)
    share_graphs: bool = True


class _Shared(NamedTuple):
    """Shared by all phases of a step: real images, tied codes, their fake, encoded codes of the real images; and
    independent codes with the encoders' output for their fake."""

    real: Tensor
    codes: Codes
    categories: Categories
    free_codes: Codes
    free_categories: Categories
    free_image: Tensor
    fake: Generated
    encoded: Encoded
    read: Encoded


class MixNMatch(Method):
    """Phases: background discriminator · child discriminator · pair discriminators · generator with encoders.

    Training codes are tied: texture determines shape and background. In the generator's phase the parent discriminator
    and the category head of the child discriminator are trained with the generator; the rest of the child discriminator
    is trained in its own phase.

    The stream ``images`` has ``image`` [B, 3, S, S] (crops of the object), ``background`` [B, 3, S − 2, S − 2] (crops
    of full images), both in [0, 1] or uint8, and ``box`` [B, 4]: left, top, right, bottom of the object in the
    background crop, in pixels.

    Args:
        networks: trained in place.
        options: weights of the losses.
    """

    name = "mixnmatch"
    layout = LAYOUT
    streams: ClassVar[dict[str, bool]] = {"images": False}
    trains: ClassVar[tuple[str, ...]] = (
        "background_discriminator",
        "child_discriminator",
        "pair_discriminators",
        "generator",
        "encoders",
        "information",
    )
    Options = MixNMatchOptions

    def __init__(self, networks: MixNMatchNetworks, options: MixNMatchOptions | None = None) -> None:
        super().__init__()
        self.options = options if options is not None else MixNMatchOptions()
        self.model, self.config = networks, networks.config
        child = networks.child_discriminator
        self.networks["generator"] = networks.generator
        self.networks["encoders"] = networks.encoders
        self.networks["background_discriminator"] = networks.background_discriminator
        self.networks["child_discriminator"] = nn.ModuleDict({"trunk": child.trunk, "real": child.real})
        self.networks["pair_discriminators"] = networks.pair_discriminators
        self.networks["information"] = nn.ModuleDict(
            {"shape": networks.parent_discriminator, "texture": child.code}
        )
        self.averages["generator_average"] = Average(of="generator", decay=self.options.average_decay)

    def conversions(self, layout: int) -> Conversions:
        return dict.fromkeys(("generator", "generator_average"), conversions(layout))

    def phases(self) -> Sequence[Phase]:
        return [
            Phase("background", trains=("background_discriminator",), losses=self._background_losses),
            Phase("child", trains=("child_discriminator",), losses=self._child_losses),
            Phase("pairs", trains=("pair_discriminators",), losses=self._pair_losses),
            Phase(
                "generator", trains=("generator", "encoders", "information"), losses=self._generator_losses
            ),
        ]

    # ------------------------------------------------------------------ shared by the phases

    def _shared(self, step: Step, last: bool = False) -> _Shared:
        """Codes, fakes and encoded codes of this step; ``last``: for the phase that uses their graphs."""
        m, shared = self.model, step.memo.get("shared")
        learned: tuple[nn.Module, ...] = (m.generator, m.encoders)
        share = self.options.share_graphs
        if shared is None:
            real = scaled(step.batch["images"]["image"])
            check_batch(real)
            tied, free = self._tied_codes(step, real), self._free_codes(step, real)
            with learning(*learned) if share else torch.no_grad():
                fake = m.generator(tied[0])
            with torch.no_grad():
                free_image = m.generator(free[0]).image
            with learning(*learned) if share else torch.no_grad():
                encoded, read = m.encoders(torch.cat((real, free_image)), passes=2).split(len(real))
            shared = _Shared(real, *tied, *free, free_image, fake, encoded, read)
            step.memo["shared"] = shared
        elif last and not share:
            images = torch.cat((shared.real, shared.free_image))
            with keeping_statistics(*learned):
                encoded, read = m.encoders(images, passes=2).split(len(shared.real))
                shared = shared._replace(fake=m.generator(shared.codes), encoded=encoded, read=read)
        if last:  # not needed again: free its graph after this phase
            del step.memo["shared"]
        return shared

    def _tied_codes(self, step: Step, like: Tensor) -> tuple[Codes, Categories]:
        texture = category(step, len(like), self.config.textures)
        categories = Categories(texture, parent_of(texture, self.config), texture)
        return one_hot(
            normal(step, len(like), self.config.pose).to(like), categories, self.config
        ), categories

    def _free_codes(self, step: Step, like: Tensor) -> tuple[Codes, Categories]:
        images, c = len(like), self.config
        sizes = (c.textures, c.shapes, c.textures)
        categories = Categories(*(category(step, images, size) for size in sizes))
        return one_hot(normal(step, images, c.pose).to(like), categories, c), categories

    # ------------------------------------------------------------------ discriminators

    def _background_losses(self, step: Step) -> Losses:
        """Real or fake, for real images outside the object; and whether there is an object."""
        shared, batch = self._shared(step), step.batch["images"]
        view = scaled(batch["background"])
        fake = to_view(shared.fake.background.detach(), self.config.view_size)
        # Without batch norm: both in one pass.
        scores = self.model.background_discriminator(torch.cat((view, fake)))
        field = self.config.background_field
        background = background_units(batch["box"], self.config.view_size, field, FIELD_STRIDES[field])
        images = len(view)
        real = step.mean(*background_real_sum(scores.real[:images], background))
        adversarial = real + cross_entropy_of_logits(scores.real[images:], 0.0)
        logits = at_least_float32(scores.background[:images])
        of_class = F.binary_cross_entropy_with_logits(logits, background.to(logits))
        yield [
            Term("adversarial", adversarial, weight=self.options.background_weight),
            Term("class", of_class),
        ]

    def _child_losses(self, step: Step) -> Losses:
        """Real or fake, for whole images."""
        shared = self._shared(step)
        images = torch.cat((shared.real, shared.fake.image.detach()))
        real, fake = self.model.child_discriminator.judge(images, passes=2).chunk(2)
        yield [
            Term("real", cross_entropy_of_logits(real, 1.0)),
            Term("fake", cross_entropy_of_logits(fake, 0.0)),
        ]

    def _pair_losses(self, step: Step) -> Losses:
        """−mean score of (real, encoded) + mean score of (generated, its code) over all factors, and the penalty."""
        shared = self._shared(step)
        networks, fake = self.model.pair_discriminators, shared.fake.image.detach()
        encoded = shared.encoded.codes().detached()
        images = len(fake)
        both = Codes(*(torch.cat(pair) for pair in zip(encoded, shared.codes, strict=True)))
        scores = at_least_float32(networks(torch.cat((shared.real, fake)), both, passes=2))
        yield Term("critic", (scores[:, images:].mean(1) - scores[:, :images].mean(1)).sum())
        if self.options.penalty_weight:
            alphas = step.rand(images, 1 + len(encoded)).to(shared.real).split(1, dim=1)
            penalty = gradient_penalty(networks.each, (shared.real, encoded), (fake, shared.codes), alphas)
            yield Term("penalty", penalty, weight=self.options.penalty_weight)

    # ------------------------------------------------------------------ generator and encoders

    def _generator_losses(self, step: Step) -> Losses:
        shared = self._shared(step, last=True)
        # Two graphs: the encoders' is freed before the generator's is used.
        yield self._code_losses(shared)
        yield self._fake_losses(shared)

    def _code_losses(self, shared: _Shared) -> list[Term]:
        """The pairs of real images; recovery of independent codes by the encoders."""
        o, read = self.options, shared.read
        pairs = self.model.pair_discriminators(shared.real, shared.encoded.codes())
        pose = F.l1_loss(at_least_float32(read.pose), shared.free_codes.pose)
        terms = [
            Term("pair_real", at_least_float32(pairs).mean(1).sum()),
            Term("code_pose", pose, weight=o.pose_weight),
        ]
        weights = {
            "background": o.background_code_weight,
            "shape": o.shape_weight,
            "texture": o.texture_weight,
        }
        for factor, weight in weights.items():
            logits = at_least_float32(getattr(read, factor))
            loss = F.cross_entropy(logits, getattr(shared.free_categories, factor))
            terms.append(Term(f"code_{factor}", loss, weight=weight))
        return terms

    def _fake_losses(self, shared: _Shared) -> list[Term]:
        """All discriminators on the fake's layers, and recovery of shape and texture from them."""
        m, fake = self.model, shared.fake
        background = m.background_discriminator(to_view(fake.background, self.config.view_size))
        shape = at_least_float32(m.parent_discriminator.categorise(fake.masked_parent))
        # The texture and the whole image in one pass.
        child = m.child_discriminator
        alone, whole = child.features(torch.cat((fake.masked_child, fake.image)), passes=2).chunk(2)
        texture = at_least_float32(child.code(alone).flatten(1))
        of_fake = at_least_float32(m.pair_discriminators(fake.image, shared.codes))
        return [
            Term("information_shape", F.cross_entropy(shape, shared.categories.shape)),
            Term("information_texture", F.cross_entropy(texture, shared.categories.texture)),
            Term(
                "background",
                cross_entropy_of_logits(background.real, 1.0),
                weight=self.options.background_weight,
            ),
            Term("background_class", cross_entropy_of_logits(background.background, 1.0)),
            Term("child", cross_entropy_of_logits(child.real(whole), 1.0)),
            Term("pair_fake", -of_fake.mean(1).sum()),
        ]


def published_optimizers() -> dict[str, OptimizerConfig]:
    """The published settings. There, one optimiser covers generator, encoders and information networks; Adam updates
    each weight independently, so that separate optimisers are equivalent."""
    return dict.fromkeys(MixNMatch.trains, OptimizerConfig(kind="adam", lr=2e-4, betas=(0.5, 0.999)))


# --- parts of both stages -------------------------------------------------------------------------------------


def scaled(image: Tensor) -> Tensor:
    """Images in [0, 1], or uint8, in [−1, 1]."""
    if image.dtype == torch.uint8:
        image = image.float().div_(255)
    return image * 2 - 1


def check_batch(image: Tensor) -> None:
    """Raises RecipeError for a batch of one image: the first batch norm, of vectors, needs two."""
    if len(image) < 2:
        raise RecipeError(
            "MixNMatch cannot be trained with one image at a time: set trainer.batch to 2 or more for every process "
            "and micro-batch."
        )


def normal(step: Step, images: int, size: int) -> Tensor:
    """Normal random numbers [images, size] of the step, like :meth:`Step.rand`; float32, below 5.4."""
    smallest = 2.0**-24
    return torch.special.ndtri(step.rand(images, size).clamp(smallest, 1 - smallest))


def category(step: Step, images: int, count: int) -> Tensor:
    """Uniform category numbers of the step, int64 [images]."""
    return (step.rand(images) * count).long().clamp_(max=count - 1)


@contextmanager
def learning(*networks: nn.Module) -> Iterator[None]:
    """Inside, a graph to the weights is built during another phase, for use in their own phase."""
    frozen = [p for network in networks for p in network.parameters() if not p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


@contextmanager
def keeping_statistics(*networks: nn.Module) -> Iterator[None]:
    """Inside, batch norms keep their running statistics: for inputs that were counted before."""
    layers = (module for network in networks for module in network.modules())
    norms = [layer for layer in layers if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


METHOD = MethodSpec(
    name="mixnmatch",
    task="mix",
    method=MixNMatch,
    title="MixNMatch, code mode",
    paper="Li et al., CVPR 2020, arXiv 1911.11758",
    networks=Networks(MixNMatchNetworks, MixNMatchConfig, PRESETS),
    optimizers=published_optimizers,
    length=f"{PUBLISHED_EPOCHS} epochs of CUB",
    importers={"mixnmatch": IMPORTER},
)
