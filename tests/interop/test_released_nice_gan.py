"""Released-form NICE-GAN through the command line, against the published networks written out."""

from pathlib import Path

import pytest
import torch

from support import published_nice_gan as published
from support import released

pytestmark = pytest.mark.slow

BLOCKS = 2


@pytest.mark.parametrize("light", [True, False])
def test_both_ways_are_those_of_the_published_program(tmp_path: Path, light: bool) -> None:
    side, n = 96, 4
    cells = 1 if light else (side // 4) ** 2
    parts = {
        "gen2B": published.generator_state(n, BLOCKS, 1, cells),
        "gen2A": published.generator_state(n, BLOCKS, 2, cells),
        "disA": published.discriminator_state(n, 3),
        "disB": published.discriminator_state(n, 4),
    }
    counted = {
        "total_ops": torch.zeros(1),
        "total_params": torch.zeros(1),
    }  # what an operation counter leaves
    file = tmp_path / "cat2dog_params_latest.pt"
    torch.save({name: state | counted for name, state in parts.items()} | {"start_iter": 9}, file)
    released.run("import", "nice-gan", file, "--image-size", side, "--out", tmp_path / "run")
    path = released.write_photo(tmp_path / "photo.png")
    parts = {name: {k: v.double() for k, v in state.items()} for name, state in parts.items()}
    image = published.photo(path, side)
    for to, encoder, generator in (("b", "disA", "gen2B"), ("a", "disB", "gen2A")):
        out = tmp_path / f"to-{to}"
        given = ("--to", to, "--size", side, "--out", out, "--device", "cpu", "--quiet")
        released.run("translate", "apply", tmp_path / "run", path, *given)
        made = published.paint(parts[generator], published.encode(parts[encoder], image), BLOCKS)
        levels = ((made[0] + 1) * 127.5).permute(1, 2, 0).numpy()
        released.assert_within_one_level(out / "photo.png", levels)
