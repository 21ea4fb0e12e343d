"""Segmenters of transformers: any model of ``AutoModelForSemanticSegmentation``.

Does not import transformers; :mod:`stylebridge.networks.segmenters.hf_loading` does, to read or build a model.
"""

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.errors import RecipeError
from stylebridge.networks.pretrained import Normalisation
from stylebridge.networks.segmenters import hf_loading
from stylebridge.networks.segmenters.base import Segmenter, logits_on_image, pad_to, round_up
from stylebridge.networks.segmenters.config import HF_PREFIX, SegmenterConfig
from stylebridge.networks.segmenters.folder import Saved, write_json

#: Models that only accept square images (their tokens form a square): images are resized.
SQUARE_MODELS = ("dpt", "data2vec-vision")
#: Models that upsample their output to the input without aligned corners.
ENLARGING_MODELS = ("upernet",)


class _Tap(nn.Module):
    """Replaces the classifier during one pass and stores its input. One channel is passed on, so that what the model
    does after its classifier (it may upsample to the image's size) costs almost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: Tensor | None = None

    def forward(self, features: Tensor) -> Tensor:
        self.taken = features
        return features[:, :1]


class TransformersSegmenter(Segmenter):
    """A transformers model for semantic segmentation, for images of any size.

    Images are padded at the bottom and right to a multiple of ``stride``, or resized to ``fixed_size`` (height, width)
    if the model accepts no other. Features are the input of the model's last convolution, the classifier. Logits are
    the model's, upsampled with aligned corners to the padded image, and cropped.

    Args:
        model: with K labels, without auxiliary head.

    Raises:
        RecipeError: the model's classifier or encoder cannot be identified.
    """

    archs = (f"{HF_PREFIX}ORG/NAME",)

    def __init__(self, model: Any, config: SegmenterConfig, normalisation: Normalisation) -> None:
        super().__init__(config, int(model.config.num_labels), normalisation)
        self.model: Any = model
        conv_path, self.classifier_path = find_classifier(model, config.arch)
        self.feature_channels = int(model.get_submodule(conv_path).in_channels)
        self.encoder_path = _find_encoder(model, self.classifier_path, config.arch)
        self.fixed_size = _fixed_size(model.config)
        self.stride = _stride(model.config)
        self.smallest = 2 * self.stride  # the coarsest map of some models needs more than one cell
        self.hold_encoder()

    @classmethod
    def accepts(cls, config: SegmenterConfig) -> bool:
        return config.is_transformers

    @classmethod
    def build(cls, config: SegmenterConfig, num_classes: int) -> Self:
        """As for every family; also raises RecipeError if transformers is not installed.

        ``weights: imagenet`` are the repository's weights. Missing parts (always the classifier, unless it also has K
        classes; the whole head for weights of an image classifier) start with random weights and are logged.
        """
        source = hf_loading.find_source(config)
        with hf_loading.reading(source):
            model, normalisation = hf_loading.starting_model(source, config, num_classes)
            return cls(model, config, normalisation)

    @classmethod
    def read(cls, folder: Path, saved: Saved) -> Self:
        return cls(hf_loading.saved_model(folder), saved.config, saved.normalisation)

    def write(self, folder: Path, facts: Mapping[str, Any]) -> None:
        space = facts["extra"].get("label_space")
        self.name_classes(space.get("classes", ()) if isinstance(space, Mapping) else ())
        with hf_loading.quietly():
            self.model.save_pretrained(folder)
        if self.normalisation.bgr:  # no generic image processor of transformers swaps channels
            return
        size = self.fixed_size
        processor = {
            "image_processor_type": "SegformerImageProcessor",
            "do_resize": size is not None,
            "size": None if size is None else {"height": size[0], "width": size[1]},
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(self.normalisation.mean),
            "image_std": list(self.normalisation.std),
        }
        write_json({k: v for k, v in processor.items() if v is not None}, folder / hf_loading.PROCESSOR)

    def facts(self, extra: dict[str, Any]) -> dict[str, Any]:
        facts = super().facts(extra)
        if self.fixed_size is not None:
            facts |= {"multiple_of": 1, "at_least": 1, "resize_to": list(self.fixed_size)}
        return facts

    def canvas(self, size: tuple[int, int]) -> tuple[int, int]:
        return size if self.fixed_size else round_up(size, self.stride, self.smallest)

    def features(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        image = self.normalise(image)
        if self.fixed_size is None:
            image = pad_to(image, self.canvas((height, width)))
        elif self.fixed_size != (height, width):
            image = F.interpolate(
                image, size=self.fixed_size, mode="bilinear", align_corners=False, antialias=True
            )
        tap, classifier = _Tap(), self.model.get_submodule(self.classifier_path)
        try:
            _put(self.model, self.classifier_path, tap)
            self.model(pixel_values=image)
        finally:
            _put(self.model, self.classifier_path, classifier)
        assert tap.taken is not None
        return tap.taken

    def classify(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        canvas = self.canvas(size)
        logits = self.model.get_submodule(self.classifier_path)(features)
        for layer in _layers_behind(self.model, self.classifier_path):
            logits = layer(logits)
        if self.model.config.model_type in ENLARGING_MODELS:
            height, width = logits.shape[-2:]
            if height * canvas[1] == width * canvas[0]:
                logits = F.interpolate(logits, size=canvas, mode="bilinear", align_corners=False)
        if self.fixed_size is not None:
            return F.interpolate(logits, size=size, mode="bilinear", align_corners=True)
        return logits_on_image(logits, canvas, size)

    def encoder_module(self) -> nn.Module:
        return self.model.get_submodule(self.encoder_path)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return self.groups_by_encoder()

    def name_classes(self, names: Iterable[str]) -> None:
        """Write the class names into the model's configuration, if there are K of them."""
        named = {index: str(name) for index, name in enumerate(names)}
        if len(named) == self.num_classes:
            self.model.config.id2label = named
            self.model.config.label2id = {name: index for index, name in named.items()}


