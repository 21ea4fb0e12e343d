"""Plain vision transformers of timm (DINOv2, DINOv3, DeiT …) with a light decoder."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import timm
import torch
from pydantic import Field, ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.errors import RecipeError, WeightsError
from stylebridge.networks import pretrained
from stylebridge.networks.pretrained import MEND
from stylebridge.networks.segmenters.base import Segmenter, logits_on_image, pad_to, round_up
from stylebridge.networks.segmenters.config import VIT_LIGHT, SegmenterConfig, unknown
from stylebridge.networks.segmenters.folder import Saved, write_own_form
from stylebridge.settings import Settings


class ViTOptions(Settings):
    """``options`` of ``vit-light``.

    ``layers``: number of blocks that the decoder reads, evenly spaced including the last one; or their indices from 0.
    ``channels``: C of the features. ``upsample``: ratio of the features' grid to the patch grid. ``dropout``: share of
    feature channels dropped in training. ``drop_path``: the encoder's stochastic depth.
    """

    channels: int = Field(default=128, gt=0)
    layers: int | tuple[int, ...] = 4
    upsample: Literal[1, 2, 4] = 4
    dropout: float = Field(default=0.1, ge=0, lt=1)
    drop_path: float = Field(default=0.0, ge=0, lt=1)


class LightDecoder(nn.Module):
    """Tokens of several layers to one map: each normalised and projected, summed, then refined and upsampled.

    Every doubling is bilinear and followed by a 3×3 convolution, group normalisation (without statistics that would
    differ between domains) and GELU. Patches keep their positions: cells of the grid are split, corners are not
    aligned.
    """

    def __init__(self, in_channels: int, layers: int, options: ViTOptions) -> None:
        super().__init__()
        channels = options.channels
        self.norms = nn.ModuleList(nn.LayerNorm(in_channels) for _ in range(layers))
        self.projections = nn.ModuleList(nn.Linear(in_channels, channels) for _ in range(layers))
        self.doublings = options.upsample.bit_length() - 1
        self.refine = nn.ModuleList(_refinement(channels) for _ in range(max(self.doublings, 1)))
        self.dropout = nn.Dropout2d(options.dropout)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps [B, D, h, w], one for each layer, to features [B, C, upsample·h, upsample·w]."""
        parts = [
            project(norm(tokens.permute(0, 2, 3, 1)))
            for tokens, norm, project in zip(maps, self.norms, self.projections, strict=True)
        ]
        x = torch.stack(parts).sum(0).permute(0, 3, 1, 2)
        for index, refine in enumerate(self.refine):
            if index < self.doublings:
                x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = refine(x)
        return self.dropout(x)


def _refinement(channels: int) -> nn.Sequential:
    groups = next(g for g in (32, 16, 8, 4, 2, 1) if channels % g == 0)
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.GroupNorm(groups, channels), nn.GELU()
    )


