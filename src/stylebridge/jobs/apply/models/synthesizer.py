"""Finished synthesizers: images from label maps, without styles, with one for the image, or one for each region."""

from __future__ import annotations

from abc import ABC, abstractmethod
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

#: Largest image in pixels: a mistyped size must not use up the memory.
MAX_PIXELS = 2**24


@dataclass(frozen=True)
class Style:
    """The style matrix of an image: ``codes`` float32 [K, S], 0 where the class is absent; ``present`` bool [K]."""

    codes: Tensor
    present: Tensor


class Synthesizer(Styled, ABC):
    """Generates images from label maps.

    Attributes:
        space: the classes, K of them.
        size: the (width, height) of the training images.
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
            RunError: the run does not exist, has another kind, is not finished, or was imported by an earlier version
                with another meaning of its label channels.
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
                networks.encoder = None  # earlier versions saved one with random weights
            return networks

        networks = load_parts(folder, build)
        if imported and "channels" not in imported and networks.config.classes in PUBLISHED:
            raise RunError(
                f"{run} was imported by an earlier version, which took {networks.config.classes} label channels for as "
                f"many classes: import it again with `stylebridge import {recipe.method}`, and --channels "
                f"{networks.config.classes} if they are classes."
            )
        made = _CLASSES[networks.styles](networks, space, recipe.size, device)
        made.title = f"{run} ({recipe.method})"
        return made

    @property
    def takes_edges(self) -> bool:
        """Whether each label map needs an instance map."""
        return self.networks.config.edges

    def resolve(self, request: StyleRequest, photos: StylePhotos, size: tuple[int, int] | None = None) -> Any:
        """The requested style for :meth:`draw`; None: the model's default.

        Args:
            photos: reads style photos and their label maps.
            size: (width, height) of the photos after resizing; None: unchanged.

        Raises:
            UserError: the model does not support it, or a photo or label map is invalid.
        """
        request.check(self)
        return None

    def draw(
        self, labels: np.ndarray, style: Any = None, seed: int = 0, *, edges: np.ndarray | None = None
    ) -> np.ndarray:
        """An image uint8 [H, W, 3] for a label map in a style from :meth:`resolve`; else like :meth:`render`."""
        return self.render(labels, style, seed, edges=edges)

    @torch.inference_mode()
    def render(
        self, labels: np.ndarray, style: Any = None, seed: int = 0, *, edges: np.ndarray | None = None
    ) -> np.ndarray:
        """An image uint8 [H, W, 3] for a label map.

        Args:
            style: for a region model codes [K, S], None: the mean styles; for an image model a distribution of codes,
                None: a random code.
            seed: for the noise, and for drawing a code.
            edges: bool [H, W], for a network that takes instance edges.

        Raises:
            UserError: the map is too large, edges are missing, or the size does not match a VAE.
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

    @abstractmethod
    def _paint(self, maps: LabelMaps, style: Any, noise: torch.Generator) -> Tensor:
        """The image [1, 3, H, W] for prepared label maps."""

    def _padded(self, values: np.ndarray, fill: int) -> Tensor:
        """[H, W] as [1, H', W'] on the device, padded for the network."""
        height, width = values.shape
        stride = self.networks.config.stride
        padding = (0, -width % stride, 0, -height % stride)
        return F.pad(torch.from_numpy(values.copy()), padding, value=fill)[None].to(self.device)


class SEANSynthesizer(Synthesizer):
    """A synthesizer with a style for each region.

    Attributes:
        means: the mean style of each class over the training images; None: unknown (imported weights).
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
        """Codes [K, S]: the style's, and class means for missing classes; None: only class means.

        Without means (imported weights) the code of an absent class is 0, as in the published program.

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
        """Like :meth:`Synthesizer.resolve`: the styles of a photo and of single classes."""
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
        """Like :meth:`Synthesizer.draw`: class means for classes missing in the style photo."""
        return self.render(labels, self._codes(labels, style or RegionCodes(None, {})), seed, edges=edges)

    def _codes(self, labels: np.ndarray, style: RegionCodes[Style]) -> Tensor:
        """[K, S]: the photo's styles, class means for missing classes, and the styles of single classes."""
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
        # Pixels without a class may count as a class without a given style: 0, as published.
        codes = F.pad(codes, (0, 0, 0, self.networks.config.classes - len(codes)))
        return self.networks.generator(maps, codes[None].to(self.device), generator=noise)


class SPADESynthesizer(Synthesizer):
    """A synthesizer without styles, or with a VAE and one style for the whole image, which can be random."""

    networks: SPADENetworks

    def __init__(
        self, networks: SPADENetworks, space: LabelSpace, size: tuple[int, int], device: torch.device
    ) -> None:
        super().__init__(networks, space, size, device)
        self.draws = networks.config.vae
        self.styles = "image" if networks.config.vae else "none"

    @torch.inference_mode()
    def look(self, image: np.ndarray) -> Posterior:
        """The style of a photo uint8 [H, W, 3]: a distribution of codes, from which :meth:`render` draws.

        The photo is resized to the training size, as published.
        """
        assert self.networks.encoder is not None
        photo = resized(image, self.size)
        return self.networks.encoder(as_tensor(photo)[None].to(self.device))

    def resolve(
        self, request: StyleRequest, photos: StylePhotos, size: tuple[int, int] | None = None
    ) -> Posterior | None:
        """Like :meth:`Synthesizer.resolve`: the style of a photo."""
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


#: The class for networks, by what has a style in them.
_CLASSES: dict[str, Callable[..., Synthesizer]] = {"region": SEANSynthesizer, "image": SPADESynthesizer}


def save_synthesizer(
    networks: SEANNetworks | SPADENetworks, discriminator: nn.Module | None, run: Path
) -> None:
    """Write ``networks/``: settings, generator with the mean styles, encoder, discriminator; atomically."""
    parts = dict(networks.named_children())
    if discriminator is not None:
        parts["discriminator"] = discriminator
    save_parts(parts, networks.config.model_dump_json(), run, "the synthesizer")
