"""Adaptation from end to end: the contents of a run, and the files it reads."""

import contextlib
import json
import math
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from stylebridge.errors import UserError
from stylebridge.jobs.recipe.reading import load_recipe
from stylebridge.networks.segmenters.build import load_segmenter
from support import folders
from support.folders import (
    COLOURS,
    NAMES,
    SIZE,
    STAGES,
    World,
    assert_same,
    learning,
    tiny_adapt,
    told,
    touched_paths,
    weights,
    write_domain,
    write_world,
)

pytestmark = pytest.mark.slow

own_cache, world, runs = folders.own_cache, folders.world, folders.runs

# --- the run folder -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", STAGES)
def test_a_small_recipe_makes_a_whole_run(recipe: str, runs: Callable[[str], Path], world: World) -> None:
    run = runs(recipe)
    for name in ("recipe.yaml", "run.yaml", "report.html", "metrics.jsonl", "scores.json"):
        assert (run / name).stat().st_size > 0, name
    assert sorted(path.name for path in (run / "stages").iterdir()) == STAGES[recipe]
    assert not [path for path in run.rglob("*") if "partial" in path.name or "discarded" in path.name]

    umask = os.umask(0)
    os.umask(umask)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in run.rglob("*") if path.is_file()}
    assert modes == {0o666 & ~umask}

    card = (run / "segmenter" / "README.md").read_text(encoding="utf-8")
    assert f"# {world.source.parent.name}/source → {world.target.parent.name}/target: " in card
    assert "| ground |" in card
    assert "license" not in card

    resolved = load_recipe(run / "recipe.yaml")
    assert resolved.name == recipe
    assert resolved.inference.size == SIZE
    facts = yaml.safe_load((run / "run.yaml").read_text())
    assert (facts["kind"], facts["recipe"]) == ("adapt", recipe)
    assert (facts["source"], facts["target"]) == (str(world.source), str(world.target))
    assert (facts["source_images"], facts["target_images"]) == (6, 4)
    assert facts["label_space"]["classes"] == list(NAMES)

    lines = told(run)
    assert [(line["stage"], line["step"]) for line in lines] == [
        (s, n) for s in STAGES[recipe] for n in (1, 2)
    ]
    for line in lines:
        losses = [value for key, value in line.items() if key.startswith("loss/")]
        assert losses
        assert all(math.isfinite(value) for value in losses)


@pytest.mark.parametrize("recipe", STAGES)
def test_the_segmenter_is_the_last_stages_and_loads_for_use(
    recipe: str, runs: Callable[[str], Path], world: World
) -> None:
    run = runs(recipe)
    assert_same(weights(run), load_file(run / "stages" / STAGES[recipe][-1] / "segmenter/model.safetensors"))
    segmenter = load_segmenter(run / "segmenter")
    assert not segmenter.training
    assert segmenter.num_classes == 3
    assert segmenter.extra["label_space"]["classes"] == list(NAMES)
    assert tuple(segmenter.extra["inference"]["size"]) == SIZE
    image = torch.rand(1, 3, 50, 70)
    with torch.no_grad():
        assert segmenter(image).shape == (1, 3, 50, 70)


def test_smp_loads_the_segmenter_by_itself(runs: Callable[[str], Path], tmp_path: Path) -> None:
    """Without our code; the networks' tests check it without our package installed."""
    shutil.copytree(runs("source-only-small") / "segmenter", tmp_path / "elsewhere")
    model = smp.from_pretrained(str(tmp_path / "elsewhere")).eval()
    ours = load_segmenter(tmp_path / "elsewhere")
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(ours.normalise(image)), ours(image))


@pytest.mark.parametrize("recipe", STAGES)
def test_scores_before_and_after(recipe: str, runs: Callable[[str], Path], world: World) -> None:
    scores = json.loads((runs(recipe) / "scores.json").read_text())
    labels = [np.array(Image.open(path)) for path in sorted((world.held_out / "labels").iterdir())]
    labelled = sum(int((label != 255).sum()) for label in labels)
    for which in ("before", "after") if len(STAGES[recipe]) > 1 else ("after",):
        assert scores[which]["classes"] == list(NAMES)
        assert scores[which]["pixels"] == labelled == np.sum(scores[which]["confusion"])
    if len(STAGES[recipe]) == 1:
        assert scores["before"] is None


def test_the_report_is_self_contained_and_shows_the_run(runs: Callable[[str], Path], world: World) -> None:
    page = (runs("fada-small") / "report.html").read_text(encoding="utf-8")
    for part in ("fada-small", *NAMES, *(path.name for path in (world.held_out / "images").iterdir())):
        assert part in page, part
    for outside in ('src="http', "src='http", 'href="http', 'src="/', "@import"):
        assert outside not in page, outside


