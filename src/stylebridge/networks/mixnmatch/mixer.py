"""All networks of the first stage; and mixing factors of several images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stylebridge.errors import DataError, RunError
from stylebridge.networks.mixnmatch.codes import Codes
from stylebridge.networks.mixnmatch.config import MixNMatchConfig
from stylebridge.networks.mixnmatch.discriminator import (
    BackgroundDiscriminator,
    FeatureDiscriminator,
    ObjectDiscriminator,
)
from stylebridge.networks.mixnmatch.encoder import Encoders, FeatureExtractor
from stylebridge.networks.mixnmatch.generator import Generated, Generator
from stylebridge.networks.mixnmatch.pair import PairDiscriminators


class MixNMatchNetworks(nn.Module):
    """The networks of the first stage (code mode)."""

    def __init__(self, config: MixNMatchConfig) -> None:
        super().__init__()
        self.config = config
        n = config.discriminator_channels
        self.generator = Generator(config)
        self.encoders = Encoders(config)
        self.background_discriminator = BackgroundDiscriminator(config)
        self.parent_discriminator = ObjectDiscriminator(config, n // 2, config.shapes)
        self.child_discriminator = ObjectDiscriminator(config, n, config.textures)
        self.pair_discriminators = PairDiscriminators(config)


class FeatureNetworks(nn.Module):
    """The networks of the second stage (feature mode): a trained generator, and the networks that learn its parent
    features."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.config = generator.config
        self.generator = generator
        self.extractor = FeatureExtractor(generator.config)
        self.discriminator = FeatureDiscriminator(generator.config)


class Mixer(nn.Module):
    """Generator, encoders and (for feature mode) the feature extractor, in evaluation mode.

    Args:
        generator, encoders: of the first stage; the average of the generator, if available.
        extractor: of the second stage; None: only code mode.
    """

    def __init__(
        self, generator: Generator, encoders: Encoders, extractor: FeatureExtractor | None = None
    ) -> None:
        super().__init__()
        self.config: MixNMatchConfig = generator.config
        self.generator, self.encoders, self.extractor = generator, encoders, extractor
        self.requires_grad_(False).eval()

    def encode(self, image: Tensor) -> Codes:
        """Images [B, 3, S, S] in [0, 1] to codes, categories as probabilities.

        Raises:
            DataError: the images are not RGB images of the networks' size.
        """
        return self.encoders(self._scaled(image)).codes()

    @torch.no_grad()
    def mix(self, pose: Tensor, background: Tensor, shape: Tensor, texture: Tensor) -> Generated:
        """Code mode: each factor from its own images [B, 3, S, S] in [0, 1].

        Every image is encoded only by the encoder of its factor. :func:`to_unit` converts pictures to [0, 1].

        Raises:
            DataError: the images are not RGB images of the networks' size.
        """
        encoders, behind = self.encoders, self._scaled(background)
        codes = Codes(
            encoders.pose(self._scaled(pose)),
            encoders.model_b(behind).softmax(1),
            encoders.model_p(self._scaled(shape)).softmax(1),
            encoders.model_c(self._scaled(texture)).softmax(1),
        )
        return self.generator(codes, background_pose=encoders.pose(behind))

    @torch.no_grad()
    def mix_features(self, shape: Tensor, background: Tensor, texture: Tensor) -> Generated:
        """Feature mode: shape and pose, pixel by pixel, from ``shape``. Images as in :meth:`mix`.

        Raises:
            DataError: like :meth:`mix`.
            RunError: there is no feature extractor.
        """
        if self.extractor is None:
            raise RunError(
                "Feature mode needs a feature extractor: train the second stage, or use code mode."
            )
        encoders, behind = self.encoders, self._scaled(background)
        features, pose = self.extractor(self._scaled(shape)), encoders.pose(behind)
        # The shape code has no effect with given features.
        no_shape = pose.new_zeros(len(pose), self.config.shapes)
        texture_code = encoders.model_c(self._scaled(texture)).softmax(1)
        codes = Codes(pose, encoders.model_b(behind).softmax(1), no_shape, texture_code)
        return self.generator(codes, features=features)

    def _scaled(self, image: Tensor) -> Tensor:
        side = self.config.image_size
        if image.dim() != 4 or tuple(image.shape[1:]) != (3, side, side):
            raise DataError(
                f"These MixNMatch networks need RGB images [B, 3, {side}, {side}], not {list(image.shape)}: "
                f"resize them to {side}×{side}."
            )
        return image * 2 - 1


def to_unit(picture: Tensor) -> Tensor:
    """Convert a picture from [−1, 1] to [0, 1] (the published script stretches each image's contrast instead)."""
    return (picture * 0.5 + 0.5).clamp(0, 1)
