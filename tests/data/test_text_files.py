"""Untrusted YAML and JSON: bombs, deep nesting, odd values; each is one short sentence."""

import os
from pathlib import Path

import pytest
import yaml

from stylebridge.data import text_files
from stylebridge.data.class_map import read_class_map
from stylebridge.data.label_space import LabelSpace
from stylebridge.data.text_files import TextFileError, parse_json, parse_yaml, read_json, read_yaml
from stylebridge.errors import DataError, RecipeError, RunError, StylebridgeError, shorten
from stylebridge.jobs.apply.models.segmenter import load_adapted
from stylebridge.jobs.recipe.reading import load_recipe
from stylebridge.jobs.runs.folder import RunFolder
from stylebridge.networks.segmenters.build import load_segmenter


def multiplying(levels: int, width: int = 9) -> str:
    """A text of some hundred bytes that expands to ``width ** levels`` values."""
    lines = [f"a0: &a0 [{', '.join(['x'] * width)}]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels)]
    return "\n".join(lines) + "\n"


BOMBS = {
    "aliases": multiplying(9),
    "merged": "a: &a {k: v}\n"
    + "".join(f"b{i}: &b{i} {{<<: [{', '.join(['*a'] * 30)}], c: 1}}\n" for i in range(9000)),
    "itself": "a: &a [*a]\n",
    "itself, deeper": "a: &a {b: [1, {c: *a}]}\n",
    "deep list": "[" * 5000,
    "deep map": "{a: " * 5000,
    "deep block": "\n".join("  " * i + "a:" for i in range(500)),
    "long number": f"a: {'9' * 5000}\n",
    "long base 60": f"a: 1{':1' * 5000}\n",
    "no date": "a: 2001-99-99\n",
    "no binary": "a: 0b_\n",
    "no float": "a: !!float x\n",
    "list as key": "? [a]\n: 1\n",
    "python": "a: !!python/object/apply:os.system ['touch hacked']\n",
    "control": "a: \x07\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS.keys())
def test_yaml_bombs_are_refused_in_a_few_words(text: str):
    with pytest.raises(TextFileError) as caught:
        parse_yaml(text)
    assert 5 < len(str(caught.value)) <= 300


def test_what_people_write_is_read_as_pyyaml_does():
    text = "base: &base {a: 1, b: [1, 2.5, yes, null, 2001-01-01]}\nother: {<<: *base, a: 2}\nsame: [*base, *base]\n"
    assert parse_yaml(text) == yaml.safe_load(text)
    for path in Path(text_files.__file__).parents[1].rglob("*.yaml"):
        assert read_yaml(path) == yaml.safe_load(path.read_text(encoding="utf-8"))
    assert parse_yaml(multiplying(4)) == yaml.safe_load(multiplying(4))


def test_aliases_count_as_what_they_stand_for(monkeypatch: pytest.MonkeyPatch):
    """a, [x, x] (1 + 1 + 2 nodes), b, [*a, *a] (1 + 1 + 2 × 3), and the mapping: 13."""
    text = "a: &a [x, x]\nb: [*a, *a]\n"
    monkeypatch.setattr(text_files, "MAX_NODES", 13)
    parse_yaml(text)
    monkeypatch.setattr(text_files, "MAX_NODES", 12)
    with pytest.raises(TextFileError, match="more than 12 values"):
        parse_yaml(text)


def test_files_that_are_too_long_or_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(text_files, "MAX_YAML_BYTES", 100)
    (tmp_path / "x").write_text("a" * 100)
    assert read_yaml(tmp_path / "x") == "a" * 100
    (tmp_path / "x").write_text("a" * 101)
    with pytest.raises(TextFileError, match="more than 100 bytes"):
        read_yaml(tmp_path / "x")
    (tmp_path / "x").write_bytes(b"caf\xe9")
    with pytest.raises(TextFileError, match="not UTF-8"):
        read_yaml(tmp_path / "x")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe"):
        read_yaml(tmp_path / "pipe")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, "", "{", "\x00"])
def test_json_that_is_none(text: str):
    with pytest.raises(TextFileError) as caught:
        parse_json(text)
    assert len(str(caught.value)) <= 300


