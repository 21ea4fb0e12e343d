"""The segmenter, the model that is adapted: one interface over four families of architectures.

* any model of segmentation-models-pytorch (smp), by name (:class:`SmpSegmenter`);
* FADA's DeepLab-V2 (:class:`DeepLabV2Segmenter`);
* a plain vision transformer of timm, such as DINOv2, with a light decoder (:class:`ViTSegmenter`);
* any semantic segmenter of transformers, ``hf:ORG/NAME`` (:class:`TransformersSegmenter`).

All take RGB images in [0, 1], normalise inside, and give logits at the image's size.
"""

from pathlib import Path

from stylebridge.errors import RecipeError
from stylebridge.networks.segmenters.base import Segmenter
from stylebridge.networks.segmenters.config import DEEPLAB_V2, HF_PREFIX, VIT_LIGHT, SegmenterConfig, unknown
from stylebridge.networks.segmenters.deeplab import DeepLabV2Segmenter, build_deeplab
from stylebridge.networks.segmenters.hf import TransformersSegmenter
from stylebridge.networks.segmenters.smp import SMP_ARCHS, SmpSegmenter, build_smp
from stylebridge.networks.segmenters.vit import ViTSegmenter, build_vit


def build_segmenter(config: SegmenterConfig, num_classes: int) -> Segmenter:
    """Build a segmenter of K classes and load its starting weights.

    Raises:
        RecipeError: ``segmenter.arch``, ``segmenter.encoder`` or ``segmenter.options`` is not known.
        WeightsError: the weights are out of reach or do not fit.
    """
    if config.is_transformers:
        from stylebridge.networks.segmenters.hf_loading import build_transformers

        return build_transformers(config, num_classes)
    if config.arch == DEEPLAB_V2:
        return build_deeplab(config, num_classes)
    if config.arch == VIT_LIGHT:
        return build_vit(config, num_classes)
    if config.arch not in SMP_ARCHS:
        raise RecipeError(
            unknown(
                "segmenter.arch", config.arch, [DEEPLAB_V2, VIT_LIGHT, *SMP_ARCHS, f"{HF_PREFIX}ORG/NAME"]
            )
        )
    return build_smp(config, num_classes)


def load_segmenter(folder: str | Path) -> Segmenter:
    """Read a folder that :meth:`Segmenter.save_pretrained` wrote; in evaluation mode, on the CPU.

    No network is used. Raises :class:`WeightsError` if the folder is not one, or its files do not fit.
    """
    from stylebridge.networks.segmenters.folder import read_segmenter

    return read_segmenter(Path(folder))


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