def test_methods_leave_their_networks_beside_the_segmenter(runs: Callable[[str], Path]) -> None:
    def beside(recipe: str, stage: str) -> set[str]:
        return {path.name for path in (runs(recipe) / "stages" / stage / "networks").iterdir()}

    assert beside("fada-small", "2-adversarial") == {"discriminator.safetensors"}
    # The recipe hands on the teacher; the student is kept too, and is another.
    assert beside("self-training-small", "3-self-training") == {"segmenter.safetensors"}
    run = runs("self-training-small")
    student = load_file(run / "stages/3-self-training/networks/segmenter.safetensors")
    teacher = weights(run)
    same = {f"model.{name}" if f"model.{name}" in student else name for name in teacher}
    assert same <= student.keys()
    moved = [n for n, v in teacher.items() if not torch.equal(v, student.get(f"model.{n}", student.get(n)))]
    assert moved


def test_training_learns(tmp_path: Path, world: World) -> None:
    """Twenty steps separate ground, wall and sky on the source; guessing gives a third of that score."""
    result = tiny_adapt(world, tmp_path / "run", evaluate_on=world.source, overrides=learning(20))
    assert result.after is not None
    assert result.after.miou_present > 0.7


# --- pseudo-labels ------------------------------------------------------------------------------------------


def test_pseudo_labels_are_palette_pngs_of_the_images_own_size(tmp_path: Path, world: World) -> None:
    target = tmp_path / "target"
    write_domain(target / "images" / "morning", 2, (64, 48), labels=False, dark=True)
    shutil.move(str(target / "images/morning/images/000.jpg"), target / "images" / "a.b.jpg")
    Image.open(target / "images/a.b.jpg").resize((50, 37)).save(target / "images/a.b.jpg")
    mixed = World(world.source, target, world.held_out, world.space)
    run = tiny_adapt(mixed, tmp_path / "run", "fada-small", overrides=learning(10, stages=3)).run
    folder = run / "pseudo_labels" / "3-self-distillation"
    written = {path.relative_to(folder).as_posix(): Image.open(path) for path in folder.rglob("*.png")}
    assert {name: image.size for name, image in written.items()} == {
        "images/a.b.png": (50, 37),
        "images/morning/images/001.png": (64, 48),
    }
    model = load_segmenter(run / "stages" / "2-adversarial" / "segmenter")
    settings = load_recipe(run / "recipe.yaml").stages[2].pseudo_labels
    assert settings is not None
    assert settings.size is not None
    for name, image in written.items():
        assert image.mode == "P"
        palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        assert palette[:3].tolist() == [list(colour) for colour in COLOURS]
        labels = np.array(image)
        assert set(np.unique(labels)) <= {0, 1, 2}  # every pixel is labelled
        assert len(np.unique(labels)) > 1
        # They are the second stage's predictions, not the first's or the last's.
        photo = Image.open((target / name).with_suffix(".jpg"))
        pixels = torch.from_numpy(np.array(photo.resize(settings.size, Image.Resampling.BICUBIC)))
        with torch.no_grad():
            logits = model(pixels.permute(2, 0, 1)[None].float() / 255)
        size = (photo.height, photo.width)
        logits = torch.nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=True)
        assert (logits.argmax(1)[0].numpy() == labels).mean() > 0.999


# --- what is read -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["fada-small", "self-training-small"])
def test_a_target_without_labels_folder_has_no_other_file_read(
    recipe: str, tmp_path: Path, world: World
) -> None:
    """Whatever else lies in the target folder: garbage does not stop training and is never opened."""
    target = tmp_path / "target"
    shutil.copytree(world.target, target)
    shutil.copytree(world.held_out / "labels", target / "by_hand")
    for path in (target / "by_hand").iterdir():
        path.write_bytes(b"garbage")
    quiet = World(world.source, target, world.held_out, world.space)
    with touched_paths() as touched:
        result = tiny_adapt(quiet, tmp_path / "run", recipe)
    assert not [path for _, path in touched if "by_hand" in path]
    assert [path for _, path in touched if str(target / "images") in path]  # the ear is open
    assert result.before is None
    assert result.after is None
    assert json.loads((tmp_path / "run" / "scores.json").read_text()) == {"before": None, "after": None}


