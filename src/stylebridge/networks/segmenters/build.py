"""The segmenter, the model that is adapted: one interface over four families of architectures.

* any model of segmentation-models-pytorch (smp), by name (:class:`SmpSegmenter`);
* FADA's DeepLab-V2 (:class:`DeepLabV2Segmenter`);
* a plain vision transformer of timm, such as DINOv2, with a light decoder (:class:`ViTSegmenter`);
* any semantic segmenter of transformers, ``hf:ORG/NAME`` (:class:`TransformersSegmenter`).

All take RGB images in [0, 1], normalise them, and return logits at the image's size.
"""

from pathlib import Path

from stylebridge.errors import RecipeError
from stylebridge.networks.segmenters.base import Segmenter
from stylebridge.networks.segmenters.config import DEEPLAB_V2, VIT_LIGHT, SegmenterConfig, unknown
from stylebridge.networks.segmenters.deeplab import DeepLabV2Segmenter
from stylebridge.networks.segmenters.folder import read_facts
from stylebridge.networks.segmenters.hf import TransformersSegmenter
from stylebridge.networks.segmenters.smp import SMP_ARCHS, SmpSegmenter
from stylebridge.networks.segmenters.vit import ViTSegmenter

FAMILIES: tuple[type[Segmenter], ...] = (
    DeepLabV2Segmenter,
    ViTSegmenter,
    SmpSegmenter,
    TransformersSegmenter,
)


def build_segmenter(config: SegmenterConfig, num_classes: int) -> Segmenter:
    """Build a segmenter of K classes with its initial weights.

    Raises:
        RecipeError: ``segmenter.arch``, ``segmenter.encoder`` or ``segmenter.options`` is unknown.
        WeightsError: the weights are not available or do not fit.
    """
    family = _family(config)
    if family is None:
        known = [arch for family in FAMILIES for arch in family.archs]
        raise RecipeError(unknown("segmenter.arch", config.arch, known))
    return family.build(config, num_classes)


def load_segmenter(folder: str | Path) -> Segmenter:
    """Load a folder of :meth:`Segmenter.save_pretrained`, in evaluation mode, on the CPU.

    Works offline. Raises :class:`WeightsError` if it is not such a folder, or its files do not fit.
    """
    saved = read_facts(Path(folder))
    # smp stores the architecture in a separate file, so a folder of another smp release may have a new one.
    segmenter = (_family(saved.config) or SmpSegmenter).read(Path(folder), saved)
    segmenter.extra = saved.extra
    return segmenter.eval()


def _family(config: SegmenterConfig) -> type[Segmenter] | None:
    return next((family for family in FAMILIES if family.accepts(config)), None)


__all__ = [
    "DEEPLAB_V2",
    "SMP_ARCHS",
    "VIT_LIGHT",
    "DeepLabV2Segmenter",
    "Segmenter",
    "SegmenterConfig",
    "SmpSegmenter",
    "TransformersSegmenter",
    "ViTSegmenter",
    "build_segmenter",
    "load_segmenter",
]
