"""Layers and losses in half precision against float64: no more error than rounding inputs and outputs explains.

Each case is computed from inputs that half precision holds exactly, so all that may be lost is the rounding of the
result, and for products of many terms that of the weights. What would fail: a variance as the mean of squares less the
square of the mean, a sum over a region beyond 65504, a constant folded in half precision.
"""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from stylebridge.layers import FrozenBatchNorm2d
from stylebridge.layers.global_batch import batch_norm
from stylebridge.layers.label_maps import rows_at
from stylebridge.layers.lin import LIN, AdaLIN
from stylebridge.layers.sean import region_means
from stylebridge.layers.spectral import SpectralConv2d, SpectralLinear
from stylebridge.losses.adversarial import least_squares
from stylebridge.losses.class_level import class_level_loss, domain_encoding
from stylebridge.losses.segmentation import cross_entropy
from stylebridge.losses.synthesis import hinge_of_discriminator, mean_distance, normal_divergence
from stylebridge.methods.colour_transfer import match_colour
from stylebridge.networks.bridge import BridgeConfig, StyleHead
from stylebridge.networks.cyclegan import InstanceNorm

HALF = (torch.float16, torch.bfloat16)
DTYPES = (torch.float32, *HALF)
#: Half a unit in the last place, and some for the arithmetic (as kornia's tables of tolerances have it for each type).
RELATIVE = {torch.float32: 2e-4, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


def close(found: Tensor, expected: Tensor, dtype: torch.dtype, scale: float | None = None) -> None:
    """Within the type's rounding of the largest value (or of ``scale``)."""
    assert torch.isfinite(found).all()
    expected = expected.detach()
    size = float(expected.abs().max()) if scale is None else scale
    worst = float((found.detach().double() - expected.double()).abs().max())
    assert worst <= RELATIVE[dtype] * size, (worst, size)


def narrow(dtype: torch.dtype, *shape: int, mean: float = 100.0, seed: int = 0) -> Tensor:
    """Numbers around a large mean that differ by few units in the last place, as the type holds them."""
    unit = torch.finfo(dtype).eps * 64 if dtype in HALF else 0.05  # 64 ≤ mean < 128
    steps = torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(seed))
    return (mean + steps * unit).to(dtype)


# --- normalisation --------------------------------------------------------------------------------------------


def norm_of(kind: str, channels: int) -> Callable[[Tensor], Tensor]:
    torch.manual_seed(1)
    if kind == "lin":
        return LIN(channels)
    if kind == "adalin":
        layer = AdaLIN(channels)
        return lambda x: layer(x, torch.ones(len(x), channels), torch.zeros(len(x), channels))
    if kind == "instance":
        return InstanceNorm(channels)
    return lambda x: batch_norm(x, None, None, None, None, 0.1, 1e-5)


