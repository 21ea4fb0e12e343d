"""SPADE (Park et al., CVPR 2019, arXiv 1903.07291): images from label maps."""

from stylebridge.networks.spade.config import PRESETS, SPADEConfig
from stylebridge.networks.spade.encoder import Posterior, SPADEEncoder
from stylebridge.networks.spade.generator import SPADEGenerator, SPADENetworks

__all__ = ["PRESETS", "Posterior", "SPADEConfig", "SPADEEncoder", "SPADEGenerator", "SPADENetworks"]
