"""The networks that draw pictures from label maps: their presets, and how they are built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from stylebridge.networks import sean, spade
from stylebridge.networks.sean import SEANNetworks
from stylebridge.networks.spade import SPADENetworks


@dataclass(frozen=True)
class SynthesizerKind:
    """What the jobs need to know of a method.

    Attributes:
        networks: takes settings; has ``generator`` and ``encoder`` (None where pictures take no style).
        config: the settings' class.
        presets: settings but for the classes, by name.
    """

    networks: Any
    config: Any
    presets: Mapping[str, dict[str, Any]]

    def configure(self, preset: str, classes: int, changes: Mapping[str, Any] | None = None) -> Any:
        """The settings of a preset for so many classes, some of them changed. Raises ValueError if they are wrong."""
        return self.config(**{**self.presets[preset], **(changes or {}), "classes": classes})

    def stride(self, preset: str) -> int:
        """Sides of pictures are multiples of it."""
        return int(self.configure(preset, 1).stride)

    def build_from(self, settings: str) -> SEANNetworks | SPADENetworks:
        """Networks of settings that were kept as JSON, without values (on no device): load them with ``assign``.
        Raises ValueError if the settings are wrong."""
        with torch.device("meta"):  # random values would take seconds, and be thrown away
            return self.networks(self.config.model_validate_json(settings))


SYNTHESIZERS: dict[str, SynthesizerKind] = {
    "sean": SynthesizerKind(sean.SEANNetworks, sean.SEANConfig, sean.PRESETS),
    "spade": SynthesizerKind(spade.SPADENetworks, spade.SPADEConfig, spade.PRESETS),
}