def normalised(x: Tensor, axes: tuple[int, ...], unbiased: bool = False) -> Tensor:
    """The oracle: deviations from the mean, in float64."""
    x = x.double()
    centred = x - x.mean(axes, keepdim=True)
    count = x.numel() / centred.amax(axes).numel()
    var = centred.square().sum(axes, keepdim=True) / (count - unbiased)
    return centred / (var + 1e-5).sqrt()


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", ["lin", "adalin", "instance", "batch over processes"])
def test_norms_of_a_large_mean_with_a_small_deviation(kind, dtype, channels_last):
    x = narrow(dtype, 2, 3, 16, 20)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype in HALF):
        found = norm_of(kind, 3)(x)
    assert found.dtype == dtype
    if "lin" in kind:
        share = torch.tensor([1.0, 3.2] if kind == "lin" else [3.2, 1.0]).double().softmax(0)
        expected = share[0] * normalised(x, (2, 3), True) + share[1] * normalised(x, (1, 2, 3), True)
    else:
        expected = normalised(x, (0, 2, 3) if "batch" in kind else (2, 3))
    close(found, expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_frozen_batch_norm_of_a_large_mean(dtype):
    layer = FrozenBatchNorm2d(3, eps=1e-5)
    with torch.no_grad():
        layer.running_mean.fill_(100.0)
        layer.running_var.fill_(0.01)
        layer.weight.copy_(torch.tensor([1.0, -2.0, 0.5]))
        layer.bias.copy_(torch.tensor([0.25, 0.0, 3.0]))
    x = narrow(dtype, 2, 3, 8, 8).requires_grad_()
    found = layer(x)
    assert found.dtype == dtype
    scale, bias = (v.double().view(1, 3, 1, 1) for v in (layer.weight, layer.bias))
    factor = scale / (torch.tensor(0.01).double() + 1e-5).sqrt()
    close(found, (x.double() - 100) * factor + bias, dtype)
    found.sum().backward()
    assert x.grad is not None
    close(x.grad, factor.expand_as(x), dtype)


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("gain", [1e-3, 3e3])
def test_spectral_norm_whatever_the_weights_size(dtype, gain):
    """σ is large: what W makes of x is beyond half precision, what W/σ makes of it is not. Gradients likewise."""
    torch.manual_seed(4)
    conv = SpectralConv2d(4, 3, 3)
    with torch.no_grad():
        conv.weight_orig.mul_(gain)
    for _ in range(30):
        conv.advance()
    conv.eval()
    x = torch.randn(2, 4, 12, 12).mul(20).to(dtype)
    with torch.autocast("cpu", dtype=dtype):
        found = conv(x, passes=2)
    assert found.dtype == dtype
    exact = SpectralConv2d(4, 3, 3).double()
    exact.load_state_dict(conv.state_dict())
    expected = exact.eval()(x.double(), passes=2)
    close(found, expected, dtype)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(5)).to(dtype)
    (found * weights).float().sum().backward()
    (expected * weights.double()).sum().backward()
    assert conv.weight_orig.grad is not None
    assert exact.weight_orig.grad is not None
    close(conv.weight_orig.grad, exact.weight_orig.grad, dtype)

    linear, exact_linear = SpectralLinear(8, 3), SpectralLinear(8, 3).double()
    with torch.no_grad():
        linear.weight_orig.mul_(gain)
    exact_linear.load_state_dict(linear.state_dict())
    rows = torch.randn(5, 8).to(dtype)
    with torch.autocast("cpu", dtype=dtype):
        close(linear.eval()(rows), exact_linear.eval()(rows.double()), dtype)


# --- regions --------------------------------------------------------------------------------------------------


