"""FADA's encodings and class-level loss: the published oracle, and the chunked path against the plain one."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from stylebridge.losses import class_level
from stylebridge.losses.class_level import class_level_loss, domain_encoding


def pixels(*vectors: tuple[float, ...]) -> Tensor:
    """Vectors of channels as a one-row image [1, C, 1, N] in float64."""
    return torch.tensor(vectors, dtype=torch.float64).T.reshape(1, len(vectors[0]), 1, len(vectors))


def plain(logits: Tensor, encoding: Tensor, domain: str, canvas: tuple[int, int] | None = None) -> Tensor:
    """The definition, with the 2K target written out."""
    height, width = encoding.shape[-2:]
    logits = F.interpolate(logits, size=canvas or (height, width), mode="bilinear", align_corners=True)
    zeros = torch.zeros_like(encoding)
    target = torch.cat((encoding, zeros) if domain == "source" else (zeros, encoding), dim=1)
    return -(target * logits[..., :height, :width].log_softmax(1)).sum(1).mean()


def case(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 6, 5, 7, generator=g, dtype=dtype).requires_grad_()
    return logits, domain_encoding(torch.randn(2, 3, 37, 50, generator=g, dtype=dtype) * 4)


def test_published_oracle() -> None:
    encoding = domain_encoding(pixels((3.6, 0.0), (9.0, 0.0)))
    expected = pixels((0.8807970780, 0.1192029220), (0.9, 0.0066928509))
    torch.testing.assert_close(encoding, expected, rtol=0, atol=1e-10)
    logits = pixels((0.5, -0.2, 0.1, 0.3), (1.0, 0.0, -1.0, 0.5))
    assert class_level_loss(logits, encoding, "source").item() == pytest.approx(0.9304274630, abs=1e-10)
    assert class_level_loss(logits, encoding, "target").item() == pytest.approx(1.9751129353, abs=1e-10)


def test_clipped_encodings_lose_mass() -> None:
    """Entries above the clip are cut and nothing is renormalised (spec, T2)."""
    logits = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(0)) * 8
    encoding, full = domain_encoding(logits), domain_encoding(logits, clip=1.0)
    torch.testing.assert_close(full, (logits / 1.8).softmax(1))
    torch.testing.assert_close(encoding, full.clamp(max=0.9))
    assert encoding.sum(1).min() < 0.95


def test_encoding_has_no_gradient() -> None:
    assert not domain_encoding(torch.randn(1, 2, 3, 3, requires_grad=True)).requires_grad


def test_hard_encoding() -> None:
    logits = pixels((0.2, 0.1, 0.0), (-1.0, -3.0, 5.0))
    assert torch.equal(domain_encoding(logits, hard=True), pixels((1.0, 0.0, 0.0), (0.0, 0.0, 1.0)))


@pytest.mark.parametrize("domain", ["source", "target"])
@pytest.mark.parametrize("canvas", [None, (37, 50), (40, 64)])
@pytest.mark.parametrize("chunk", [10**9, 4000, 1])
def test_chunks_change_nothing(domain, canvas, chunk) -> None:
    logits, encoding = case()
    expected = plain(logits, encoding, domain, canvas)
    (expected_gradient,) = torch.autograd.grad(expected, logits)
    loss = class_level_loss(logits, encoding, domain, canvas, chunk_elements=chunk)
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-14)


def test_chunks_in_float32() -> None:
    logits, encoding = case(torch.float32)
    chunked = class_level_loss(logits, encoding, "source", chunk_elements=2000)
    whole = class_level_loss(logits, encoding, "source")
    (a,), (b,) = torch.autograd.grad(chunked, logits), torch.autograd.grad(whole, logits)
    assert chunked.item() == pytest.approx(whole.item(), abs=1e-6)
    torch.testing.assert_close(a, b, rtol=0, atol=1e-6 * b.abs().max().item())


@pytest.mark.slow
@pytest.mark.parametrize(("grid", "size"), [((1, 1), (9, 8)), ((2, 3), (1, 8)), ((90, 3), (720, 8))])
def test_chunks_on_odd_grids(grid: tuple[int, int], size: tuple[int, int]) -> None:
    logits = torch.randn(1, 4, *grid, dtype=torch.float64, requires_grad=True)
    encoding = domain_encoding(torch.randn(1, 2, *size, dtype=torch.float64))
    for rows in range(1, 8):
        loss = class_level_loss(logits, encoding, "target", chunk_elements=rows * 4 * size[1])
        torch.testing.assert_close(loss, plain(logits, encoding, "target"), rtol=0, atol=1e-12)


def test_gradient_of_chunks() -> None:
    logits = torch.randn(1, 4, 3, 4, dtype=torch.float64, requires_grad=True)
    encoding = domain_encoding(torch.randn(1, 2, 11, 9, dtype=torch.float64))
    assert torch.autograd.gradcheck(
        lambda z: class_level_loss(z, encoding, "target", canvas=(12, 10), chunk_elements=200), (logits,)
    )


def test_chunks_hold_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """No upsampled tensor exceeds the bound, and nothing larger is kept for a backward pass."""
    largest, kept = [], []
    interpolate = F.interpolate
    monkeypatch.setattr(
        class_level.F, "interpolate", lambda *a, **k: largest.append(interpolate(*a, **k)) or largest[-1]
    )
    logits, encoding = case()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        class_level_loss(logits, encoding, "source", chunk_elements=3000).backward()
    assert len(largest) > 1
    assert max(t.numel() for t in largest) <= 3000
    assert max(kept) <= 3000
    assert logits.grad is not None


def test_no_gradient_wanted() -> None:
    logits, encoding = case()
    with torch.no_grad():
        loss = class_level_loss(logits, encoding, "source", chunk_elements=3000)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, plain(logits, encoding, "source").detach())


def test_half_precision_logits_are_computed_in_float32() -> None:
    logits, encoding = case(torch.float32)
    half = logits.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = class_level_loss(half, encoding, "source", chunk_elements=3000)
    loss.backward()
    assert loss.dtype == torch.float32
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16
    assert loss.item() == pytest.approx(plain(half.detach().float(), encoding, "source").item(), rel=1e-5)


def test_wrong_arguments() -> None:
    logits, encoding = case()
    with pytest.raises(ValueError, match="domain"):
        class_level_loss(logits, encoding, "both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="2K"):
        class_level_loss(logits[:, :5], encoding, "source")
    with pytest.raises(ValueError, match="canvas"):
        class_level_loss(logits, encoding, "source", canvas=(36, 50))
