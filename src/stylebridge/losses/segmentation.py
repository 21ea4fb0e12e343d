"""Cross-entropy of label maps."""

import torch
from torch import Tensor
from torch.nn import functional as F

from stylebridge.data.label_space import IGNORE
from stylebridge.layers.precision import at_least_float32


def cross_entropy_sum(
    logits: Tensor, target: Tensor, weight: Tensor | None = None, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Sum of −log softmax(logits / temperature) at the target class over valid pixels, and their number.

    Returned separately, so that a mean over the batches of all processes can be computed.

    Args:
        logits: [B, K, H, W]; computed in float32 at least, also under autocast.
        target: [B, H, W], classes 0…K−1, 255 = ignored.
        weight: [B, H, W] factor of each pixel's loss. The count stays the number of valid pixels, *not* the sum of
            weights (as in DAFormer: a weight below 1 lowers that pixel's loss and does not raise the others').
        temperature: divides the logits (FADA's reference code: 1.8 in its second stage).

    Returns:
        (sum, count): scalars; count is int64 and may be 0 (then the sum is 0).
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits = at_least_float32(logits)
        if temperature != 1.0:
            logits = logits / temperature
        target = target.long()
        count = (target != IGNORE).sum()
        if weight is None:
            return F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="sum"), count
        loss = F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="none")
        # An ignored pixel's loss is 0, but 0 times an infinite weight would be NaN.
        return (loss * weight.masked_fill(target == IGNORE, 0)).sum(), count


def cross_entropy(
    logits: Tensor, target: Tensor, weight: Tensor | None = None, temperature: float = 1.0
) -> Tensor:
    """:func:`cross_entropy_sum` divided by the number of valid pixels; 0 if there are none."""
    total, count = cross_entropy_sum(logits, target, weight, temperature)
    return total / count.clamp(min=1)
