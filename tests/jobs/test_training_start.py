"""How trainings begin and go on: nothing is lost by a mistake, and a run is continued as it was begun."""

import importlib
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from rich.console import Console

from stylebridge.data.domain import open_domain
from stylebridge.errors import RunError, UserError
from stylebridge.jobs.datasets.pack import pack
from stylebridge.jobs.recipe.adapt import builtin_recipes, load_recipe
from stylebridge.jobs.recipe.mix import load_mix_recipe, mix_recipes
from stylebridge.jobs.recipe.synthesize import load_synthesis_recipe, synthesis_recipes
from stylebridge.jobs.recipe.translate import load_translation_recipe
from stylebridge.jobs.recipe.translators import translation_recipes
from stylebridge.jobs.runs import lock as run_lock
from stylebridge.jobs.runs.data_files import ensure_unchanged, files_of
from stylebridge.jobs.runs.folder import RunFolder
from stylebridge.jobs.runs.outputs import MARKER
from stylebridge.jobs.runs.start import take_run
from stylebridge.jobs.tasks import mix as mix_train
from stylebridge.jobs.tasks import synthesize, translate
from stylebridge.jobs.tasks.adapt import adapt
from support import folders

own_cache = folders.own_cache
QUIET: dict[str, Any] = {"device": "cpu", "quiet": True}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled set of three classes, which has a box for each photo."""
    top = tmp_path_factory.mktemp("data")
    root = folders.write_domain(top / "set", 6, seed=1)
    rows = [f"images/{p.name},8,8,24,24" for p in sorted((root / "images").iterdir())]
    (root / "boxes.csv").write_text("\n".join(["image,x,y,width,height", *rows]) + "\n")
    folders.write_space(top / "three.yaml")
    return root


def train(task: str, data: Path, out: Path, **options: Any) -> object:
    """Start one of the four trainings."""
    options = {**QUIET, **options}
    space = {"label_space": data.parent / "three.yaml"}
    if task == "adapt":
        return adapt(data, data, out, "source-only-small", **space, **options)
    if task == "translate":
        return translate.train_translator(data, data, out, "cyclegan-small", **options)
    if task == "synthesize":
        small = ["size=[64, 64]", *options.pop("overrides", [])]
        return synthesize.train_synthesizer(data, out, "sean-small", overrides=small, **space, **options)
    tiny = ["networks.textures=4", "networks.shapes=2", "code.trainer.batch=4", "feature.trainer.batch=4"]
    tiny += options.pop("overrides", [])
    return mix_train.train_mixer(data, out, "mixnmatch-small", overrides=tiny, **options)


TASKS = {
    "adapt": ("stages.0.trainer.", "stage source-only"),
    "translate": ("trainer.", "recipe cyclegan-small"),
    "synthesize": ("trainer.", "recipe sean-small"),
    "mix": ("code.trainer.", "code"),
}


@pytest.fixture
def begin_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings stop where they would begin to train."""

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for module, name in (
        (translate, "_train"),
        (synthesize, "_train"),
        (mix_train, "_train_codes"),
    ):
        monkeypatch.setattr(module, name, stop)
    monkeypatch.setattr(importlib.import_module("stylebridge.jobs.tasks.adapt"), "run_stage", stop)


def start(task: str, data: Path, out: Path, **options: Any) -> Path:
    with pytest.raises(KeyboardInterrupt):
        train(task, data, out, **options)
    return out


