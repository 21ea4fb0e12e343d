"""Losses of image synthesis from label maps: those of SPADE (arXiv 1903.07291) and SEAN (arXiv 1911.12861).

A *judgement* is the output of a multi-scale discriminator: the outputs of all layers of each scale, raw scores last.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from stylebridge.layers.precision import at_least_float32

#: Weights of the five layers in the perceptual loss, the shallowest first.
LAYER_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)


def hinge_of_discriminator(real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]]) -> Tensor:
    """``mean relu(1 − real) + mean relu(1 + fake)`` of the scores, averaged over the scales.

    Args:
        real, fake: judgements; scores of any shape.
    """
    of_real = [F.relu(1 - at_least_float32(scale[-1])).mean() for scale in real]
    of_fake = [F.relu(1 + at_least_float32(scale[-1])).mean() for scale in fake]
    return torch.stack(of_real).mean() + torch.stack(of_fake).mean()


def hinge_of_generator(fake: Sequence[Sequence[Tensor]]) -> Tensor:
    """``−mean`` of the scores, averaged over the scales."""
    return -torch.stack([at_least_float32(scale[-1]).mean() for scale in fake]).mean()


def feature_matching(fake: Sequence[Sequence[Tensor]], real: Sequence[Sequence[Tensor]]) -> Tensor:
    """The mean absolute distance of each layer's outputs except the scores, summed over layers, averaged over scales.
    ``real`` takes no gradient."""
    distances = [
        mean_distance(of_fake, of_real)
        for fakes, reals in zip(fake, real, strict=True)
        for of_fake, of_real in zip(fakes[:-1], reals[:-1], strict=True)
    ]
    return torch.stack(distances).sum() / len(fake)


def perceptual_distance(
    fake: Sequence[Tensor], real: Sequence[Tensor], weights: Sequence[float] = LAYER_WEIGHTS
) -> Tensor:
    """The weighted sum over layers of the mean absolute distance of features. ``real`` takes no gradient.

    Args:
        fake, real: one tensor of features [B, C, h, w] for each layer.
        weights: one for each layer.
    """
    layers = zip(weights, fake, real, strict=True)
    return torch.stack([weight * mean_distance(first, second) for weight, first, second in layers]).sum()


def mean_distance(fake: Tensor, real: Tensor) -> Tensor:
    """Mean absolute distance, in float32 at least, without gradient through ``real``."""
    return F.l1_loss(at_least_float32(fake), at_least_float32(real.detach()))


def normal_divergence(mean: Tensor, logvar: Tensor) -> Tensor:
    """Kullback–Leibler divergence of normal distributions from the standard normal, **summed** over codes and batch as
    published: ``−½ Σ (1 + logvar − mean² − exp(logvar))``.

    Args:
        mean, logvar: [B, D].
    """
    mean, logvar = at_least_float32(mean), at_least_float32(logvar)
    return -0.5 * (1 + logvar - mean.square() - logvar.exp()).sum()