class ViTSegmenter(Segmenter):
    """A plain vision transformer and a :class:`LightDecoder`, for images of any size.

    Images are padded at the bottom and right to a multiple of the patch size; positional embeddings are interpolated to
    the patch grid. Features are the decoder's output, ``upsample`` times finer than the patches; a 1×1 convolution
    classifies them. Blocks after the last one read are not part of the network.
    """

    archs = (VIT_LIGHT,)

    def __init__(self, encoder: Any, config: SegmenterConfig, num_classes: int) -> None:
        super().__init__(config, num_classes, pretrained.timm_normalisation(config.encoder))
        options = parse_options(config)
        self.layers = chosen_layers(options.layers, len(encoder.blocks))
        self.stride = _patch_size(encoder, config.encoder)
        self.upsample = options.upsample
        self.feature_channels = options.channels
        encoder.prune_intermediate_layers(list(self.layers), prune_norm=True, prune_head=True)
        self.encoder: Any = encoder
        self.decoder = LightDecoder(encoder.feature_info[0]["num_chs"], len(self.layers), options)
        self.classifier = nn.Conv2d(options.channels, num_classes, 1)
        self.hold_encoder()

    @classmethod
    def build(cls, config: SegmenterConfig, num_classes: int) -> Self:
        """As for every family; the encoder is a plain vision transformer, with or without the prefix ``tu-``."""
        name = config.encoder.removeprefix("tu-")
        _check_encoder(name)
        parse_options(config)
        if config.weights == "imagenet":
            if not pretrained.timm_tags(name):
                raise WeightsError(f"timm has no released weights of {name}; {MEND}.")
            try:
                with pretrained.hub_or_cache():
                    return cls(_create(name, config, released=True), config, num_classes)
            except RecipeError:
                raise
            except Exception as error:  # from the hub client, its HTTP client, or timm
                raise WeightsError(
                    f"The released weights of {name} are neither in the Hugging Face cache nor downloadable; {MEND}."
                ) from error
        segmenter = cls(_create(name, config, released=False), config, num_classes)
        if config.weights is not None:
            segmenter.load_weights(pretrained.read_weights(Path(config.weights)), config.weights)
        return segmenter

    @classmethod
    def read(cls, folder: Path, saved: Saved) -> Self:
        try:
            segmenter = cls.build(saved.config, saved.num_classes)
        except RecipeError as error:
            reason = str(error).rstrip(".")
            raise WeightsError(
                f"The segmenter in {folder} cannot be built ({reason}); save it again."
            ) from error
        state = pretrained.read_weights(folder)
        problem = pretrained.misfit(segmenter, state)
        if problem is not None:
            raise WeightsError(f"The segmenter in {folder} cannot be loaded ({problem}); save it again.")
        segmenter.load_state_dict(state)
        return segmenter

    def write(self, folder: Path, facts: Mapping[str, Any]) -> None:
        write_own_form(self, folder, facts)

    def canvas(self, size: tuple[int, int]) -> tuple[int, int]:
        return round_up(size, self.stride)

    def features(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        image = pad_to(self.normalise(image), self.canvas((height, width)))
        maps = self.encoder.forward_intermediates(
            image, indices=list(self.layers), norm=False, output_fmt="NCHW", intermediates_only=True
        )
        return self.decoder(maps)

    def classify(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        return logits_on_image(self.classifier(features), self.canvas(size), size)

    def encoder_module(self) -> nn.Module:
        return self.encoder

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return self.groups_by_encoder()

    def load_weights(self, state: Mapping[str, Any], name: str) -> None:
        """Load a saved segmenter of ours, or an encoder's file: timm's keys, or the original release's.

        Raises :class:`WeightsError` naming what does not fit.
        """
        try:
            pretrained.load_first_fit([self, self.encoder], state, name)
        except WeightsError:
            convert = getattr(sys.modules[type(self.encoder).__module__], "checkpoint_filter_fn", None)
            try:
                converted = convert(dict(state), self.encoder) if convert is not None else {}
            except Exception:  # timm's conversion guesses the file's origin; a wrong guess is expected
                converted = {}
            if pretrained.misfit_of_part(self.encoder, converted) is not None:
                raise
            pretrained.load_first_fit([self.encoder], converted, name)


def parse_options(config: SegmenterConfig) -> ViTOptions:
    """``segmenter.options`` of ``vit-light``; raises RecipeError naming the key that is wrong."""
    surplus = sorted(set(config.options) - set(ViTOptions.model_fields))
    if surplus:
        raise RecipeError(unknown("segmenter.options", surplus[0], list(ViTOptions.model_fields)))
    try:
        return ViTOptions(**config.options)
    except ValidationError as error:
        problem = error.errors()[0]
        raise RecipeError(
            f"segmenter.options.{problem['loc'][0]} is {problem['input']!r}: "
            f"{problem['msg'][0].lower()}{problem['msg'][1:]}."
        ) from None


def chosen_layers(layers: int | tuple[int, ...], depth: int) -> tuple[int, ...]:
    """Indices of the blocks that are read; evenly spaced including the last one if ``layers`` is a number.

    Raises RecipeError unless they are ascending indices of an encoder of ``depth`` blocks.
    """
    if isinstance(layers, int):
        if not 0 < layers <= depth:
            raise RecipeError(f"segmenter.options.layers is {layers}: the encoder has {depth} blocks.")
        return tuple((i + 1) * depth // layers - 1 for i in range(layers))
    if not layers or list(layers) != sorted({*layers}) or layers[0] < 0 or layers[-1] >= depth:
        raise RecipeError(
            f"segmenter.options.layers is {list(layers)}: give ascending block indices from 0 to {depth - 1}."
        )
    return layers


def _check_encoder(name: str) -> None:
    base, _, tag = name.partition(".")
    if not timm.is_model(base):
        known = [model for model in timm.list_models() if "vit" in model or "deit" in model]
        raise RecipeError(unknown("segmenter.encoder", name, known))
    if tag and name not in pretrained.timm_tags(name):
        raise RecipeError(unknown("segmenter.encoder", name, pretrained.timm_tags(name) or [base]))


def _create(name: str, config: SegmenterConfig, released: bool) -> Any:
    rate = parse_options(config).drop_path
    keywords: dict[str, Any] = {"drop_path_rate": rate} if rate else {}
    try:
        encoder = timm.create_model(
            name, pretrained=released, num_classes=0, dynamic_img_size=True, **keywords
        )
    except TypeError as error:
        raise _not_plain(name) from error
    if not hasattr(encoder, "forward_intermediates") or not hasattr(encoder, "blocks"):
        raise _not_plain(name)
    _patch_size(encoder, name)
    return encoder


def _patch_size(encoder: Any, name: str) -> int:
    sizes = {(entry["reduction"], entry["num_chs"]) for entry in encoder.feature_info}
    if len(sizes) != 1:
        raise _not_plain(name)
    return int(sizes.pop()[0])


def _not_plain(name: str) -> RecipeError:
    return RecipeError(
        f"segmenter.encoder: {name} is not a plain vision transformer for images of any size, as {VIT_LIGHT} "
        f"needs; choose one (vit_small_patch14_dinov2.lvd142m), or another arch with the encoder tu-{name}."
    )
