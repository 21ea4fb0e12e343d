"""Finished synthesizers: pictures from label maps, without styles, with one for the image, or one for each region."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.data.label_space import IGNORE, LabelSpace
from stylebridge.data.resizing import resized
from stylebridge.errors import DataError, RunError
from stylebridge.interop.label_channels import PUBLISHED
from stylebridge.jobs.apply.files.arrays import Picture, as_image
from stylebridge.jobs.apply.models.style_photos import StylePhotos
from stylebridge.jobs.apply.models.styles import (
    MEAN,
    RegionCodes,
    Row,
    Styled,
    StyleRequest,
    resolve_image,
    resolve_regions,
)
from stylebridge.jobs.pictures import as_pixels, as_tensor
from stylebridge.jobs.runs.folder import open_run
from stylebridge.jobs.runs.networks_folder import load_parts, save_parts
from stylebridge.layers.label_maps import LabelMaps
from stylebridge.networks.sean import SEANNetworks
from stylebridge.networks.spade import Posterior, SPADENetworks

#: The largest picture, in pixels: a mistyped size must not take all memory.
MAX_PIXELS = 2**24


@dataclass(frozen=True)
class Style:
    """The style matrix of an image: ``codes`` float32 [K, S], 0 where the class is absent; ``present`` bool [K]."""

    codes: Tensor
    present: Tensor


class Synthesizer(Styled):
    """Draws pictures from label maps.

    Attributes:
        space: the classes, K of them.
        size: the (width, height) it was trained at.
    """

    styled_runs: ClassVar[str] = "a run of `stylebridge synthesize train --recipe sean-small`"

    def __init__(
        self,
        networks: SEANNetworks | SPADENetworks,
        space: LabelSpace,
        size: tuple[int, int],
        device: torch.device,
    ) -> None:
        self.networks = networks.to(device).eval().requires_grad_(False)
        self.space, self.size, self.device = space, size, device

    @staticmethod
    def open(run: str | Path, device: torch.device) -> Synthesizer:
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
        made = _CLASSES[recipe.method](networks, space, recipe.size, device)
        made.title = f"{run} ({recipe.method})"
        return made

    @property
    def takes_edges(self) -> bool:
        """Whether each label map needs an instance map."""
        return self.networks.config.edges

    def resolve(self, request: StyleRequest, photos: StylePhotos, size: tuple[int, int] | None = None) -> Any:
        """The style that a user asks for, for :meth:`draw`; None: the model's usual one.

        Args:
            photos: reads style photos and their label maps.
            size: (width, height) that they are resized to first; None: they keep theirs.

        Raises:
            UserError: the model cannot take it, or a photo or label map is wrong.
        """
        request.check(self)
        return None

    def draw(
        self, labels: np.ndarray, style: Any = None, seed: int = 0, *, edges: np.ndarray | None = None
    ) -> np.ndarray:
        """A picture uint8 [H, W, 3] of a label map in a style that :meth:`resolve` gave; else as :meth:`render`."""
        return self.render(labels, style, seed, edges=edges)

    @torch.inference_mode()
    def render(
        self, labels: np.ndarray, style: Any = None, seed: int = 0, *, edges: np.ndarray | None = None
    ) -> np.ndarray:
        """A picture uint8 [H, W, 3] of a label map.

        Args:
            labels: uint8 [H, W] (255 = no class); sides that do not fit the network's stride are padded, and cropped.
            style: of a region model: codes [K, S], None: the mean styles; of an image model: a distribution of codes,
                None: a random code.
            seed: of the noise, and of the code that is drawn.
            edges: bool [H, W], for a network that takes instance edges.

        Raises:
            UserError: the map is too large, edges are missing, or a VAE makes another size.
        """
        height, width = labels.shape
        if height * width > MAX_PIXELS:
            raise RunError(
                f"A label map of {width}×{height} is larger than {MAX_PIXELS} pixels: make it smaller."
            )
        noise = torch.Generator(device=self.device).manual_seed(seed)
        maps = self.networks.generator.maps(
            self._padded(labels, IGNORE).long(), None if edges is None else self._padded(edges, False)
        )
        picture = self._paint(maps, style, noise)
        return as_pixels(picture[0, :, :height, :width])

    def _paint(self, maps: LabelMaps, style: Any, noise: torch.Generator) -> Tensor:
        raise NotImplementedError

    def _padded(self, values: np.ndarray, fill: int) -> Tensor:
        """[H, W] as [1, H', W'] on the device, filled up to what the network takes."""
        height, width = values.shape
        stride = self.networks.config.stride
        padding = (0, -width % stride, 0, -height % stride)
        return F.pad(torch.from_numpy(values.copy()), padding, value=fill)[None].to(self.device)


class SEANSynthesizer(Synthesizer):
    """With a style for each region.

    Attributes:
        means: the mean style of each class over the training images; None: not known (imported weights).
    """

    styles = "region"
    networks: SEANNetworks

    def __init__(
        self, networks: SEANNetworks, space: LabelSpace, size: tuple[int, int], device: torch.device
    ) -> None:
        super().__init__(networks, space, size, device)
        self.means: Style | None = None
        generator = networks.generator
        if bool(generator.style_counts.any()):
            self.means = Style(generator.mean_styles.float().cpu(), generator.style_counts.cpu() > 0)

    @torch.inference_mode()
    def encode(self, image: np.ndarray, labels: np.ndarray) -> Style:
        """The style of each class in an image.

        Args:
            image: uint8 [H, W, 3].
            labels: uint8 [H, W] (255 = no class).
        """
        maps = torch.from_numpy(labels.copy()).long()[None].to(self.device)
        codes, present = self.networks.encoder(as_tensor(image)[None].to(self.device), maps)
        return Style(codes[0].float().cpu(), present[0].cpu())

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
        codes, present = (t[None].to(self.device) for t in (style.codes, style.present))
        return self.networks.generator.complete(codes, present)[0].float().cpu()

    def resolve(
        self, request: StyleRequest, photos: StylePhotos, size: tuple[int, int] | None = None
    ) -> RegionCodes[Style]:
        """As :meth:`Synthesizer.resolve`: the styles of a photo and of single classes."""
        request.check(self)

        def code(photo: Picture) -> Style:
            image, labels = photos.read(photo)
            return self.encode(resized(image, size), resized(labels, size))

        return resolve_regions(request, self.space, code, self._row)

    def draw(
        self,
        labels: np.ndarray,
        style: RegionCodes[Style] | None = None,
        seed: int = 0,
        *,
        edges: np.ndarray | None = None,
    ) -> np.ndarray:
        """As :meth:`Synthesizer.draw`: class means where the style's photo lacks a class."""
        return self.render(labels, self._codes(labels, style or RegionCodes(None, {})), seed, edges=edges)

    def _codes(self, labels: np.ndarray, style: RegionCodes[Style]) -> Tensor:
        """[K, S]: the photo's styles, class means where it lacks a class, and the styles of single classes."""
        base, rows = style
        if base is None and self.means is None:
            missing = sorted(set(np.unique(labels).tolist()) - {IGNORE} - rows.keys())
            if missing:
                name = self.space.classes[missing[0]]
                raise DataError(
                    f"Class {name!r} has no style, and this run has no mean styles: give a --style photo."
                )
            if not rows:
                raise DataError(
                    "A label map has no class, and this run has no mean styles: give a --style photo."
                )
            codes = torch.zeros_like(next(iter(rows.values()))[0]).repeat(self.space.num_classes, 1)
        else:
            codes = self.complete(base).clone()
        for index, (row,) in rows.items():
            codes[index] = row
        return codes

    def _row(self, style: Style | None, photo: str, index: int) -> Row:
        found, name = style or self.means, self.space.classes[index]
        if found is None or not bool(found.present[index]):
            if photo == MEAN:
                raise DataError(f"This run has no mean style of class {name!r}: give a photo.")
            raise DataError(f"{photo} shows no {name!r}: give a photo that has that class.")
        return (found.codes[index],)

    def _paint(self, maps: LabelMaps, style: Tensor | None, noise: torch.Generator) -> Tensor:
        codes = self.complete(None) if style is None else style
        # A style for pixels without a class, where they count as one, is not always given: 0, as published.
        codes = F.pad(codes, (0, 0, 0, self.networks.config.classes - len(codes)))
        return self.networks.generator(maps, codes[None].to(self.device), generator=noise)


