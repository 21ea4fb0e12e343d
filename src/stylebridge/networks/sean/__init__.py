"""SEAN (Zhu et al., CVPR 2020, arXiv 1911.12861): images from label maps, each region in a style of its own."""

from stylebridge.layers.sean import RegionMeans
from stylebridge.networks.sean.config import PRESETS, SEANConfig
from stylebridge.networks.sean.encoder import SEANStyleEncoder
from stylebridge.networks.sean.generator import SEANGenerator, SEANNetworks

__all__ = ["PRESETS", "RegionMeans", "SEANConfig", "SEANGenerator", "SEANNetworks", "SEANStyleEncoder"]
