"""The walk-through "Adding a method" of docs/architecture.md is followed literally."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support import folders
from support.folders import CommandLine, write_domain
from support.packages import installed

own_cache, stylebridge = folders.own_cache, folders.stylebridge

PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"


def blocks(language: str) -> list[str]:
    section = PAGE.read_text(encoding="utf-8").split("## Adding a method")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.S)


@pytest.mark.slow
def test_the_example_method_is_written_trained_and_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stylebridge: CommandLine
) -> None:
    (source,), (commands,) = blocks("python"), blocks("sh")
    assert source.count("\n") <= 100
    for name, seed in (("sim", 0), ("camera", 1)):
        write_domain(tmp_path / name, 3, seed=seed)
    monkeypatch.chdir(tmp_path)
    lines = commands.strip().splitlines()
    with installed(tmp_path / "site", "colours", source):
        for line in lines:
            program, *arguments = shlex.split(line)
            assert program == "stylebridge"
            done = stylebridge(*arguments)
            assert done.code == 0, f"{line}\n{done.err}"
            if "list" in arguments:
                assert re.search(r"^colours", done.out, re.M)
    assert len(lines) == 3
    assert (tmp_path / "runs" / "colours" / "report.html").is_file()
    before = sorted((tmp_path / "sim" / "images").iterdir())
    after = sorted((tmp_path / "translated").glob("*.png"))
    assert [path.stem for path in after] == [path.stem for path in before]
    ours, theirs = (np.asarray(Image.open(paths[0]).convert("RGB")) for paths in (before, after))
    assert ours.shape == theirs.shape
    assert (ours != theirs).any()


def test_without_the_package_the_method_is_not_known(stylebridge: CommandLine) -> None:
    stylebridge("recipes", "show", "colours").refused("no recipe or file 'colours'")
