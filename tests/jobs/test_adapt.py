"""Adaptation from end to end: what a run holds, what it reads, and how it goes on after a kill."""

import contextlib
import importlib
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from stylebridge.engine import Trainer
from stylebridge.engine import checkpoint as ckpt
from stylebridge.errors import RunError, UserError
from stylebridge.jobs import stages
from stylebridge.jobs.recipe import load_recipe
from stylebridge.networks.segmenter import load_segmenter
from support import folders
from support.folders import (
    COLOURS,
    NAMES,
    RECIPES,
    SIZE,
    World,
    learning,
    tiny_adapt,
    tiny_overrides,
    told,
    touched_paths,
    write_domain,
    write_world,
)

own_cache, world = folders.own_cache, folders.world
adapt_job = importlib.import_module("stylebridge.jobs.adapt")  # the package's attribute is the function

STAGES = {
    "source-only-small": ["1-source-only"],
    "colour-transfer-small": ["1-source-only", "2-colour-transfer"],
    "fada-small": ["1-source-only", "2-adversarial", "3-self-distillation"],
    "self-training-small": ["1-source-only", "2-self-training"],
}


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "segmenter" / "model.safetensors")


def assert_same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


@pytest.fixture(scope="module")
def runs(world: World, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """An uninterrupted run of each small recipe, scored on labelled images; made when first asked for."""
    made: dict[str, Path] = {}
    base = tmp_path_factory.mktemp("runs")

    def run(recipe: str) -> Path:
        if recipe not in made:
            made[recipe] = base / recipe
            tiny_adapt(world, made[recipe], recipe, evaluate_on=world.held_out)
        return made[recipe]

    return run


# --- the run folder -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_small_recipe_makes_a_whole_run(recipe: str, runs: Callable[[str], Path], world: World) -> None:
    run = runs(recipe)
    for name in ("recipe.yaml", "run.yaml", "report.html", "metrics.jsonl", "scores.json"):
        assert (run / name).stat().st_size > 0, name
    assert sorted(path.name for path in (run / "stages").iterdir()) == STAGES[recipe]
    assert not [path for path in run.rglob("*") if "partial" in path.name or "discarded" in path.name]

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


@pytest.mark.parametrize("recipe", RECIPES)
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
    """Without our code; that it works with none of ours installed is tested with the networks."""
    shutil.copytree(runs("source-only-small") / "segmenter", tmp_path / "elsewhere")
    model = smp.from_pretrained(str(tmp_path / "elsewhere")).eval()
    ours = load_segmenter(tmp_path / "elsewhere")
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(ours.normalise(image)), ours(image))


@pytest.mark.parametrize("recipe", RECIPES)
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
    assert beside("self-training-small", "2-self-training") == {"segmenter.safetensors"}
    run = runs("self-training-small")
    student = load_file(run / "stages/2-self-training/networks/segmenter.safetensors")
    teacher = weights(run)
    same = {f"model.{name}" if f"model.{name}" in student else name for name in teacher}
    assert same <= student.keys()
    moved = [n for n, v in teacher.items() if not torch.equal(v, student.get(f"model.{n}", student.get(n)))]
    assert moved


def test_training_learns(tmp_path: Path, world: World) -> None:
    """Twenty steps tell ground, wall and sky apart on the source; a network that guesses has a third of that."""
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
    """Whatever else lies in the target folder: garbage in it stops nothing, and nothing of it is opened."""
    target = tmp_path / "target"
    shutil.copytree(world.target, target)
    shutil.copytree(world.held_out / "labels", target / "ground_truth")
    for path in (target / "ground_truth").iterdir():
        path.write_bytes(b"garbage")
    quiet = World(world.source, target, world.held_out, world.space)
    with touched_paths() as touched:
        result = tiny_adapt(quiet, tmp_path / "run", recipe)
    assert not [path for _, path in touched if "ground_truth" in path]
    assert [path for _, path in touched if str(target / "images") in path]  # the ear is open
    assert result.before is None
    assert result.after is None
    assert json.loads((tmp_path / "run" / "scores.json").read_text()) == {"before": None, "after": None}


@pytest.mark.parametrize("recipe", ["fada-small", "self-training-small"])
def test_target_labels_are_read_only_after_training(
    recipe: str, tmp_path: Path, world: World, runs: Callable[[str], Path]
) -> None:
    """As the terminal and the report say. They change nothing: the model is that of a run without them."""
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
    assert read
    assert min(read) > trained, f"{touched[min(read)][1]} was opened before the training was over"
    assert result.after is not None
    assert result.after.pixels == 4 * SIZE[0] * SIZE[1]
    assert_same(weights(tmp_path / "run"), weights(runs(recipe)))


def test_damaged_target_labels_do_not_cost_the_training(tmp_path: Path, world: World) -> None:
    """Either a whole model comes of it, or an error that names them before anything was made."""
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


