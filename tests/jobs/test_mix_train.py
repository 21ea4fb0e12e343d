"""Both stages of MixNMatch in one run: trained, stopped anywhere and resumed, used, refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from stylebridge.engine import checkpoint as ckpt
from stylebridge.engine.trainer import Trainer
from stylebridge.errors import DataError, RecipeError, RunError
from stylebridge.jobs.apply.models.mixer import load_mixer
from stylebridge.jobs.datasets.boxed_set import check_photos, open_boxed_set
from stylebridge.jobs.datasets.doctor import doctor
from stylebridge.jobs.recipe.reading import load_recipe
from stylebridge.jobs.tasks.mix import check_amounts
from stylebridge.jobs.tasks.mix_pictures import ROWS
from stylebridge.jobs.train import train_mixer
from support import folders
from support.mixers import TINY, tiny_mix, write_boxed

own_cache = folders.own_cache
SIDE = TINY.image_size


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_boxed(tmp_path_factory.mktemp("boxed"))


def train(data: Path | None, out: Path, *changes: str, **settings) -> Path:
    overrides = None if settings.get("resume") else [*tiny_mix(), *changes]
    return train_mixer(data, out, overrides=overrides, device="cpu", quiet=True, **settings)


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps a stage, with samples of each; tests do not write into it."""
    samples = [f"{stage}.trainer.sample_every=1" for stage in ("code", "feature")]
    return train(data, tmp_path_factory.mktemp("runs") / "whole", *samples)


class Stopped(Exception):
    """The exception with which a test stops training."""


def stop_after_saving(monkeypatch: pytest.MonkeyPatch, stage: str, step: int) -> None:
    save = Trainer.save

    def saving(trainer: Trainer, *args) -> None:
        save(trainer, *args)
        if (trainer.stage, trainer.step) == (stage, step):
            raise Stopped

    monkeypatch.setattr(Trainer, "save", saving)


