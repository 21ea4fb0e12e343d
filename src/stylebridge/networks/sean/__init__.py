"""SEAN (Zhu et al., CVPR 2020, arXiv 1911.12861): images from label maps, with a style for each region."""

from stylebridge.layers.sean import RegionMeans
from stylebridge.networks.sean.config import PRESETS, SEANConfig
from stylebridge.networks.sean.encoder import SEANStyleEncoder
from stylebridge.networks.sean.generator import SEANGenerator, SEANNetworks

__all__ = ["PRESETS", "RegionMeans", "SEANConfig", "SEANGenerator", "SEANNetworks", "SEANStyleEncoder"]
