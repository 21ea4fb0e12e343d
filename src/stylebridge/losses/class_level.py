"""FADA's class-level adversarial loss (Wang et al., ECCV 2020, arXiv 2007.09222; details as in its code).

A discriminator with 2K outputs predicts the domain and the class of a pixel jointly. Its target is a *domain
encoding*: the segmenter's softened class probabilities a [K], as [a ; 0] (source) or [0 ; a] (target).
"""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from stylebridge.layers.precision import at_least_float32

Domain = Literal["source", "target"]
#: Most elements of upsampled logits that are held at once (2²² float32: 16 MiB).
CHUNK_ELEMENTS = 2**22


@torch.no_grad()
def domain_encoding(
    logits: Tensor, temperature: float = 1.8, clip: float = 0.9, hard: bool = False
) -> Tensor:
    """Class probabilities as the discriminator's target, without gradient.

    ``softmax(logits / temperature)``, with entries above ``clip`` set to ``clip`` and no renormalisation, so that
    confident pixels weigh less. ``hard`` gives the one-hot argmax instead (no clipping), the paper's other encoding.

    Args:
        logits: the segmenter's logits [B, K, H, W], at the image's size.

    Returns:
        [B, K, H, W], float32 at least.
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits = at_least_float32(logits)
        if hard:
            return torch.zeros_like(logits).scatter_(1, logits.argmax(1, keepdim=True), 1.0)
        return (logits / temperature).softmax(1).clamp_(max=clip)


def class_level_loss(
    discriminator_logits: Tensor,
    encoding: Tensor,
    domain: Domain,
    canvas: tuple[int, int] | None = None,
    chunk_elements: int = CHUNK_ELEMENTS,
) -> Tensor:
    """−mean over pixels of Σ_c t_c · log softmax(discriminator_logits)_c, t the encoding in its half.

    Logits on a coarser grid than the encoding are upsampled first (bilinear, aligned corners). If the upsampled tensor
    (2K maps of full size) would be large, loss and gradient are computed in chunks of rows, so that at most
    ``chunk_elements`` upsampled values are held; the result is the same up to rounding. (No second derivatives then.)

    Args:
        discriminator_logits: [B, 2K, h, w], source half first; computed in float32 at least.
        encoding: [B, K, H, W], see :func:`domain_encoding`; takes no gradient.
        domain: the half that holds ``encoding``.
        canvas: size (H', W') ≥ (H, W) that the logits' grid covers, if its features came from a padded image
            (:meth:`stylebridge.networks.segmenters.build.Segmenter.canvas`); the encoding lies in its upper left.

    Raises:
        ValueError: the shapes do not match, or ``domain`` is neither "source" nor "target".
    """
    if domain not in ("source", "target"):
        raise ValueError(f"domain must be 'source' or 'target', not {domain!r}")
    batch, classes, height, width = encoding.shape
    canvas = (height, width) if canvas is None else canvas
    if discriminator_logits.shape[:2] != (batch, 2 * classes) or canvas[0] < height or canvas[1] < width:
        raise ValueError(
            f"logits {list(discriminator_logits.shape)} with canvas {canvas} do not match an encoding "
            f"{list(encoding.shape)}: they must be [B, 2K, h, w] and [B, K, H, W]"
        )
    with torch.autocast(encoding.device.type, enabled=False):
        logits, encoding = at_least_float32(discriminator_logits), encoding.detach()
        offset = 0 if domain == "source" else classes
        upsampled = batch * 2 * classes * canvas[0] * canvas[1]
        if tuple(logits.shape[-2:]) != canvas and upsampled > chunk_elements:
            rows = max(1, chunk_elements // (upsampled // canvas[0]))
            total = _ChunkedLoss.apply(logits, encoding, offset, canvas, rows)
        else:
            if tuple(logits.shape[-2:]) != canvas:
                logits = F.interpolate(logits, size=canvas, mode="bilinear", align_corners=True)
            total = _loss_sum(logits[..., :height, :width], encoding, offset)
        return total / (batch * height * width)


def _loss_sum(logits: Tensor, encoding: Tensor, offset: int) -> Tensor:
    """−Σ over pixels and classes of t·log softmax: the other half's targets are 0 and are skipped."""
    half = logits[:, offset : offset + encoding.shape[1]]
    return (logits.logsumexp(1) * encoding.sum(1)).sum() - (half * encoding).sum()


def _upsample_rows(coarse: Tensor, position: Tensor, size: tuple[int, int]) -> Tensor:
    """Rows of ``coarse`` at fractional ``position``, then upsampled to ``size`` (bilinear)."""
    upper = position.floor().clamp(min=0, max=coarse.shape[-2] - 1)
    share = (position - upper).unsqueeze(1)
    above = upper.long()
    below = (above + 1).clamp(max=coarse.shape[-2] - 1)
    rows = torch.lerp(coarse[..., above, :], coarse[..., below, :], share)
    return F.interpolate(rows, size=size, mode="bilinear", align_corners=True)


class _ChunkedLoss(torch.autograd.Function):
    """Sum of the loss over chunks of rows; the gradient is computed in the forward pass, so nothing is computed
    twice."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, encoding: Tensor, offset: int, canvas: tuple[int, int], rows: int
    ) -> Tensor:
        wanted = ctx.needs_input_grad[0]
        gradient = torch.zeros_like(logits) if wanted else None
        total = logits.new_zeros(())
        height, width = encoding.shape[-2:]
        scale = (logits.shape[-2] - 1) / max(canvas[0] - 1, 1)
        for start in range(0, height, rows):
            stop = min(start + rows, height)
            # The coarse rows around these fine rows.
            used = slice(int(start * scale), min(int((stop - 1) * scale) + 2, logits.shape[-2]))
            position = (
                torch.arange(start, stop, device=logits.device, dtype=logits.dtype) * scale - used.start
            )
            coarse = logits[..., used, :].detach().requires_grad_(wanted)
            with torch.set_grad_enabled(wanted):
                fine = _upsample_rows(coarse, position, (stop - start, canvas[1]))
                loss = _loss_sum(fine[..., :width], encoding[..., start:stop, :], offset)
            if gradient is not None:
                gradient[..., used, :] += torch.autograd.grad(loss, coarse)[0]
            total += loss.detach()
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return (None if gradient is None else gradient * grad_outputs[0], None, None, None, None)
