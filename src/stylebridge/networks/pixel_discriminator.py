"""FADA's fine-grained pixel discriminator (Wang et al., ECCV 2020, arXiv 2007.09222)."""

import torch
from torch import Tensor, nn

from stylebridge.networks.deeplab_v2 import upsample


class PixelDiscriminator(nn.Module):
    """Classifies every pixel of a feature map by class and domain: 2K logits, source half first.

    Two 3×3 convolutions (256, 128 channels, LeakyReLU 0.2), then one 3×3 convolution for each half;
    stride 1, no normalisation. State-dict keys are those of the official checkpoints.

    Args:
        in_channels: C of the features.
        num_classes: K.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.D = nn.Sequential(
            nn.Conv2d(in_channels, 256, 3, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(256, 128, 3, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
        )
        self.cls1 = nn.Conv2d(128, num_classes, 3, padding=1)
        self.cls2 = nn.Conv2d(128, num_classes, 3, padding=1)

    def forward(self, features: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """[B, C, h, w] to logits [B, 2K, h, w]: channels 0…K−1 mean "source", K…2K−1 "target".

        With ``size`` they are upsampled to it (bilinear, aligned corners). For a loss, omit it:
        :func:`stylebridge.losses.class_level.class_level_loss` upsamples in chunks.
        """
        x = self.D(features)
        logits = torch.cat((self.cls1(x), self.cls2(x)), dim=1)
        return logits if size is None else upsample(logits, size)
