"""DeepLab-V2 as FADA uses it (Wang et al., ECCV 2020, arXiv 2007.09222; layout of the official code).

A feature extractor at 1/8 of the image (ResNet-101 with dilated last stages, or VGG-16 in the "LargeFOV"
form) and a classifier of four parallel atrous convolutions whose outputs are summed. State-dict keys are
those of the official checkpoints.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet101

from stylebridge.errors import WeightsError
from stylebridge.layers.norm import FrozenBatchNorm2d
from stylebridge.networks.pretrained import misfit, strip_prefix

#: eps of trainable batch normalisation; frozen models were trained without (0).
TRAINABLE_EPS = 1e-5
ATROUS_RATES = (6, 12, 18, 24)
#: torchvision's VGG-16 index → ours: removing pool4 shifts conv5_x down by one.
VGG_INDEX = {i: i for i in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21)} | {24: 23, 26: 25, 28: 27}


class ResNet101Features(nn.Module):
    """ResNet-101 with output stride 8: the strides of layer3 and layer4 are replaced by dilation 2 and 4.

    The first block of layer3 keeps dilation 1 and that of layer4 dilation 2, as in the official code.

    Args:
        freeze_batch_norm: constant batch normalisation (:class:`FrozenBatchNorm2d`), as in FADA.
        eps: of the frozen normalisation.
    """

    out_channels = 2048

    def __init__(self, freeze_batch_norm: bool = True, eps: float = 0.0) -> None:
        super().__init__()
        norm = partial(FrozenBatchNorm2d, eps=eps) if freeze_batch_norm else nn.BatchNorm2d
        self.backbone = resnet101(
            weights=None, replace_stride_with_dilation=[False, True, True], norm_layer=norm
        )
        del self.backbone.fc, self.backbone.avgpool

    def forward(self, image: Tensor) -> Tensor:
        """Normalised RGB [B, 3, H, W] to layer4's output [B, 2048, ⌈H/8⌉, ⌈W/8⌉]."""
        net = self.backbone
        x = net.maxpool(net.relu(net.bn1(net.conv1(image))))
        return net.layer4(net.layer3(net.layer2(net.layer1(x))))


def _vgg16_layers() -> list[nn.Module]:
    layers: list[nn.Module] = []
    channels = 3
    # The last number of a stage is the dilation; pool4 and pool5 are omitted, so the stride stays 8.
    stages = [((64, 64), 1), ((128, 128), 1), ((256,) * 3, 1), ((512,) * 3, 1), ((512,) * 3, 2)]
    for index, (widths, dilation) in enumerate(stages):
        for width in widths:
            conv = nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation)
            layers += [conv, nn.ReLU(inplace=True)]
            channels = width
        if index < 3:
            layers.append(nn.MaxPool2d(2, 2))
    for _ in ("fc6", "fc7"):
        layers += [nn.Conv2d(channels, 1024, 3, padding=4, dilation=4), nn.ReLU(inplace=True)]
        channels = 1024
    return layers


class VGG16Features(nn.Module):
    """VGG-16 without batch normalisation in the DeepLab-LargeFOV form: fc6, fc7 are atrous convolutions."""

    out_channels = 1024

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(*_vgg16_layers())

    def forward(self, image: Tensor) -> Tensor:
        """Normalised BGR [B, 3, H, W] to [B, 1024, ⌊H/8⌋, ⌊W/8⌋]."""
        return self.backbone(image)

    def load_imagenet(self, state: Mapping[str, Tensor]) -> None:
        """Load conv1_1 … conv5_3 from a VGG-16 classifier with torchvision's keys; fc6, fc7 are unchanged.

        Raises :class:`WeightsError` if one of the 26 tensors is missing or has another shape.
        """
        own = {k: v for k, v in self.state_dict().items() if int(k.split(".")[1]) <= max(VGG_INDEX.values())}
        renamed = {
            f"backbone.{ours}.{part}": state[f"features.{theirs}.{part}"]
            for theirs, ours in VGG_INDEX.items()
            for part in ("weight", "bias")
            if f"features.{theirs}.{part}" in state
        }
        wrong = [key for key, value in own.items() if key not in renamed or renamed[key].shape != value.shape]
        if wrong:
            raise WeightsError(
                f"The file does not contain VGG-16's convolutions ({wrong[0]} is missing or has another shape); "
                "give a VGG-16 file with torchvision's keys (features.0.weight …)."
            )
        self.load_state_dict(renamed, strict=False)


class AtrousClassifier(nn.Module):
    """Four parallel 3×3 convolutions with dilation 6, 12, 18, 24, summed (DeepLab-V2's head, no softmax).

    Initial weights from N(0, 0.01), biases with PyTorch's default.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        convs = [nn.Conv2d(in_channels, num_classes, 3, padding=r, dilation=r) for r in ATROUS_RATES]
        for conv in convs:
            nn.init.normal_(conv.weight, 0.0, 0.01)
        self.conv2d_list = nn.ModuleList(convs)

    def forward(self, features: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """[B, C, h, w] to logits [B, K, h, w], or [B, K, *size] (bilinear, aligned corners)."""
        first, *others = self.conv2d_list
        logits = first(features)
        for conv in others:
            logits = logits + conv(features)
        return logits if size is None else upsample(logits, size)


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, C, h, w] to [B, C, *size], bilinear with ``align_corners=True`` (False would shift every map)."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=True)


def set_batch_norm_eps(module: nn.Module, eps: float) -> None:
    """Set eps of every :class:`FrozenBatchNorm2d` in ``module``."""
    for layer in module.modules():
        if isinstance(layer, FrozenBatchNorm2d):
            layer.eps = eps


@torch.no_grad()
def load_fada_state(module: nn.Module, state: Mapping[str, Any]) -> None:
    """Load one part of an official FADA checkpoint (``feature_extractor``, ``classifier`` or ``model_D``).

    A ``module.`` prefix is dropped. A ResNet's dict has 520 entries if trained with frozen batch normalisation (no eps)
    and 624 if it was trainable (eps 1e-5): frozen layers of ``module`` take the matching eps, since outputs differ
    where a variance is small; ``num_batches_tracked`` is dropped if ``module`` has none.

    Raises:
        WeightsError: keys are missing or surplus, or a shape differs; names them.
    """
    state = strip_prefix(state)
    problem = misfit(module, state)
    if problem is not None:
        raise WeightsError(
            f"The checkpoint does not fit {type(module).__name__} ({problem}); "
            "check its backbone and its number of classes."
        )
    counters = any(key.endswith("num_batches_tracked") for key in state)
    set_batch_norm_eps(module, TRAINABLE_EPS if counters else 0.0)
    own = module.state_dict()
    module.load_state_dict({key: value for key, value in state.items() if key in own}, strict=False)
