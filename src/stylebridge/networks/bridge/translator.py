"""Both directions of Bridge's translation: the trained networks, and the translation of an image."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.errors import DataError
from stylebridge.layers.spade import LabelMaps
from stylebridge.networks.bridge.config import BridgeConfig
from stylebridge.networks.bridge.critic import Critic
from stylebridge.networks.bridge.generator import Generator
from stylebridge.networks.bridge.styles import StyleHead, Styles
from stylebridge.networks.bridge.trunk import Trunk
from stylebridge.networks.segmenters.build import Segmenter
from stylebridge.networks.two_domains import STRIDE

#: The two domains, each with the domain it is translated to.
OTHER = {"source": "target", "target": "source"}


class Painters(nn.Module):
    """``generators`` (each for images of its domain) and ``heads`` (each for region styles of its domain)."""

    def __init__(self, config: BridgeConfig, classes: int) -> None:
        super().__init__()
        self.config, self.classes = config, classes
        self.generators = nn.ModuleDict({domain: Generator(config, classes) for domain in OTHER})
        self.heads = nn.ModuleDict({domain: StyleHead(config, classes) for domain in OTHER})

    def styles(
        self, domain: str, code: Tensor, image: Tensor, labels: Tensor | LabelMaps, *, follow: bool = False
    ) -> Styles:
        """The region styles of a domain's images; see :class:`StyleHead`."""
        return self.heads[domain](code, image, labels, follow=follow)

    def paint(
        self,
        domain: str,
        code: Tensor,
        image: Tensor,
        labels: Tensor | LabelMaps,
        own: Styles,
        wanted: Styles,
    ) -> Tensor:
        """Images translated to the domain; see :class:`Generator`."""
        return self.generators[domain](code, image, labels, own, wanted)


def critics(config: BridgeConfig, classes: int, segmenter: Segmenter) -> nn.ModuleDict:
    """A critic for each domain; empty without networks to train.

    Args:
        segmenter: source of the first layers with ``trunk: segmenter``.

    Raises:
        RecipeError: the segmenter has no suitable layers.
    """
    if not config.learnt:
        return nn.ModuleDict()
    shared = config.trunk == "segmenter"
    return nn.ModuleDict(
        {domain: Critic(config, classes, Trunk(segmenter) if shared else None) for domain in OTHER}
    )


def encode(critics: nn.ModuleDict, domain: str, image: Tensor) -> Tensor:
    """The code of a domain's images [B, 3, H, W] in [0, 1]: [B, 2·channels, H/4, W/4], with 0 channels without networks
    to train. Sides must be multiples of 4."""
    if domain not in critics:
        return image.new_zeros(len(image), 0, image.shape[2] // STRIDE, image.shape[3] // STRIDE)
    critic = critics[domain]
    assert isinstance(critic, Critic)
    return critic.encode(image * 2 - 1).code


class BridgeTranslator(nn.Module):
    """One direction of translation: images of one domain, with label maps, to region styles of the other.

    Args:
        critics, painters: trained networks, used without a copy.
        to: ``source`` or ``target``.

    Raises:
        DataError: the domain is unknown.
    """

    def __init__(self, critics: nn.ModuleDict, painters: Painters, to: str) -> None:
        super().__init__()
        if to not in OTHER:
            raise DataError(f"There is no domain {to!r}: translate to source or to target.")
        self.critics, self.painters, self.domain = critics, painters, to

    def forward(self, image: Tensor, labels: Tensor, wanted: Styles | None = None) -> Tensor:
        """Images [B, 3, H, W] in [0, 1] to images of the same shape and range.

        Sides that are not multiples of 4 are padded with their last rows and columns, and cropped back.

        Args:
            labels: [B, H, W], 255 = no class.
            wanted: from :meth:`styles_of`, for as many images, or one; None: the domain's mean styles.
        """
        height, width = image.shape[-2:]
        image, labels = padded(image, labels)
        here = OTHER[self.domain]
        code = encode(self.critics, here, image)
        own = self.painters.styles(here, code, image, labels)
        if wanted is None:
            wanted = self.painters.heads[self.domain].mean_styles(1)  # type: ignore[operator]
        assert wanted is not None
        wanted = Styles(*(t.expand(len(image), *t.shape[1:]) for t in wanted))
        made = self.painters.paint(self.domain, code, image, labels, own, wanted)
        return made[..., :height, :width]

    def styles_of(self, image: Tensor, labels: Tensor) -> Styles:
        """The region styles of images of the output domain."""
        image, labels = padded(image, labels)
        return self.painters.styles(self.domain, encode(self.critics, self.domain, image), image, labels)


def padded(image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Image and label map, padded with their last rows and columns to multiples of 4 (at least 8)."""
    height, width = image.shape[-2:]
    right, below = (max(8, -(-side // STRIDE) * STRIDE) - side for side in (width, height))
    if not right and not below:
        return image, labels
    labels = F.pad(labels[:, None].float(), (0, right, 0, below), mode="replicate")[:, 0].long()
    return F.pad(image, (0, right, 0, below), mode="replicate"), labels
