"""MixNMatch at a tiny size, codes for it, and photos with boxes."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from stylebridge.networks.mixnmatch import Codes, MixNMatchConfig

TINY = MixNMatchConfig(
    image_size=64,
    shapes=2,
    textures=5,
    pose=4,
    generator_channels=2,
    discriminator_channels=2,
    encoder_channels=2,
    pair_channels=1,
    extractor_channels=2,
)


def codes_of(config: MixNMatchConfig, images: int = 2) -> Codes:
    """Random codes in float64; categories are probabilities."""
    torch.manual_seed(1)
    probabilities = (
        torch.randn(images, n).double().softmax(1) for n in (config.textures, config.shapes, config.textures)
    )
    return Codes(torch.randn(images, config.pose).double(), *probabilities)


def tiny_mix(steps: int = 2) -> list[str]:
    """``--set`` values that make the small recipe train both stages for a few steps, without sample pictures."""
    sizes = TINY.model_dump(exclude={"image_size"})
    changes = [f"networks.{name}={value}" for name, value in sizes.items()]
    for stage in ("code", "feature"):
        wanted = {"steps": steps, "batch": 2, "checkpoint_every": 1, "sample_every": 0, "log_every": 1}
        changes += [f"{stage}.trainer.{name}={value}" for name, value in wanted.items()]
    return changes


def write_boxed(root: Path, count: int = 6, size: tuple[int, int] = (60, 48)) -> Path:
    """``root/images/KIND/NUMBER.png``: blocks on noise; ``root/boxes.csv`` has the blocks."""
    rng, rows = np.random.default_rng(0), ["image,x,y,width,height"]
    for i in range(count):
        name = f"{'ab'[i % 2]}/{i}.png"
        image = rng.integers(0, 90, (size[1], size[0], 3), np.uint8)
        image[10:30, 12 : 40 + i] = rng.integers(100, 256, 3)
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / "images" / name)
        rows.append(f"{name},12,10,{28 + i},20")
    (root / "boxes.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root
