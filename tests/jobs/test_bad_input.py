"""The command line's answer to a mistake: one sentence that names it, exit code 2, and nothing left behind."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylebridge.jobs import train as train_job
from support import folders
from support.folders import CommandLine, Outcome, World, tiny_overrides, write_domain

own_cache, world, finished = folders.own_cache, folders.world, folders.finished
stylebridge = folders.stylebridge


@pytest.fixture
def mine(world: World, tmp_path: Path) -> World:
    """A copy of the world that the test may damage."""
    shutil.copytree(world.source, tmp_path / "source")
    shutil.copytree(world.target, tmp_path / "target")
    return World(tmp_path / "source", tmp_path / "target", world.held_out, world.space)


class Adapt:
    """``stylebridge adapt`` on a world, with a few steps of the small recipe."""

    def __init__(self, stylebridge: CommandLine, mine: World, tmp_path: Path) -> None:
        self.stylebridge, self.world, self.out = stylebridge, mine, tmp_path / "run"

    def __call__(self, *more: object, **given: object) -> Outcome:
        """``more`` arguments; ``given`` options instead of the usual ones (None: omitted)."""
        usual = {
            "source": self.world.source,
            "target": self.world.target,
            "out": self.out,
            "recipe": "source-only-small",
            "label-space": self.world.space,
            "device": "cpu",
        }
        chosen = {k: v for k, v in (usual | given).items() if v is not None}
        arguments = [part for key, value in chosen.items() for part in (f"--{key}", value)]
        overrides = [part for change in tiny_overrides("source-only-small") for part in ("--set", change)]
        return self.stylebridge("adapt", "--quiet", *arguments, *overrides, *more)


@pytest.fixture
def adapt(stylebridge: CommandLine, mine: World, tmp_path: Path) -> Adapt:
    return Adapt(stylebridge, mine, tmp_path)


# --- folders ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["source", "target", "evaluate-on"])
def test_a_missing_folder(adapt: Adapt, tmp_path: Path, which: str) -> None:
    adapt(**{which: tmp_path / "nowhere"}).refused(str(tmp_path / "nowhere"), "does not exist")
    assert not adapt.out.exists()


@pytest.mark.parametrize("which", ["source", "target"])
def test_an_empty_folder(adapt: Adapt, tmp_path: Path, which: str) -> None:
    empty = tmp_path / "empty"
    (empty / "images").mkdir(parents=True)
    (empty / "labels").mkdir()
    adapt(**{which: empty}).refused(str(empty / "images"), "no images")
    assert not adapt.out.exists()


def test_a_file_in_place_of_a_folder(adapt: Adapt, mine: World) -> None:
    photo = next((mine.target / "images").iterdir())
    adapt(target=photo).refused(str(photo), "is a file")


def test_a_source_without_labels(adapt: Adapt, mine: World) -> None:
    adapt(source=mine.target).refused(str(mine.target), "labels/")
    assert not adapt.out.exists()


@pytest.mark.parametrize("given", [{"source": None}, {"target": None}, {"source": None, "target": None}])
def test_no_source_or_no_target(adapt: Adapt, given: dict) -> None:
    adapt(**given).refused("--source", "--target")
    assert not adapt.out.exists()


def test_an_image_without_label_and_a_label_without_image(adapt: Adapt, mine: World) -> None:
    (mine.source / "labels" / "002.png").unlink()
    adapt().refused("1 image", "002.jpg", "no label map")
    (mine.source / "images" / "002.jpg").unlink()
    (mine.source / "images" / "004.jpg").unlink()
    adapt().refused("1 label map", "004.png", "no image")
    assert not adapt.out.exists()


# --- files --------------------------------------------------------------------------------------------------


def test_a_label_of_another_size(adapt: Adapt, mine: World) -> None:
    label = mine.source / "labels" / "003.png"
    Image.fromarray(np.zeros((24, 32), np.uint8)).save(label)
    adapt().refused(str(label), "32×24", "003.jpg", "64×48")
    assert not adapt.out.exists()


def test_an_id_outside_the_label_space(adapt: Adapt, mine: World) -> None:
    label = mine.source / "labels" / "003.png"
    Image.fromarray(np.full((48, 64), 17, np.uint8)).save(label)
    adapt().refused(str(label), "17", "three", "--label-space")
    assert not adapt.out.exists()


def test_a_label_that_holds_colours(adapt: Adapt, mine: World) -> None:
    label = mine.source / "labels" / "003.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(label)
    adapt().refused(str(label), "colours")


@pytest.mark.parametrize("which", ["source", "target"])
def test_a_truncated_jpeg(adapt: Adapt, mine: World, which: str) -> None:
    photo = getattr(mine, which) / "images" / "001.jpg"
    photo.write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
    adapt().refused(str(photo), "truncated")
    assert not adapt.out.exists()


@pytest.mark.parametrize("place", ["source/images/001.png", "source/labels/001.png", "target/images/x.png"])
def test_a_text_file_named_png(adapt: Adapt, tmp_path: Path, place: str) -> None:
    (tmp_path / place).with_suffix(".jpg").unlink(missing_ok=True)
    (tmp_path / place).write_text("this is no picture")
    adapt().refused(str(tmp_path / place), "cannot be read as an image")
    assert not adapt.out.exists()


def test_a_label_space_that_does_not_exist(adapt: Adapt) -> None:
    adapt(**{"label-space": "camvid-12"}).refused("'camvid-12'", "did you mean camvid-11")
    assert not adapt.out.exists()


# --- recipes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("seed", ("--set", "'seed'", "=")),
        ("seed=[", ("--set", "seed")),
        ("segmenter.arch=fpm", ("segmenter.arch", "'fpm'", "fpn")),
        ("segmenter.encoder=tu-nothing", ("segmenter.encoder", "'tu-nothing'")),
        ("segmenter.weights=missing.safetensors", ("missing.safetensors",)),
        ("stages.0.trainer.accumulate=3", ("batch 2", "accumulate")),
        ("stages.0.optimizers.segmenter.group_lr={haed: 3}", ("haed", "head")),
        ("precision=fp16", ("fp16", "GPU")),
    ],
)
def test_a_wrong_setting(adapt: Adapt, override: str, named: tuple[str, ...]) -> None:
    """A failure before the first step leaves nothing that blocks the next try."""
    adapt("--set", override).refused(*named)
    assert not adapt.out.exists()


@pytest.mark.parametrize("device", ["gpu", "cuda"])
def test_a_device_that_is_not_there(adapt: Adapt, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    adapt(device=device).refused(device)
    assert not adapt.out.exists()


# --- run folders --------------------------------------------------------------------------------------------


def test_out_that_exists(adapt: Adapt, finished: Path, tmp_path: Path) -> None:
    adapt(out=finished).refused(str(finished), "exists", "--resume", "--overwrite")
    file = tmp_path / "file"
    file.write_text("mine")
    adapt(out=file).refused(str(file), "exists")
    adapt("--overwrite", out=file).refused(str(file))
    assert file.read_text() == "mine"


def test_out_below_a_file(adapt: Adapt, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    adapt(out=tmp_path / "file" / "run").refused(str(tmp_path / "file"))


@pytest.mark.parametrize("text", ["", "just words", "kind: [", "kind: adapt\n"])
def test_resume_of_a_run_whose_facts_are_damaged(adapt: Adapt, text: str) -> None:
    adapt.out.mkdir()
    (adapt.out / "run.yaml").write_text(text)
    adapt("--resume").refused(str(adapt.out))


# --- segment ------------------------------------------------------------------------------------------------


def test_segment_with_a_folder_that_is_not_a_run(
    stylebridge: CommandLine, world: World, tmp_path: Path
) -> None:
    photo = world.target / "images" / "000.jpg"
    stylebridge("segment", world.target, photo, "--out", tmp_path / "out").refused(
        str(world.target), "not a stylebridge run"
    )
    stylebridge("segment", tmp_path / "no", photo, "--out", tmp_path / "out").refused(
        str(tmp_path / "no"), "does not exist"
    )
    assert not (tmp_path / "out").exists()


def test_segment_with_a_run_that_is_not_finished(
    stylebridge: CommandLine, world: World, finished: Path, tmp_path: Path
) -> None:
    for name in ("run.yaml", "recipe.yaml"):
        (tmp_path / "run").mkdir(exist_ok=True)
        shutil.copy(finished / name, tmp_path / "run" / name)
    photo = world.target / "images" / "000.jpg"
    stylebridge("segment", tmp_path / "run", photo, "--out", tmp_path / "out").refused(
        str(tmp_path / "run"), "no finished segmenter", "--resume"
    )


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("stylebridge.json", "{"),
        ("stylebridge.json", None),
        ("stylebridge.json", "{}"),
        ("config.json", None),
        ("model.safetensors", None),
        ("model.safetensors", "short"),
        ("inference", None),
    ],
)
def test_segment_with_a_damaged_segmenter(
    stylebridge: CommandLine, world: World, finished: Path, tmp_path: Path, name: str, damage: str | None
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    file = run / "segmenter" / name
    if name == "inference":  # a segmenter that was saved by itself, beside a label space
        facts = json.loads((run / "segmenter" / "stylebridge.json").read_text())
        del facts["extra"]["inference"]
        (run / "segmenter" / "stylebridge.json").write_text(json.dumps(facts))
    elif damage is None:
        file.unlink()
    else:
        file.write_text(damage)
    photo = world.target / "images" / "000.jpg"
    outcome = stylebridge("segment", run, photo, "--out", tmp_path / "out", "--device", "cpu", "--quiet")
    if outcome.code == 0:  # without the run's size the image's own will do
        assert name == "inference"
    else:
        outcome.refused(str(run / "segmenter"))


def test_segment_a_missing_photo_and_an_empty_folder(
    stylebridge: CommandLine, finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    stylebridge("segment", finished, tmp_path / "no.jpg", "--out", out).refused(
        str(tmp_path / "no.jpg"), "does not exist"
    )
    (tmp_path / "empty").mkdir()
    stylebridge("segment", finished, tmp_path / "empty", "--out", out).refused(
        str(tmp_path / "empty"), "no images"
    )
    assert not out.exists()


def test_segment_a_photo_that_is_none(stylebridge: CommandLine, finished: Path, tmp_path: Path) -> None:
    (tmp_path / "no.jpg").write_text("this is no picture")
    stylebridge("segment", finished, tmp_path / "no.jpg", "--out", tmp_path / "out", "--quiet").refused(
        str(tmp_path / "no.jpg"), "cannot be read as an image"
    )


def test_segment_into_a_file(stylebridge: CommandLine, world: World, finished: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    photo = world.target / "images" / "000.jpg"
    stylebridge("segment", finished, photo, "--out", tmp_path / "out", "--quiet").refused(
        str(tmp_path / "out")
    )
    assert (tmp_path / "out").read_text() == "mine"


# --- evaluate -----------------------------------------------------------------------------------------------


def test_evaluate_without_labels(stylebridge: CommandLine, world: World, finished: Path) -> None:
    stylebridge("evaluate", finished, "--data", world.target, "--quiet").refused(str(world.target), "labels/")


def test_evaluate_on_a_missing_folder(stylebridge: CommandLine, finished: Path, tmp_path: Path) -> None:
    stylebridge("evaluate", finished, "--data", tmp_path / "no").refused(
        str(tmp_path / "no"), "does not exist"
    )


def test_evaluate_with_another_label_space(stylebridge: CommandLine, world: World, finished: Path) -> None:
    stylebridge("evaluate", finished, "--data", world.held_out, "--label-space", "camvid-11").refused(
        "camvid-11", "three"
    )


def test_evaluate_on_labels_that_are_all_ignored(
    stylebridge: CommandLine, world: World, finished: Path, tmp_path: Path
) -> None:
    data = write_domain(tmp_path / "data", 1)
    Image.fromarray(np.full((48, 64), 255, np.uint8)).save(data / "labels" / "000.png")
    stylebridge("evaluate", finished, "--data", data, "--quiet").refused(str(data), "ignore")


def test_evaluate_into_a_folder(
    stylebridge: CommandLine, world: World, finished: Path, tmp_path: Path
) -> None:
    (tmp_path / "scores").mkdir()
    stylebridge(
        "evaluate", finished, "--data", world.held_out, "--out", tmp_path / "scores", "--quiet"
    ).refused(str(tmp_path / "scores"))
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]


# --- the rest of the command line ---------------------------------------------------------------------------


def test_an_interrupt_says_how_to_continue(adapt: Adapt, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_args, **_settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(train_job, "run_stage", interrupted)
    outcome = adapt()
    assert outcome.code == 130
    assert "--resume" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_training_that_breaks_down_is_not_a_mistake_of_the_user(adapt: Adapt) -> None:
    """Rate and decay at their limits multiply the weights by about ten thousand in every step."""
    lost = ["kind=sgd", "lr=100", "weight_decay=100", "schedule.warmup=0"]
    changes = ["trainer.steps=12", *(f"optimizers.segmenter.{change}" for change in lost)]
    outcome = adapt(*(word for change in changes for word in ("--set", f"stages.0.{change}")))
    assert outcome.code == 1
    assert "Stopped: " in outcome.err
    assert "not finite" in outcome.err or "is nan" in outcome.err or "is inf" in outcome.err
    assert "Traceback" not in outcome.err
    assert not (adapt.out / "segmenter").exists()


def test_the_toy_world_into_a_folder_that_exists(stylebridge: CommandLine, world: World) -> None:
    stylebridge("data", "toy", world.target).refused(str(world.target), "exists")
    stylebridge("data", "toy", world.target / "new", "--look", "night").refused("night", "camera")
