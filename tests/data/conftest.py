"""Folders of small images for the tests of data/."""

import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylebridge.data.label_space import LabelSpace

_listeners: list[list[str]] = []


def _hear(event: str, args: tuple) -> None:
    if _listeners and event in ("open", "os.listdir", "os.scandir") and args and args[0] is not None:
        _listeners[-1].append(str(args[0]))


sys.addaudithook(_hear)


@contextmanager
def _touched_paths() -> Iterator[list[str]]:
    heard: list[str] = []
    _listeners.append(heard)
    try:
        yield heard
    finally:
        _listeners.remove(heard)


@pytest.fixture
def touched_paths():
    """A context manager that lists every path Python opens or lists inside it."""
    return _touched_paths


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the user's statistics."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_png_16(path: Path, channels: np.ndarray, filtered: bool = False) -> None:
    """Write uint16 [H, W, C] (C = 1, 3 or 4) as a 16-bit PNG; `filtered` uses the Sub filter on every row."""
    height, width, count = channels.shape
    rows = channels.astype(">u2").tobytes()
    stride, step = width * count * 2, count * 2
    body = b""
    for y in range(height):
        row = np.frombuffer(rows[y * stride : (y + 1) * stride], np.uint8)
        if filtered:
            row = row - np.concatenate([np.zeros(step, np.uint8), row[:-step]])
        body += bytes([int(filtered)]) + row.tobytes()
    write_png(path, width, height, 16, {1: 0, 3: 2, 4: 6}[count], body)


def write_png(path: Path, width: int, height: int, depth: int, colour_type: int, body: bytes) -> None:
    """Write a PNG from its filtered rows."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(body)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


@pytest.fixture
def png_16():
    return write_png_16


@pytest.fixture
def png():
    return write_png


@pytest.fixture
def space() -> LabelSpace:
    """Three classes; 9 and 255 are ignored."""
    return LabelSpace(
        "three", ("a", "b", "c"), ((10, 0, 0), (0, 20, 0), (0, 0, 30)), {0: 0, 1: 1, 2: 2, 9: 255, 255: 255}
    )


@pytest.fixture
def make_domain(tmp_path: Path) -> Callable[..., Path]:
    """Writes a labelled folder of random images and label maps (ids 0, 1, 2, 255); returns the folder."""

    def make(
        count: int = 6, size: tuple[int, int] = (16, 12), name: str = "domain", labels: bool = True
    ) -> Path:
        rng = np.random.default_rng(5)
        root = tmp_path / name
        (root / "images").mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "images" / f"{i:03}.png")
            if labels:
                (root / "labels").mkdir(exist_ok=True)
                ids = rng.choice(np.array([0, 1, 2, 255], np.uint8), (size[1], size[0]))
                Image.fromarray(ids).save(root / "labels" / f"{i:03}.png")
        return root

    return make
