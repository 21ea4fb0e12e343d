"""Readers of public data-set layouts, one file each.

``LAYOUTS`` is in the order in which an unnamed path is tried: the more particular ones first.
"""

from stylebridge.data.layouts.base import Layout, Listing
from stylebridge.data.layouts.folder import FolderLayout

LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (FolderLayout(),)}

__all__ = ["LAYOUTS", "Layout", "Listing"]
