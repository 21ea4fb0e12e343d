"""SPADE (Park et al., CVPR 2019, arXiv 1903.07291): images from label maps."""

from __future__ import annotations

from stylebridge.interop.synthesizers import SPADE as RELEASED
from stylebridge.methods.registry import MethodSpec, Networks
from stylebridge.methods.synthesis import Synthesis, published_optimizers
from stylebridge.networks.spade import PRESETS, SPADEConfig, SPADENetworks


class SPADE(Synthesis):
    """SPADE's training: see :class:`~stylebridge.methods.synthesis.Synthesis`."""

    name = "spade"


METHOD = MethodSpec(
    name="spade",
    task="synthesize",
    method=SPADE,
    title="SPADE",
    paper="Park et al., CVPR 2019, arXiv 1903.07291",
    networks=Networks(SPADENetworks, SPADEConfig, PRESETS, from_data=("classes",)),
    optimizers=published_optimizers,
    length="200 epochs",
    importers={"spade": RELEASED},
)
