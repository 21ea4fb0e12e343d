"""FADA's pixel discriminator: counts and keys of the official one, and the order of its halves."""

import pytest
import torch

from stylebridge.networks.deeplab_v2 import upsample
from stylebridge.networks.pixel_discriminator import PixelDiscriminator


@pytest.mark.parametrize(
    ("channels", "classes", "count"),
    [(2048, 19, 5_057_702), (1024, 19, 2_698_406), (2048, 16, 5_050_784), (1024, 16, 2_691_488)],
)
def test_parameters(channels: int, classes: int, count: int) -> None:
    with torch.device("meta"):
        d = PixelDiscriminator(channels, classes)
    assert sum(p.numel() for p in d.parameters()) == count


def test_keys() -> None:
    d = PixelDiscriminator(8, 3)
    shapes = {key: tuple(value.shape) for key, value in d.state_dict().items()}
    assert shapes == {
        "D.0.weight": (256, 8, 3, 3),
        "D.0.bias": (256,),
        "D.2.weight": (128, 256, 3, 3),
        "D.2.bias": (128,),
        "cls1.weight": (3, 128, 3, 3),
        "cls1.bias": (3,),
        "cls2.weight": (3, 128, 3, 3),
        "cls2.bias": (3,),
    }


def test_source_half_comes_first() -> None:
    d = PixelDiscriminator(4, 3)
    with torch.no_grad():
        for conv, value in ((d.cls1, 1.0), (d.cls2, -1.0)):
            conv.weight.zero_()
            conv.bias.fill_(value)
    out = d(torch.randn(2, 4, 5, 6))
    assert out.shape == (2, 6, 5, 6)
    assert out[:, :3].unique().item() == 1.0
    assert out[:, 3:].unique().item() == -1.0


def test_slope_and_upsampling() -> None:
    """Of a constant map with weight 1/9 in the middle layer's first channel only the leaky slope is left."""
    d = PixelDiscriminator(1, 1)
    with torch.no_grad():
        for p in d.parameters():
            p.zero_()
        d.D[0].bias.fill_(-1.0)  # LeakyReLU: −0.2
        d.D[2].weight[0, 0, 1, 1] = 5.0  # −1, then −0.2 again
        d.cls1.weight[0, 0, 1, 1] = 1.0
    x = torch.zeros(1, 1, 3, 4)
    torch.testing.assert_close(d(x)[:, :1], torch.full((1, 1, 3, 4), -0.2))
    torch.manual_seed(0)
    d, x = PixelDiscriminator(2, 2), torch.randn(1, 2, 3, 4)
    torch.testing.assert_close(d(x, size=(9, 13)), upsample(d(x), (9, 13)))