class SPADESynthesizer(Synthesizer):
    """Without styles, or as the decoder of a VAE with one style for the whole image, which can be drawn."""

    networks: SPADENetworks

    def __init__(
        self, networks: SPADENetworks, space: LabelSpace, size: tuple[int, int], device: torch.device
    ) -> None:
        super().__init__(networks, space, size, device)
        self.draws = networks.config.vae
        self.styles = "image" if networks.config.vae else "none"

    @torch.inference_mode()
    def look(self, image: np.ndarray) -> Posterior:
        """The look of a photo uint8 [H, W, 3]: a distribution of codes, which :meth:`render` draws from.

        The photo is resized to the size of training, as published.
        """
        assert self.networks.encoder is not None
        photo = resized(image, self.size)
        return self.networks.encoder(as_tensor(photo)[None].to(self.device))

    def resolve(
        self, request: StyleRequest, photos: StylePhotos, size: tuple[int, int] | None = None
    ) -> Posterior | None:
        """As :meth:`Synthesizer.resolve`: the look of a photo."""
        request.check(self)
        if request.style is not None and self.networks.encoder is None:
            raise RunError(
                f"{self.title} was imported without the encoder of its VAE: import it again with --encoder "
                f"latest_net_E.pth, or leave out --style for a random look."
            )
        return resolve_image(request, lambda photo: self.look(as_image(photo)))

    def _paint(self, maps: LabelMaps, style: Posterior | None, noise: torch.Generator) -> Tensor:
        code = None if style is None else style.sample(noise)
        return self.networks.generator(maps, code, generator=noise)


#: The class that uses the networks of each method.
_CLASSES: dict[str, Callable[..., Synthesizer]] = {"sean": SEANSynthesizer, "spade": SPADESynthesizer}


def save_synthesizer(
    networks: SEANNetworks | SPADENetworks, discriminator: nn.Module | None, run: Path
) -> None:
    """Write ``networks/``: settings, generator with the mean styles, encoder, discriminator; whole or not there."""
    parts = dict(networks.named_children())
    if discriminator is not None:
        parts["discriminator"] = discriminator
    save_parts(parts, networks.config.model_dump_json(), run, "the synthesizer")
