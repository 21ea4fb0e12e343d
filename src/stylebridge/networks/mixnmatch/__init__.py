"""MixNMatch (Li et al., CVPR 2020, arXiv 1911.11758): an image with the pose, background, shape and texture of four
images."""

from stylebridge.networks.mixnmatch.codes import FACTORS, Categories, Codes, one_hot, parent_of
from stylebridge.networks.mixnmatch.config import FIELD_STRIDES, PRESETS, MixNMatchConfig
from stylebridge.networks.mixnmatch.discriminator import (
    BackgroundDiscriminator,
    BackgroundScores,
    FeatureDiscriminator,
    ObjectDiscriminator,
)
from stylebridge.networks.mixnmatch.encoder import Encoded, Encoders, FeatureExtractor
from stylebridge.networks.mixnmatch.generator import LAYOUT, Generated, Generator, conversions, to_view
from stylebridge.networks.mixnmatch.mixer import FeatureNetworks, Mixer, MixNMatchNetworks, to_unit
from stylebridge.networks.mixnmatch.pair import PairDiscriminator, PairDiscriminators

__all__ = [
    "FACTORS",
    "FIELD_STRIDES",
    "LAYOUT",
    "PRESETS",
    "BackgroundDiscriminator",
    "BackgroundScores",
    "Categories",
    "Codes",
    "Encoded",
    "Encoders",
    "FeatureDiscriminator",
    "FeatureExtractor",
    "FeatureNetworks",
    "Generated",
    "Generator",
    "MixNMatchConfig",
    "MixNMatchNetworks",
    "Mixer",
    "ObjectDiscriminator",
    "PairDiscriminator",
    "PairDiscriminators",
    "conversions",
    "one_hot",
    "parent_of",
    "to_unit",
    "to_view",
]
