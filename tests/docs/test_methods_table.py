"""The table of docs/methods.md matches the registry, the recipes and the pages."""

import importlib.util
import re
from pathlib import Path

import pytest

from stylebridge.methods.registry import all_methods

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("methods_table", ROOT / "tools" / "methods_table.py")
assert spec is not None
assert spec.loader is not None
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


@pytest.mark.slow
def test_the_page_has_the_table_of_today() -> None:
    text = tool.PAGE.read_text(encoding="utf-8")
    assert tool.table() in text, "run: python tools/methods_table.py --write"
    assert tool.with_table(text) == text


@pytest.mark.slow
def test_every_method_recipe_and_kind_of_weights_is_in_the_table() -> None:
    made = tool.table()
    kinds = [kind for method in all_methods().values() for kind in method.importers]
    for name in [*all_methods(), *tool.recipes(), *kinds]:
        assert f"`{name}`" in made, name
    for method, methods in {"bridge": "bridge", "nice-gan-full": "nice-gan", "sean": "sean"}.items():
        assert methods in tool.recipes()[method]


def test_links_lead_to_pages() -> None:
    links = re.findall(r"\]\((?!https)(.+?)\)", tool.PAGE.read_text(encoding="utf-8"))
    assert len(links) > len(all_methods())
    assert all((tool.DOCS / link).is_file() for link in links)


@pytest.mark.slow
def test_another_table_is_replaced() -> None:
    assert tool.with_table("# A\n\n| old |\n| - |\n\nend\n") == f"# A\n\n{tool.table()}\nend\n"


def test_a_method_without_a_page_is_named() -> None:
    with pytest.raises(LookupError, match="no page of docs/ names the method nothing-like-it"):
        tool.page_of("nothing-like-it")
