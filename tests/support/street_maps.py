"""Small sets of photos and label maps with the palettes of public data sets."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

#: Colours as the data sets publish them, by id; not read from the package, which must know them by itself.
CAMVID = {0: (128, 128, 128), 1: (128, 0, 0), 2: (192, 192, 128), 3: (128, 64, 128), 4: (60, 40, 222), 5: (128, 128, 0),
          6: (192, 128, 128), 7: (64, 64, 128), 8: (64, 0, 128), 9: (64, 64, 0), 10: (0, 128, 192)}  # fmt: skip
CITYSCAPES = {0: (128, 64, 128), 1: (244, 35, 232), 2: (70, 70, 70), 3: (102, 102, 156), 4: (190, 153, 153),
              5: (153, 153, 153), 6: (250, 170, 30), 7: (220, 220, 0), 8: (107, 142, 35), 9: (152, 251, 152),
              10: (70, 130, 180), 11: (220, 20, 60), 12: (255, 0, 0), 13: (0, 0, 142)}  # fmt: skip
IDD = {0: (128, 64, 128), 1: (244, 35, 232), 2: (220, 20, 60), 3: (0, 0, 142), 4: (220, 220, 0), 5: (70, 70, 70),
       6: (70, 130, 180)}  # fmt: skip
#: Facades of a set of its own: blues to reds, no built-in space's colours.
FACADES = {i: (20 * i, 10, 250 - 20 * i) for i in range(13)}


def write_maps(
    root: Path,
    palette: dict[int, tuple[int, int, int]] | None,
    *,
    classes: int | None = None,
    count: int = 4,
    change: Callable[[np.ndarray], np.ndarray] = lambda ids: ids,
    shift_palette: int = 0,
) -> Path:
    """Photos and label maps that hold all the palette's ids in stripes; ``classes``: ids without a palette."""
    rng = np.random.default_rng(0)
    ids = sorted(palette) if palette is not None and classes is None else list(range(classes or 0))
    for kind in ("images", "labels"):
        (root / kind).mkdir(parents=True)
    for i in range(count):
        photo = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(photo).save(root / "images" / f"{i}.jpg")
        stripes = change(np.array(ids)[np.arange(64) * len(ids) // 64][None].repeat(48, 0))
        image = Image.fromarray(stripes.astype(np.uint8 if stripes.max() < 256 else np.uint16))
        if palette is not None:
            table = np.zeros((256, 3), np.uint8)
            for index, colour in palette.items():
                table[index + shift_palette] = colour
            image.putpalette(table.tobytes())
        image.save(root / "labels" / f"{i}.png")
    return root
