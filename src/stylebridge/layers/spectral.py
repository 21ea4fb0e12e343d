"""Spectral normalisation (Miyato et al., ICLR 2018, arXiv 1802.05957) without computing the normalised weight.

The state-dict layout is that of torch's hook ``torch.nn.utils.spectral_norm``: ``weight_orig``, ``weight_u``,
``weight_v``. As there, a forward pass in training mode advances the power iteration once, and the gradient takes
u and v as constants: σ = uᵀWv.

Since σ is a scalar, convolving with W/σ equals convolving with W and dividing the result; the gradient of σ adds a
rank-one matrix, −⟨g, y⟩/σ · uvᵀ, to that of W. Both avoid several passes over the weights, which dominate the time in a
discriminator with far more weights than pixels in its last layers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.layers.precision import at_least_float32, without_autocast

EPS = 1e-12


class Spectrum(NamedTuple):
    """Estimates of the largest singular value: ``u`` [P, O], ``v`` [P, K], ``sigma`` [P], one row for each pass."""

    u: Tensor
    v: Tensor
    sigma: Tensor


class _Spectral(nn.Module):
    """Base of spectrally normalised layers: a weight [O, …], viewed as a matrix [O, K], with its u and v."""

    weight_u: Tensor
    weight_v: Tensor

    def __init__(self, plain: nn.Conv2d | nn.Linear) -> None:
        super().__init__()
        self.weight_orig = nn.Parameter(plain.weight.detach())
        self.bias = None if plain.bias is None else nn.Parameter(plain.bias.detach())
        rows, columns = self.weight_orig.flatten(1).shape
        for name, size in (("weight_u", rows), ("weight_v", columns)):
            start = torch.randn(size, dtype=plain.weight.dtype, device=plain.weight.device)
            self.register_buffer(name, F.normalize(start, dim=0, eps=EPS))

    @torch.no_grad()
    def advance(self, passes: int = 1) -> Spectrum:
        """Advance the power iteration once for each of ``passes`` forward passes, and return each pass's estimate.

        In evaluation mode nothing changes, and all passes use the stored u and v.
        """
        matrix, last = as_matrix(self.weight_orig)
        u, v = self.weight_u, to_layout(self.weight_v, self.weight_orig, last)
        seen: list[tuple[Tensor, Tensor, Tensor]] = []
        with without_autocast(matrix.device):
            if not self.training:
                seen = [(u, v, u.dot(matrix.mv(v)))] * passes
            else:
                for _ in range(passes):
                    v = F.normalize(matrix.t().mv(u), dim=0, eps=EPS)
                    product = matrix.mv(v)
                    u = F.normalize(product, dim=0, eps=EPS)
                    seen.append((u, v, u.dot(product)))
                self.weight_u.copy_(u)
                self.weight_v.copy_(from_layout(v, self.weight_orig, last))
        us, vs, sigmas = zip(*seen, strict=True)
        return Spectrum(torch.stack(us), torch.stack(vs), torch.stack(sigmas))


class SpectralLinear(_Spectral):
    """A linear layer with a spectrally normalised weight [O, I]."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(nn.Linear(in_features, out_features, bias))

    def forward(self, x: Tensor) -> Tensor:
        """[B, I] to [B, O]; one pass."""
        u, v, _ = self.advance()
        with without_autocast(x.device):
            weight = self.weight_orig / u[0].dot(self.weight_orig.mv(v[0]))
        return F.linear(x, weight, self.bias)


