"""A tiny mixer whose mixes differ visibly, its run folder, and photos to mix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from stylebridge.jobs.apply.models.mixer import save_mixer
from stylebridge.networks.mixnmatch import Encoders, FeatureExtractor, Generator, Mixer, MixNMatchConfig

SIDE = 64
CONFIG = MixNMatchConfig(
    image_size=SIDE, shapes=3, textures=6, pose=5, generator_channels=8, discriminator_channels=4,
    encoder_channels=4, pair_channels=4, extractor_channels=4,
)  # fmt: skip


def patches(count: int, seed: int = 0) -> np.ndarray:
    """Photos of blurred coloured patches, uint8 [N, 64, 64, 3]."""
    small = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), np.uint8)
    return np.stack([np.array(Image.fromarray(each).resize((SIDE, SIDE))) for each in small])


def as_unit(photos: np.ndarray) -> torch.Tensor:
    """uint8 [N, H, W, 3] as float [N, 3, H, W] in [0, 1]."""
    return torch.from_numpy(photos).permute(0, 3, 1, 2).float() / 255


def tiny_mixer(extractor: bool = True) -> Mixer:
    """Random networks; encoders and batch norms are scaled so that codes differ and nothing saturates."""
    torch.manual_seed(0)
    mixer = Mixer(Generator(CONFIG), Encoders(CONFIG), FeatureExtractor(CONFIG) if extractor else None)
    photos = as_unit(patches(16, seed=1)) * 2 - 1
    for encoder in mixer.encoders.children():
        encoder[4].weight.data.mul_(8)  # type: ignore[index]
    for mask in (mixer.generator.parent_mask, mixer.generator.child_mask):
        next(mask.parameters()).data.mul_(6)
    for module in mixer.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = None
    mixer.train()
    with torch.no_grad():
        mixer.generator(mixer.encoders(photos).codes())
        if mixer.extractor is not None:
            mixer.extractor(photos)
    return mixer.eval()


def tiny_run(folder: Path, mixer: Mixer) -> Path:
    """The mixer as a run folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save_mixer(mixer, folder)
    (folder / "run.yaml").write_text("kind: mix\n", encoding="utf-8")
    return folder


def save_photos(folder: Path, photos: np.ndarray, prefix: str = "") -> list[Path]:
    """PNG files 00.png, 01.png, …"""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{prefix}{number:02}.png" for number in range(len(photos))]
    for path, photo in zip(paths, photos, strict=True):
        Image.fromarray(photo).save(path)
    return paths
