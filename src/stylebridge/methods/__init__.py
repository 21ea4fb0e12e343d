"""Training methods: each is its networks and the phases of one step."""

from stylebridge.methods.base import SegmentationMethod
from stylebridge.methods.bridge import Bridge
from stylebridge.methods.colour_transfer import ColourTransfer
from stylebridge.methods.fada import FADA
from stylebridge.methods.self_training import SelfTraining
from stylebridge.methods.supervised import SelfDistillation, SourceOnly

#: Methods that train a segmenter, by the name a recipe's stage gives.
SEGMENTATION_METHODS: dict[str, type[SegmentationMethod]] = {
    method.name: method
    for method in (SourceOnly, ColourTransfer, FADA, SelfTraining, SelfDistillation, Bridge)
}

__all__ = [
    "FADA",
    "SEGMENTATION_METHODS",
    "Bridge",
    "ColourTransfer",
    "SegmentationMethod",
    "SelfDistillation",
    "SelfTraining",
    "SourceOnly",
]
