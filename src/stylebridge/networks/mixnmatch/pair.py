"""Discriminators of pairs of an image and a code, one for each factor (arXiv 1911.11758, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stylebridge.networks.mixnmatch.blocks import SLOPE, WholeMap
from stylebridge.networks.mixnmatch.codes import Codes
from stylebridge.networks.mixnmatch.config import MixNMatchConfig

#: Standard deviations of the noise after the layers of the code branch.
NOISE = (0.5, 0.3, 0.3)


class _Layer(nn.Module):
    """A layer with its published key, optionally followed by LeakyReLU and noise."""

    def __init__(self, layer: nn.Module, activated: bool = True, noise: float = 0.0) -> None:
        super().__init__()
        self.model = nn.Sequential(layer, *([nn.LeakyReLU(SLOPE, inplace=True)] if activated else []))
        self.deviation = noise

    def forward(self, x: Tensor, passes: int = 1) -> Tensor:
        x = self.model(x)
        if not self.deviation:
            return x
        noise = torch.cat([torch.randn_like(batch) for batch in x.chunk(passes)])
        return x + noise * self.deviation


class PairDiscriminator(nn.Module):
    """A raw score: whether a pair of image and code was encoded (low) or generated (high)."""

    def __init__(self, config: MixNMatchConfig, code: int) -> None:
        super().__init__()
        n = config.pair_channels
        widths = [n * 2**i for i in range(config.doublings)]
        joint = 2 * widths[-1]
        halvings = [
            _Layer(nn.Conv2d(before, after, 4, 2, 1))
            for before, after in zip([3, *widths[:-1]], widths, strict=True)
        ]
        self.image_layer = nn.Sequential(*halvings, _Layer(WholeMap(widths[-1], joint, 4)))
        sizes = ((code, joint), (joint, joint), (joint, joint))
        layers = (_Layer(nn.Linear(*size), noise=noise) for size, noise in zip(sizes, NOISE, strict=True))
        self.code_layer = nn.Sequential(*layers)
        self.joint = nn.Sequential(
            _Layer(nn.Linear(2 * joint, 2 * joint)), _Layer(nn.Linear(2 * joint, 1), activated=False)
        )

    def forward(self, image: Tensor, code: Tensor, passes: int = 1) -> Tensor:
        """Images [B, 3, S, S] in [−1, 1] and codes [B, K] to scores [B].

        Args:
            passes: number of batches joined in the arguments; each draws its own noise.
        """
        for layer in self.code_layer:
            code = layer(code, passes)
        return self.joint(torch.cat((self.image_layer(image).flatten(1), code), 1)).flatten()


class PairDiscriminators(nn.Module):
    """One pair discriminator for each factor; 17,753,028 parameters as published.

    Noise is added to codes in evaluation mode too, as published; :meth:`quiet` turns it off for scoring.
    """

    def __init__(self, config: MixNMatchConfig) -> None:
        super().__init__()
        self.config = config
        self.BD_z = PairDiscriminator(config, config.pose)
        self.BD_b = PairDiscriminator(config, config.textures)
        self.BD_p = PairDiscriminator(config, config.shapes)
        self.BD_c = PairDiscriminator(config, config.textures)

    @property
    def each(self) -> tuple[PairDiscriminator, ...]:
        """In the order of :class:`Codes`."""
        return self.BD_z, self.BD_b, self.BD_p, self.BD_c

    def quiet(self) -> PairDiscriminators:
        """Turn the noise off; returns self."""
        for module in self.modules():
            if isinstance(module, _Layer):
                module.deviation = 0.0
        return self

    def forward(self, image: Tensor, codes: Codes, passes: int = 1) -> Tensor:
        """Scores [4, B] of images [B, 3, S, S] with each of their codes; ``passes``: see :class:`PairDiscriminator`."""
        pairs = zip(self.each, codes, strict=True)
        return torch.stack([discriminator(image, code, passes) for discriminator, code in pairs])