def find_classifier(model: Any, arch: str) -> tuple[str, str]:
    """Paths of the convolution whose outputs are the classes, and of the largest module without other weights.

    It is the one that depends on the number of labels: the model is built on the meta device with one more.

    Raises RecipeError unless exactly one convolution does.
    """
    config = copy.deepcopy(model.config)
    config.num_labels = model.config.num_labels + 1
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        wider = {name: value.shape for name, value in type(model)(config).named_parameters()}
    grown = [name for name, value in model.named_parameters() if wider[name] != value.shape]
    paths = {name.rpartition(".")[0] for name in grown if not name.startswith("auxiliary")}
    if len(paths) != 1 or not isinstance(model.get_submodule(next(iter(paths))), nn.Conv2d):
        raise RecipeError(
            f"segmenter.arch: {arch} ({type(model).__name__}) does not end in one convolution that classifies pixels; "
            "choose a model like SegFormer, UperNet, DPT or BEiT."
        )
    conv = path = paths.pop()
    count = len(list(model.get_submodule(path).parameters()))
    while len(list(model.get_submodule(path.rpartition(".")[0]).parameters())) == count:
        path = path.rpartition(".")[0]
    return conv, path


def _find_encoder(model: Any, classifier_path: str, arch: str) -> str:
    for path in (model.base_model_prefix, "backbone", "encoder", "model"):
        module = getattr(model, path, None) if path else None
        if isinstance(module, nn.Module) and not classifier_path.startswith(f"{path}."):
            return path
    raise RecipeError(
        f"segmenter.arch: the encoder of {arch} ({type(model).__name__}) cannot be separated from its head; choose a "
        "model like SegFormer, UperNet, DPT or BEiT."
    )


def _fixed_size(config: Any) -> tuple[int, int] | None:
    if config.model_type not in SQUARE_MODELS:
        return None
    size = getattr(config, "image_size", None) or getattr(config.backbone_config, "image_size", 384)
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _stride(config: Any) -> int:
    """The stride for all pyramids of these models: 32, or two patches if 32 is not a multiple of the patch."""
    patch = getattr(config, "patch_size", None) or getattr(
        getattr(config, "backbone_config", None), "patch_size", 1
    )
    patch = max(patch) if isinstance(patch, list | tuple) else int(patch or 1)
    return 32 if 32 % patch == 0 else 2 * patch


def _put(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    model.get_submodule(parent)._modules[name] = module


def _layers_behind(model: nn.Module, path: str) -> list[nn.Module]:
    parent, _, name = path.rpartition(".")
    siblings = model.get_submodule(parent)
    return list(siblings)[int(name) + 1 :] if isinstance(siblings, nn.Sequential) else []
