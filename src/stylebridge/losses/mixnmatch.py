"""Losses specific to MixNMatch (arXiv 1911.11758; background patches: FineGAN, 1811.11155)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.layers.precision import at_least_float32, without_autocast

#: Receptive field and stride of the published background discriminator's outputs, in pixels.
RECEPTIVE_FIELD, STRIDE = 34, 4


def units_of(side: int, field: int = RECEPTIVE_FIELD, stride: int = STRIDE) -> int:
    """Number of outputs of the background discriminator along a side of ``side`` pixels (24 for 126)."""
    return (side - field) // stride + 1


def cross_entropy_of_logits(logits: Tensor, target: float) -> Tensor:
    """Mean binary cross-entropy of logits of any shape with one target (1: real), in float32 at least."""
    logits = at_least_float32(logits)
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def background_units(boxes: Tensor, side: int, field: int = RECEPTIVE_FIELD, stride: int = STRIDE) -> Tensor:
    """Which outputs of the background discriminator do not see the object's box: bool [B, 1, u, u].

    Output r of a side sees pixels 4r … 4r + 33 (stride 4, field 34); it is not background where ceil((first − 34)/4)
    ≤ r ≤ floor(last/4). A box without width or height covers no output, as published.

    Args:
        boxes: [B, 4]: left, top, right, bottom in pixels of the crop.
        side: side of the square crop in pixels (published: 126, u = 24).
        field, stride: receptive field and stride of the outputs, in pixels.
    """
    units = torch.arange(units_of(side, field, stride), device=boxes.device)
    left, top, right, bottom = boxes.to(torch.float64).unbind(1)

    def touches(first: Tensor, last: Tensor) -> Tensor:
        from_unit = ((first - field) / stride).ceil()
        to_unit = (last / stride).floor()
        return (units >= from_unit[:, None]) & (units <= to_unit[:, None])

    inside = touches(top, bottom)[:, :, None] & touches(left, right)[:, None, :]
    there = (right > left) & (bottom > top)
    return ~(inside & there[:, None, None])[:, None]


def background_real_sum(logits: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the cross-entropy with 1 over the outputs that see background only, and the number of these outputs.

    Sum/count is the published mean over all outputs, rescaled by all/kept. If the count is 0, so is the sum.

    Args:
        logits: [B, 1, u, u].
        background: bool [B, 1, u, u], of :func:`background_units`.
    """
    loss = F.softplus(-at_least_float32(logits))
    return loss.masked_fill(~background, 0).sum(), background.sum()


def gradient_penalty(
    discriminators: Sequence[nn.Module],
    pairs: tuple[Tensor, Sequence[Tensor]],
    others: tuple[Tensor, Sequence[Tensor]],
    alphas: Sequence[Tensor],
) -> Tensor:
    """Σ mean (‖∂score/∂input‖ − 1)² over all discriminators and both inputs (image and code), at points between two
    sets of pairs (WGAN-GP, arXiv 1704.00028, applied to each input separately).

    Args:
        discriminators: K modules; ``discriminator(image, code)`` returns scores [B].
        pairs, others: images [B, 3, S, S] and K codes [B, k] of each set.
        alphas: 1 + K tensors [B, 1] in [0, 1): the share of ``pairs`` in the image and in each code.

    Returns:
        A scalar, differentiable with respect to the discriminators' weights.
    """
    (image, codes), (other_image, other_codes) = pairs, others
    with without_autocast(image.device), torch.enable_grad():
        mixed = _between(image, other_image, alphas[0][:, :, None, None])
        inputs: list[Tensor] = []
        scores = []
        for discriminator, code, other, alpha in zip(
            discriminators, codes, other_codes, alphas[1:], strict=True
        ):
            pair = mixed.detach().requires_grad_(), _between(code, other, alpha).requires_grad_()
            inputs += pair
            scores.append(discriminator(*pair).sum())
        gradients = torch.autograd.grad(torch.stack(scores).sum(), inputs, create_graph=True)
        norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients])
        return (norms - 1).square().mean(1).sum()


def _between(one: Tensor, other: Tensor, alpha: Tensor) -> Tensor:
    one, other = at_least_float32(one.detach()), at_least_float32(other.detach())
    return alpha * one + (1 - alpha) * other
