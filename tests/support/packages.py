"""An installed package that declares a method: one file, and the metadata that names its entry point."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stylebridge.methods import registry


@contextmanager
def installed(folder: Path, name: str, source: str, group: str = registry.GROUP) -> Iterator[None]:
    """A package ``name`` of one file whose constant METHOD is the entry point ``name``, as if pip had put it there."""
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / f"{name}.py").write_text(source, encoding="utf-8")
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{name} = {name}:METHOD\n")
    sys.path.insert(0, str(folder))
    _forget(name)
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        _forget(name)


def _forget(name: str) -> None:
    sys.modules.pop(name, None)
    importlib.invalidate_caches()
    for cached in (registry.all_methods, registry._entry_points, registry._foreign):
        cached.cache_clear()
