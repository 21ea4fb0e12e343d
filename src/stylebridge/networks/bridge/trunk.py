"""A segmenter's first layers as the encoder of Bridge's critics (``trunk: segmenter``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from stylebridge.errors import RecipeError
from stylebridge.networks.segmenters.build import Segmenter
from stylebridge.networks.segmenters.smp import SmpSegmenter
from stylebridge.networks.two_domains import STRIDE

#: Number of halvings of the sides in the trunk, as in NICE-GAN's encoder.
DEPTH = 2


class Trunk(nn.Module):
    """The first layers of an smp segmenter, down to a quarter of the image's sides, in their current state.

    A fixed copy in evaluation mode: generators keep the codes they were trained on while the segmenter trains on.

    Args:
        segmenter: not changed.

    Raises:
        RecipeError: it is not an smp segmenter, or has no feature map at a quarter of the sides.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        if not isinstance(segmenter, SmpSegmenter):
            raise RecipeError(
                "networks.trunk is segmenter, which needs an encoder of segmentation-models-pytorch: choose another "
                "segmenter, or own."
            )
        try:
            encoder: nn.Module = smp.encoders.get_encoder(segmenter.config.encoder, depth=DEPTH, weights=None)
        except ValueError as error:
            raise _no_map(segmenter) from error
        _drop_later_blocks(encoder)
        known = segmenter.encoder_module().state_dict()
        encoder.load_state_dict({key: known[key] for key in encoder.state_dict()})
        self.encoder: nn.Module = encoder.to(segmenter.mean.device)
        for name in ("mean", "std"):
            self.register_buffer(name, getattr(segmenter, name).clone(), persistent=False)
        self.bgr = segmenter.normalisation.bgr
        self.requires_grad_(False).eval()
        with torch.no_grad(), _dropping_idle(encoder):
            probe = self(torch.zeros(1, 3, 64, 64, device=segmenter.mean.device))
        self.channels = probe.shape[1]
        if probe.shape[-1] * STRIDE != 64:
            raise _no_map(segmenter)

    def train(self, mode: bool = True) -> Self:
        """Always evaluation mode."""
        return super().train(False)

    def forward(self, image: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [−1, 1] to [B, C, H/4, W/4]."""
        image = (image + 1) / 2
        if self.bgr:
            image = image.flip(1)
        return self.encoder((image - self.get_buffer("mean")) / self.get_buffer("std"))[-1]


def _no_map(segmenter: Segmenter) -> RecipeError:
    return RecipeError(
        f"networks.trunk is segmenter, but {segmenter.config.encoder} has no feature map at a quarter of the "
        f"image's sides: choose own."
    )


@contextmanager
def _dropping_idle(network: nn.Module) -> Iterator[None]:
    """Remove modules that do not run inside from the network, so that they are not saved."""
    ran: set[nn.Module] = set()
    hooks = [m.register_forward_hook(lambda module, *_: ran.add(module)) for m in network.modules()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if not ran & set(child.modules()) and any(True for _ in child.parameters()):
                setattr(parent, name, nn.Identity())


def _drop_later_blocks(encoder: nn.Module) -> None:
    """Remove the blocks after the last used feature map, which timm's EfficientNets keep and run."""
    model = getattr(encoder, "model", None)
    blocks = getattr(model, "blocks", None)
    info = getattr(model, "feature_info", None)
    if isinstance(blocks, nn.Sequential) and info is not None:
        last = info.module_name()[-1]
        if last.startswith("blocks."):
            assert model is not None
            model.blocks = blocks[: int(last.split(".")[1]) + 1]
