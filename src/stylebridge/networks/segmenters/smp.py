"""Segmenters of segmentation-models-pytorch (smp): any architecture, any encoder."""

import contextlib
import inspect
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import segmentation_models_pytorch as smp
import timm
from torch import Tensor, nn

from stylebridge.data.text_files import read_json
from stylebridge.errors import RecipeError, WeightsError
from stylebridge.networks import pretrained
from stylebridge.networks.pretrained import MEND, Normalisation
from stylebridge.networks.segmenters.base import Segmenter, logits_on_image, pad_to, round_up
from stylebridge.networks.segmenters.config import SegmenterConfig, unknown
from stylebridge.networks.segmenters.folder import Saved

SMP_ARCHS = tuple(smp.MODEL_ARCHITECTURES_MAPPING)
#: Arguments that a segmenter sets itself, so that they cannot be options.
RESERVED_OPTIONS = {"encoder_name", "encoder_weights", "in_channels", "classes", "activation", "aux_params"}


class SmpSegmenter(Segmenter):
    """Any segmentation-models-pytorch model, for images of any size.

    Images are padded at the bottom and right to a multiple of the encoder's stride (by reflection; by replication if
    the image is too small), and the logits are cropped back. Features are the decoder's output. With frozen batch
    normalisation the *encoder's* running statistics are unchanged also in training mode; its weight and bias are still
    trained.
    """

    archs = SMP_ARCHS

    def __init__(self, model: Any, config: SegmenterConfig, normalisation: Normalisation) -> None:
        convs = [m for m in model.segmentation_head.modules() if isinstance(m, nn.Conv2d)]
        super().__init__(config, convs[-1].out_channels, normalisation)
        self.model: Any = model  # smp types neither its three parts nor its hub methods
        self.feature_channels = convs[0].in_channels
        # DPT's decoder halves the token grid once more; PAN pools its coarsest map three times.
        self.stride = int(model.encoder.output_stride) * (2 if isinstance(model, smp.DPT) else 1)
        self.smallest = self.stride * (8 if isinstance(model, smp.PAN) else 1)
        self.training = model.training
        self.hold_encoder()

    @classmethod
    def build(cls, config: SegmenterConfig, num_classes: int) -> Self:
        _check_encoder(config.encoder)
        _check_options(config)
        weights = config.weights
        if weights is None:
            return cls._of_random_weights(config, num_classes)
        if weights in _hub_weights(config.encoder):
            packaged = pretrained.packaged_weights(config.encoder) if weights == "imagenet" else None
            if packaged is None:
                return cls._from_hub(config, num_classes, weights)
            segmenter = cls._of_random_weights(config, num_classes)
            _load_encoder(segmenter, packaged, "The packaged ImageNet file")
            return segmenter
        state = pretrained.read_weights(Path(weights))
        segmenter = cls._of_random_weights(config, num_classes)
        _load_encoder(segmenter, state, weights)
        return segmenter

    @classmethod
    def _of_random_weights(cls, config: SegmenterConfig, num_classes: int) -> Self:
        return cls(_create(config, num_classes, None), config, _normalisation(config, None))

    @classmethod
    def _from_hub(cls, config: SegmenterConfig, num_classes: int, weights: str) -> Self:
        try:
            with pretrained.hub_or_cache():
                model = _create(config, num_classes, weights)
                normalisation = _normalisation(config, weights)
        except RecipeError:
            raise
        except Exception as error:  # from the hub client, its HTTP client, timm or smp
            raise WeightsError(
                f"The {weights} weights of {config.encoder} are neither in the Hugging Face cache nor "
                f"downloadable; {MEND}."
            ) from error
        # A saved model must load without downloading weights that are then overwritten.
        model.config["encoder_weights"] = None
        return cls(model, config, normalisation)

    @classmethod
    def read(cls, folder: Path, saved: Saved) -> Self:
        # Without this check the hub client would look for the missing file online.
        for name in ("config.json", "model.safetensors"):
            if not (folder / name).is_file():
                raise WeightsError(f"{folder} has no {name}; save the segmenter again.")
        path = folder / "config.json"
        try:
            whole = "_model_class" in dict(read_json(path))
        except (OSError, ValueError, TypeError):
            whole = False
        if not whole:
            raise WeightsError(f"{path} is damaged: save the segmenter again.")
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # the hub client prints that it loads
                model = smp.from_pretrained(str(folder))
        except Exception as error:
            reason = str(error).strip().split("\n")[0]
            raise WeightsError(
                f"The segmenter in {folder} cannot be loaded ({reason}); save it again."
            ) from error
        return cls(model, saved.config, saved.normalisation)

    def write(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.model.save_pretrained(folder)

    def canvas(self, size: tuple[int, int]) -> tuple[int, int]:
        return round_up(size, self.stride, self.smallest)

    def features(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        image = pad_to(self.normalise(image), self.canvas((height, width)))
        encoded = self.model.encoder(image)
        if isinstance(self.model, smp.DPT):
            return self.model.decoder(*encoded)
        return self.model.decoder(encoded)

    def classify(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        return logits_on_image(self.model.segmentation_head(features), self.canvas(size), size)

    def encoder_module(self) -> nn.Module:
        return self.model.encoder

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return self.groups_by_encoder()


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
            f"segmenter.options: {config.arch} with {config.encoder} cannot be built with these ({reason}); "
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
            raise RecipeError(unknown("segmenter.encoder", encoder, known))
    elif encoder not in smp.encoders.encoders:
        known = [*smp.encoders.get_encoder_names(), *(f"tu-{name}" for name in timm.list_models())]
        raise RecipeError(unknown("segmenter.encoder", encoder, known))


def _check_options(config: SegmenterConfig) -> None:
    accepted = set(inspect.signature(smp.MODEL_ARCHITECTURES_MAPPING[config.arch]).parameters)
    accepted -= RESERVED_OPTIONS | {"self", "args", "kwargs"}
    for name in config.options:
        # smp passes unknown options to timm for "tu-" encoders, and silently drops them for others.
        to_timm = config.encoder.startswith("tu-") and name not in RESERVED_OPTIONS
        if name not in accepted and not to_timm:
            raise RecipeError(unknown("segmenter.options", name, sorted(accepted)))
