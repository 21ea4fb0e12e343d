"""Mix the factors of four photos in one picture with a finished MixNMatch run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stylebridge.data.images import read_image
from stylebridge.engine import open_accelerator
from stylebridge.errors import DataError, RunError
from stylebridge.jobs.networks_folder import load_parts, save_parts, write_png
from stylebridge.jobs.run_folder import open_run
from stylebridge.jobs.translator_folder import as_pixels
from stylebridge.networks.mixnmatch import (
    Encoders,
    FeatureExtractor,
    Generator,
    Mixer,
    MixNMatchConfig,
    to_unit,
)


def mix_images(
    run: str | Path,
    out: str | Path,
    *,
    background: str | Path,
    shape: str | Path,
    texture: str | Path,
    pose: str | Path | None = None,
    mode: Literal["code", "feature"] = "code",
    device: str = "auto",
    overwrite: bool = False,
) -> Path:
    """One picture, each of its factors from a photo of its own.

    Photos are resized to the networks' square, whatever their aspect (as published).

    Args:
        out: the PNG file to write.
        pose: needed in code mode.
        mode: ``code``: pose and shape are codes. ``feature``: both are taken pixel by pixel from ``shape``, and the run
            needs a feature extractor.

    Raises:
        UserError: the run, a photo or the output is not what it should be.
    """
    path = Path(out)
    if path.suffix.lower() != ".png":
        raise DataError(f"--out {path} does not end in .png: pictures are written as PNG files.")
    if path.exists() and not overwrite:
        raise RunError(f"{path} exists already: choose another --out or give --overwrite.")
    if mode not in ("code", "feature"):
        raise RunError(f"--mode is {mode!r}: choose code or feature.")
    if mode == "code" and pose is None:
        raise DataError("Give --pose PHOTO too: only feature mode takes the pose from the --shape photo.")
    if mode == "feature" and pose is not None and str(pose) != str(shape):
        raise DataError("In feature mode pose and shape come from one photo: leave out --pose.")
    mixer = load_mixer(Path(run)).to(open_accelerator(device).device)
    where = next(mixer.parameters()).device
    side = mixer.config.image_size
    files = {"pose": pose or shape, "background": background, "shape": shape, "texture": texture}
    photos = {name: _read(file, side).to(where) for name, file in files.items()}
    if mode == "code":
        made = mixer.mix(**photos)
    else:
        made = mixer.mix_features(photos["shape"], photos["background"], photos["texture"])
    picture = Image.fromarray(as_pixels(to_unit(made.image)[0].float().cpu()))
    write_png(picture, path)
    return path


def _read(file: str | Path, side: int) -> Tensor:
    """A photo [1, 3, side, side] in [0, 1]."""
    image = read_image(Path(file))
    if image.shape[:2] != (side, side):
        image = np.array(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR))
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def save_mixer(mixer: Mixer, run: Path) -> None:
    """Write ``networks/``: settings, generator, encoders and, where there is one, the feature extractor."""
    save_parts(dict(mixer.named_children()), mixer.config.model_dump_json(), run, "the networks")


def load_mixer(run: Path) -> Mixer:
    """The networks of a finished run.

    Raises:
        RunError: there is no run, it is of another kind, or it is damaged.
    """
    folder = open_run(run, "mix").path / "networks"

    def build(settings: str) -> Mixer:
        config = MixNMatchConfig.model_validate_json(settings)
        with torch.device("meta"):
            extractor = FeatureExtractor(config) if (folder / "extractor.safetensors").is_file() else None
            return Mixer(Generator(config), Encoders(config), extractor)

    return load_parts(folder, build).requires_grad_(False).eval()
