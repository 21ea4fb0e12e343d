"""Print the table of all methods that docs/methods.md holds.

    python tools/methods_table.py            # print it
    python tools/methods_table.py --write    # write it into docs/methods.md

Everything is read from the registry of methods, the recipes and the pages of ``docs/``; a test compares the page.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

import stylebridge
from stylebridge.methods.registry import MethodSpec, all_methods

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "methods.md"
RECIPES = Path(stylebridge.__file__).parent / "recipes"
#: Pages that name methods and belong to none.
GENERAL = ("methods", "architecture", "results")
HEADER = ("method", "task", "paper", "presets", "recipes", "import", "page")


def own_methods() -> list[MethodSpec]:
    """The methods of this package, by task and name; without those of installed packages."""
    own = (spec for spec in all_methods().values() if spec.method.__module__.startswith("stylebridge."))
    return sorted(own, key=lambda spec: (spec.task, spec.name))


def methods_of(recipe: Any) -> Iterator[str]:
    """The methods that a recipe's stages name."""
    for key, value in recipe.items() if isinstance(recipe, dict) else enumerate(recipe):
        if key == "method":
            yield value
        elif isinstance(value, dict | list):
            yield from methods_of(value)


def recipes() -> dict[str, set[str]]:
    """The built-in recipes in their order, each with its methods."""
    found = {}
    for path in sorted(RECIPES.rglob("*.yaml"), key=lambda path: path.stem):
        found[path.stem] = set(methods_of(yaml.safe_load(path.read_text(encoding="utf-8"))))
    return found


def page_of(name: str) -> tuple[str, str]:
    """The page about a method and its heading: the page of its name, or one whose heading has the name, or the page of
    the method whose name it extends, or the one that names it most often.

    Raises:
        LookupError: no page names it.
    """
    pages = {path.stem: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
    pages = {stem: text for stem, text in pages.items() if stem not in GENERAL}
    headings = {stem: text.partition("\n")[0].removeprefix("# ") for stem, text in pages.items()}
    mentions = {stem: len(re.findall(rf"\b{re.escape(name)}\b", text)) for stem, text in pages.items()}
    for fits in (
        lambda stem: stem.replace("_", "-") == name,
        lambda stem: name in headings[stem].lower(),
        lambda stem: name.startswith(f"{stem}-"),
        lambda stem: mentions[stem] == max(mentions.values()) > 0,
    ):
        for stem in filter(fits, pages):
            return stem, headings[stem]
    raise LookupError(f"no page of docs/ names the method {name}: write docs/{name}.md")


def row(spec: MethodSpec) -> tuple[str, ...]:
    """The cells of a method."""
    stem, heading = page_of(spec.name)
    paper = re.sub(r"arXiv (\d{4}\.\d{5})", r"[arXiv \1](https://arxiv.org/abs/\1)", spec.paper)
    paper = re.sub(r" \(docs/.*?\)", "", paper)  # the last cell has the page
    return (
        f"{spec.title}: `{spec.name}`",
        spec.task,
        paper,
        codes(spec.networks.presets if spec.networks is not None else ()),
        codes(name for name, methods in recipes().items() if spec.name in methods),
        codes(sorted(spec.importers)),
        f"[{heading}]({stem}.md)",
    )


def codes(names: Any) -> str:
    """Names in a cell."""
    return ", ".join(f"`{name}`" for name in names) or "–"


def table() -> str:
    """The table in Markdown."""
    rows = [HEADER, ("---",) * len(HEADER), *map(row, own_methods())]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def with_table(text: str) -> str:
    """A page with its table replaced by today's."""
    return re.sub(r"(?:^\|.*\n)+", lambda _: table(), text, count=1, flags=re.MULTILINE)


def main(arguments: list[str]) -> None:
    """Print the table, or write it into the page."""
    if arguments == ["--write"]:
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table(), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
