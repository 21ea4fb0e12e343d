"""Normalisation layers."""

import torch
from torch import Tensor, nn

from stylebridge.layers.precision import at_least_float32


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation whose statistics and affine part never change: all four vectors are buffers.

    ``y = x·w/√(var + eps) + (b − mean·w/√(var + eps))``, as in FADA's segmenter (official code; without eps there,
    hence the default 0). State-dict keys are those of :class:`torch.nn.BatchNorm2d`; an extra ``num_batches_tracked``
    in a loaded state is ignored.

    Args:
        num_features: C of the input [B, C, H, W].
        eps: added to the variance; use 1e-5 for weights of a trained :class:`torch.nn.BatchNorm2d`.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, eps: float = 0.0) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args, **kwargs) -> None:
        state_dict.pop(prefix + "num_batches_tracked", None)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C, H, W], in the input's floating-point type; computed in float32 at least."""
        vectors = (self.weight, self.bias, self.running_mean, self.running_var)
        weight, bias, mean, var = (at_least_float32(vector) for vector in vectors)
        scale = weight * (var + self.eps).rsqrt()
        shift = bias - mean * scale
        # addcmul keeps only the scale for the backward pass; F.batch_norm would keep x. Scale and shift stay in their
        # own precision: in half precision, a large mean's parts in both would not cancel.
        scale, shift = (vector.view(1, -1, 1, 1) for vector in (scale, shift))
        return torch.addcmul(shift, x, scale).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}"