def tensors(run: Path) -> dict[str, torch.Tensor]:
    files = (run / "networks").glob("*.safetensors")
    return {f"{path.stem}.{key}": value for path in files for key, value in load_file(path).items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


# --- what a run leaves ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_average_generator_is_kept(whole: Path) -> None:
    """And the second stage's generator is that one, unchanged."""
    kept = load_file(whole / "networks" / "generator.safetensors")
    found = {c.stage: c.path for c in ckpt.find_checkpoints(whole / "trainer_state")}
    second = load_file(found["2-feature"] / "network.generator.safetensors")
    assert same(kept, second)
    mixer = load_mixer(whole)
    assert mixer.config == TINY
    assert mixer.extractor is not None
    extractor = load_file(found["2-feature"] / "network.feature_extractor.safetensors")
    assert same(mixer.extractor.state_dict(), extractor)


@pytest.mark.slow
def test_facts_pictures_log_and_report(whole: Path, data: Path) -> None:
    facts = yaml.safe_load((whole / "run.yaml").read_text(encoding="utf-8"))
    assert (facts["kind"], facts["images"], facts["data"]) == ("mix", 6, str(data))
    assert sorted(p.name for p in (whole / "samples").iterdir()) == [f"{n:06}.png" for n in (1, 2, 3, 4)]
    pictures = [np.array(Image.open(whole / "samples" / f"{n:06}.png")) for n in (2, 3)]
    for picture in pictures:
        assert picture.shape == (len(ROWS) * SIDE, 6 * SIDE, 3)
    photos = slice(4 * SIDE, 5 * SIDE)
    assert np.array_equal(pictures[0][photos], pictures[1][photos])
    assert pictures[0][photos].std() > 20
    assert np.unique(pictures[0][-SIDE:]).size == 1  # no feature mode yet
    assert np.unique(pictures[1][-SIDE:]).size > 1
    log = (whole / "metrics.jsonl").read_text(encoding="utf-8")
    assert [log.count(f'"stage": "{stage}"') for stage in ("1-code", "2-feature")] == [2, 2]
    page = (whole / "report.html").read_text(encoding="utf-8")
    assert "After 4 steps" in page
    assert "2 shapes, 5 textures" in page


# --- stopped and resumed --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "step"), [("1-code", 2), ("2-feature", 1)])
def test_a_run_that_was_stopped_ends_in_the_same_weights(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path, stage: str, step: int
) -> None:
    """Those of the whole run, which wrote samples besides: they change nothing."""
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_after_saving(patch, stage, step)
        with pytest.raises(Stopped):
            train(data, run)
    assert not (run / "samples").exists()
    if stage == "1-code":
        assert not (run / "networks").exists()
    else:
        check_code_mode_alone(run)
    if (stage, step) == ("1-code", 2):
        check_handed_on(run, whole)
    train(None, run, resume=True)
    assert same(tensors(run), tensors(whole))


def check_code_mode_alone(run: Path) -> None:
    """Before the second stage is finished only code mode works, and feature mode names what is missing."""
    mixer, image = load_mixer(run), torch.rand(1, 3, SIDE, SIDE)
    assert mixer.mix(image, image, image, image).image.shape == image.shape
    with pytest.raises(RunError, match="needs a feature extractor: train the second stage"):
        mixer.mix_features(image, image, image)


def check_handed_on(run: Path, whole: Path) -> None:
    """The generator's average is passed on by the first stage, not the generator."""
    last = ckpt.find_checkpoints(run / "trainer_state")[-1].path
    average = load_file(last / "network.generator_average.safetensors")
    assert same(average, load_file(whole / "networks" / "generator.safetensors"))
    assert not same(average, load_file(last / "network.generator.safetensors"))
    encoders = load_file(last / "network.encoders.safetensors")
    assert same(encoders, load_file(whole / "networks" / "encoders.safetensors"))


@pytest.mark.slow
def test_a_finished_run_has_nothing_left_to_do(whole: Path, tmp_path: Path) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    files = sorted((run / "networks").iterdir())
    before = [path.stat().st_mtime_ns for path in files]
    (run / "report.html").unlink()
    train(None, run, resume=True)
    assert [path.stat().st_mtime_ns for path in files] == before
    assert (run / "report.html").is_file()


# --- data -----------------------------------------------------------------------------------------------------


def test_the_boxes_file_is_found(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for boxes in (None, "boxes.csv", data / "boxes.csv"):
        opened = open_boxed_set(data, boxes)
        assert opened.boxes.path == data / "boxes.csv"
    assert opened.names[0] == "images/a/0.png"
    shutil.copy(
        data / "boxes.csv", tmp_path / "boxes.csv"
    )  # one beside the user comes before that of the data
    assert open_boxed_set(data, "boxes.csv").boxes.path == Path("boxes.csv")


def test_only_what_is_below_images_counts(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data" / "segmentations").mkdir()
    shutil.copy(data / "images" / "a" / "0.png", tmp_path / "data" / "segmentations" / "0.png")
    assert len(open_boxed_set(tmp_path / "data", None).images) == 6


def changed(data: Path, tmp_path: Path, old: str, new: str) -> Path:
    copy = shutil.copytree(data, tmp_path / "data")
    text = (copy / "boxes.csv").read_text(encoding="utf-8")
    assert old in text
    (copy / "boxes.csv").write_text(text.replace(old, new), encoding="utf-8")
    return copy


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "a/2.png,12,10",
            "a/2.png,40,10",
            r"boxes\.csv, line 4: the box 40, 10, 30, 20 extends beyond its image .* 60×48",
        ),
        ("a/2.png,12,10,30,20\n", "", r"boxes\.csv has no box for the image images/a/2\.png"),
        ("a/2.png,12,10,30", "a/2.png,12,10,0", r"line 4: .* has no area"),
        ("width", "w", "the column width is missing"),
    ],
)
def test_wrong_boxes_are_named_before_the_run_begins(
    data: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    wrong = changed(data, tmp_path, old, new)
    with pytest.raises(DataError, match=message):
        train(wrong, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_all_boxes_that_leave_their_photos_are_listed_with_the_mend(data: Path, tmp_path: Path) -> None:
    wrong = changed(data, tmp_path, "a/2.png,12,10", "a/2.png,40,10")
    text = (wrong / "boxes.csv").read_text(encoding="utf-8")
    (wrong / "boxes.csv").write_text(text.replace("b/1.png,12,", "b/1.png,99,"), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        train(wrong, tmp_path / "run")
    message = str(caught.value)
    assert "2 problems" in message
    assert "line 3: the box 99, " in message
    assert "line 4: the box 40, " in message
    assert "stylebridge data doctor DATA --boxes" in message
    assert "--fix" in message
    assert not (tmp_path / "run").exists()
    fixed = tmp_path / "fixed"
    doctor([wrong], fix=fixed, out=tmp_path / "page.html", quiet=True)
    check_photos(open_boxed_set(fixed, None))
    assert len(open_boxed_set(fixed, None).images) == 5


def test_wrong_photos_are_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Give --data FOLDER"):
        train(None, tmp_path / "run")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image in"):
        train(tmp_path / "empty", tmp_path / "run")
    alone = tmp_path / "alone"
    shutil.copytree(data / "images", alone)
    with pytest.raises(DataError, match=r"neither boxes\.csv nor bounding_boxes\.txt: give --boxes FILE"):
        train(alone, tmp_path / "run")
    broken = shutil.copytree(data, tmp_path / "broken")
    (broken / "images" / "a" / "4.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"4\.png cannot be read as an image"):
        train(broken, tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("networks.textures=7", "asks for 7 texture categories, but there are 6 photos"),
        ("code.trainer.batch=8", r"code\.trainer\.batch is 8, but there are 6 photos"),
        ("feature.trainer.batch=8", r"feature\.trainer\.batch is 8, but there are 6 photos"),
    ],
)
def test_too_few_photos_are_reported(data: Path, tmp_path: Path, change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        train(data, tmp_path / "run", change)
    assert not (tmp_path / "run").exists()


def test_a_batch_is_shared_between_processes() -> None:
    recipe = load_recipe("mixnmatch-small", task="mix")
    check_amounts(recipe, 100, processes=4)
    for processes in (3, 8):
        with pytest.raises(RecipeError, match=rf"batch 8 cannot be split over {processes}"):
            check_amounts(recipe, 100, processes=processes)


# --- runs that cannot be resumed ------------------------------------------------------------------------------


@pytest.mark.slow
def test_runs_that_cannot_be_resumed_are_named(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    facts = yaml.safe_load((whole / "run.yaml").read_text(encoding="utf-8"))
    wrong = (({"kind": "synthesize"}, "stylebridge synthesize"), ({"imported": "G.pth"}, "was imported"))
    for change, message in wrong:
        (run / "run.yaml").write_text(yaml.safe_dump({**facts, **change}), encoding="utf-8")
        with pytest.raises(RunError, match=message):
            train(None, run, resume=True)
