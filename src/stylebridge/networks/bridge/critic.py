"""Bridge's critic: NICE-GAN's encoder, and patch heads that can classify domain and class jointly."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.layers.spectral import SpectralConv2d
from stylebridge.networks.bridge.config import BridgeConfig
from stylebridge.networks.bridge.trunk import Trunk
from stylebridge.networks.nice_gan.discriminator import KERNEL, SLOPE, Encoder, SpectralBlock


class Critic(Encoder):
    """Encoder and classifiers of one domain: the global attention head, local patches, wide patches.

    Patch heads have 2K outputs, the first half for "real, class k", the second for "fake, class k"; or one output, the
    raw score of NICE-GAN.

    Args:
        classes: K.
        trunk: replaces the encoder's convolutions, followed by a 1×1 convolution to the code's channels.
    """

    def __init__(self, config: BridgeConfig, classes: int, trunk: Trunk | None = None) -> None:
        super().__init__(config.encoder)
        code = config.code_channels
        if trunk is not None:
            adapter = SpectralConv2d(trunk.channels, code, 1)
            self.model = nn.Sequential(trunk, adapter, nn.LeakyReLU(SLOPE))  # type: ignore[assignment]
        outputs = 2 * classes if config.class_critics else 1
        self.near = SpectralBlock((code, 2 * code, 2))
        self.far = SpectralBlock((2 * code, 4 * code, 2))
        self.near_scores = SpectralConv2d(2 * code, outputs, KERNEL)
        self.far_scores = SpectralConv2d(4 * code, outputs, KERNEL)

    def take_trunk(self, trunk: Trunk) -> None:
        """Replace the trunk; the layers after it are kept."""
        self.model[0] = trunk

    def judge(self, code: Tensor, passes: int = 1) -> tuple[Tensor, Tensor]:
        """Scores of codes [B, 2·channels, h, w]: [B, outputs, h/2 − 1, w/2 − 1] and [B, outputs, h/4 − 1, w/4 − 1].

        Args:
            passes: number of passes in the batch, as in :class:`~stylebridge.layers.spectral.SpectralConv2d`.
        """
        near = self.near(code, passes)
        far = self.far(near, passes)
        edge = (1, 1, 1, 1)
        return (
            self.near_scores(F.pad(near, edge, mode="reflect"), passes),
            self.far_scores(F.pad(far, edge, mode="reflect"), passes),
        )