# --- the same again, and going on ---------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the package catches it."""


def kill_before_stage(patch: pytest.MonkeyPatch, number: int) -> None:
    original = stages.run_stage

    def run_stage(context, index, resume):
        if index == number:
            raise Killed
        return original(context, index, resume)

    patch.setattr(adapt_job, "run_stage", run_stage)


def kill_after_checkpoint(patch: pytest.MonkeyPatch, name: str) -> None:
    original = Trainer.save

    def save(self, log=None):
        original(self, log)
        if ckpt.find_checkpoints(self.folder)[-1].path.name == name:
            raise Killed

    patch.setattr(Trainer, "save", save)


def kill_while_handing_on(patch: pytest.MonkeyPatch, number: int) -> None:
    original = stages.hand_on

    def hand_on(method, context, folder):
        if folder.name == context.recipe.stage_name(number):
            (folder.with_name(f".partial-{folder.name}") / "segmenter").mkdir(parents=True)
            raise Killed
        original(method, context, folder)

    patch.setattr(stages, "hand_on", hand_on)


def kill_while_labelling(patch: pytest.MonkeyPatch, _: int) -> None:
    original = stages.write_label_png
    count = iter(range(100))

    def write(labels, space, path):
        if next(count) == 2:
            raise Killed
        original(labels, space, path)

    patch.setattr(stages, "write_label_png", write)


def kill_before_the_end(patch: pytest.MonkeyPatch, _: int) -> None:
    def finish_run(*_args):
        raise Killed

    patch.setattr(adapt_job, "finish_run", finish_run)


@pytest.mark.parametrize(
    ("recipe", "kill", "when"),
    [
        ("self-training-small", kill_before_stage, 1),
        ("fada-small", kill_before_stage, 2),
        ("fada-small", kill_after_checkpoint, "2-adversarial-00000001"),
        ("self-training-small", kill_after_checkpoint, "2-self-training-00000001"),
        ("colour-transfer-small", kill_after_checkpoint, "1-source-only-00000002"),
        ("self-training-small", kill_while_handing_on, 1),
        ("fada-small", kill_while_labelling, 0),
        ("source-only-small", kill_before_the_end, 0),
    ],
)
def test_a_run_that_was_killed_ends_with_the_same_weights(
    recipe: str, kill: Callable, when: object, tmp_path: Path, world: World, runs: Callable[[str], Path]
) -> None:
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        kill(patch, when)
        with pytest.raises(Killed):
            tiny_adapt(world, run, recipe, evaluate_on=world.held_out)
    assert not (run / "segmenter").exists()
    # Nothing but the folder is needed to go on: domains, labels, recipe and seed are in it.
    result = adapt_job.adapt(out=run, resume=True, device="cpu", quiet=True)
    assert_same(weights(run), weights(runs(recipe)))
    strip = [{k: v for k, v in line.items() if k not in ("time", "samples_per_second")} for line in told(run)]
    whole = told(runs(recipe))
    assert strip == [
        {k: v for k, v in line.items() if k not in ("time", "samples_per_second")} for line in whole
    ]
    assert (run / "report.html").is_file()
    scores = json.loads((runs(recipe) / "scores.json").read_text())
    assert result.after is not None
    assert result.after.as_dict() == scores["after"]


def test_a_finished_run_can_be_resumed_to_no_harm(tmp_path: Path, world: World) -> None:
    run = tmp_path / "run"
    tiny_adapt(world, run)
    before, lines = weights(run), (run / "metrics.jsonl").read_text()
    tiny_adapt(world, run, resume=True)
    assert_same(weights(run), before)
    assert (run / "metrics.jsonl").read_text() == lines


def test_the_seed_decides(tmp_path: Path, world: World, runs: Callable[[str], Path]) -> None:
    again, other = tmp_path / "again", tmp_path / "other"
    tiny_adapt(world, again)
    tiny_adapt(world, other, seed=1)
    assert_same(weights(again), weights(runs("source-only-small")))
    assert load_recipe(other / "recipe.yaml").seed == 1
    assert any(not torch.equal(v, weights(again)[n]) for n, v in weights(other).items())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"recipe": "colour-transfer-small"}, "name"),
        ({"overrides": ["stages.0.trainer.steps=3"]}, "stages.0.trainer.steps"),
        ({"overrides": ["stages.0.optimizers.segmenter.lr=0.5"]}, "stages.0.optimizers.segmenter.lr"),
        ({"seed": 4}, "seed"),
    ],
)
def test_resuming_with_another_recipe_is_refused(
    changes: dict, named: str, world: World, runs: Callable[[str], Path]
) -> None:
    run = runs("source-only-small")
    with pytest.raises(RunError) as caught:
        tiny_adapt(world, run, resume=True, **changes)
    assert f"({named} is " in str(caught.value)
    assert str(run) in str(caught.value)


