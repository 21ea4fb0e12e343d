"""Match the colour statistics of an image or region to another: a linear map of RGB."""

from __future__ import annotations

import torch
from torch import Tensor

#: Added to all variances of colours in [0, 1]: a flat region has no contrast to scale.
EPS = 1e-3
#: Largest factor by which contrasts are raised or lowered.
MOST_CONTRAST = 2.5


@torch.no_grad()
def colour_map(own: Tensor, wanted: Tensor) -> Tensor:
    """The symmetric linear map that gives colours the wanted mean and covariance.

    ``T = A^(-1/2) (A^(1/2) B A^(1/2))^(1/2) A^(-1/2)``, the optimal transport between normal distributions (Pitié and
    Kokaram, CVMP 2007, section 3.3). Unlike one factor per channel it also transfers the saturation of an image.

    Args:
        own, wanted: means and covariances [..., 9] (r, g, b; rr, gg, bb, rg, rb, gb).

    Returns:
        [..., 12]: T row by row, then the shift; new colour = T·colour + shift.
    """
    mean, new_mean = own[..., :3].double(), wanted[..., :3].double()
    a, b = _matrix(own[..., 3:9]), _matrix(wanted[..., 3:9])
    root, inverse = _powers(a)
    middle, _ = _powers(root @ b @ root)
    values, vectors = torch.linalg.eigh(inverse @ middle @ inverse)
    values = values.clamp(1 / MOST_CONTRAST, MOST_CONTRAST)
    t = vectors @ (values[..., None] * vectors.mT)
    shift = new_mean - (t @ mean[..., None])[..., 0]
    return torch.cat((t.flatten(-2), shift), -1).to(own.dtype)


def _matrix(six: Tensor) -> Tensor:
    """Covariances [..., 6] as matrices [..., 3, 3], with a constant added to the diagonal."""
    rr, gg, bb, rg, rb, gb = six.double().unbind(-1)
    rows = torch.stack((rr + EPS, rg, rb, rg, gg + EPS, gb, rb, gb, bb + EPS), -1)
    return rows.unflatten(-1, (3, 3))


def _powers(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The square root of positive definite matrices [..., 3, 3], and its inverse."""
    values, vectors = torch.linalg.eigh(matrix)
    values = values.clamp(min=1e-8).sqrt()
    return vectors @ (values[..., None] * vectors.mT), vectors @ (vectors.mT / values[..., None])


def apply_map(image: Tensor, change: Tensor) -> Tensor:
    """Apply maps [B, 12] (per image) or [B, 12, H, W] (per pixel) to images [B, 3, H, W]; not clipped."""
    if change.dim() == 2:
        change = change[..., None, None]
    t, shift = change[:, :9].unflatten(1, (3, 3)), change[:, 9:]
    return (t * image[:, None]).sum(2) + shift
