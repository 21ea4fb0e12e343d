"""What the checks of released-form weights share: photos, the command line, and pictures compared level by level."""

from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner, Result

from stylebridge.cli import app


def write_photo(path: Path, size: tuple[int, int] = (150, 110), seed: int = 0) -> Path:
    """Blobs of colour with a little noise, PNG."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )
    noise = rng.integers(-12, 13, (size[1], size[0], 3))
    Image.fromarray((np.array(coarse).astype(int) + noise).clip(0, 255).astype(np.uint8)).save(path)
    return path


def run(*arguments: object) -> Result:
    """A command that must succeed."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, f"{arguments}\n{result.output}\n{result.exception!r}"
    return result


def refused(*arguments: object) -> str:
    """A command that must fail with a user's error; its sentence."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exception is not None
    assert not isinstance(result.exception, SystemExit), result.output
    return str(result.exception)


def pixels(path: Path) -> np.ndarray:
    """int [H, W, 3]."""
    return np.array(Image.open(path).convert("RGB")).astype(int)


def assert_within_one_level(path: Path, expected: np.ndarray) -> None:
    """``expected``: levels 0…255, not rounded, [H, W, 3]. The picture must show something, too."""
    found = pixels(path)
    assert found.shape == expected.shape
    assert expected.std() > 8, "a flat picture would not tell"
    assert np.abs(found - expected).max() <= 1, np.percentile(np.abs(found - expected), [50, 90, 99, 100])
