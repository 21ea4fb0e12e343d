"""The segmenter, the model that is adapted: the base of all families of architectures."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.networks.pretrained import Normalisation
from stylebridge.networks.segmenters.config import SegmenterConfig
from stylebridge.networks.segmenters.folder import Saved, write_folder


class Segmenter(nn.Module, ABC):
    """A segmentation network in two parts: features, and the classifier on them.

    Attributes:
        config: its settings.
        num_classes: K.
        feature_channels: C of :meth:`features`.
        stride, smallest: images are padded to multiples of ``stride``, and to sides of at least ``smallest``.
        extra: JSON-serialisable facts saved with a segmenter (such as the label space).
    """

    #: The values of ``segmenter.arch`` for this family.
    archs: ClassVar[tuple[str, ...]] = ()
    feature_channels: int
    stride: int = 1
    smallest: int = 1
    mean: Tensor
    std: Tensor

    def __init__(self, config: SegmenterConfig, num_classes: int, normalisation: Normalisation) -> None:
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        self.normalisation = normalisation
        self.extra: dict[str, Any] = {}
        # Not persistent: the state dict has what is learned, stylebridge.json has these.
        self.register_buffer("mean", torch.tensor(normalisation.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(normalisation.std).view(1, -1, 1, 1), persistent=False)

    @classmethod
    def accepts(cls, config: SegmenterConfig) -> bool:
        """Whether ``config.arch`` belongs to this family."""
        return config.arch in cls.archs

    @classmethod
    def build(cls, config: SegmenterConfig, num_classes: int) -> Self:
        """:func:`stylebridge.networks.segmenters.build.build_segmenter` for this family."""
        raise TypeError(f"{cls.__name__} is not built from a recipe")

    @classmethod
    def read(cls, folder: Path, saved: Saved) -> Self:
        """Read the files of :meth:`write`, offline.

        Raises:
            WeightsError: a file is missing, is damaged, or does not fit.
        """
        raise TypeError(f"{cls.__name__} has no folder form")

    def normalise(self, image: Tensor) -> Tensor:
        """RGB [B, 3, H, W] in [0, 1], normalised as in pretraining."""
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
        """All parameters, as ``encoder`` (pretrained) and ``head`` (new), for two learning rates."""

    def canvas(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (H, W) that features of an image of ``size`` cover: the size itself, or padded at the bottom and right.

        To resize a map on the features' grid (a discriminator's output) to the image, resize it to the canvas and crop
        the upper left ``size``.
        """
        return size

    def encoder_module(self) -> nn.Module | None:
        """The pretrained part, to which ``freeze_encoder`` and ``freeze_batch_norm`` apply."""
        return None

    def groups_by_encoder(self) -> dict[str, list[nn.Parameter]]:
        """:meth:`parameter_groups` of a network whose encoder is :meth:`encoder_module`."""
        module = self.encoder_module()
        encoder = [] if module is None else list(module.parameters())
        ours = {id(parameter) for parameter in encoder}
        return {"encoder": encoder, "head": [p for p in self.parameters() if id(p) not in ours]}

    def hold_encoder(self) -> None:
        """Exclude a frozen encoder's weights from training; called after the network is built."""
        encoder = self.encoder_module()
        if encoder is not None and self.config.freeze_encoder:
            encoder.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Training or evaluation mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        encoder = self.encoder_module()
        if encoder is not None and self.config.freeze_encoder:
            encoder.eval()
        elif encoder is not None and self.config.batch_norm_frozen:
            for layer in encoder.modules():
                if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                    layer.eval()
        return self

    def forward(self, image: Tensor) -> Tensor:
        """RGB [B, 3, H, W] in [0, 1] to logits [B, K, H, W]."""
        height, width = image.shape[-2:]
        return self.classify(self.features(image), (height, width))

    def logits_at(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits [B, K, *size] of images [B, 3, H, W] in [0, 1], resized from the image's size to ``size`` (H, W)."""
        return resize_logits(self(image), size)

    def save_pretrained(self, folder: str | Path, extra: Mapping[str, Any] | None = None) -> None:
        """Write a folder for :func:`~stylebridge.networks.segmenters.build.load_segmenter`.

        A new folder is written atomically; in an existing one, each file is. For its contents see
        :mod:`stylebridge.networks.segmenters.folder`.

        Args:
            extra: JSON-serialisable facts to save (default: the segmenter's ``extra``).

        Raises:
            WeightsError: ``folder`` is a file, or cannot be written.
        """
        facts = self.facts(dict(self.extra if extra is None else extra))
        write_folder(Path(folder), facts, lambda written: self.write(written, facts))

    def write(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """Write the network's files into the existing ``folder``.

        Args:
            facts: the contents of ``stylebridge.json``.
        """
        raise TypeError(f"{type(self).__name__} has no folder form")

    def facts(self, extra: dict[str, Any]) -> dict[str, Any]:
        """The contents of ``stylebridge.json``, with ``extra`` under a separate key."""
        config, normalisation = self.config, self.normalisation
        return {
            "format": 1,
            "arch": config.arch,
            "encoder": config.encoder,
            "num_classes": self.num_classes,
            "mean": list(normalisation.mean),
            "std": list(normalisation.std),
            "channels": "BGR" if normalisation.bgr else "RGB",
            "multiple_of": self.stride,
            "at_least": self.smallest,
            "resize_to": None,
            "freeze_batch_norm": config.batch_norm_frozen,
            "freeze_encoder": config.freeze_encoder,
            "options": config.options,
            "extra": extra,
        }


def resize_logits(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, K, H, W] to [B, K, *size] in float32, bilinear with aligned corners; unchanged if it has this size."""
    if logits.shape[-2:] == size:
        return logits
    return F.interpolate(logits.float(), size=size, mode="bilinear", align_corners=True)


def round_up(size: tuple[int, int], stride: int, smallest: int = 0) -> tuple[int, int]:
    """(H, W) rounded up to multiples of ``stride``, with sides of at least ``smallest``."""
    height, width = (max(-(-side // stride) * stride, smallest) for side in size)
    return height, width


def pad_to(image: Tensor, canvas: tuple[int, int]) -> Tensor:
    """Pad [B, C, H, W] at the bottom and right to [B, C, *canvas]: by reflection, or by replication if the image is too
    small."""
    height, width = image.shape[-2:]
    down, right = canvas[0] - height, canvas[1] - width
    if not down and not right:
        return image
    mode = "reflect" if down < height and right < width else "replicate"
    return F.pad(image, (0, right, 0, down), mode=mode)


def logits_on_image(logits: Tensor, canvas: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Logits [B, K, h, w] that cover ``canvas`` to [B, K, *size]: bilinear with aligned corners, then cropped.

    Raises ValueError if their grid has another aspect ratio than the canvas.
    """
    height, width = logits.shape[-2:]
    if height * canvas[1] != width * canvas[0]:
        raise ValueError(
            f"features of {tuple(logits.shape[-2:])} do not belong to images of size {tuple(size)}"
        )
    if (height, width) != canvas:
        logits = F.interpolate(logits, size=canvas, mode="bilinear", align_corners=True)
    return logits[..., : size[0], : size[1]]
