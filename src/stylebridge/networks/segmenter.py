"""The segmenter, the model that is adapted: one interface over two families of architectures.

* any model of segmentation-models-pytorch (smp), by name (:class:`SmpSegmenter`);
* FADA's DeepLab-V2 (:class:`DeepLabV2Segmenter`).

Both take RGB images in [0, 1], normalise inside, and give logits at the image's size.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
from pydantic import BaseModel, ConfigDict, field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.errors import RecipeError, WeightsError
from stylebridge.networks import pretrained
from stylebridge.networks.deeplab_v2 import (
    AtrousClassifier,
    ResNet101Features,
    VGG16Features,
    load_fada_state,
    set_batch_norm_eps,
)
from stylebridge.networks.pretrained import MEND, Normalisation

DEEPLAB_V2 = "deeplab-v2"
SMP_ARCHS = tuple(smp.MODEL_ARCHITECTURES_MAPPING)
#: What a segmenter sets itself, so it cannot be an option.
RESERVED_OPTIONS = {"encoder_name", "encoder_weights", "in_channels", "classes", "activation", "aux_params"}
#: BGR means of the Caffe VGG-16, for images in 0…255 (here divided by 255: our images are in [0, 1]).
CAFFE_NORMALISATION = Normalisation(
    mean=(103.939 / 255, 116.779 / 255, 123.68 / 255), std=(1 / 255, 1 / 255, 1 / 255), bgr=True
)


class SegmenterConfig(BaseModel):
    """The ``segmenter`` block of a recipe.

    ``arch``: ``deeplab-v2`` or an smp architecture (``fpn``, ``unet``, ``segformer``, ``deeplabv3plus`` …).
    ``encoder``: ``resnet101`` or ``vgg16`` for ``deeplab-v2``, else any smp encoder (``tu-…`` is timm's).
    ``weights``: ``imagenet``, a file (``.safetensors``, ``.pth``) or ``none``.
    ``freeze_batch_norm``: keep the encoder's batch normalisation at its pretrained statistics; by default on
    for ``deeplab-v2`` and off else.
    ``options``: keyword arguments of the smp model (``decoder_segmentation_channels: 64``).
    """

    model_config = ConfigDict(extra="forbid")

    arch: str = "fpn"
    encoder: str = "tu-tf_efficientnet_lite0"
    weights: str | None = "imagenet"
    freeze_batch_norm: bool | None = None
    options: dict[str, Any] = {}

    @field_validator("arch")
    @classmethod
    def _lower_case(cls, arch: str) -> str:
        return arch.lower()

    @field_validator("weights")
    @classmethod
    def _none_by_name(cls, weights: str | None) -> str | None:
        return None if weights is None or weights.lower() in ("none", "") else weights

    @property
    def batch_norm_frozen(self) -> bool:
        """``freeze_batch_norm`` with its default filled in."""
        return self.arch == DEEPLAB_V2 if self.freeze_batch_norm is None else self.freeze_batch_norm


class Segmenter(nn.Module, ABC):
    """A segmentation network in two halves: features, and the classifier that reads classes off them.

    Attributes:
        config: what it was built from.
        num_classes: K.
        feature_channels: C of :meth:`features`.
        extra: free JSON-able facts that travel with a saved segmenter (the label space, for one).
    """

    feature_channels: int
    mean: Tensor
    std: Tensor

    def __init__(self, config: SegmenterConfig, num_classes: int, normalisation: Normalisation) -> None:
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        self.normalisation = normalisation
        self.extra: dict[str, Any] = {}
        # Not persistent: the state dict holds what is learnt, and the folder's stylebridge.json holds these.
        self.register_buffer("mean", torch.tensor(normalisation.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(normalisation.std).view(1, -1, 1, 1), persistent=False)

    def normalise(self, image: Tensor) -> Tensor:
        """RGB [B, 3, H, W] in [0, 1] to what the network was pretrained on."""
        if self.normalisation.bgr:
            image = image.flip(1)
        return (image - self.mean) / self.std

    @abstractmethod
    def features(self, image: Tensor) -> Tensor:
        """RGB [B, 3, H, W] in [0, 1] to features [B, C, h, w], which cover the image's :meth:`canvas`."""

    @abstractmethod
    def classify(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """Features [B, C, h, w] of images of ``size`` (H, W) to logits [B, K, H, W]."""

    @abstractmethod
    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """All parameters, as ``encoder`` (pretrained) and ``head`` (fresh), for two learning rates."""

    def canvas(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (H, W) that features of an image of ``size`` cover: the size itself, or padded below and right.

        Whoever resizes a map that lies on the features' grid (a discriminator's output) to the image must
        resize it to the canvas and cut out the upper left ``size``.
        """
        return size

    def forward(self, image: Tensor) -> Tensor:
        """RGB [B, 3, H, W] in [0, 1] to logits [B, K, H, W]."""
        height, width = image.shape[-2:]
        return self.classify(self.features(image), (height, width))

    def save_pretrained(self, folder: str | Path, extra: Mapping[str, Any] | None = None) -> None:
        """Write a folder that :func:`load_segmenter` reads.

        What lies in it and which errors are raised: :mod:`stylebridge.networks.segmenter_folder`.
        """
        from stylebridge.networks.segmenter_folder import save_segmenter

        save_segmenter(self, Path(folder), extra)


class SmpSegmenter(Segmenter):
    """Any segmentation-models-pytorch model, for images of any size.

    Images are padded below and to the right to a multiple of the encoder's stride (mirrored; edge pixels
    repeated where the image is too small for that), and the logits are cut back. Features are the decoder's
    output. With frozen batch normalisation the *encoder's* running statistics stay as they are, also in
    training mode; its weight and bias are still trained.
    """

    def __init__(self, model: Any, config: SegmenterConfig, normalisation: Normalisation) -> None:
        convs = [m for m in model.segmentation_head.modules() if isinstance(m, nn.Conv2d)]
        super().__init__(config, convs[-1].out_channels, normalisation)
        self.model: Any = model  # smp declares neither its three parts' types nor its hub methods'
        self.feature_channels = convs[0].in_channels
        # DPT's decoder halves the tokens' grid once more; PAN pools its coarsest map three times.
        self.stride = int(model.encoder.output_stride) * (2 if isinstance(model, smp.DPT) else 1)
        self.smallest = self.stride * (8 if isinstance(model, smp.PAN) else 1)
        self.train(model.training)

    def canvas(self, size: tuple[int, int]) -> tuple[int, int]:
        height, width = (max(-(-side // self.stride) * self.stride, self.smallest) for side in size)
        return height, width

    def features(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        canvas = self.canvas((height, width))
        down, right = canvas[0] - height, canvas[1] - width
        image = self.normalise(image)
        if down or right:
            mode = "reflect" if down < height and right < width else "replicate"
            image = F.pad(image, (0, right, 0, down), mode=mode)
        encoded = self.model.encoder(image)
        if isinstance(self.model, smp.DPT):
            return self.model.decoder(*encoded)
        return self.model.decoder(encoded)

    def classify(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        canvas = self.canvas(size)
        logits = self.model.segmentation_head(features)
        height, width = logits.shape[-2:]
        if height * canvas[1] != width * canvas[0]:
            grid = tuple(features.shape[-2:])
            raise ValueError(f"features of {grid} are not those of images of size {tuple(size)}")
        if (height, width) != canvas:
            logits = F.interpolate(logits, size=canvas, mode="bilinear", align_corners=True)
        return logits[..., : size[0], : size[1]]

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        encoder = list(self.model.encoder.parameters())
        ours = {id(parameter) for parameter in encoder}
        return {"encoder": encoder, "head": [p for p in self.parameters() if id(p) not in ours]}

    def train(self, mode: bool = True) -> "SmpSegmenter":
        super().train(mode)
        if self.config.batch_norm_frozen:
            for layer in self.model.encoder.modules():
                if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                    layer.eval()
        return self


class DeepLabV2Segmenter(Segmenter):
    """FADA's DeepLab-V2: features at 1/8 of the image, logits upsampled with aligned corners.

    The backbone's batch normalisation is constant unless ``freeze_batch_norm: false`` (ResNet-101; VGG-16
    has none). VGG-16 takes BGR images in 0…255 minus the Caffe means; the conversion is inside.
    """

    def __init__(self, config: SegmenterConfig, num_classes: int, batch_norm_eps: float = 0.0) -> None:
        vgg = config.encoder == "vgg16"
        super().__init__(config, num_classes, CAFFE_NORMALISATION if vgg else Normalisation())
        self.feature_extractor = (
            VGG16Features() if vgg else ResNet101Features(config.batch_norm_frozen, batch_norm_eps)
        )
        self.feature_channels = self.feature_extractor.out_channels
        self.classifier = AtrousClassifier(self.feature_channels, num_classes)

    @property
    def batch_norm_eps(self) -> float:
        """eps of the frozen batch normalisation: 0, or 1e-5 after a checkpoint that was trained with it."""
        return getattr(getattr(self.feature_extractor.backbone, "bn1", None), "eps", 0.0)

    def features(self, image: Tensor) -> Tensor:
        return self.feature_extractor(self.normalise(image))

    def classify(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        return self.classifier(features, size)

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


def build_segmenter(config: SegmenterConfig, num_classes: int) -> Segmenter:
    """Build a segmenter of K classes and load its starting weights.

    Raises:
        RecipeError: ``segmenter.arch``, ``segmenter.encoder`` or ``segmenter.options`` is not known.
        WeightsError: the weights are out of reach or do not fit.
    """
    if config.arch == DEEPLAB_V2:
        return _build_deeplab(config, num_classes)
    if config.arch not in SMP_ARCHS:
        raise RecipeError(_unknown("segmenter.arch", config.arch, [DEEPLAB_V2, *SMP_ARCHS]))
    _check_encoder(config.encoder)
    _check_options(config)
    return _build_smp(config, num_classes)


def load_segmenter(folder: str | Path) -> Segmenter:
    """Read a folder that :meth:`Segmenter.save_pretrained` wrote; in evaluation mode, on the CPU.

    No network is used. Raises :class:`WeightsError` if the folder is not one, or its files do not fit.
    """
    from stylebridge.networks.segmenter_folder import read_segmenter

    return read_segmenter(Path(folder))


def _build_deeplab(config: SegmenterConfig, num_classes: int) -> DeepLabV2Segmenter:
    if config.encoder not in ("resnet101", "vgg16"):
        raise RecipeError(_unknown("segmenter.encoder", config.encoder, ["resnet101", "vgg16"]))
    if config.options:
        raise RecipeError(
            f"segmenter.options: {DEEPLAB_V2} has no option {sorted(config.options)[0]!r}; leave it out."
        )
    segmenter = DeepLabV2Segmenter(config, num_classes)
    if config.weights == "imagenet":
        if config.encoder == "vgg16":
            raise WeightsError(
                f"segmenter.weights: the Caffe VGG-16 weights are read from a file only; {MEND}."
            )
        segmenter.load_weights(pretrained.resnet101_weights(), "The ImageNet file of ResNet-101")
    elif config.weights is not None:
        segmenter.load_weights(pretrained.read_weights(Path(config.weights)), config.weights)
    return segmenter


def _build_smp(config: SegmenterConfig, num_classes: int) -> SmpSegmenter:
    weights = config.weights
    if weights is None:
        return SmpSegmenter(_create(config, num_classes, None), config, _normalisation(config, None))
    if weights in _hub_weights(config.encoder):
        packaged = pretrained.packaged_weights(config.encoder) if weights == "imagenet" else None
        if packaged is not None:
            segmenter = SmpSegmenter(_create(config, num_classes, None), config, _normalisation(config, None))
            _load_encoder(segmenter, packaged, "The packaged ImageNet file")
            return segmenter
        try:
            with pretrained.hub_or_cache():
                model = _create(config, num_classes, weights)
                normalisation = _normalisation(config, weights)
        except RecipeError:
            raise
        except Exception as error:  # of the hub client, of its HTTP client, of timm or of smp
            raise WeightsError(
                f"The {weights} weights of {config.encoder} are neither in the Hugging Face cache nor within "
                f"reach; {MEND}."
            ) from error
        # A saved model must load without asking the hub for weights that it then overwrites.
        model.config["encoder_weights"] = None
        return SmpSegmenter(model, config, normalisation)
    state = pretrained.read_weights(Path(weights))
    segmenter = SmpSegmenter(_create(config, num_classes, None), config, _normalisation(config, None))
    _load_encoder(segmenter, state, weights)
    return segmenter


def _load_encoder(segmenter: SmpSegmenter, state: Mapping[str, Any], name: str) -> None:
    model = segmenter.model
    inner = getattr(model.encoder, "model", None)
    parts: list[nn.Module] = [segmenter, model, model.encoder]
    pretrained.load_first_fit([*parts, inner] if isinstance(inner, nn.Module) else parts, state, name)


def _create(config: SegmenterConfig, num_classes: int, weights: str | None) -> Any:
    tag: Any = True if weights and config.encoder.startswith("tu-") else weights
    try:
        model = smp.create_model(
            config.arch, config.encoder, encoder_weights=tag, classes=num_classes, **config.options
        )
    except (TypeError, ValueError, KeyError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0]
        raise RecipeError(
            f"segmenter.options: {config.arch} with {config.encoder} cannot be built so ({reason}); "
            "change the options or the encoder."
        ) from error
    return model


def _hub_weights(encoder: str) -> set[str]:
    known = smp.encoders.encoders.get(encoder, {}).get("pretrained_settings", {})
    return {"imagenet", *known}


def _normalisation(config: SegmenterConfig, weights: str | None) -> Normalisation:
    if config.encoder.startswith("tu-"):
        return pretrained.timm_normalisation(config.encoder)
    if weights is None:
        return Normalisation()
    found = smp.encoders.get_preprocessing_params(config.encoder, pretrained=weights)
    scale = found["input_range"][1]
    mean, std = (tuple(value / scale for value in found[key]) for key in ("mean", "std"))
    return Normalisation(mean, std, bgr=found["input_space"] == "BGR")


def _check_encoder(encoder: str) -> None:
    if encoder.startswith("tu-"):
        if not timm.is_model(pretrained.timm_name(encoder)):
            known = [f"tu-{name}" for name in timm.list_models()]
            raise RecipeError(_unknown("segmenter.encoder", encoder, known))
    elif encoder not in smp.encoders.encoders:
        known = [*smp.encoders.get_encoder_names(), *(f"tu-{name}" for name in timm.list_models())]
        raise RecipeError(_unknown("segmenter.encoder", encoder, known))


def _check_options(config: SegmenterConfig) -> None:
    accepted = set(inspect.signature(smp.MODEL_ARCHITECTURES_MAPPING[config.arch]).parameters)
    accepted -= RESERVED_OPTIONS | {"self", "args", "kwargs"}
    for name in config.options:
        # smp hands what it does not know to timm for "tu-" encoders, and drops it without a word for others.
        to_timm = config.encoder.startswith("tu-") and name not in RESERVED_OPTIONS
        if name not in accepted and not to_timm:
            raise RecipeError(_unknown("segmenter.options", name, sorted(accepted)))


def _unknown(key: str, value: str, known: list[str]) -> str:
    close = get_close_matches(value.lower(), known, n=3, cutoff=0.5) or known[:12]
    return f"{key}: {value!r} is not known; did you mean {', '.join(close)}?"
