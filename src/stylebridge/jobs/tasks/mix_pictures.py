"""Sample pictures while a mixer trains: images generated from random codes and from the codes of photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stylebridge.data.boxes import BoxedImages, ViewDraw, object_view
from stylebridge.data.images import read_image
from stylebridge.data.spread import evenly_spaced
from stylebridge.jobs.pictures import as_pixels, as_tensor, write_png
from stylebridge.networks.mixnmatch import Categories, Mixer, MixNMatchConfig, one_hot, parent_of, to_unit

#: What each row of a sample grid shows, from the top.
ROWS = (
    "generated from random codes (a texture and its shape)",
    "its background",
    "its shape alone",
    "its texture alone",
    "photo",
    "generated from the photo's four codes",
    "pose and shape of the photo, background and texture of the next",
    "the same in feature mode (grey before the second stage)",
)
COLUMNS = 8
_GREY = 0.5


class MixPictures:
    """Writes ``samples/STEP.png``, rows as in :data:`ROWS`; photos, codes and columns are the same at every step.

    Args:
        images: photos are evenly spaced among them, cut about the object as in training but nothing of it random.
    """

    def __init__(self, run: Path, images: BoxedImages, config: MixNMatchConfig, device: torch.device) -> None:
        self.run, self.config, self.device = run, config, device
        views = []
        for i in evenly_spaced(len(images), COLUMNS):
            image = read_image(images.images[i])
            box = images.boxes.inside(images.names[i], image.shape[1], image.shape[0])
            views.append(object_view(image, box, images.side, ViewDraw(0.5, 0.5, False)))
        self.photos = as_tensor(np.stack(views))
        textures = torch.linspace(0, config.textures - 1, len(views)).long()
        categories = Categories(textures, parent_of(textures, config), textures)
        pose = torch.randn(len(views), config.pose, generator=torch.Generator().manual_seed(0))
        self.codes = one_hot(pose, categories, config)

    @torch.no_grad()
    def write(self, step: int, mixer: Mixer) -> None:
        """Write the picture of a step.

        Args:
            mixer: in evaluation mode, on the device.
        """
        photos = self.photos.to(self.device)
        after = photos.roll(-1, 0)
        made = mixer.generator(type(self.codes)(*(code.to(self.device) for code in self.codes)))
        rows = [made.image, made.background, made.masked_parent, made.masked_child]
        rows = [to_unit(row) for row in rows] + [
            photos,
            to_unit(mixer.mix(photos, photos, photos, photos).image),
            to_unit(mixer.mix(photos, after, photos, after).image),
            torch.full_like(photos, _GREY)
            if mixer.extractor is None
            else to_unit(mixer.mix_features(photos, after, after).image),
        ]
        write_png(as_pixels(_grid(rows)), self.run / "samples" / f"{step:06}.png")


def _grid(rows: list[Tensor]) -> Tensor:
    """Rows of images [N, 3, S, S] as one picture [3, rows·S, N·S] on the CPU."""
    return torch.cat([torch.cat(list(row.float().cpu()), 2) for row in rows], 1)