@given(
    dtype=st.sampled_from(DTYPES),
    side=st.sampled_from([4, 32, 512]),
    mean=st.sampled_from([0.0, 3.0, 100.0, -100.0]),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_region_means_of_any_size(dtype, side, mean, seed):
    """Regions of 262,000 pixels, whose sum half precision cannot hold, and of one."""
    generator = torch.Generator().manual_seed(seed)
    x = (mean + torch.randn(1, 2, side, side, generator=generator)).to(dtype)
    labels = torch.zeros(1, side, side, dtype=torch.int64)
    labels[0, 0, 0], labels[0, -1] = 1, 255
    found = region_means(x, labels, 3)
    assert found.codes.dtype == dtype
    valid = labels[0] == 0
    expected = torch.stack([x[0, :, valid].double().mean(1), x[0, :, 0, 0].double(), torch.zeros(2).double()])
    close(found.codes[0], expected, dtype)
    assert found.present.tolist() == [[True, True, False]]


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_sums_over_many_rows(dtype):
    """What carries gradients back from pixels to regions: a running sum in half precision would stay at 256."""
    table = torch.ones(2, 3, dtype=dtype, requires_grad=True)
    sums = rows_at(torch.tensor([0] * 30_000 + [1]), 2)(table)
    (sums.float() / 8).sum().backward()
    assert table.grad is not None
    close(table.grad, torch.tensor([[30_000 / 8] * 3, [1 / 8] * 3]), dtype)


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("side", [32, 512])
def test_region_means_under_autocast_have_the_gradient(dtype, side):
    x = torch.randn(1, 2, side, side).to(dtype).requires_grad_()
    labels = torch.randint(0, 3, (1, side, side))
    with torch.autocast("cpu", dtype=dtype):
        codes = region_means(x, labels, 3).codes
    (codes.float().sum() * 4096).backward()  # a loss's scale: else the shares would be too small for float16
    counts = torch.bincount(labels.flatten(), minlength=3).double()
    assert x.grad is not None
    close(x.grad, (4096 / counts)[labels][:, None].expand_as(x), dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_region_looks_are_covariances(dtype):
    """A bright region with little contrast, as of fog or a clear sky: E[xy] − E[x]E[y] of half-precision numbers would
    be rounding, and could be negative."""
    head = StyleHead(BridgeConfig(channels=2, style_channels=4), classes=2)
    image = (0.9 + 0.02 * torch.rand(1, 3, 64, 64)).to(dtype)
    labels = (torch.arange(16) < 8).long().expand(1, 16, 16).contiguous()
    code = torch.randn(1, 4, 16, 16).to(dtype)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype in HALF):
        looks = head(code, image, labels).looks
    small = F.adaptive_avg_pool2d(image.double(), (16, 16))[0]
    for k in range(2):
        colours = small[:, labels[0] == k]
        centred = colours - colours.mean(1, keepdim=True)
        expected = centred @ centred.t() / colours.shape[1]
        found = looks[0, k, 3:9].double()
        order = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)]
        for value, (i, j) in zip(found, order, strict=True):
            # Variances below 1e-4 are taken for that, so more digits do not count.
            assert float(value - expected[i, j]) == pytest.approx(0, abs=1e-6)
        assert (looks[0, k, :3].double() - colours.mean(1)).abs().max() < 1e-6


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_colour_transfer_of_little_contrast(dtype):
    unit = torch.finfo(dtype).eps / 2 if dtype in HALF else 1e-3
    steps = torch.randint(-3, 4, (2, 2, 3, 24, 24))
    image, reference = (0.9 + steps * unit).clamp(0.5, 0.999).to(dtype)
    reference = (reference * 0.5).to(dtype)
    found = match_colour(image, reference)
    assert found.dtype == dtype
    x, y = image.double(), reference.double()
    mean, deviation = (f(x, (2, 3), keepdim=True) for f in (torch.mean, torch.std))
    wanted_mean, wanted = (f(y, (2, 3), keepdim=True) for f in (torch.mean, torch.std))
    close(found, (x - mean) / deviation * wanted + wanted_mean, dtype, scale=0.6)


# --- losses ---------------------------------------------------------------------------------------------------

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "least squares": lambda x, y: least_squares(x, 1.0),
    "hinge": lambda x, y: hinge_of_discriminator([[x]], [[y]]),
    "distance": mean_distance,
    "cross-entropy": lambda x, y: cross_entropy(x, y[:, 0].abs().long() % 3),
    "class level": lambda x, y: class_level_loss(torch.cat((x, y), 1), domain_encoding(y), "target"),
    "divergence": lambda x, y: normal_divergence(x[..., :4].flatten(1)[:, :64], y.flatten(1)[:, :64] / 64),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", [(8, 8), (512, 640)], ids=str)
def test_losses_over_many_pixels(name, dtype, size):
    """Scores up to some hundreds, whose squares and sums half precision cannot hold."""
    generator = torch.Generator().manual_seed(3)
    x, y = (torch.randn(1, 3, *size, generator=generator).mul(80).to(dtype) for _ in range(2))
    with torch.autocast("cpu", dtype=dtype, enabled=dtype in HALF):
        found = LOSSES[name](x, y)
    expected = LOSSES[name](x.double(), y.double())
    # The loss itself is a float32: half-precision inputs are exact here.
    assert found.dtype == torch.float32
    assert float(found.double()) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("images", [1, 2])
def test_instance_norms_gradient_in_channels_last_order(images):
    """Against autograd through the formula."""
    x = narrow(torch.float32, images, 3, 8, 10).contiguous(memory_format=torch.channels_last).requires_grad_()
    exact = x.detach().double().requires_grad_()
    weights = torch.randn(images, 3, 8, 10)
    (InstanceNorm(3)(x) * weights).sum().backward()
    (normalised(exact, (2, 3)) * weights.double()).sum().backward()
    assert x.grad is not None
    assert exact.grad is not None
    close(x.grad, exact.grad, torch.float32)