@pytest.mark.parametrize("task", TASKS)
def test_a_mistake_costs_no_run(task: str, data: Path, tmp_path: Path, begin_only: None):
    run = start(task, data, tmp_path / "run")
    (run / "samples").mkdir()
    (run / "samples" / "000001.png").write_text("ours")
    before = {p.name: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    prefix, _ = TASKS[task]
    wrong = (
        {"overrides": [f"{prefix}batch=4", f"{prefix}accumulate=3"]},
        {"overrides": [f"{prefix}stepps=4"]},
        {"overrides": [f"{prefix}steps=-1"]},
    )
    for out in (run, tmp_path / "new"):
        for options in wrong:
            with pytest.raises(UserError):
                train(task, data, out, overwrite=True, **options)
        with pytest.raises(UserError):
            train(task, tmp_path / "nowhere" / "set", out, overwrite=True)
    assert {p.name: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before
    assert not (tmp_path / "new").exists()
    start(task, data, run, overwrite=True)
    assert not (run / "samples").exists()


@pytest.mark.parametrize(
    "change",
    [
        "translator.recipe=nowhere",
        "translator.run=nowhere",
        "translator.overrides=['trainer.stepps=4']",
        "translator.overrides=['trainer.accumulate=3', 'trainer.batch=4']",
    ],
)
def test_a_wrong_translator_costs_no_run(change: str, data: Path, tmp_path: Path, begin_only: None):
    run = start("adapt", data, tmp_path / "run")
    before = (run / "run.yaml").read_bytes()
    for out in (run, tmp_path / "new"):
        with pytest.raises(UserError):
            adapt(
                data,
                data,
                out,
                "translate-then-train-small",
                label_space=data.parent / "three.yaml",
                overrides=[change],
                overwrite=True,
                **QUIET,
            )
    assert (run / "run.yaml").read_bytes() == before
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("task", TASKS)
def test_a_run_goes_on_as_it_was_begun(task: str, data: Path, tmp_path: Path, begin_only: None):
    run = start(task, data, tmp_path / "run")
    start(task, data, run, resume=True)  # the same command again
    prefix, _ = TASKS[task]
    for options, named in (
        ({"overrides": [f"{prefix}steps=7"]}, f"{prefix}steps is "),
        ({"seed": 5}, "seed is 0 there and 5 now"),
        ({"overwrite": True}, "--overwrite replaces"),
    ):
        with pytest.raises(RunError, match=named):
            train(task, data, run, resume=True, **options)
    other = shutil.copytree(data, tmp_path / "other")
    shutil.copy(data.parent / "three.yaml", tmp_path / "three.yaml")
    with pytest.raises(RunError, match=r"was (made|begun) with"):
        train(task, other, run, resume=True)


@pytest.mark.parametrize("task", ["adapt", "synthesize"])
def test_options_of_the_start_are_compared(task: str, data: Path, tmp_path: Path, begin_only: None):
    run = start(task, data, tmp_path / "run")
    with pytest.raises(RunError, match="begun without --allow-missing-classes"):
        train(task, data, run, resume=True, allow_missing_classes=True)


@pytest.mark.parametrize("task", TASKS)
def test_changed_data_is_refused(task: str, data: Path, tmp_path: Path, begin_only: None):
    shutil.copy(data.parent / "three.yaml", tmp_path / "three.yaml")
    mine = shutil.copytree(data, tmp_path / "set")
    run = start(task, mine, tmp_path / "run")
    image = min((mine / "images").iterdir())
    Image.effect_noise((64, 48), 90).convert("RGB").save(image, format="PNG")
    with pytest.raises(RunError, match=rf"1 changed: images/{image.name}.*--accept-changed-data"):
        train(task, mine, run, resume=True)
    start(task, mine, run, resume=True, accept_changed_data=True)


@pytest.mark.parametrize("task", TASKS)
def test_a_finished_run_says_so(
    task: str, data: Path, tmp_path: Path, begin_only: None, monkeypatch: pytest.MonkeyPatch
):
    run = start(task, data, tmp_path / "run")
    said = io.StringIO()
    console = Console(file=said, width=400)
    jobs: dict[str, Callable[..., object]] = {
        "translate": translate.train_translator,
        "synthesize": synthesize.train_synthesizer,
        "mix": mix_train.train_mixer,
    }
    if task == "adapt":
        for name in ("stages/1-source-only", "segmenter"):
            (run / name).mkdir(parents=True)
        (run / "scores.json").write_text("{}")
        (run / "report.html").touch()
        jobs_adapt = importlib.import_module("stylebridge.jobs.tasks.adapt")
        monkeypatch.setattr(jobs_adapt, "load_segmenter", lambda path: path)
        assert adapt(out=run, resume=True, device="cpu", console=console).run == run
        assert "is finished" in said.getvalue()
        return
    (run / "networks").mkdir()
    (run / "networks" / "extractor.safetensors").touch()
    (run / "report.html").touch()
    assert jobs[task](out=run, resume=True, device="cpu", console=console) == run
    assert "is finished" in said.getvalue()


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


ALL = [
    *((load_recipe, name) for name in builtin_recipes()),
    *((load_translation_recipe, name) for name in translation_recipes()),
    *((load_synthesis_recipe, name) for name in synthesis_recipes()),
    *((load_mix_recipe, name) for name in mix_recipes()),
]


@pytest.mark.parametrize(("load", "name"), ALL)
def test_a_recipe_is_spelt_out_and_read_back(load: Callable[..., Any], name: str, tmp_path: Path):
    spelt = load(name).spelt_out()
    (tmp_path / "recipe.yaml").write_text(spelt.to_yaml(), encoding="utf-8")
    text = yaml.safe_load((tmp_path / "recipe.yaml").read_text(encoding="utf-8"))
    assert load(tmp_path / "recipe.yaml") == spelt
    assert spelt.spelt_out() == spelt
    for stage in (*text.get("stages", ()), *(text[key] for key in ("code", "feature") if key in text)):
        assert all("lr" in settings and "schedule" in settings for settings in stage["optimizers"].values())
    if "preset" in text:
        assert len(text["networks"]) > 3
        if "trainer" in text:
            assert text["optimizers"]
            assert all("lr" in settings for settings in text["optimizers"].values())


def test_settings_of_networks_are_those_of_the_preset_and_changes():
    recipe = load_translation_recipe("cyclegan-small", ["networks.image_size=128", "load=128"])
    assert recipe.size == 128
    assert recipe.spelt_out().networks["image_size"] == 128
    with pytest.raises(UserError, match=r"networks\.imagesize is not a known key"):
        load_translation_recipe("cyclegan-small", ["networks.imagesize=128"])
    with pytest.raises(UserError, match="networks"):
        load_synthesis_recipe("sean-small", ["networks.classes=3"])


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
