"""User recipes: overrides, files, and messages about wrong keys or values."""

from pathlib import Path

import pytest
import yaml

from stylebridge.errors import RecipeError
from stylebridge.jobs.recipe.adapt import InferenceConfig
from stylebridge.jobs.recipe.reading import load_recipe, parse_recipe, recipe_names

# --- overrides ----------------------------------------------------------------------------------------------


def test_overrides_reach_every_depth_and_are_yaml() -> None:
    changes = [
        "seed=7",
        "segmenter.weights=none",
        "stages.1.trainer.steps=12",
        "stages.1.options.clip=1",
        "stages.0.source.augmentation.jitter={hue: 0.1}",
        "inference.scales=[0.7, 1.0, 1.3]",
        "inference.flip=true",
    ]
    recipe = load_recipe("fada-small", changes)
    assert recipe.seed == 7
    assert recipe.segmenter.weights is None
    assert recipe.stages[1].trainer.steps == 12
    assert recipe.stages[0].trainer.steps == load_recipe("fada-small").stages[0].trainer.steps
    assert recipe.stages[1].options["clip"] == 1
    assert recipe.stages[0].source is not None
    jitter = recipe.stages[0].source.augmentation.jitter
    assert jitter is not None
    assert (jitter.hue, jitter.brightness) == (0.1, 0.0)
    assert recipe.inference.scales == (0.7, 1.0, 1.3)
    assert recipe.inference.flip


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("stages.0.trainer.steps", "stages.0.trainer.steps"),
        ("stages.7.trainer.steps=3", "stages.7.trainer.steps"),
        ("stages.first.trainer.steps=3", "stages.first"),
        ("name.short=fada", "name.short"),
        ("inference.size=[1, 2", "inference.size"),
        ("segmenter.options={a: b: c}", "segmenter.options"),
    ],
)
def test_an_override_that_does_not_fit_is_an_error_that_names_it(override: str, named: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("fada-small", [override])
    assert named in str(caught.value)


# --- wrong recipes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("segmentr={}", ["segmentr", "did you mean segmenter"]),
        ("inferense={}", ["inferense", "did you mean inference"]),
        ("segmenter.wieghts=none", ["segmenter.wieghts", "did you mean weights"]),
        ("stages.1.trainer.step=3", ["stages[1].trainer.step ", "did you mean steps"]),
        ("stages.1.source.samplr=uniform", ["stages[1].source.samplr", "did you mean sampler"]),
        ("stages.0.source.augmentation.flipp=1", ["augmentation.flipp", "did you mean flip"]),
        ("stages.0.source.augmentation.jitter={hues: 1}", ["jitter.hues", "did you mean hue"]),
        ("stages.1.optimizers.discriminator.beta=3", ["discriminator.beta ", "did you mean betas"]),
        ("stages.1.optimizers.segmenter.schedule.powr=3", ["schedule.powr", "did you mean power"]),
        ("stages.1.options.temprature=2", ["stages[1]", "options.temprature", "did you mean temperature"]),
        ("stages.0.zebra=1", ["stages[0].zebra", "remove it"]),
        ("stages.2.pseudo_labels.pixel=100", ["pseudo_labels.pixel ", "did you mean pixels"]),
    ],
)
def test_a_wrong_key_is_named_with_the_one_that_was_meant(override: str, parts: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("fada-small", [override])
    for part in parts:
        assert part in str(caught.value)
    assert str(caught.value).startswith("Recipe fada-small: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("stages.0.trainer.steps=0", ["stages[0].trainer.steps", "0", "greater than 0"]),
        ("stages.0.trainer.steps=many", ["stages[0].trainer.steps", "'many'"]),
        ("stages.0.optimizers.segmenter.lr=-1", ["optimizers.segmenter.lr", "-1"]),
        ("precision=fp8", ["precision", "'fp8'", "fp32"]),
        ("seed=-3", ["seed", "-3"]),
        ("stages.0.start=middle", ["stages[0].start", "'middle'", "initial"]),
        ("stages.0.name=Source Only", ["stages[0].name", "Source Only"]),
        ("stages.0.source.augmentation.scale=[1.5, 0.5]", ["augmentation.scale", "low"]),
        ("stages.0.source.sampler=random", ["source.sampler", "class-balanced"]),
        ("stages=[]", ["stages"]),
        ("stages.1.options.clip=2", ["stages[1]", "options.clip", "2"]),
        ("inference.scales=[]", ["inference.scales"]),
        ("inference.scales=[0]", ["inference.scales"]),
        ("inference.size=[0, 100]", ["inference.size"]),
        ("inference.size=[-64, 48]", ["inference.size"]),
    ],
)
def test_a_wrong_value_is_named_with_its_key(override: str, parts: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("fada-small", [override])
    for part in parts:
        assert part in str(caught.value)


def test_a_method_that_does_not_exist() -> None:
    with pytest.raises(RecipeError, match=r"stages\[1\].method.*'fadda'.*'fada'"):
        load_recipe("fada-small", ["stages.1.method=fadda"])


def test_a_stream_too_few_and_a_stream_too_many() -> None:
    with pytest.raises(RecipeError, match=r"stages\[1\].*fada needs the stream 'target'"):
        load_recipe("fada-small", ["stages.1.target=null"])
    with pytest.raises(RecipeError, match=r"stages\[0\].*source-only does not read the stream 'target'"):
        load_recipe("fada-small", ["stages.0.target={pixels: 100}"])


def test_options_of_another_method() -> None:
    with pytest.raises(RecipeError, match=r"stages\[0\].*options.clip is not a known key"):
        load_recipe("fada-small", ["stages.0.options={clip: 0.9}"])
    with pytest.raises(RecipeError, match=r"stages\[1\].*options.clip is not a known key"):
        load_recipe("self-training-small", ["stages.1.options={clip: 0.9}"])


def test_a_target_has_no_labels_to_sample_by() -> None:
    with pytest.raises(RecipeError, match=r"stages\[1\].*target.sampler 'rare-class'"):
        load_recipe("fada-small", ["stages.1.target.sampler=rare-class"])


def test_pseudo_labels_belong_to_self_distillation() -> None:
    with pytest.raises(RecipeError, match=r"stages\[2\].*pseudo_labels"):
        load_recipe("fada-small", ["stages.2.pseudo_labels=null"])
    with pytest.raises(RecipeError, match=r"stages\[1\].*pseudo_labels"):
        load_recipe("fada-small", ["stages.1.pseudo_labels={pixels: 100}"])


def test_pseudo_labels_need_a_stage_before() -> None:
    data = yaml.safe_load(load_recipe("fada-small").to_yaml())
    data["stages"] = data["stages"][2:]
    with pytest.raises(RecipeError, match=r"stages\[0\].pseudo_labels need the model of a stage before"):
        parse_recipe(data, "mine")


def test_changes_of_the_segmenter_need_a_new_one() -> None:
    with pytest.raises(RecipeError, match=r"stages\[1\].*start: initial"):
        load_recipe("fada-small", ["stages.1.segmenter={freeze_batch_norm: true}"])


def test_a_wrong_segmenter_setting_of_a_later_stage_is_found_at_once() -> None:
    with pytest.raises(RecipeError, match=r"stages\[2\].*freeze_bn"):
        load_recipe("fada-small", ["stages.2.segmenter={freeze_bn: true}"])


# --- files --------------------------------------------------------------------------------------------------


def test_an_unknown_name_lists_the_recipes_and_the_one_meant() -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("fada-smal")
    assert "'fada-smal'" in str(caught.value)
    assert "did you mean fada-small?" in str(caught.value)
    assert all(name in str(caught.value) for name in recipe_names("adapt"))


@pytest.mark.parametrize("text", ["a: [1, 2", "- a\n- b\n", "", "just words", "a:\tb"])
def test_a_file_that_is_not_a_recipe(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=r"mine\.yaml"):
        load_recipe(path)


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00\x01" * 9)
    with pytest.raises(RecipeError, match=r"mine\.yaml"):
        load_recipe(path)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nsegmenter: {}\nstages:\n  - {name: a, method: source-only, source: {}}\n")
    with pytest.raises(RecipeError, match=r"stages\[0\]\.trainer is missing"):
        load_recipe(path)


def test_a_recipe_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\n"
        "segmenter: {arch: FPN, weights: none}\n"
        "stages:\n"
        "  - name: one\n"
        "    method: source-only\n"
        "    source: {}\n"
        "    trainer: {steps: 5, batch: 2}\n"
        "    optimizers: {segmenter: {lr: 0.001}}\n"
    )
    recipe = load_recipe(path)
    assert recipe.stage_name(0) == "1-one"
    assert recipe.segmenter.arch == "fpn"
    assert recipe.segmenter.weights is None
    assert recipe.inference == InferenceConfig()
