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
from stylebridge.interop.label_channels import PUBLISHED
from stylebridge.jobs.pictures import as_pixels, as_tensor
from stylebridge.jobs.runs.folder import open_run
from stylebridge.jobs.runs.networks_folder import load_parts, save_parts
from stylebridge.networks.sean import SEANNetworks
from stylebridge.networks.spade import Posterior, SPADENetworks

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
        uses_styles: whether each class of a picture has a style of its own (SEAN) or not (SPADE).
        takes_look: whether a picture takes the look of a whole photo (SPADE with a VAE and its encoder).
        takes_edges: whether each label map needs an instance map.
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
            RunError: there is no run, it is of another kind, not finished, or an import of an earlier version with
                another meaning of its label channels.
        """
        opened = open_run(Path(run), "synthesize")
        recipe, facts = opened.recipe(), opened.facts()
        folder = opened.path / "networks"
        if not folder.is_dir():
            raise RunError(
                f"{run} has no finished synthesizer: continue it with `stylebridge synthesize train --resume --out "
                f"{run}`."
            )
        space = LabelSpace.from_dict(facts["label_space"])
        imported = facts.get("imported")

        def build(settings: str) -> SEANNetworks | SPADENetworks:
            with torch.device("meta"):  # random values would take seconds, and be thrown away
                networks = recipe.spec.networks.build_from(settings)
            if isinstance(networks, SPADENetworks) and imported and not imported.get("encoder"):
                networks.encoder = None  # earlier versions kept one of random weights
            return networks

        networks = load_parts(folder, build)
        if imported and "channels" not in imported and networks.config.classes in PUBLISHED:
            raise RunError(
                f"{run} was imported by an earlier version, which took {networks.config.classes} label channels for as "
                f"many classes: import it again with `stylebridge import {recipe.method}`, and --channels "
                f"{networks.config.classes} if they are classes."
            )
        where = open_accelerator(device).device
        return Synthesizer(networks, space, recipe.size, where)

    @property
    def uses_styles(self) -> bool:
        """Whether pictures take styles."""
        return isinstance(self.networks, SEANNetworks)

    @property
    def takes_look(self) -> bool:
        """Whether pictures take the look of a whole photo."""
        return isinstance(self.networks, SPADENetworks) and self.networks.encoder is not None

    @property
    def takes_edges(self) -> bool:
        """Whether each label map needs an instance map."""
        return self.networks.config.edges

    @torch.inference_mode()
    def look(self, image: np.ndarray) -> Posterior:
        """The look of a photo uint8 [H, W, 3]: a distribution of codes, which :meth:`render` draws from.

        The photo is resized to the size of training, as published.
        """
        assert isinstance(self.networks, SPADENetworks)
        assert self.networks.encoder is not None
        return self.networks.encoder(as_tensor(image, self.size)[None].to(self.device))

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
    def render(
        self,
        labels: np.ndarray,
        codes: Tensor | None = None,
        seed: int = 0,
        *,
        edges: np.ndarray | None = None,
        look: Posterior | None = None,
    ) -> np.ndarray:
        """A picture uint8 [H, W, 3] of a label map.

        Args:
            labels: uint8 [H, W] (255 = no class); sides that do not fit the network's stride are padded, and cropped.
            codes: [K, S], see :meth:`complete`; None: the mean styles.
            seed: of the noise, and of the code that is drawn from a look.
            edges: bool [H, W], for a network that takes instance edges.
            look: of a photo, for a VAE; None: a look at random.

        Raises:
            UserError: the map is too large, edges are missing, or a VAE makes another size.
        """
        height, width = labels.shape
        if height * width > MAX_PIXELS:
            raise RunError(
                f"A label map of {width}×{height} is larger than {MAX_PIXELS} pixels: make it smaller."
            )
        if codes is None and self.uses_styles:
            codes = self.complete(None)
        noise = torch.Generator(device=self.device).manual_seed(seed)
        maps = self.networks.generator.maps(
            self._padded(labels, IGNORE).long(), None if edges is None else self._padded(edges, False)
        )
        if isinstance(self.networks, SEANNetworks):
            assert codes is not None
            # A style for pixels without a class, where they count as one, is not always given: 0, as published.
            codes = F.pad(codes, (0, 0, 0, self.networks.config.classes - len(codes)))
            picture = self.networks.generator(maps, codes[None].to(self.device), generator=noise)
        else:
            code = None if look is None else look.sample(noise)
            picture = self.networks.generator(maps, code, generator=noise)
        return as_pixels(picture[0, :, :height, :width])

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

    def _padded(self, values: np.ndarray, fill: int) -> Tensor:
        """[H, W] as [1, H', W'] on the device, filled up to what the network takes."""
        height, width = values.shape
        stride = self.networks.config.stride
        padding = (0, -width % stride, 0, -height % stride)
        return F.pad(torch.from_numpy(values.copy()), padding, value=fill)[None].to(self.device)


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
