"""NICE-GAN for translation: the networks of both domains, and one direction as an image translator."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.errors import DataError
from stylebridge.networks.nice_gan.config import STRIDE, NiceGanConfig
from stylebridge.networks.nice_gan.discriminator import Discriminator, Encoder
from stylebridge.networks.nice_gan.generator import Generator

#: The two domains, each with the domain it is translated to.
OTHER = {"a": "b", "b": "a"}
#: The shortest side that all reflection paddings of encoder and generator accept.
SMALLEST_TRANSLATED = 8


class Translator(nn.Module):
    """One direction of translation: the encoder of one domain and the generator of the other."""

    def __init__(self, encoder: Encoder, generator: Generator) -> None:
        super().__init__()
        self.encoder, self.generator = encoder, generator

    def forward(self, image: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [0, 1] to images of the other domain, of the same shape and range.

        Sides that are not multiples of 4, or below 8, are padded with their last rows and columns, and cropped back. A
        full generator only accepts its own size.

        Raises:
            DataError: the images do not have three channels, or (full) not the generator's size.
        """
        if image.dim() != 4 or image.shape[1] != 3:
            raise DataError(
                f"NICE-GAN translates RGB images [B, 3, H, W], not {list(image.shape)}: convert them to RGB."
            )
        height, width = image.shape[-2:]
        right, below = (
            max(SMALLEST_TRANSLATED, -(-side // STRIDE) * STRIDE) - side for side in (width, height)
        )
        if right or below:
            image = F.pad(image, (0, right, 0, below), mode="replicate")
        out = self.generator(self.encoder(image * 2 - 1))[..., :height, :width]
        return (out * 0.5 + 0.5).clamp(0, 1)


class NiceGanNetworks(nn.Module):
    """The four networks: ``discriminators`` and ``generators``, one for domain ``a`` and one for domain ``b``.

    A discriminator's first layers encode its domain; a generator produces its domain.
    """

    def __init__(self, config: NiceGanConfig) -> None:
        super().__init__()
        self.config = config
        self.discriminators = nn.ModuleDict({domain: Discriminator(config) for domain in OTHER})
        self.generators = nn.ModuleDict({domain: Generator(config) for domain in OTHER})

    def translator(self, to: str) -> Translator:
        """The translator to domain ``a`` or ``b``, in evaluation mode, with copied weights.

        Raises:
            DataError: the domain is unknown.
        """
        if to not in OTHER:
            raise DataError(f"There is no domain {to!r}: translate to a or to b.")
        with torch.device("meta"):
            translator = Translator(Encoder(self.config), Generator(self.config))
        source = {"encoder": self.discriminators[OTHER[to]], "generator": self.generators[to]}
        state = {}
        for part, network in source.items():
            own = getattr(translator, part).state_dict()
            given = network.state_dict()
            state |= {f"{part}.{key}": given[key].detach().clone() for key in own}
        translator.load_state_dict(state, assign=True)
        return translator.requires_grad_(False).eval()
