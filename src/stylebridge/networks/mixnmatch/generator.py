"""The generator in three stages: background, shape pasted onto it, texture pasted onto that (arXiv 1811.11155)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.networks.mixnmatch.blocks import GLU, Joint, Residual, Same, ToImage, Up, initialise
from stylebridge.networks.mixnmatch.codes import Codes
from stylebridge.networks.mixnmatch.config import PARENT_CHANNELS, MixNMatchConfig

#: Side of the first layer's output maps.
START = 4
#: The order of the generator's weights in files. 1: the parent stage has the shape code before the features. 2: the
#: features before the code, as published.
LAYOUT = 2
#: The convolution that differs between the two orders.
_PARENT_JOINT = "parent_stage.jointConv.0.weight"


class Generated(NamedTuple):
    """The output of the generator. Images and foregrounds [B, 3, S, S] in (−1, 1), masks [B, 1, S, S].

    ``background``; ``parent``: the shape pasted onto it; ``image``: the texture pasted onto that. ``features``: the
    parent features [B, 16, S, S], the target of a feature extractor.
    """

    background: Tensor
    parent: Tensor
    image: Tensor
    parent_foreground: Tensor
    child_foreground: Tensor
    parent_mask: Tensor
    child_mask: Tensor
    features: Tensor

    @property
    def masked_parent(self) -> Tensor:
        """The shape on black: [B, 3, S, S]."""
        return self.parent_foreground * self.parent_mask

    @property
    def masked_child(self) -> Tensor:
        """The texture on black: [B, 3, S, S]."""
        return self.child_foreground * self.child_mask


class Trunk(nn.Module):
    """Codes to 4×4 maps by a linear layer, then doublings through the given widths."""

    def __init__(self, inputs: int, widths: list[int]) -> None:
        super().__init__()
        first = widths[0] * START * START
        self.fc = nn.Sequential(nn.Linear(inputs, 2 * first, bias=False), nn.BatchNorm1d(2 * first), GLU())
        self.doublings = len(widths) - 1
        for number, (before, after) in enumerate(itertools.pairwise(widths), start=1):
            self.add_module(f"upsample{number}", Up(before, after))

    def grow(self, codes: Tensor) -> Tensor:
        """[B, inputs] to [B, C, S, S]."""
        x = self.fc(codes).view(len(codes), -1, START, START)
        for number in range(1, self.doublings + 1):
            x = self.get_submodule(f"upsample{number}")(x)
        return x


def _widths(config: MixNMatchConfig) -> list[int]:
    """Channels of the first maps and after each doubling except the last two (for 128), halved each time."""
    n = config.generator_channels
    return [8 * n, 4 * n, 2 * n, n]


class BackgroundStage(Trunk):
    """Pose and background codes to maps [B, ngf/2, S, S]."""

    def __init__(self, config: MixNMatchConfig) -> None:
        n, widths = config.generator_channels, _widths(config)
        widths += [n] * (config.doublings - len(widths)) + [n // 2]
        super().__init__(config.pose + config.textures, widths)

    def forward(self, pose: Tensor, background: Tensor) -> Tensor:
        """Codes [B, pose] and [B, Nc] to [B, ngf/2, S, S]."""
        return self.grow(torch.cat((pose, background), 1))


class ParentStage(Trunk):
    """Pose and shape codes to the features of a shape, [B, 16, S, S]."""

    def __init__(self, config: MixNMatchConfig) -> None:
        widths = _widths(config)
        widths += [PARENT_CHANNELS] * (config.doublings + 1 - len(widths))
        super().__init__(config.pose + config.shapes, widths)
        self.jointConv = Joint(config.shapes, PARENT_CHANNELS, PARENT_CHANNELS, code_first=False)
        self.residual = nn.Sequential(*(Residual(PARENT_CHANNELS) for _ in range(3)))

    def forward(self, pose: Tensor, shape: Tensor) -> Tensor:
        """Codes [B, pose] and [B, Np] to [B, 16, S, S]."""
        return self.residual(self.jointConv(shape, self.grow(torch.cat((pose, shape), 1))))


class ChildStage(nn.Module):
    """A texture code and the features of a shape to maps [B, 16, S, S]."""

    def __init__(self, config: MixNMatchConfig) -> None:
        super().__init__()
        self.jointConv = Joint(config.textures, PARENT_CHANNELS, 2 * PARENT_CHANNELS, code_first=True)
        self.residual = nn.Sequential(*(Residual(2 * PARENT_CHANNELS) for _ in range(2)))
        self.samesample = Same(2 * PARENT_CHANNELS, PARENT_CHANNELS)

    def forward(self, texture: Tensor, features: Tensor) -> Tensor:
        """Code [B, Nc] and features [B, 16, S, S] to [B, 16, S, S]."""
        return self.samesample(self.residual(self.jointConv(texture, features)))


class Generator(nn.Module):
    """Codes to an image and its layers. Published keys; 13,500,672 parameters as published."""

    def __init__(self, config: MixNMatchConfig) -> None:
        super().__init__()
        self.config = config
        self.background_stage = BackgroundStage(config)
        self.background_image = ToImage(config.generator_channels // 2, 3)
        self.parent_stage = ParentStage(config)
        self.parent_image = ToImage(PARENT_CHANNELS, 3)
        self.parent_mask = ToImage(PARENT_CHANNELS, 1)
        self.child_stage = ChildStage(config)
        self.child_image = ToImage(PARENT_CHANNELS, 3)
        self.child_mask = ToImage(PARENT_CHANNELS, 1)
        initialise(self)

    def forward(
        self, codes: Codes, background_pose: Tensor | None = None, features: Tensor | None = None
    ) -> Generated:
        """Generate an image.

        Args:
            codes: of the image. Categories may be probabilities.
            background_pose: [B, pose], the pose code for the background; None: that of ``codes``. For mixing it is the
                pose of the background image.
            features: [B, 16, S, S], replaces the parent stage's (feature mode); pose and shape of ``codes`` then only
                affect the background.
        """
        pose = codes.pose if background_pose is None else background_pose
        shaped: Tensor = self.parent_stage(codes.pose, codes.shape) if features is None else features
        background = self.background_image(self.background_stage(pose, codes.background))
        parent_foreground, parent_mask = self.parent_image(shaped), self.parent_mask(shaped)
        parent = _paste(parent_foreground, parent_mask, background)
        child = self.child_stage(codes.texture, shaped)
        child_foreground, child_mask = self.child_image(child), self.child_mask(child)
        return Generated(
            background=background,
            parent=parent,
            image=_paste(child_foreground, child_mask, parent),
            parent_foreground=parent_foreground,
            child_foreground=child_foreground,
            parent_mask=parent_mask,
            child_mask=child_mask,
            features=shaped,
        )


def conversions(layout: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """Conversions of a generator's parameters from an older :data:`LAYOUT`; each keeps its shape."""
    return {_PARENT_JOINT: _features_first} if layout < 2 else {}


def _features_first(weight: Tensor) -> Tensor:
    """[O, Np + 16, 3, 3]: the last 16 input channels before the others."""
    return weight.roll(PARENT_CHANNELS, 1)


def _paste(foreground: Tensor, mask: Tensor, behind: Tensor) -> Tensor:
    """foreground·mask + behind·(1 − mask)."""
    return foreground * mask + behind * (1 - mask)


def to_view(x: Tensor, size: int) -> Tensor:
    """Resize [B, C, H, W] to the input of background and feature discriminators (bilinear, aligned corners)."""
    return F.interpolate(x, size=(size, size), mode="bilinear", align_corners=True)
