"""The translators that can be trained without pairs: their networks, presets, method and published settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from torch import nn

from stylebridge.data.augment import Resample
from stylebridge.engine.config import OptimizerConfig
from stylebridge.methods import cyclegan, nice_gan
from stylebridge.networks import cyclegan as cyclegan_networks
from stylebridge.networks import nice_gan as nice_gan_networks


@dataclass(frozen=True)
class TranslatorKind:
    """What the job needs to know of a method.

    Attributes:
        method: takes the networks and its options.
        networks: takes settings; has ``translator(to)``.
        config: the settings' class.
        presets: settings by name, each with ``image_size``.
        optimizers: the published ones.
        resample: the filter that the published programs resize images with, in training and test.
    """

    method: Any
    networks: Callable[[Any], nn.Module]
    config: Any
    presets: Mapping[str, Any]
    optimizers: Callable[[], dict[str, OptimizerConfig]]
    resample: Resample

    def build(self, preset: str) -> nn.Module:
        """Fresh networks."""
        return self.networks(self.presets[preset])

    def build_from(self, settings: str) -> nn.Module:
        """Networks of settings that were kept as JSON. Raises ValueError if they are wrong."""
        return self.networks(self.config.model_validate_json(settings))


TRANSLATORS: dict[str, TranslatorKind] = {
    "nice-gan": TranslatorKind(
        nice_gan.NiceGAN,
        nice_gan_networks.NiceGanNetworks,
        nice_gan_networks.NiceGanConfig,
        nice_gan_networks.PRESETS,
        nice_gan.published_optimizers,
        resample="bilinear",
    ),
    "cyclegan": TranslatorKind(
        cyclegan.CycleGAN,
        cyclegan_networks.CycleGANNetworks,
        cyclegan_networks.CycleGANConfig,
        cyclegan_networks.PRESETS,
        cyclegan.published_optimizers,
        resample="bicubic",
    ),
}


def translation_recipes() -> dict[str, Path]:
    """The translation recipes that come with the package, by name."""
    folder = Path(str(resources.files("stylebridge") / "recipes" / "translate"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
