"""Layer-instance normalisation (LIN) and its adaptive form (AdaLIN), as in NICE-GAN.

Chen et al., "Reusing Discriminators for Encoding", CVPR 2020, arXiv 2003.00273 (ILN and AdaILN in its code), after
U-GAT-IT (arXiv 1907.10830). For x [B, C, H, W] with **unbiased** variances::

    y = ρ_IN · (x − μ_HW)/√(σ²_HW + eps) + ρ_LN · (x − μ_CHW)/√(σ²_CHW + eps),   (ρ_IN, ρ_LN) = softmax(rho)

and then ``y·γ + β``. The softmax replaces U-GAT-IT's clipping.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from stylebridge.layers.precision import without_autocast

EPS = 1e-5


def _scale_and_shift(
    mean: Tensor, var: Tensor, rho: Tensor, gamma: Tensor, beta: Tensor, pixels: int, eps: float
) -> tuple[Tensor, Tensor]:
    """The norm as ``x·scale + shift``: [B, C] each, from the channels' mean and unbiased variance [B, C]."""
    channels = mean.shape[1]
    share = rho.softmax(-1)
    layer_mean = mean.mean(1, keepdim=True)
    spread = (pixels - 1) * var + pixels * (mean - layer_mean).square()
    layer_var = spread.sum(1, keepdim=True) / (channels * pixels - 1)
    instance = share[..., 0] * (var + eps).rsqrt()
    layer = share[..., 1] * (layer_var + eps).rsqrt()
    return gamma * (instance + layer), beta - gamma * (instance * mean + layer * layer_mean)


class _LayerInstanceNorm(torch.autograd.Function):
    """LIN with two passes over x forward, and a minimal number backward.

    All else are operations on [B, C] values. Plain autograd would keep and read x about ten times.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, rho: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        with without_autocast(x.device):
            # Statistics of half-precision maps are computed in float32.
            exact = x if x.dtype == torch.float64 else x.float()
            rho, gamma, beta = (t.to(exact.dtype) for t in (rho, gamma, beta))
            mean, var = _moments(exact)
            pixels = x.shape[2] * x.shape[3]
            scale, shift = _scale_and_shift(mean, var, rho, gamma, beta, pixels, eps)
            ctx.eps = eps
            ctx.save_for_backward(x, mean, var, rho, gamma, beta, scale)
            return _affine(exact, scale, shift).to(x.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = grad_outputs
        x, mean, var, rho, gamma, beta, scale = ctx.saved_tensors
        pixels = x.shape[2] * x.shape[3]
        with without_autocast(x.device):
            exact, g = x.to(mean.dtype), g.to(mean.dtype)
            grad_shift, grad_scale = g.sum((2, 3)), (g * exact).sum((2, 3))
            with torch.enable_grad():
                leaves = tuple(t.detach().requires_grad_() for t in (mean, var, rho, gamma, beta))
                m, s, r, c, b = leaves
                outcome = _scale_and_shift(m, s, r, c, b, pixels, ctx.eps)
                grads = torch.autograd.grad(outcome, leaves, (grad_scale, grad_shift))
            grad_mean, grad_var, grad_rho, grad_gamma, grad_beta = grads
            grad_x = None
            if ctx.needs_input_grad[0]:
                slope = 2 * grad_var / (pixels - 1)
                offset = grad_mean / pixels - slope * mean
                grad_x = _affine(exact, slope, offset).add_(g * scale[..., None, None]).to(x.dtype)
        return grad_x, grad_rho, grad_gamma, grad_beta, None


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance [B, C] of each channel. torch.var_mean is 15 times slower on a CPU."""
    mean = x.mean((2, 3))
    centred = x - mean[..., None, None]
    return mean, centred.square_().sum((2, 3)) / (x.shape[2] * x.shape[3] - 1)


def _affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """x·scale + shift with [B, C] values, as a new tensor."""
    scale, shift = scale[..., None, None], shift[..., None, None]
    if (
        x.is_contiguous()
    ):  # torch vectorises ternary operations only if all or all but one have the same strides
        return torch.mul(x, scale).add_(shift)
    return torch.addcmul(shift, x, scale)


def layer_instance_norm(x: Tensor, rho: Tensor, gamma: Tensor, beta: Tensor, eps: float = EPS) -> Tensor:
    """LIN of x [B, C, H, W] with the given affine part.

    Args:
        rho: [1, C, 2], the logits of the weights of instance (0) and layer (1) normalisation.
        gamma, beta: [B, C] or [1, C].

    Returns:
        [B, C, H, W] in x's type; statistics are computed in float32 at least.
    """
    gamma, beta = (t.expand(len(x), -1) for t in (gamma, beta))
    return _LayerInstanceNorm.apply(x, rho, gamma, beta, eps)  # type: ignore[no-any-return]


def _logits(channels: int, instance: float, layer: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor([instance, layer]).repeat(1, channels, 1))


class LIN(nn.Module):
    """LIN with learned ``gamma``, ``beta`` [1, C, 1, 1]; starts mostly as layer normalisation.

    State-dict keys (``rho``, ``gamma``, ``beta``) and initial values are the published ones.
    """

    def __init__(self, channels: int, eps: float = EPS) -> None:
        super().__init__()
        self.eps = eps
        self.rho = _logits(channels, 1.0, 3.2)
        self.gamma = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C, H, W]."""
        return layer_instance_norm(x, self.rho, self.gamma.flatten(1), self.beta.flatten(1), self.eps)


class AdaLIN(nn.Module):
    """LIN whose affine part is an input; starts mostly as instance normalisation.

    The state-dict key is ``rho``, as published.
    """

    def __init__(self, channels: int, eps: float = EPS) -> None:
        super().__init__()
        self.eps = eps
        self.rho = _logits(channels, 3.2, 1.0)

    def forward(self, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        """x [B, C, H, W], gamma and beta [B, C], to [B, C, H, W]."""
        return layer_instance_norm(x, self.rho, gamma, beta, self.eps)
