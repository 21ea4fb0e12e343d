"""NICE-GAN (Chen et al., CVPR 2020, arXiv 2003.00273): the discriminator contains the encoder."""

from stylebridge.networks.nice_gan.config import PRESETS, NiceGanConfig
from stylebridge.networks.nice_gan.discriminator import Discriminator, Encoder, Encoding, Scores
from stylebridge.networks.nice_gan.generator import Generator
from stylebridge.networks.nice_gan.translator import NiceGanNetworks, Translator
from stylebridge.networks.two_domains import OTHER

__all__ = [
    "OTHER",
    "PRESETS",
    "Discriminator",
    "Encoder",
    "Encoding",
    "Generator",
    "NiceGanConfig",
    "NiceGanNetworks",
    "Scores",
    "Translator",
]
