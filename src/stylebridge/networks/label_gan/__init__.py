"""Shared parts of SPADE and SEAN: residual blocks, the trunk, and the discriminator."""

from stylebridge.networks.label_gan.config import LabelGanConfig
from stylebridge.networks.label_gan.discriminator import MultiScaleDiscriminator
from stylebridge.networks.label_gan.perceptual import PerceptualLoss, open_perceptual_loss

__all__ = ["LabelGanConfig", "MultiScaleDiscriminator", "PerceptualLoss", "open_perceptual_loss"]
