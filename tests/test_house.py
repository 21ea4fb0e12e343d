"""``tools/house.py`` finds planted violations in small trees, and finds nothing in this repository."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "tools" / "house.py"
spec = importlib.util.spec_from_file_location("house", SCRIPT)
assert spec is not None
assert spec.loader is not None
house = importlib.util.module_from_spec(spec)
sys.modules["house"] = house
spec.loader.exec_module(house)


def planted(root: Path, **sources: str) -> "house.House":
    """A tree with the given modules; ``a__b`` is ``a/b.py``, ``a__`` is ``a/__init__.py``."""
    for name, text in sources.items():
        *folders, last = name.split("__")
        path = root / "src" / house.PACKAGE / "/".join(folders) / f"{last or '__init__'}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return house.House(root)


def test_circle_is_found(tmp_path):
    tree = planted(
        tmp_path,
        data__a="from stylebridge.data.b import x\n",
        data__b="\nfrom stylebridge.data import c\n",
        data__c="import stylebridge.data.a\n",
        data__d="from stylebridge.data.a import x\n",
    )
    assert tree.circles() == ["data.a:1 → data.b:2 → data.c:1 → data.a  (3 modules)"]


@pytest.mark.parametrize(
    "back",
    [
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from stylebridge.data.a import A\n",
        "def late():\n    from .a import A\n    return A\n",
        "from importlib import import_module\nA = import_module('stylebridge.data.a').A\n",
    ],
    ids=["types", "function", "by name"],
)
def test_circle_of_types_and_of_late_imports_counts(tmp_path, back):
    tree = planted(tmp_path, data__a="from stylebridge.data.b import x\n", data__b=back)
    assert len(tree.circles()) == 1


def test_reexported_name_counts_as_import_of_its_module(tmp_path):
    sources = {
        "data__": "from stylebridge.data.a import A\nfrom stylebridge.data.b import B\n",
        "data__a": "A = 1\n",
        "data__b": "from stylebridge.data import A\nB = 2\n",
    }
    tree = planted(tmp_path / "straight", **sources)
    assert not tree.circles()
    assert [(i.imported, i.line) for i in tree.imports if i.importer == "stylebridge.data.b"] == [
        ("stylebridge.data.a", 1)
    ]
    assert planted(
        tmp_path / "round", **(sources | {"data__a": "from stylebridge.data import B\n"})
    ).circles() == ["data.a:1 → data.b:1 → data.a  (2 modules)"]


def test_upward_import_is_found(tmp_path):
    tree = planted(
        tmp_path,
        errors="from stylebridge.data import domain\n",
        data__domain="def late():\n    from stylebridge.networks import x\n",
        networks__x="from stylebridge.losses import y\n",
        losses__y="from stylebridge.metrics import z\n",
        metrics__z="",
        jobs__train="from stylebridge.jobs.runs import r\n",
        jobs__runs__r="",
        jobs__recipe__q="from stylebridge.jobs.runs import r\n",
    )
    assert tree.upward() == [
        "data.domain:2 imports networks.x",
        "errors:1 imports data.domain",
        "jobs.recipe.q:1 imports jobs.runs.r",
    ]


def test_function_and_file_over_the_length_are_found(tmp_path):
    body = "    pass\n"
    limit, longest = house.LONGEST_FUNCTION, house.LONGEST_FILE
    fits = "@one\n@two\ndef fits():\n" + body * (limit - 1)
    tree = planted(
        tmp_path,
        data__a=fits + "class C:\n    async def long(self):\n" + ("    " + body) * limit,
        data__b="\n" * longest,
        data__c="\n" * (longest + 1),
    )
    assert tree.long_functions() == [f"src/stylebridge/data/a.py:{limit + 4} long: {limit + 1} lines"]
    assert tree.long_files() == [f"src/stylebridge/data/c.py: {longest + 1} lines"]


def test_full_folder_is_found(tmp_path):
    entries = {f"jobs__apply__m{index}": "" for index in range(house.MOST_ENTRIES)}
    tree = planted(tmp_path, **entries)
    cache = tmp_path / "src" / house.PACKAGE / "jobs" / "apply" / "__pycache__"
    cache.mkdir()
    assert not tree.full_folders()
    (cache.parent / "__init__.py").touch()
    assert tree.full_folders() == [f"src/stylebridge/jobs/apply: {house.MOST_ENTRIES + 1} entries"]


def test_exit_code_and_output(tmp_path):
    planted(tmp_path, data__a="x = 1\n")
    command = [sys.executable, str(SCRIPT), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "import circles: 0\n" in done.stdout
    assert "lines: src 1 (*.py) and 0 (other files), tests 0 (*.py)" in done.stdout
    planted(tmp_path, data__a="from stylebridge import cli\n", cli__="")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "upward imports: 1\n    data.a:1 imports cli\n" in done.stdout


def test_this_repository_is_in_order():
    assert [rule for rule in house.House(ROOT).rules() if rule.offenders] == []
