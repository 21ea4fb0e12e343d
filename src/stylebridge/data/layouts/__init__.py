"""Readers of public data-set layouts.

``LAYOUTS`` is in the order of recognition: the more specific layouts first.
"""

from stylebridge.data.layouts.base import Layout, Listing
from stylebridge.data.layouts.camvid import CamVidColoursLayout, CamVidLayout
from stylebridge.data.layouts.cityscapes import ACDCLayout, CityscapesLayout, DarkZurichLayout
from stylebridge.data.layouts.driving import BDD100KLayout, MapillaryLayout
from stylebridge.data.layouts.folder import FolderLayout
from stylebridge.data.layouts.scenes import ADE20KLayout, CelebAMaskLayout, FacadesLayout, UnpairedLayout
from stylebridge.data.layouts.synthetic import GTA5Layout, SynthiaLayout
from stylebridge.data.layouts.voc import PascalVOCLayout

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        CityscapesLayout(),
        ACDCLayout(),
        DarkZurichLayout(),
        BDD100KLayout(),
        MapillaryLayout(),
        ADE20KLayout(),
        SynthiaLayout(),
        CamVidLayout(),
        CamVidColoursLayout(),
        CelebAMaskLayout(),
        FacadesLayout(),
        UnpairedLayout(),
        PascalVOCLayout(),
        GTA5Layout(),
        FolderLayout(),
    )
}

__all__ = ["LAYOUTS", "Layout", "Listing"]
