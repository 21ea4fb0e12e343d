"""``stylebridge recipes`` and ``--version``."""

from support import folders
from support.folders import CommandLine

own_cache, stylebridge = folders.own_cache, folders.stylebridge


def test_recipes_and_version(stylebridge: CommandLine) -> None:
    listed = stylebridge("recipes", "list")
    assert listed.code == 0
    assert "fada-small" in listed.out
    assert "(default)" in listed.out
    shown = stylebridge("recipes", "show", "fada-small")
    assert shown.code == 0
    assert shown.out.startswith("name: fada-small")
    stylebridge("recipes", "show", "fada-smal").refused("did you mean fada-small")
    assert stylebridge("--version").out.startswith("stylebridge ")
