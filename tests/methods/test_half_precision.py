"""Losses under autocast to bfloat16 equal those of float32 except for rounding."""

import json
from pathlib import Path

import pytest

from support import pair

#: Those with layers of our own.
METHODS = ("colour-transfer", "fada", "bridge", "bridge-turns", "nice-gan", "cyclegan", "sean", "spade-vae")


def losses(folder: Path) -> dict[str, float]:
    (line,) = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return {key: value for key, value in json.loads(line).items() if key.startswith("loss/")}


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_losses_of_the_first_step(name, tmp_path):
    """Same weights, images and draws. bfloat16 has 8 bits: some per cent where layers follow one another."""
    for precision in ("fp32", "bf16"):
        pair.train(name, tmp_path / precision, precision, steps=1)
    expected = losses(tmp_path / "fp32")
    assert losses(tmp_path / "bf16") == pytest.approx(expected, rel=0.05, abs=2e-3)
