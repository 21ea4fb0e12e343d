"""NICE-GAN for translation: the networks of both domains, and one direction as an image translator."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stylebridge.networks.nice_gan.config import NiceGanConfig
from stylebridge.networks.nice_gan.discriminator import Discriminator, Encoder
from stylebridge.networks.nice_gan.generator import Generator
from stylebridge.networks.two_domains import OTHER, ensure_domain, translate_padded


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
        return translate_padded(lambda x: self.generator(self.encoder(x)), image, "NICE-GAN")


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
        ensure_domain(to)
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