@pytest.mark.parametrize("recipe", ["fada-small", "self-training-small"])
def test_target_labels_are_not_read_while_training(
    recipe: str, tmp_path: Path, world: World, runs: Callable[[str], Path]
) -> None:
    """They are looked at before the run begins (can they be scored?) and scored after it, as the terminal says. They
    change nothing: the model is that of a run without them."""
    target = tmp_path / "target"
    shutil.copytree(world.target, target)
    labels = target / "labels"
    labels.mkdir()
    for path in (target / "images").iterdir():
        Image.fromarray(np.zeros(SIZE[::-1], np.uint8)).save(labels / f"{path.stem}.png")
    labelled = World(world.source, target, world.held_out, world.space)
    with touched_paths() as touched:
        result = tiny_adapt(labelled, tmp_path / "run", recipe)
    last = str(tmp_path / "run" / "stages" / STAGES[recipe][-1])
    trained = touched.index(("os.rename", last))
    read = [i for i, (event, path) in enumerate(touched) if event == "open" and str(labels) in path]
    assert max(read) > trained
    begun = min(
        i
        for i, (_, path) in enumerate(touched)
        if path.startswith(str(tmp_path / "run")) and "recipe" in path
    )
    during = [touched[i][1] for i in read if begun < i < trained]
    assert not during, f"{during[0]} was opened while training"
    assert result.after is not None
    assert result.after.pixels == 4 * SIZE[0] * SIZE[1]
    assert_same(weights(tmp_path / "run"), weights(runs(recipe)))


def test_damaged_target_labels_do_not_cost_the_training(tmp_path: Path, world: World) -> None:
    """Either a complete model, or an error that names them before anything is written."""
    target, run = tmp_path / "target", tmp_path / "run"
    shutil.copytree(world.target, target)
    (target / "labels").mkdir()
    for path in (target / "images").iterdir():
        (target / "labels" / f"{path.stem}.png").write_bytes(b"garbage")
    labelled = World(world.source, target, world.held_out, world.space)
    with contextlib.suppress(UserError):
        tiny_adapt(labelled, run)
    assert (run / "segmenter" / "model.safetensors").is_file() or not run.exists()


def test_evaluate_on_takes_the_place_of_the_targets_labels(tmp_path: Path, world: World) -> None:
    labelled = World(world.source, world.held_out, world.held_out, world.space)
    other = write_domain(tmp_path / "other", 1, (32, 24), dark=True)
    with touched_paths() as touched:
        result = tiny_adapt(labelled, tmp_path / "run", evaluate_on=other)
    assert not [path for event, path in touched if event == "open" and str(world.held_out / "labels") in path]
    assert result.after is not None
    assert result.after.pixels == 32 * 24 - 16


# --- sizes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["fada-small", "self-training-small"])
def test_domains_of_different_aspect_ratios(recipe: str, tmp_path: Path) -> None:
    result = tiny_adapt(write_world(tmp_path / "data", (80, 40)), tmp_path / "run", recipe)
    assert result.report.is_file()


@pytest.mark.parametrize("recipe", ["fada-small", "self-training-small"])
def test_one_domain_fits_into_the_crop_and_the_other_does_not(recipe: str, tmp_path: Path) -> None:
    crops = [f"stages.1.{stream}.augmentation.crop=[72, 56]" for stream in ("source", "target")]
    data = write_world(tmp_path / "data", (96, 72))
    result = tiny_adapt(data, tmp_path / "run", recipe, overrides=crops)
    assert result.report.is_file()


# --- label spaces -------------------------------------------------------------------------------------------


def test_a_label_space_beside_the_source_is_found(tmp_path: Path, world: World) -> None:
    source = tmp_path / "source"
    shutil.copytree(world.source, source)
    shutil.copy(world.space, source / "classes.yaml")
    told_so = World(source, world.target, world.held_out, world.space)
    result = tiny_adapt(told_so, tmp_path / "run", label_space=None)
    assert result.segmenter.extra["label_space"]["classes"] == list(NAMES)


def test_sample_pictures_do_not_change_the_training(
    tmp_path: Path, world: World, runs: Callable[[str], Path]
) -> None:
    """With pictures after every step the weights are those of a run without; so are batch-norm statistics."""
    run = tmp_path / "run"
    watched = [f"stages.{i}.trainer.sample_every=1" for i in range(3)]
    tiny_adapt(world, run, "self-training-small", overrides=watched)
    assert sorted(path.name for path in (run / "samples").iterdir()) == [
        f"{stage}-00000{step}.png" for stage in STAGES["self-training-small"] for step in (1, 2)
    ]
    assert_same(weights(run), weights(runs("self-training-small")))
