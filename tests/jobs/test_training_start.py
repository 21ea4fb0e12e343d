"""Parts of the start of a training: changed data, settings of networks, a start that was killed."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylebridge.data.domain import open_domain
from stylebridge.errors import RunError, UserError
from stylebridge.jobs.datasets.pack import pack
from stylebridge.jobs.recipe.reading import load_recipe
from stylebridge.jobs.runs import lock as run_lock
from stylebridge.jobs.runs.data_files import ensure_unchanged, files_of
from stylebridge.jobs.runs.folder import RunFolder
from stylebridge.jobs.runs.outputs import MARKER
from stylebridge.jobs.runs.start import take_run


def test_what_was_added_and_removed_is_named(tmp_path: Path):
    def now(root: Path) -> dict[str, dict[str, str]]:
        return files_of(source=open_domain(root, "source", labelled=False))

    root = tmp_path / "set"
    (root / "images").mkdir(parents=True)
    for i in range(6):
        Image.new("RGB", (9, 9), (i, 0, 0)).save(root / "images" / f"{i}.png")
    (tmp_path / "data.json").write_text(json.dumps(now(root)))
    ensure_unchanged(tmp_path, now(root), False)
    for i in range(5):
        (root / "images" / f"{i}.png").unlink()
    Image.new("RGB", (9, 9)).save(root / "images" / "new.png")
    with pytest.raises(RunError) as caught:
        ensure_unchanged(tmp_path, now(root), False)
    assert "source: 1 added: images/new.png, 5 removed: images/0.png, images/1.png, images/2.png …" in str(
        caught.value
    )
    ensure_unchanged(tmp_path, now(root), True)


@pytest.mark.parametrize("kind", ["zip", "shards"])
def test_changes_inside_archives_are_seen(kind: str, tmp_path: Path):
    def archive(value: int) -> Path:
        place = tmp_path / f"{value}"
        (place / "images").mkdir(parents=True)
        Image.fromarray(np.full((9, 9, 3), 7, np.uint8)).save(place / "images" / "a.bmp")
        Image.fromarray(np.full((9, 9, 3), value, np.uint8)).save(place / "images" / "b.bmp")
        if kind == "shards":
            return pack(place, tmp_path / f"s{value}", unlabelled=True, quiet=True).path
        with zipfile.ZipFile(tmp_path / f"{value}.zip", "w") as file:
            for path in sorted((place / "images").iterdir()):
                file.write(path, f"images/{path.name}")
        return tmp_path / f"{value}.zip"

    first, second = (files_of(data=open_domain(archive(v), "data", labelled=False))["data"] for v in (1, 2))
    changed = [name for name in first if first[name] != second[name]]
    assert len(first) == 2
    assert len(changed) == 1
    assert changed[0].endswith("b.bmp")


def test_settings_of_networks_are_those_of_the_preset_and_changes():
    recipe = load_recipe("cyclegan-small", ["networks.image_size=128", "load=128"], task="translate")
    assert recipe.size == 128
    assert recipe.spelt_out().networks["image_size"] == 128
    with pytest.raises(UserError, match=r"networks\.imagesize is not a known key"):
        load_recipe("cyclegan-small", ["networks.imagesize=128"], task="translate")
    with pytest.raises(UserError, match="networks"):
        load_recipe("sean-small", ["networks.classes=3"], task="synthesize")


class _Plain:
    def to_yaml(self) -> str:
        return "name: x\n"


def test_a_start_that_was_killed_can_be_begun_again(tmp_path: Path):
    run = RunFolder(tmp_path / "run")
    run.begin(_Plain(), {"kind": "translate", "versions": {}})
    run_lock.release(run.path)
    (run.path / "run.yaml").unlink()
    for overwrite in (False, True):
        take_run(run.path, "translate", resume=False, overwrite=overwrite, data={}, options={})
        run_lock.release(run.path)
    (run.path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="exists already"):
        take_run(run.path, "translate", resume=False, overwrite=False, data={}, options={})
    assert (run.path / MARKER).is_file()
