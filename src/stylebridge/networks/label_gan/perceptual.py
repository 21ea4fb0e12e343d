"""The perceptual loss of image synthesis: on VGG-19, or on EfficientNet-Lite0 under another name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from stylebridge.errors import RecipeError, WeightsError
from stylebridge.losses.synthesis import perceptual_distance
from stylebridge.networks.image_features import hub_weights
from stylebridge.networks.perceptual import Lite0Distance
from stylebridge.networks.pretrained import misfit_of_part, read_weights

Kind = Literal["auto", "vgg19", "lite0", "none"]
VGG19_URL = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
#: Channels of VGG-19's 3×3 convolutions up to relu5_1; 0 is a max-pooling.
_VGG19 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512)


class PerceptualLoss(nn.Module, ABC):
    """A frozen loss of pairs of images. ``name`` identifies it in logs and reports."""

    name: str

    @abstractmethod
    def features(self, image: Tensor) -> list[Tensor]:
        """The features [B, C, h, w] of five layers for images [B, 3, H, W] in [0, 1], the shallowest first."""

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """The scalar :func:`~stylebridge.losses.synthesis.perceptual_distance` of images [B, 3, H, W] in [0, 1];
        ``real`` takes no gradient."""
        with torch.no_grad():
            wanted = self.features(real)
        return perceptual_distance(self.features(fake), wanted)

    def train(self, mode: bool = True) -> PerceptualLoss:
        """Always evaluation mode: its normalisations never change."""
        return super().train(False)


class VGG19Loss(PerceptualLoss):
    """relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 of VGG-19, weighted 1/32, 1/16, 1/8, 1/4 and 1.

    Its input are images in [−1, 1], as in pix2pixHD and its successors, not normalised by ImageNet's mean.

    Args:
        state: torchvision's weights of ``vgg19``; only ``features.0`` to ``features.28`` are needed.

    Raises:
        WeightsError: they do not fit; ``source`` identifies them in the message.
    """

    name = "vgg19_perceptual"

    def __init__(self, state: dict[str, Tensor], source: str = "the given file") -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for channels in _VGG19:
            if channels:
                layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU()]
                inputs = channels
            else:
                layers.append(nn.MaxPool2d(2))
        self.vgg = nn.ModuleDict({"features": nn.Sequential(*layers)})
        problem = misfit_of_part(self.vgg, state)
        if problem is not None:
            raise WeightsError(
                f"{source} does not contain VGG-19's weights ({problem}): give {VGG19_URL.rsplit('/', 1)[1]}."
            )
        self.vgg.load_state_dict({key: state[key] for key in self.vgg.state_dict()})
        self.requires_grad_(False).eval()

    def features(self, image: Tensor) -> list[Tensor]:
        """The activations at strides 1, 2, 4, 8 and 16."""
        x, found, first = image * 2 - 1, [], True
        layers = self.vgg["features"]
        assert isinstance(layers, nn.Sequential)
        for layer in layers:
            x = layer(x)
            if isinstance(layer, nn.ReLU) and first:
                found.append(x)
                first = False
            first = first or isinstance(layer, nn.MaxPool2d)
        return found


class Lite0Loss(PerceptualLoss):
    """Outputs of five stages of EfficientNet-Lite0 (strides 2, 4, 8, 16, 32) instead of VGG-19's layers, with the same
    weights. Not published; its values are not comparable with VGG-19's.

    Args:
        state: weights with timm's keys; None: those of the installed package.

    Raises:
        WeightsError: the package is not installed.
    """

    name = "lite0_perceptual"

    def __init__(self, state: dict[str, Tensor] | None = None) -> None:
        super().__init__()
        self.network = Lite0Distance(state)
        self.requires_grad_(False).eval()

    def features(self, image: Tensor) -> list[Tensor]:
        """The stages' outputs."""
        return self.network.stages(image)


def open_perceptual_loss(
    kind: Kind = "auto", weights: str | Path | None = None
) -> tuple[PerceptualLoss | None, str | None]:
    """Open a perceptual loss for training.

    Args:
        kind: ``vgg19``; ``lite0``; ``none``: off; or ``auto``: VGG-19 if its weights are available, else Lite0 if its
            package is installed, else off.
        weights: a file with torchvision's weights of VGG-19; None: torch.hub's cache or download.

    Returns:
        The loss, or None if off; and with ``auto`` a sentence on why it is not VGG-19, else None.

    Raises:
        WeightsError: a weights file cannot be read or is for another network; or the weights of ``kind`` are missing.
        RecipeError: the kind is unknown, or weights are given for a kind without weights.
    """
    if kind not in ("auto", "vgg19", "lite0", "none"):
        raise RecipeError(f"perceptual is {kind!r}: choose auto, vgg19, lite0 or none.")
    if weights is not None:
        if kind in ("lite0", "none"):
            raise RecipeError(
                f"Weights of VGG-19 ({weights}) are given, but perceptual is {kind!r}: choose vgg19."
            )
        return VGG19Loss(_read(Path(weights)), str(weights)), None
    if kind in ("lite0", "none"):
        return (Lite0Loss() if kind == "lite0" else None), None
    try:
        return VGG19Loss(hub_weights(VGG19_URL, "ImageNet weights of VGG-19"), VGG19_URL), None
    except WeightsError as error:
        reason = str(error).partition(": give")[0]
        if kind == "vgg19":
            raise WeightsError(
                f"{reason}: give the file {VGG19_URL.rsplit('/', 1)[1]} as perceptual_weights, or choose perceptual "
                f"lite0 or none."
            ) from error
    try:
        return Lite0Loss(), f"{reason}, so {Lite0Loss.name} replaces {VGG19Loss.name}."
    except WeightsError:
        return (
            None,
            f"{reason}, and EfficientNet-Lite0's package is not installed, so there is no perceptual loss.",
        )


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return read_weights(path)
    except WeightsError as error:
        raise WeightsError(
            f"{path} cannot be read as a file of plain tensors: give {VGG19_URL.rsplit('/', 1)[1]}."
        ) from error
