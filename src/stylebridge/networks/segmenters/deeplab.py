"""FADA's DeepLab-V2 as a segmenter."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from stylebridge.errors import RecipeError
from stylebridge.networks import pretrained
from stylebridge.networks.deeplab_v2 import (
    AtrousClassifier,
    ResNet101Features,
    VGG16Features,
    load_fada_state,
    set_batch_norm_eps,
)
from stylebridge.networks.pretrained import Normalisation
from stylebridge.networks.segmenters.base import Segmenter, resize_logits
from stylebridge.networks.segmenters.config import DEEPLAB_V2, SegmenterConfig, unknown
from stylebridge.networks.segmenters.folder import Saved, write_own_form

#: BGR means of the Caffe VGG-16 for images in 0…255, divided by 255 for images in [0, 1].
CAFFE_NORMALISATION = Normalisation(
    mean=(103.939 / 255, 116.779 / 255, 123.68 / 255), std=(1 / 255, 1 / 255, 1 / 255), bgr=True
)


class DeepLabV2Segmenter(Segmenter):
    """FADA's DeepLab-V2: features at 1/8 of the image, logits upsampled with aligned corners.

    The backbone's batch normalisation is constant unless ``freeze_batch_norm: false`` (ResNet-101; VGG-16 has none).
    VGG-16 was trained on BGR images in 0…255 minus the Caffe means; the conversion is built in.
    """

    archs = (DEEPLAB_V2,)

    def __init__(self, config: SegmenterConfig, num_classes: int, batch_norm_eps: float = 0.0) -> None:
        vgg = config.encoder == "vgg16"
        super().__init__(config, num_classes, CAFFE_NORMALISATION if vgg else Normalisation())
        self.feature_extractor = (
            VGG16Features() if vgg else ResNet101Features(config.batch_norm_frozen, batch_norm_eps)
        )
        self.feature_channels = self.feature_extractor.out_channels
        self.classifier = AtrousClassifier(self.feature_channels, num_classes)
        self.hold_encoder()

    @classmethod
    def build(cls, config: SegmenterConfig, num_classes: int) -> Self:
        """As for every family; the encoder is ``resnet101`` or ``vgg16``, without options."""
        if config.encoder not in ("resnet101", "vgg16"):
            raise RecipeError(unknown("segmenter.encoder", config.encoder, ["resnet101", "vgg16"]))
        if config.options:
            raise RecipeError(
                f"segmenter.options: {DEEPLAB_V2} has no option {sorted(config.options)[0]!r}; omit it."
            )
        segmenter = cls(config, num_classes)
        if config.weights == "imagenet":
            if config.encoder == "vgg16":
                segmenter.load_weights(pretrained.caffe_vgg16_weights(), "The Caffe file of VGG-16")
            else:
                segmenter.load_weights(pretrained.resnet101_weights(), "The ImageNet file of ResNet-101")
        elif config.weights is not None:
            segmenter.load_weights(pretrained.read_weights(Path(config.weights)), config.weights)
        return segmenter

    @classmethod
    def read(cls, folder: Path, saved: Saved) -> Self:
        segmenter = cls(saved.config, saved.num_classes)
        load_fada_state(segmenter, pretrained.read_weights(folder))
        set_batch_norm_eps(segmenter, saved.batch_norm_eps)
        return segmenter

    def write(self, folder: Path, facts: Mapping[str, Any]) -> None:
        write_own_form(self, folder, facts)

    def facts(self, extra: dict[str, Any]) -> dict[str, Any]:
        return super().facts(extra) | {"batch_norm_eps": self.batch_norm_eps}

    @property
    def batch_norm_eps(self) -> float:
        """eps of the frozen batch normalisation: 0, or 1e-5 with a checkpoint that was trained with it."""
        return getattr(getattr(self.feature_extractor.backbone, "bn1", None), "eps", 0.0)

    def features(self, image: Tensor) -> Tensor:
        return self.feature_extractor(self.normalise(image))

    def classify(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        return self.classifier(features, size)

    def logits_at(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """As for every segmenter, but resized once from 1/8 of the image, as published."""
        return resize_logits(self.classifier(self.features(image)), size)

    def encoder_module(self) -> nn.Module:
        return self.feature_extractor

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {
            "encoder": list(self.feature_extractor.parameters()),
            "head": list(self.classifier.parameters()),
        }

    def load_weights(self, state: Mapping[str, Any], name: str) -> None:
        """Load an official FADA checkpoint, a saved segmenter of ours, or an ImageNet classifier's backbone.

        Raises :class:`WeightsError` naming what does not fit.
        """
        if isinstance(state.get("feature_extractor"), Mapping):
            load_fada_state(self.feature_extractor, state["feature_extractor"])
            if isinstance(state.get("classifier"), Mapping):
                load_fada_state(self.classifier, state["classifier"])
        elif any(key.startswith("feature_extractor.") for key in state):
            load_fada_state(self, state)
        elif isinstance(self.feature_extractor, VGG16Features):
            self.feature_extractor.load_imagenet(state)
        else:
            eps = self.batch_norm_eps
            pretrained.load_first_fit([self.feature_extractor.backbone], state, name)
            set_batch_norm_eps(self, eps)
