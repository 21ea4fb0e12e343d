"""Bridge's networks (ours): critics that contain the encoders, and generators with a style for each region."""

from stylebridge.networks.bridge.config import BridgeConfig
from stylebridge.networks.bridge.critic import Critic
from stylebridge.networks.bridge.generator import Generator
from stylebridge.networks.bridge.styles import StyleHead, Styles
from stylebridge.networks.bridge.translator import OTHER, BridgeTranslator, Painters, critics, encode
from stylebridge.networks.bridge.trunk import Trunk

__all__ = [
    "OTHER",
    "BridgeConfig",
    "BridgeTranslator",
    "Critic",
    "Generator",
    "Painters",
    "StyleHead",
    "Styles",
    "Trunk",
    "critics",
    "encode",
]
