"""Perceptual distances of pairs of images: LPIPS, or one on EfficientNet-Lite0 if its weights are missing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Literal

import timm
import torch
from torch import Tensor, nn

from stylebridge.errors import DataError, RecipeError, WeightsError
from stylebridge.metrics.perceptual import stage_distance
from stylebridge.networks.image_features import LITE0, hub_weights, lite0_weights
from stylebridge.networks.pretrained import misfit_of_part, read_weights

ALEXNET_URL = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
#: Shortest side in pixels for which the last stage has a pixel.
SMALLEST = 32


class PerceptualDistance(nn.Module, ABC):
    """A frozen distance of pairs of images, identified by ``name`` and ``title``."""

    name: str
    title: str

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Distances [B] of images [B, 3, H, W] in [0, 1]; symmetric, and 0 for equal images.

        Raises:
            DataError: the shapes differ, or a side is below 32 pixels.
        """
        if first.shape != second.shape or first.dim() != 4 or first.shape[1] != 3:
            raise DataError(
                f"Images of {list(first.shape)} and {list(second.shape)} cannot be compared: give both the same shape "
                f"[B, 3, H, W]."
            )
        height, width = first.shape[-2:]
        if min(height, width) < SMALLEST:
            raise DataError(
                f"Images of {width}×{height} are too small for {self.name}: give sides of at least {SMALLEST} pixels."
            )
        return self.distance(first, second)

    @abstractmethod
    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """:meth:`forward` for checked images."""


class Lpips(PerceptualDistance):
    """LPIPS 0.1 on AlexNet (Zhang et al., CVPR 2018) as in torchmetrics, with its linear weights.

    Args:
        alexnet: torchvision's ImageNet weights of AlexNet; without its classifier.

    Raises:
        WeightsError: torchmetrics is not installed, or the weights do not fit; ``source`` identifies them in the
        message.
    """

    name = "LPIPS"
    title = "LPIPS 0.1 on AlexNet, images at their own size"

    def __init__(self, alexnet: dict[str, Tensor], source: str = "the given file") -> None:
        super().__init__()
        try:
            from torchmetrics.functional.image.lpips import _LPIPS
        except ImportError as error:
            raise WeightsError(
                "LPIPS needs the package torchmetrics, which is not installed: pip install torchmetrics, or "
                "choose PD-lite0."
            ) from error
        self.network = _LPIPS(pretrained=True, net="alex", pnet_rand=True, use_dropout=True)
        # Slices number their layers like torchvision's `features`, each below its slice.
        own = {f"features.{key.split('.', 1)[1]}": key for key in self.network.net.state_dict()}
        given = {own[key]: value for key, value in alexnet.items() if key in own}
        problem = misfit_of_part(self.network.net, given)
        if problem is not None:
            raise WeightsError(
                f"{source} does not contain AlexNet's weights ({problem}): give {ALEXNET_URL.rsplit('/', 1)[1]}."
            )
        self.network.net.load_state_dict(given)
        self.requires_grad_(False).eval()

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        return self.network(first, second, normalize=True).flatten()


class Lite0Distance(PerceptualDistance):
    """:func:`~stylebridge.metrics.perceptual.stage_distance` of the outputs of five stages of EfficientNet-Lite0, at
    strides 2, 4, 8, 16 and 32 (channels 16, 24, 40, 112, 320): 0 to 20. Not comparable with LPIPS.

    Args:
        state: weights with timm's keys; None: those of the installed package.
    """

    name = "PD-lite0"
    title = "unit-normalised features of five stages of EfficientNet-Lite0 (ImageNet), unweighted, images at own size"

    def __init__(self, state: dict[str, Tensor] | None = None) -> None:
        super().__init__()
        self.network = timm.create_model(LITE0, pretrained=False, features_only=True)
        state = lite0_weights() if state is None else state
        own = self.network.state_dict()
        self.network.load_state_dict({key: state[key] for key in own})
        self.requires_grad_(False).eval()

    def stages(self, image: Tensor) -> list[Tensor]:
        """Features of images [B, 3, H, W] in [0, 1]: [B, C, h, w] for each stage."""
        return self.network(image * 2 - 1)

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        both = self.stages(torch.cat((first, second)))
        return stage_distance(*zip(*(stage.chunk(2) for stage in both), strict=True))  # type: ignore[arg-type]


def open_perceptual(
    kind: Literal["auto", "lpips", "lite0"] = "auto", weights: str | Path | None = None
) -> tuple[PerceptualDistance, str | None]:
    """Open a perceptual distance.

    Args:
        kind: ``lpips``, ``lite0``, or ``auto``: LPIPS if available, else PD-lite0.
        weights: a file with torchvision's AlexNet weights; None: torch.hub's cache or download.

    Returns:
        The distance, and with ``auto`` a sentence on why it is not LPIPS, else None.

    Raises:
        WeightsError: a weights file cannot be read or is for another network; ``lpips`` without weights or package.
        RecipeError: the kind is unknown.
    """
    if kind not in ("auto", "lpips", "lite0"):
        raise RecipeError(f"distance is {kind!r}: choose auto, lpips or lite0.")
    if kind == "lite0":
        return Lite0Distance(), None
    if weights is not None:
        return Lpips(_read(Path(weights)), str(weights)), None
    try:
        return Lpips(hub_weights(ALEXNET_URL, "AlexNet weights of LPIPS"), ALEXNET_URL), None
    except WeightsError as error:
        if kind == "lpips":
            raise
        reason = str(error).partition(": give")[0].partition(": pip")[0]
        return Lite0Distance(), (
            f"{reason}, so pairs are compared by PD-lite0, which is not comparable with LPIPS."
        )


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return read_weights(path)
    except WeightsError as error:
        raise WeightsError(
            f"{path} cannot be read as a file of plain tensors: give {ALEXNET_URL.rsplit('/', 1)[1]}."
        ) from error