def test_resuming_with_the_default_recipe_named_is_refused_too(
    world: World, runs: Callable[[str], Path]
) -> None:
    """Whoever names a recipe means it, also when it is the one that is taken when none is named."""
    with pytest.raises(RunError, match="recipe"):
        adapt_job.adapt(
            world.source,
            world.target,
            runs("source-only-small"),
            adapt_job.DEFAULT_RECIPE,
            resume=True,
            device="cpu",
            quiet=True,
        )


@pytest.mark.parametrize("which", ["source", "target"])
def test_resuming_on_other_data_is_refused(
    which: str, tmp_path: Path, world: World, runs: Callable[[str], Path]
) -> None:
    other = write_domain(tmp_path / "other", 5, seed=9)
    given = {"source": world.source, "target": world.target} | {which: other}
    with pytest.raises(UserError, match=which):
        adapt_job.adapt(**given, out=runs("source-only-small"), resume=True, device="cpu", quiet=True)


# --- reuse, overwrite ---------------------------------------------------------------------------------------


def test_reuse_takes_finished_stages_over(tmp_path: Path, world: World, runs: Callable[[str], Path]) -> None:
    run = tmp_path / "run"
    tiny_adapt(world, run, "self-training-small", reuse=runs("fada-small"))
    assert [line["stage"] for line in told(run)] == ["2-self-training"] * 2
    assert_same(weights(run), weights(runs("self-training-small")))


@pytest.mark.parametrize("changes", [{"seed": 3}, {"overrides": ["stages.0.trainer.steps=1"]}])
def test_reuse_takes_nothing_that_would_come_out_otherwise(
    changes: dict, tmp_path: Path, world: World, runs: Callable[[str], Path]
) -> None:
    tiny_adapt(world, tmp_path / "run", reuse=runs("fada-small"), **changes)
    assert {line["stage"] for line in told(tmp_path / "run")} == {"1-source-only"}


def test_reuse_of_a_run_on_other_data_is_refused(
    tmp_path: Path, world: World, runs: Callable[[str], Path]
) -> None:
    other = World(write_domain(tmp_path / "other", 4), world.target, world.held_out, world.space)
    with pytest.raises(RunError, match="source"):
        tiny_adapt(other, tmp_path / "run", reuse=runs("fada-small"))


def test_overwrite_replaces_a_run_and_nothing_else(tmp_path: Path, world: World) -> None:
    run = tmp_path / "run"
    tiny_adapt(world, run)
    first = weights(run)
    tiny_adapt(world, run, overwrite=True, seed=5)
    assert any(not torch.equal(value, first[name]) for name, value in weights(run).items())
    photos = tmp_path / "photos"
    shutil.copytree(world.target, photos)
    with pytest.raises(RunError, match="not a stylebridge run"):
        tiny_adapt(world, photos, overwrite=True)
    assert len(list((photos / "images").iterdir())) == 4


@pytest.mark.parametrize("mistake", ["source", "label_space", "recipe"])
def test_a_mistake_does_not_cost_the_run_that_was_to_be_replaced(
    mistake: str, tmp_path: Path, world: World
) -> None:
    run = tmp_path / "run"
    tiny_adapt(world, run)
    wrong = {"source": world, "recipe": "source-only-small"}
    given = {"label_space": world.space}
    if mistake == "source":
        wrong["source"] = World(tmp_path / "nowhere", world.target, world.held_out, world.space)
    elif mistake == "recipe":
        given["overrides"] = ["stages.0.trainer.stepps=1"]
    else:
        given["label_space"] = tmp_path / "nowhere.yaml"
    with pytest.raises(UserError):
        tiny_adapt(wrong["source"], run, overwrite=True, **given)
    assert (run / "segmenter" / "model.safetensors").is_file()


def test_overrides_of_a_recipe_object_are_not_dropped(tmp_path: Path, world: World) -> None:
    recipe = load_recipe("source-only-small", tiny_overrides("source-only-small"))
    given = {"label_space": world.space, "device": "cpu", "quiet": True}
    run = tmp_path / "run"
    try:
        adapt_job.adapt(world.source, world.target, run, recipe, overrides=["seed=3"], **given)
    except UserError:
        return
    assert load_recipe(run / "recipe.yaml").seed == 3


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
    watched = [f"stages.{i}.trainer.sample_every=1" for i in range(2)]
    tiny_adapt(world, run, "self-training-small", overrides=watched)
    assert sorted(path.name for path in (run / "samples").iterdir()) == [
        f"{stage}-00000{step}.png" for stage in STAGES["self-training-small"] for step in (1, 2)
    ]
    assert_same(weights(run), weights(runs("self-training-small")))