class SpectralConv2d(_Spectral):
    """A convolution without padding, with a spectrally normalised weight [O, I, k, k]."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, bias: bool = True
    ) -> None:
        super().__init__(nn.Conv2d(in_channels, out_channels, kernel, stride, bias=bias))
        self.stride = stride

    def forward(self, x: Tensor, passes: int = 1) -> Tensor:
        """[B, I, H, W] to [B, O, h, w].

        Args:
            passes: x holds the batches of this many forward passes, concatenated; the power iteration advances between
                them as for separate calls. B must be a multiple of it.
        """
        u, v, sigma = self.advance(passes)
        weight = self.weight_orig
        device = x.device.type
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            x = x.to(torch.get_autocast_dtype(device))
        if x.dtype in (torch.float16, torch.bfloat16):
            # In half precision the result with W may overflow where that with W/σ does not. So W is divided by the σ of
            # the first pass before rounding; the remaining divisor is 1, or close to it for later passes.
            first = at_least_float32(sigma[0])
            weight, sigma = (weight / first).to(x.dtype), at_least_float32(sigma) / first
        return _SpectralConvolution.apply(x, weight, self.bias, u, v, sigma, self.stride)  # type: ignore[no-any-return]


class _SpectralConvolution(torch.autograd.Function):
    """conv(x, W)/σ + b, where σ is that of each sample's pass; the gradient of W includes that of σ."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        u: Tensor,
        v: Tensor,
        sigma: Tensor,
        stride: int,
    ) -> Tensor:
        with without_autocast(x.device):
            ctx.size, ctx.stride = x.shape, stride
            ctx.product = prefers_product(x, weight, stride)
            kept = window_rows(x, weight, stride) if ctx.product else x
            if ctx.product:
                y = _as_maps(kept @ as_matrix(weight)[0].t(), ctx.size, weight, stride)
            else:
                y = F.conv2d(x, weight, stride=stride)
            _by_pass(y, len(sigma)).div_(_five(sigma).to(y.dtype))
            ctx.save_for_backward(kept, weight, u, v, sigma, y)
            # Adding the bias gives a new tensor: the gradient of σ needs the quotient itself.
            return y.clone() if bias is None else y + bias.to(y.dtype).view(-1, 1, 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = grad_outputs
        kept, weight, u, v, sigma, y = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        with without_autocast(g.device):
            grad_bias = g.sum((0, 2, 3)).to(u.dtype) if needs_bias else None
            slope = None
            if needs_weight:  # ∂L/∂σ of each pass
                slope = -_by_pass(at_least_float32(g) * y, len(sigma)).flatten(1).sum(1) / sigma
            g = (_by_pass(g, len(sigma)) / _five(sigma).to(g.dtype)).view_as(g)
            if ctx.product:
                grad_x, grad_weight = _product_gradients(ctx, g, kept, weight, u, v, slope, needs_x)
            else:
                grad_x, grad_weight = _convolution_gradients(ctx, g, kept, weight, u, v, slope, needs_x)
        return grad_x, grad_weight, grad_bias, None, None, None, None


def _convolution_gradients(
    ctx: Any, g: Tensor, x: Tensor, weight: Tensor, u: Tensor, v: Tensor, slope: Tensor | None, needs_x: bool
) -> tuple[Tensor | None, Tensor | None]:
    grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
        g,
        x,
        weight,
        None,
        [ctx.stride] * 2,
        [0, 0],
        [1, 1],
        False,
        [0, 0],
        1,
        [needs_x, slope is not None, False],
    )
    if slope is not None:
        matrix, last = as_matrix(grad_weight)
        if last != as_matrix(weight)[1]:  # the backend chose the other layout for the gradient
            v = torch.stack([to_layout(from_layout(row, weight, not last), weight, last) for row in v])
        matrix.addmm_((u * slope[:, None]).t().to(matrix.dtype), v.to(matrix.dtype))
        grad_weight = _as_weight(matrix, weight, last)
    return grad_x, grad_weight


def _product_gradients(
    ctx: Any,
    g: Tensor,
    rows: Tensor,
    weight: Tensor,
    u: Tensor,
    v: Tensor,
    slope: Tensor | None,
    needs_x: bool,
) -> tuple[Tensor | None, Tensor | None]:
    matrix, last = as_matrix(weight)
    g = g.permute(0, 2, 3, 1).reshape(len(rows), -1)
    grad_weight = None
    if slope is not None:  # σ's part is extra rows of the same product: one pass over the weight
        left = torch.cat((g, (u * slope[:, None]).to(g.dtype)))
        grad_weight = _as_weight(left.t() @ torch.cat((rows, v.to(rows.dtype))), weight, last)
    grad_x = add_windows(g @ matrix, ctx.size, weight, ctx.stride) if needs_x else None
    return grad_x, grad_weight


