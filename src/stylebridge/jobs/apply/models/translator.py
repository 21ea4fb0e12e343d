"""Finished translators: the common interface, and translators of whole images without styles."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from rich.progress import track
from torch import nn

from stylebridge.data.files import FileRef
from stylebridge.data.images import read_image
from stylebridge.data.label_space import LabelSpace
from stylebridge.data.resizing import Resample, resized
from stylebridge.errors import DataError, RunError
from stylebridge.jobs.apply.models.domains import Domains
from stylebridge.jobs.apply.models.styles import Styled, StyleRequest
from stylebridge.jobs.pictures import as_pixels, as_tensor, write_png
from stylebridge.jobs.recipe.adapt import size_for
from stylebridge.jobs.runs.folder import RunFolder, open_run
from stylebridge.jobs.runs.networks_folder import load_parts, save_parts
from stylebridge.terminal import open_console


class Translator(Styled, ABC):
    """Translates images of one domain to the other.

    Attributes:
        domains: the two domains and their names.
        any_size: whether images may be translated at other sizes than the training size (``--size``,
            ``--pixels``).
        space: the label space of label maps that it needs besides images; None: it needs none.
    """

    styled_runs: ClassVar[str] = "a run of `stylebridge adapt --recipe bridge-small`"
    domains: Domains
    any_size: bool = True
    space: LabelSpace | None = None

    @abstractmethod
    def translate(
        self,
        image: np.ndarray,
        to: str | None = None,
        style: Any = None,
        *,
        labels: np.ndarray | None = None,
        size: int | None = None,
        pixels: int | None = None,
    ) -> np.ndarray:
        """Translate an image uint8 [H, W, 3] of the other domain to the domain ``to``: uint8 [H, W, 3].

        Args:
            to: a name of :attr:`domains`; None: the second.
            style: from :meth:`resolve` or :meth:`code`; None: the domain's default.
            labels: the image's label map uint8 [H, W] of :attr:`space`; None: predicted if needed.
            size: resize to this square first; the result keeps it.
            pixels: translate at about this many pixels, at the image's aspect ratio; the result has the image's size.

        Raises:
            DataError: the domain is unknown.
        """

    def check(self, to: str | None, size: int | None, pixels: int | None) -> None:
        """Check the domain, and that sizes are supported. Raises DataError."""
        self.domains.find(to)
        if not self.any_size and (size is not None or pixels is not None):
            option = "--size" if size is not None else "--pixels"
            raise DataError(
                f"{option} does not go with {self.title}, which translates at the size that it was trained on",
                "leave it out",
            )

    def code(self, photo: np.ndarray, to: str | None = None, labels: np.ndarray | None = None) -> Any:
        """The style of a photo uint8 [H, W, 3] of the domain ``to``; None for a translator without styles."""
        return None

    def resolve(self, request: StyleRequest, to: str | None = None, read_as: LabelSpace | None = None) -> Any:
        """The requested style; ``read_as``: the label space of its label maps regardless of evidence.

        Raises:
            UserError: the translator does not support it, or a photo or label map is invalid.
        """
        request.check(self)
        return None


class PlainTranslator(Translator):
    """A translator of whole images, such as NICE-GAN and CycleGAN, with a network for each direction."""

    def __init__(
        self, networks: nn.Module, resample: Resample, domains: Domains, device: torch.device
    ) -> None:
        self.networks, self.domains, self.device = networks, domains, device
        self.resample: Resample = resample
        self._directions: dict[int, nn.Module] = {}

    @classmethod
    def open(cls, path: Path, device: torch.device) -> PlainTranslator:
        """Open a finished run of ``stylebridge translate train``. Raises RunError."""
        run = open_run(path, "translate")
        opened = cls(_networks(run), run.recipe().spec.resample, Domains.of(run.facts()), device)
        opened.title = str(path)
        return opened

    def direction(self, to: str | None) -> nn.Module:
        """The network that translates to a domain, on the device: [1, 3, H, W] in [0, 1]. Raises DataError."""
        number = self.domains.find(to)
        if number not in self._directions:
            made = self.networks.translator("ab"[number])  # type: ignore[operator]
            self._directions[number] = made.to(self.device)
        return self._directions[number]

    def translate(
        self,
        image: np.ndarray,
        to: str | None = None,
        style: Any = None,
        *,
        labels: np.ndarray | None = None,
        size: int | None = None,
        pixels: int | None = None,
    ) -> np.ndarray:
        return translate_image(self.direction(to), image, size=size, pixels=pixels, resample=self.resample)


def save_networks(networks: nn.Module, run: Path) -> None:
    """Write ``networks/discriminators.safetensors``, ``generators.safetensors`` and the settings; the folder is written
    atomically."""
    settings = networks.config.model_dump_json()  # type: ignore[union-attr,operator]
    save_parts(dict(networks.named_children()), str(settings), run, "the translator")


def load_networks(run: Path) -> nn.Module:
    """The networks of a finished translation run.

    Raises:
        RunError: the run does not exist, has another kind, or is not finished.
    """
    return _networks(open_run(run, "translate"))


def _networks(run: RunFolder) -> nn.Module:
    folder = run.path / "networks"
    if not folder.is_dir():
        raise RunError(
            f"{run.path} has no finished translator: continue it with `stylebridge translate train --resume --out "
            f"{run.path}`."
        )
    return load_parts(folder, run.recipe().spec.networks.build_from)


def translate_files(
    translate: Callable[[np.ndarray], np.ndarray],
    outputs: Mapping[FileRef, Path],
    *,
    quiet: bool = False,
    wrote: Callable[[Path], None] = lambda path: None,
) -> None:
    """Translate each file, uint8 [H, W, 3], to the PNG file that it is mapped to.

    Args:
        wrote: called with each file that is written.
    """
    for file, path in track(outputs.items(), "translate", console=open_console(stderr=True, quiet=quiet)):
        write_png(translate(read_image(file)), path)
        wrote(path)


@torch.inference_mode()
def translate_image(
    translator: nn.Module,
    image: np.ndarray,
    *,
    size: int | None = None,
    pixels: int | None = None,
    resample: Resample = "bicubic",
) -> np.ndarray:
    """Translate uint8 [H, W, 3] by a network from [1, 3, H, W] in [0, 1] to the same.

    Args:
        size: resize to this square first; the result keeps it.
        pixels: translate at about this many pixels, at the image's aspect ratio, and resize the result back.
        resample: the filter for resizing.
    """
    device = next(translator.parameters()).device
    height, width = image.shape[:2]
    asked = (size, size) if size is not None else size_for(pixels, (width, height)) if pixels else None
    made = as_pixels(translator(as_tensor(image, asked, resample)[None].to(device))[0])
    return made if size is not None else resized(made, (width, height))
