"""Miniature trees in the exact public layouts, written file by file."""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIZE = (8, 6)  # width, height
CITYSCAPES_PALETTE = {7: (128, 64, 128), 8: (244, 35, 232), 26: (0, 0, 142)}


def ids(*values: int) -> np.ndarray:
    """A label map [6, 8] of stripes of these ids, from left to right."""
    return np.array(values, np.uint8)[np.arange(SIZE[0]) * len(values) // SIZE[0]][None].repeat(SIZE[1], 0)


@dataclass
class Miniature:
    """Writes files below a root; ``labels`` remembers what raw values each label file was given."""

    root: Path
    labels: dict[str, np.ndarray] = field(default_factory=dict)

    def _at(self, path: str) -> Path:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        return self.root / path

    def image(self, *paths: str, size: tuple[int, int] = SIZE) -> None:
        for number, path in enumerate(paths):
            Image.new("RGB", size, (number * 20 % 255, 90, 40)).save(self._at(path))

    def label(
        self, path: str, values: np.ndarray, palette: dict[int, tuple[int, int, int]] | None = None
    ) -> None:
        picture = Image.fromarray(values)
        if palette is not None:
            flat = np.zeros((256, 3), np.uint8)
            for index, colour in palette.items():
                flat[index] = colour
            picture.putpalette(flat.tobytes())
        picture.save(self._at(path))
        self.labels[path] = values

    def text(self, *paths: str) -> None:
        for path in paths:
            self._at(path).write_text("{}", encoding="utf-8")

    def zip(self, archive: Path, folder: str = "") -> Path:
        """All files in one zip file, below ``folder`` in it, with what macOS adds."""
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
            for file in sorted(self.root.rglob("*")):
                if file.is_file():
                    out.write(file, f"{folder}{file.relative_to(self.root).as_posix()}")
            out.writestr(f"__MACOSX/{folder}._images", b"x")
        return archive


Builder = Callable[[Miniature], None]


@pytest.fixture
def miniature(tmp_path: Path) -> Miniature:
    return Miniature(tmp_path / "set")