# --- views ----------------------------------------------------------------------------------------------------


def _five(sigma: Tensor) -> Tensor:
    return sigma.view(-1, 1, 1, 1, 1)


def _by_pass(x: Tensor, passes: int) -> Tensor:
    return x.unflatten(0, (passes, -1))


def as_matrix(weight: Tensor) -> tuple[Tensor, bool]:
    """View a weight [O, I, k, k] (or [O, I]) as a matrix [O, K] without a copy; and whether its columns are in
    channels-last order (a channels-last weight) instead of the order of ``flatten(1)``."""
    if weight.dim() == 4 and not weight.is_contiguous():
        moved = weight.permute(0, 2, 3, 1)
        if moved.is_contiguous():
            return moved.flatten(1), True
    return weight.flatten(1), False


def _as_weight(matrix: Tensor, weight: Tensor, channels_last: bool) -> Tensor:
    outputs, inputs, *kernel = weight.shape
    if channels_last:
        return matrix.view(outputs, *kernel, inputs).permute(0, 3, 1, 2)
    return matrix.view(weight.shape)


def to_layout(v: Tensor, weight: Tensor, channels_last: bool) -> Tensor:
    """Reorder a vector [K] from the order of ``flatten(1)`` to that of the matrix's columns."""
    return v.view(weight.shape[1:]).permute(1, 2, 0).flatten() if channels_last else v


def from_layout(v: Tensor, weight: Tensor, channels_last: bool) -> Tensor:
    """The inverse of :func:`to_layout`."""
    _, inputs, *kernel = weight.shape
    return v.view(*kernel, inputs).permute(2, 0, 1).flatten() if channels_last else v


# --- convolution as a matrix product ----------------------------------------------------------------------------


def output_size(size: tuple[int, ...], weight: Tensor, stride: int) -> tuple[int, int]:
    """(h, w) of a convolution without padding."""
    k = weight.shape[-1]
    return (size[-2] - k) // stride + 1, (size[-1] - k) // stride + 1


def prefers_product(x: Tensor, weight: Tensor, stride: int) -> bool:
    """Whether a matrix product is faster than the backend's convolution: on a CPU, if the windows of x are smaller than
    the weight, because the backend copies the weight into its own layout each time."""
    h, w = output_size(x.shape, weight, stride)
    return x.device.type == "cpu" and len(x) * h * w < len(weight)


def window_rows(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """The windows of x [B, I, H, W] in the convolution, [B·h·w, K], in the order of the matrix's columns."""
    k = weight.shape[-1]
    windows = x.unfold(2, k, stride).unfold(3, k, stride)  # [B, I, h, w, k, k]
    order = (0, 2, 3, 4, 5, 1) if as_matrix(weight)[1] else (0, 2, 3, 1, 4, 5)
    return windows.permute(order).reshape(-1, weight[0].numel())


def add_windows(rows: Tensor, size: tuple[int, ...], weight: Tensor, stride: int) -> Tensor:
    """The transpose of :func:`window_rows`: overlapping windows are summed."""
    batch, inputs, height, width = size
    k, (h, w) = weight.shape[-1], output_size(size, weight, stride)
    if as_matrix(weight)[1]:
        windows = rows.view(batch, h, w, k, k, inputs)
    else:
        windows = rows.view(batch, h, w, inputs, k, k).permute(0, 1, 2, 4, 5, 3)
    x = rows.new_zeros(batch, height, width, inputs)
    for i in range(k):
        for j in range(k):
            x[:, i : i + stride * h : stride, j : j + stride * w : stride] += windows[:, :, :, i, j]
    return x.permute(0, 3, 1, 2)


def _as_maps(rows: Tensor, size: tuple[int, ...], weight: Tensor, stride: int) -> Tensor:
    h, w = output_size(size, weight, stride)
    return rows.view(size[0], h, w, -1).permute(0, 3, 1, 2)
