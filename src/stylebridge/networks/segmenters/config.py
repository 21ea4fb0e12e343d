"""The ``segmenter`` block of a recipe, and messages about wrong names in it."""

from difflib import get_close_matches
from typing import Any

from pydantic import ConfigDict, Field, field_validator, model_validator

from stylebridge.settings import Settings

DEEPLAB_V2 = "deeplab-v2"
VIT_LIGHT = "vit-light"
#: Prefix of the name (ORG/NAME, ORG/NAME@REVISION) or folder of a transformers model.
HF_PREFIX = "hf:"
DEFAULT_ENCODER = "tu-tf_efficientnet_lite0"
#: The value of ``encoder`` for transformers models, which have their own.
HF_ENCODER = "transformers"


class SegmenterConfig(Settings):
    """The ``segmenter`` block of a recipe.

    ``arch``: ``deeplab-v2``; ``vit-light`` (a plain vision transformer with a light decoder); an smp architecture
    (``fpn``, ``unet``, ``segformer``, ``deeplabv3plus`` …); or ``hf:ORG/NAME``, ``hf:ORG/NAME@REVISION``,
    ``hf:FOLDER``: a transformers model.
    ``encoder``: ``resnet101`` or ``vgg16`` for ``deeplab-v2``, a timm name for ``vit-light``, else any smp encoder
    (``tu-…`` is timm's). Transformers models have their own.
    ``weights``: ``imagenet`` (the released weights of that encoder, whatever their training data), a file
    (``.safetensors``, ``.pth``) or ``none``.
    ``freeze_batch_norm``: keep the encoder's batch normalisation at its pretrained statistics; default: true for
    ``deeplab-v2``, else false.
    ``freeze_encoder``: do not train the encoder: no gradients for its weights, and evaluation mode.
    ``options``: keyword arguments of the smp model (``decoder_segmentation_channels: 64``), fields of
    :class:`~stylebridge.networks.segmenters.vit.ViTOptions`, or entries of the transformers configuration.
    """

    model_config = ConfigDict(frozen=False)

    arch: str = "fpn"
    encoder: str = DEFAULT_ENCODER
    weights: str | None = "imagenet"
    freeze_batch_norm: bool | None = None
    freeze_encoder: bool = False
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("arch")
    @classmethod
    def _lower_case(cls, arch: str) -> str:
        if arch[: len(HF_PREFIX)].lower() == HF_PREFIX:
            return HF_PREFIX + arch[len(HF_PREFIX) :]  # names and folders keep their case
        return arch.lower()

    @field_validator("weights")
    @classmethod
    def _none_by_name(cls, weights: str | None) -> str | None:
        return None if weights is None or weights.lower() in ("none", "") else weights

    @model_validator(mode="after")
    def _own_encoder(self) -> "SegmenterConfig":
        if self.is_transformers and self.encoder == DEFAULT_ENCODER:
            self.encoder = HF_ENCODER
        return self

    @property
    def is_transformers(self) -> bool:
        """Whether ``arch`` names a transformers model."""
        return self.arch.startswith(HF_PREFIX)

    @property
    def batch_norm_frozen(self) -> bool:
        """``freeze_batch_norm`` with its default applied."""
        return self.arch == DEEPLAB_V2 if self.freeze_batch_norm is None else self.freeze_batch_norm


def unknown(key: str, value: str, known: list[str]) -> str:
    """One sentence about an unknown value of ``key``, with suggestions."""
    close = get_close_matches(value.lower(), known, n=3, cutoff=0.5) or known[:12]
    return f"{key}: {value!r} is not known; did you mean {', '.join(close)}?"
