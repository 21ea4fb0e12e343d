"""Translate, then train: the translator, its images, and training on them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylebridge.data.images import read_image
from stylebridge.errors import RecipeError, RunError
from stylebridge.jobs.apply.translate import translate
from stylebridge.jobs.recipe.reading import change_recipe, load_recipe
from stylebridge.jobs.tasks import adapt as adapt_job
from stylebridge.jobs.tasks import translate as translate_task
from stylebridge.jobs.tasks.adaptation import translated_source as translated_job
from stylebridge.jobs.tasks.adaptation.translated_source import choose_translator
from stylebridge.jobs.train import adapt
from support import folders
from support.folders import World, assert_same, tiny_adapt, weights

pytestmark = pytest.mark.slow

own_cache, world = folders.own_cache, folders.world
RECIPE = "translate-then-train-small"
FEW = "[load=null, pixels=6000, trainer.steps=2, trainer.checkpoint_every=1, trainer.sample_every=0]"
TINY = [f"translator.overrides={FEW}", "translator.pixels=3000"]


@pytest.fixture(scope="module")
def done(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run, with its translator inside."""
    out = tmp_path_factory.mktemp("translated") / "run"
    tiny_adapt(world, out, RECIPE, overrides=TINY, evaluate_on=world.held_out)
    return out


def test_the_second_stage_sees_what_the_translator_makes(
    world: World, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An independent check: the images its dataset reads are those `translate apply` gives, labels the source's."""
    translate(done / "translator", world.source / "images", tmp_path / "own", pixels=3000, device="cpu")
    seen = {}
    original = translated_job.translated_source

    def watch(*args, **settings):
        seen["domain"] = original(*args, **settings)
        return seen["domain"]

    monkeypatch.setattr(adapt_job, "translated_source", watch)
    tiny_adapt(world, tmp_path / "again", RECIPE, overrides=TINY, translator=str(done / "translator"))
    domain = seen["domain"]
    originals = sorted((world.source / "images").iterdir())
    assert [image.stem for image in domain.images] == [path.stem for path in originals]
    assert [label.stem for label in domain.labels] == [path.stem for path in originals]
    changed = 0
    for image, path in zip(domain.images, originals, strict=True):
        np.testing.assert_array_equal(read_image(image), read_image(tmp_path / "own" / f"{path.stem}.png"))
        assert Image.open(image).size == Image.open(path).size
        changed += not np.array_equal(read_image(image), read_image(path))
    assert changed == len(originals)
    # An own translator and the same one given give the same model; the first stage never saw it.
    assert_same(weights(tmp_path / "again"), weights(done))


def test_a_run_killed_while_translating_ends_the_same(world: World, done: Path, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def kill(*_args, **_settings):
        raise Killed

    class Opened:
        open = staticmethod(kill)

    for place in ("translate_files", "PlainTranslator"):
        run = tmp_path / place
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(translated_job, place, Opened if place == "PlainTranslator" else kill)
            with pytest.raises(Killed):
                tiny_adapt(world, run, RECIPE, overrides=TINY)
        assert not (run / "translated").exists()
        adapt(out=run, resume=True, device="cpu", quiet=True)
        assert_same(weights(run), weights(done))


def test_finished_translations_are_taken_over(
    world: World, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_args, **_settings):
        raise AssertionError("trained again")

    monkeypatch.setattr(translated_job, "_train_translator", never)
    changed = [*TINY, "stages.1.trainer.steps=3"]
    tiny_adapt(world, tmp_path / "run", RECIPE, overrides=changed, reuse=done)
    other = [TINY[0].replace("steps=2", "steps=1"), TINY[1]]
    with pytest.raises(AssertionError, match="trained again"):
        tiny_adapt(world, tmp_path / "other", RECIPE, overrides=other, reuse=done)


def test_a_method_keeps_the_recipes_size() -> None:
    for name, method, wanted in (
        ("translate-then-train-small", "cyclegan", "cyclegan-small"),
        ("translate-then-train", "cyclegan", "cyclegan"),
        ("translate-then-train-small", "nice-gan", "nice-gan-small"),
        ("translate-then-train-small", "cyclegan-128", "cyclegan-128"),
    ):
        recipe = load_recipe(name)
        changed = change_recipe(recipe, choose_translator(recipe, method), "adapt")
        assert changed.translator is not None
        assert changed.translator.recipe == wanted
        load_recipe(wanted, list(changed.translator.overrides), task="translate")


def test_what_does_not_fit_is_named(world: World, tmp_path: Path) -> None:
    recipe = load_recipe(RECIPE)
    with pytest.raises(RecipeError, match="no translator to replace by cyclegan"):
        choose_translator(load_recipe("fada-small"), "cyclegan")
    with pytest.raises(RecipeError, match="There is no recipe or file 'unit'"):
        choose_translator(recipe, "unit")
    with pytest.raises(RunError, match="not a stylebridge run"):
        choose_translator(recipe, str(tmp_path))
    with pytest.raises(RecipeError, match="translated: true"):
        change_recipe(recipe, ["stages.1.translated=false"], "adapt")
    with pytest.raises(RecipeError, match="load and pixels"):
        load_recipe("nice-gan-small", ["pixels=5000"], task="translate")


def test_scenes_are_not_squeezed(world: World, tmp_path: Path) -> None:
    """With pixels the crops are squares of an image at its own aspect ratio, large enough for the networks."""
    recipe = load_recipe("nice-gan-small", ["load=null", "pixels=43200"], task="translate")
    assert translate_task._augmentation(recipe, (480, 360)).resize == (240, 180)
    assert translate_task._augmentation(recipe, (480, 360)).crop == (64, 64)
    assert translate_task._augmentation(recipe, (80, 40)).resize == (
        128,
        64,
    )  # 40 lines would not hold a square of 64
