"""SEAN (Zhu et al., CVPR 2020, arXiv 1911.12861): images from label maps."""

from __future__ import annotations

from stylebridge.interop.synthesizers import SEAN as RELEASED
from stylebridge.methods.registry import MethodSpec, Networks
from stylebridge.methods.synthesis import Synthesis, published_optimizers
from stylebridge.networks.sean import PRESETS, SEANConfig, SEANNetworks


class SEAN(Synthesis):
    """SEAN's training: see :class:`~stylebridge.methods.synthesis.Synthesis`."""

    name = "sean"


METHOD = MethodSpec(
    name="sean",
    task="synthesize",
    method=SEAN,
    title="SEAN",
    paper="Zhu et al., CVPR 2020, arXiv 1911.12861",
    networks=Networks(SEANNetworks, SEANConfig, PRESETS, from_data=("classes",)),
    optimizers=published_optimizers,
    length="100 epochs",
    importers={"sean": RELEASED},
)