# --- through everything that reads such files ----------------------------------------------------------------


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS.keys())
def test_every_reader_names_the_file(tmp_path: Path, text: str):
    file = tmp_path / "run.yaml"
    file.write_text(text)
    for read, kind in (
        (LabelSpace.load, DataError),
        (read_class_map, DataError),
        (load_recipe, RecipeError),
        (lambda path: RunFolder(path.parent).facts(), RunError),
    ):
        with pytest.raises(kind) as caught:
            read(file)
        assert str(file) in str(caught.value)
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"extra":' + "[" * 100_000, "[]", "3", '{"extra": 3}', '{"mean": 1e999}']
)
def test_a_damaged_stylebridge_json(tmp_path: Path, text: str):
    (tmp_path / "stylebridge.json").write_text(text)
    for read in (load_adapted, load_segmenter):
        with pytest.raises(StylebridgeError, match=r"stylebridge\.json"):
            read(tmp_path)
    assert read_json.__doc__


@pytest.mark.parametrize(
    "change",
    [
        "seed=" + "[" * 5000,
        "seed=" + "{a: " * 5000,
        "segmenter.options." + "a." * 5000 + "b=1",
        "seed=[&a [*a]]",
        "seed=2001-99-99",
    ],
)
def test_changes_of_a_recipe_are_bounded(change: str):
    with pytest.raises(RecipeError) as caught:
        load_recipe("source-only-small", [change])
    assert "seed" in str(caught.value) or "--set" in str(caught.value)
    assert len(str(caught.value)) <= 2000


# --- messages ------------------------------------------------------------------------------------------------


def test_messages_are_cut_and_printable():
    assert len(str(DataError("x" * 10**6))) <= 2000
    assert str(DataError("long " + "x" * 10**6 + ": make it shorter.")).startswith("long x")
    assert str(DataError("long " + "x" * 10**6 + ": make it shorter.")).endswith("x: make it shorter.")
    told = str(DataError(f"a{os.fsdecode(b'caf' + bytes([0xE9]))} \x1b[31m b\nc  d → é"))
    assert told == "acaf\\udce9 \\x1b[31m b c  d → é"
    assert shorten("short", 10) == "short"


def test_a_huge_value_in_a_label_space_is_not_repeated_whole(tmp_path: Path):
    (tmp_path / "x.yaml").write_text(multiplying(5) + "classes: *a4\n")
    with pytest.raises(DataError) as caught:
        LabelSpace.load(tmp_path / "x.yaml")
    assert len(str(caught.value)) <= 2000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: 0\nsteps: 1\nseed: 3\n", "the key seed is in line 1 and again in line 3"),
        ("a:\n- {b: 1, b: 1}\n", "the key b is in line 2 and again in line 2"),
        ("seed: 1:30\n", "1:30 in line 1 is a number in base 60: write it in quotes"),
    ],
)
def test_what_yaml_would_silently_read_as_something_else(text: str, said: str):
    """PyYAML reads {'seed': 3, …}, {'b': 1} and 90."""
    with pytest.raises(TextFileError, match=said):
        parse_yaml(text)


def test_keys_of_different_mappings_and_kinds_are_different():
    assert parse_yaml("a: {k: 1}\nb: {k: 2}\n1: x\n'1': y\n") == {
        "a": {"k": 1},
        "b": {"k": 2},
        1: "x",
        "1": "y",
    }
    assert parse_yaml("a: &a {k: 1}\nb: {<<: *a, k: 2}\nwhen: 2001-01-01 10:30:00\nratio: '16:9'\n")["b"] == {
        "k": 2
    }


@pytest.mark.parametrize("change", ["=", ".=1", "trainer..steps=1", "stages.-1.name=x", "stages.²=1"])
def test_changes_of_a_recipe_that_name_no_key(change: str):
    with pytest.raises(RecipeError, match="numbered from 0"):
        load_recipe("source-only-small", [change])


@pytest.mark.parametrize(
    "change",
    [
        "seed=yes",
        "stages.0.optimizers.segmenter.lr=true",
        "stages.0.trainer.batch=on",
        "stages.0.optimizers.segmenter.betas=[false, 0.9]",
    ],
)
def test_yes_and_no_are_not_numbers(change: str):
    """Python's True is 1: lr=true would train with a rate of 1."""
    with pytest.raises(RecipeError, match="number"):
        load_recipe("source-only-small", [change])


def test_switches_stay_switches():
    recipe = load_recipe(
        "source-only-small", ["stages.0.trainer.cudnn_benchmark=yes", "segmenter.options.x=true"]
    )
    assert recipe.stages[0].trainer.cudnn_benchmark is True
    assert recipe.segmenter.options["x"] is True


def test_the_name_of_a_stage_fits_into_a_file_name():
    with pytest.raises(RecipeError, match="64"):
        load_recipe("source-only-small", ["stages.0.name=" + "x" * 65])
