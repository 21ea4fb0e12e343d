"""FADA's released files with random values, and what the published test program makes of them, in functions.

VGG-16 or ResNet-101 at an eighth of the image, four convolutions summed, one resize to the label's size. Nothing of the
package is used.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]
#: conv1_1 … conv5_3: index in the backbone, channels in and out, dilation; pools follow 2, 7 and 14.
VGG = [(0, 3, 64, 1), (2, 64, 64, 1), (5, 64, 128, 1), (7, 128, 128, 1), (10, 128, 256, 1), (12, 256, 256, 1),
       (14, 256, 256, 1), (17, 256, 512, 1), (19, 512, 512, 1), (21, 512, 512, 1), (23, 512, 512, 2),
       (25, 512, 512, 2), (27, 512, 512, 2), (29, 512, 1024, 4), (31, 1024, 1024, 4)]  # fmt: skip
POOLED = (2, 7, 14)
#: Blocks of each layer, the middle width, the stride and the dilations of the first block and of the others.
LAYERS = {1: (3, 64, 1, 1, 1), 2: (4, 128, 2, 1, 1), 3: (23, 256, 1, 1, 2), 4: (3, 512, 1, 2, 4)}


def _conv(g: torch.Generator, out: int, into: int, kernel: int) -> Tensor:
    return torch.randn(out, into, kernel, kernel, generator=g) * (2 / (into * kernel**2)) ** 0.5


def classifier_state(channels: int, classes: int, g: torch.Generator) -> State:
    state = {f"conv2d_list.{i}.weight": _conv(g, classes, channels, 3) for i in range(4)}
    return state | {f"conv2d_list.{i}.bias": 0.3 * torch.randn(classes, generator=g) for i in range(4)}


def vgg_state(g: torch.Generator) -> State:
    state: State = {}
    for index, into, out, _ in VGG:
        state[f"backbone.{index}.weight"] = _conv(g, out, into, 3)
        state[f"backbone.{index}.bias"] = 0.1 * torch.randn(out, generator=g)
    return state


def resnet_state(g: torch.Generator) -> State:
    """With frozen batch norm: four buffers a norm, no counter."""
    state: State = {}

    def norm(name: str, size: int, gain: float = 1.0) -> None:
        state[f"{name}.weight"] = gain * (0.8 + 0.4 * torch.rand(size, generator=g))
        state[f"{name}.bias"] = 0.2 * torch.randn(size, generator=g)
        state[f"{name}.running_mean"] = 0.2 * torch.randn(size, generator=g)
        state[f"{name}.running_var"] = 0.5 + torch.rand(size, generator=g)

    state["backbone.conv1.weight"] = _conv(g, 64, 3, 7)
    norm("backbone.bn1", 64)
    into = 64
    for layer, (blocks, width, *_) in LAYERS.items():
        for block in range(blocks):
            name = f"backbone.layer{layer}.{block}"
            sizes = ((width, into, 1), (width, width, 3), (4 * width, width, 1))
            for i, (out, channels, kernel) in enumerate(sizes, start=1):
                state[f"{name}.conv{i}.weight"] = _conv(g, out, channels, kernel)
                norm(f"{name}.bn{i}", out, 0.4 if i == 3 else 1.0)  # else a hundred layers grow without bound
            if block == 0:
                state[f"{name}.downsample.0.weight"] = _conv(g, 4 * width, into, 1)
                norm(f"{name}.downsample.1", 4 * width)
            into = 4 * width
    return state


def vgg_features(state: State, x: Tensor) -> Tensor:
    for index, _, _, dilation in VGG:
        weight, bias = state[f"backbone.{index}.weight"], state[f"backbone.{index}.bias"]
        x = F.conv2d(x, weight, bias, padding=dilation, dilation=dilation).relu()
        x = F.max_pool2d(x, 2, 2) if index in POOLED else x
    return x


def resnet_features(state: State, x: Tensor) -> Tensor:
    def norm(name: str, x: Tensor) -> Tensor:
        scale = state[f"{name}.weight"] * state[f"{name}.running_var"].rsqrt()  # no eps
        shift = state[f"{name}.bias"] - state[f"{name}.running_mean"] * scale
        return x * scale[:, None, None] + shift[:, None, None]

    x = norm("backbone.bn1", F.conv2d(x, state["backbone.conv1.weight"], stride=2, padding=3)).relu()
    x = F.max_pool2d(x, 3, 2, 1)
    for layer, (blocks, _, stride, first, others) in LAYERS.items():
        for block in range(blocks):
            name, dilation = f"backbone.layer{layer}.{block}", others if block else first
            step = 1 if block else stride
            y = norm(f"{name}.bn1", F.conv2d(x, state[f"{name}.conv1.weight"])).relu()
            y = F.conv2d(y, state[f"{name}.conv2.weight"], stride=step, padding=dilation, dilation=dilation)
            y = norm(f"{name}.bn2", y).relu()
            y = norm(f"{name}.bn3", F.conv2d(y, state[f"{name}.conv3.weight"]))
            if block == 0:
                x = norm(
                    f"{name}.downsample.1", F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=step)
                )
            x = (x + y).relu()
    return x


def logits(features: State, classifier: State, image: np.ndarray, size: tuple[int, int]) -> Tensor:
    """[K, H, W] at the image's own size, from the image resized to ``size`` (width, height)."""
    small = np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    x = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255
    if "backbone.0.weight" in features:
        x = x[:, [2, 1, 0]] * 255 - torch.tensor([103.939, 116.779, 123.68])[:, None, None]
        x = vgg_features(features, x)
    else:
        x = (x - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
            :, None, None
        ]
        x = resnet_features(features, x)
    parts = [
        F.conv2d(
            x,
            classifier[f"conv2d_list.{i}.weight"],
            classifier[f"conv2d_list.{i}.bias"],
            padding=rate,
            dilation=rate,
        )
        for i, rate in enumerate((6, 12, 18, 24))
    ]
    y = torch.stack(parts).sum(0)
    return F.interpolate(y, size=image.shape[:2], mode="bilinear", align_corners=True)[0]
