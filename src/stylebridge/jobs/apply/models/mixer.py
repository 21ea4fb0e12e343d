"""A finished MixNMatch run: its networks, and mixing photos with them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from stylebridge.data.files import FileRef
from stylebridge.data.images import read_image
from stylebridge.data.resizing import resized
from stylebridge.data.text_files import parse_json
from stylebridge.engine import checkpoint as ckpt
from stylebridge.errors import RunError, did_you_mean
from stylebridge.jobs.pictures import as_pixels
from stylebridge.jobs.runs.folder import open_run
from stylebridge.jobs.runs.networks_folder import load_parts, save_parts
from stylebridge.networks.mixnmatch import (
    LAYOUT,
    Codes,
    Encoders,
    FeatureExtractor,
    Generator,
    Mixer,
    MixNMatchConfig,
    conversions,
    to_unit,
)

Mode = Literal["code", "feature"]
#: The factors, in the order of commands and pages.
FACTORS = ("pose", "background", "shape", "texture")
#: Photos or mixes in each forward pass.
BATCH = 16

#: The codes of one factor for N photos, each [N, …]: the background's pose code and categories, the parent features of
#: a shape in feature mode, otherwise one code.
Coded = tuple[Tensor, ...]


class Mixed(NamedTuple):
    """Pictures [B, 3, S, S] in [0, 1], and the masks [B, 1, S, S] of pasted shape and texture."""

    image: Tensor
    shape_mask: Tensor
    texture_mask: Tensor

    @property
    def object_mask(self) -> Tensor:
        """The share of each pixel that is not background: 1 − (1 − shape)·(1 − texture), [B, 1, S, S]."""
        return 1 - (1 - self.shape_mask) * (1 - self.texture_mask)


class Mixing:
    """Mixes photos: they are encoded once, and their codes mixed in batches.

    Args:
        mode: ``code``: pose and shape are codes. ``feature``: both come pixel by pixel from the shape photo.

    Raises:
        RunError: the mode is unknown, or needs a feature extractor that the mixer does not have.
    """

    def __init__(self, mixer: Mixer, mode: Mode = "code") -> None:
        check_mode(mode)
        if mode == "feature" and mixer.extractor is None:
            raise RunError(
                "Feature mode needs a feature extractor, which this run does not have: train its second stage with "
                "`stylebridge mix train --resume`, import it with --feature-extractor, or choose code mode."
            )
        self.mixer, self.mode = mixer, mode
        #: The factors that need a photo.
        self.factors = FACTORS if mode == "code" else FACTORS[1:]
        self.side = mixer.config.image_size

    @property
    def device(self) -> torch.device:
        """The device of the networks."""
        return next(self.mixer.parameters()).device

    def read(self, files: Sequence[FileRef]) -> np.ndarray:
        """Photos resized to the networks' square regardless of aspect ratio (as published): uint8 [N, S, S, 3].

        Raises:
            DataError: a file is not an image.
        """
        return np.stack([squared(read_image(file), self.side) for file in files])

    @torch.inference_mode()
    def encode(self, factor: str, photos: np.ndarray) -> Coded:
        """Encode photos uint8 [N, S, S, 3] with the encoders of one factor, in batches."""
        parts = [self._encoded(factor, photos[i : i + BATCH]) for i in range(0, len(photos), BATCH)]
        return tuple(torch.cat(part) for part in zip(*parts, strict=True))

    def _encoded(self, factor: str, photos: np.ndarray) -> Coded:
        unit = torch.from_numpy(photos).to(self.device).permute(0, 3, 1, 2).float() / 255
        image, encoders = unit * 2 - 1, self.mixer.encoders
        if factor == "pose":
            return (encoders.pose(image),)
        if factor == "background":
            return encoders.pose(image), encoders.model_b(image).softmax(1)
        if factor == "texture":
            return (encoders.model_c(image).softmax(1),)
        if self.mode == "feature":
            assert self.mixer.extractor is not None
            return (self.mixer.extractor(image),)
        return (encoders.model_p(image).softmax(1),)

    def paint(self, coded: Mapping[str, Coded], picks: Mapping[str, Sequence[int]]) -> Iterator[Mixed]:
        """Mix in batches.

        Args:
            coded: the codes of the photos of each of :attr:`factors`.
            picks: for each factor, the photo's number for each of M mixes.
        """
        count = len(picks[self.factors[0]])
        for first in range(0, count, BATCH):
            chosen = {f: torch.as_tensor(picks[f][first : first + BATCH]) for f in self.factors}
            yield self._painted({f: tuple(t[chosen[f].to(t.device)] for t in coded[f]) for f in self.factors})

    @torch.inference_mode()
    def _painted(self, coded: Mapping[str, Coded]) -> Mixed:
        behind, background = coded["background"]
        (shape,), (texture,) = coded["shape"], coded["texture"]
        if self.mode == "code":
            codes = Codes(coded["pose"][0], background, shape, texture)
            made = self.mixer.generator(codes, background_pose=behind)
        else:
            # The shape code has no effect with given features.
            no_shape = behind.new_zeros(len(behind), self.mixer.config.shapes)
            made = self.mixer.generator(Codes(behind, background, no_shape, texture), features=shape)
        return Mixed(to_unit(made.image).float(), made.parent_mask.float(), made.child_mask.float())


def check_mode(mode: str) -> None:
    """Check that the mode exists, before all other checks.

    Raises:
        RunError: the mode is unknown.
    """
    if mode not in get_args(Mode):
        hint = did_you_mean(mode, get_args(Mode))
        raise RunError(f"--mode {mode!r} is not known{hint}", "choose code or feature")


def squared(photo: np.ndarray, side: int) -> np.ndarray:
    """RGB uint8 [H, W, 3] resized to [side, side, 3] regardless of aspect ratio."""
    return resized(photo, (side, side), "bilinear")


def pixels(pictures: Tensor) -> np.ndarray:
    """Pictures or masks [B, 3 or 1, H, W] in [0, 1] as RGB uint8 [B, H, W, 3]."""
    return as_pixels(pictures.expand(-1, 3, -1, -1))


def save_mixer(mixer: Mixer, run: Path) -> None:
    """Write ``networks/``: settings, generator, encoders and, if present, the feature extractor."""
    settings = json.dumps({"layout": LAYOUT, **mixer.config.model_dump(mode="json")})
    save_parts(dict(mixer.named_children()), settings, run, "the networks")


def load_mixer(run: Path) -> Mixer:
    """The networks of a finished run.

    Raises:
        RunError: the run does not exist, has another kind, is not finished, or is damaged.
    """
    opened = open_run(run, "mix")
    folder = opened.path / "networks"
    if not folder.is_dir():
        raise RunError(
            f"{run} has no finished networks: continue it with `stylebridge mix train --resume --out {run}`."
        )

    # Runs without a layout number: trained ones have layout 1; imported files are as published, which is 2.
    layout = 2 if opened.facts().get("imported") else 1

    def build(settings: str) -> Mixer:
        nonlocal layout
        kept = parse_json(settings)
        layout = kept.pop("layout", layout)
        if layout > LAYOUT:
            raise RunError(
                f"{folder} was written by a newer stylebridge: update stylebridge to use this run."
            )
        config = MixNMatchConfig.model_validate(kept)
        with torch.device("meta"):
            extractor = FeatureExtractor(config) if (folder / "extractor.safetensors").is_file() else None
            return Mixer(Generator(config), Encoders(config), extractor)

    def convert(part: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return ckpt.convert_tensors(tensors, conversions(layout)) if part == "generator" else tensors

    return load_parts(folder, build, convert).requires_grad_(False).eval()
