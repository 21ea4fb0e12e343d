"""A finished synthesizer: its folder, styles, and pictures from label maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.data.label_space import IGNORE, LabelSpace
from stylebridge.engine import open_accelerator
from stylebridge.errors import RunError
from stylebridge.jobs.networks_folder import load_parts, save_parts
from stylebridge.jobs.run_folder import open_run
from stylebridge.jobs.synthesis_recipe import load_synthesis_recipe
from stylebridge.jobs.translator_folder import as_pixels, as_tensor
from stylebridge.networks.sean import SEANNetworks
from stylebridge.networks.spade import SPADENetworks

#: The largest picture, in pixels: a mistyped size must not take all memory.
MAX_PIXELS = 2**24


@dataclass(frozen=True)
class Style:
    """The style matrix of an image: ``codes`` float32 [K, S], 0 where the class is absent; ``present`` bool [K]."""

    codes: Tensor
    present: Tensor


class Synthesizer:
    """Draws pictures from label maps, with a style for each class where the method has styles.

    Attributes:
        space: the classes, K of them.
        uses_styles: whether pictures take styles (SEAN) or not (SPADE).
        size: the (width, height) it was trained at.
        means: the mean style of each class over the training images; None: not known (imported weights).
    """

    def __init__(
        self,
        networks: SEANNetworks | SPADENetworks,
        space: LabelSpace,
        size: tuple[int, int],
        device: torch.device,
    ) -> None:
        self.networks = networks.to(device).eval().requires_grad_(False)
        self.space, self.size, self.device = space, size, device
        self.means: Style | None = None
        if isinstance(networks, SEANNetworks) and bool(networks.generator.style_counts.any()):
            generator = networks.generator
            self.means = Style(generator.mean_styles.float().cpu(), generator.style_counts.cpu() > 0)

    @staticmethod
    def open(run: str | Path, device: str = "auto") -> Synthesizer:
        """The synthesizer of a finished run.

        Raises:
            RunError: there is no run, it is of another kind, or it is not finished.
        """
        opened = open_run(Path(run), "synthesize")
        recipe = load_synthesis_recipe(opened.path / "recipe.yaml")
        folder = opened.path / "networks"
        if not folder.is_dir():
            raise RunError(
                f"{run} has no finished synthesizer: continue it with `stylebridge synthesize train --resume --out "
                f"{run}`."
            )
        space = LabelSpace.from_dict(opened.facts()["label_space"])
        networks = load_parts(folder, recipe.kind.build_from)
        where = open_accelerator(device).device
        return Synthesizer(networks, space, recipe.size, where)

    @property
    def uses_styles(self) -> bool:
        """Whether pictures take styles."""
        return isinstance(self.networks, SEANNetworks)

    @torch.inference_mode()
    def encode(self, image: np.ndarray, labels: np.ndarray) -> Style:
        """The style of each class in an image.

        Args:
            image: uint8 [H, W, 3].
            labels: uint8 [H, W] (255 = no class).
        """
        assert isinstance(self.networks, SEANNetworks)
        maps = torch.from_numpy(labels.copy()).long()[None].to(self.device)
        codes, present = self.networks.encoder(as_tensor(image)[None].to(self.device), maps)
        return Style(codes[0].float().cpu(), present[0].cpu())

    @torch.inference_mode()
    def render(self, labels: np.ndarray, codes: Tensor | None = None, seed: int = 0) -> np.ndarray:
        """A picture uint8 [H, W, 3] of a label map.

        Args:
            labels: uint8 [H, W] (255 = no class); sides that do not fit the network's stride are padded, and cropped.
            codes: [K, S], see :meth:`complete`; None: the mean styles.
            seed: of the noise.

        Raises:
            RunError: the map is too large.
        """
        height, width = labels.shape
        if height * width > MAX_PIXELS:
            raise RunError(
                f"A label map of {width}×{height} is larger than {MAX_PIXELS} pixels: make it smaller."
            )
        if codes is None and self.uses_styles:
            codes = self.complete(None)
        noise = torch.Generator(device=self.device).manual_seed(seed)
        maps = self._labels(labels)
        if isinstance(self.networks, SEANNetworks):
            assert codes is not None
            picture = self.networks.generator(maps, codes[None].to(self.device), generator=noise)
        else:
            picture = self.networks.generator(maps, generator=noise)
        return as_pixels(picture[0, :, :height, :width].float().cpu())

    def complete(self, style: Style | None) -> Tensor:
        """Codes [K, S]: the style's, and the class means for classes that it lacks; None: class means alone.

        Without means (imported weights) an absent class keeps the code 0, as in the published program.

        Raises:
            RunError: there is neither a style nor a mean style.
        """
        if style is None:
            if self.means is None:
                raise RunError("This run has no mean styles (its weights were imported): give a style photo.")
            return self.means.codes
        assert isinstance(self.networks, SEANNetworks)
        codes, present = (t[None].to(self.device) for t in (style.codes, style.present))
        return self.networks.generator.complete(codes, present)[0].float().cpu()

    def _labels(self, labels: np.ndarray) -> Tensor:
        """[1, H', W'] on the device, padded with no class to what the network takes."""
        height, width = labels.shape
        stride = self.networks.config.stride
        padding = (0, -width % stride, 0, -height % stride)
        padded = F.pad(torch.from_numpy(labels.copy()).long(), padding, value=IGNORE)
        return padded[None].to(self.device)


def mix(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Codes between two: ``(1 − share)·first + share·second``."""
    return torch.lerp(first, second, share)


def save_synthesizer(
    networks: SEANNetworks | SPADENetworks, discriminator: nn.Module | None, run: Path
) -> None:
    """Write ``networks/``: settings, generator with the mean styles, encoder, discriminator; whole or not there."""
    parts = dict(networks.named_children())
    if discriminator is not None:
        parts["discriminator"] = discriminator
    save_parts(parts, networks.config.model_dump_json(), run, "the synthesizer")
