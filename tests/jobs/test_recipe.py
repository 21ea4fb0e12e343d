"""Recipes: what comes with the package, what is published, and what is said about a wrong one."""

from pathlib import Path

import pytest
import yaml

from stylebridge.engine import OptimizerConfig
from stylebridge.errors import RecipeError
from stylebridge.jobs.recipe import (
    InferenceConfig,
    Recipe,
    StageConfig,
    builtin_recipes,
    load_recipe,
    parse_recipe,
    size_for,
)
from stylebridge.methods import SEGMENTATION_METHODS

CITYSCAPES, GTA5 = (2048, 1024), (1914, 1052)


def stage_of(recipe: Recipe, name: str) -> StageConfig:
    return next(stage for stage in recipe.stages if stage.name == name)


# --- what comes with the package ----------------------------------------------------------------------------


def test_the_built_in_recipes() -> None:
    small = {f"{name}-small" for name in ("source-only", "colour-transfer", "fada", "self-training")}
    assert set(builtin_recipes()) == small | {"source-only", "colour-transfer", "fada", "self-training"}


@pytest.mark.parametrize("name", builtin_recipes())
def test_every_built_in_recipe_loads_and_comes_back_from_yaml_unchanged(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description
    (tmp_path / "copy.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    assert load_recipe(tmp_path / "copy.yaml") == recipe
    resolved = recipe.resolve(GTA5, CITYSCAPES)
    (tmp_path / "resolved.yaml").write_text(resolved.to_yaml(), encoding="utf-8")
    assert load_recipe(tmp_path / "resolved.yaml") == resolved


@pytest.mark.parametrize("name", builtin_recipes())
def test_every_built_in_recipe_gives_each_trained_network_its_optimiser(name: str) -> None:
    trains = {method: {"segmenter"} for method in SEGMENTATION_METHODS} | {
        "fada": {"segmenter", "discriminator"}
    }
    for stage in load_recipe(name).stages:
        assert set(stage.optimizers) == trains[stage.method]


@pytest.mark.parametrize("name", builtin_recipes())
def test_resolving_leaves_no_size_open(name: str) -> None:
    recipe = load_recipe(name).resolve((640, 480), (480, 360))
    assert recipe.inference.pixels is None
    assert recipe.inference.size is not None
    for stage in recipe.stages:
        for stream in (stage.source, stage.target):
            assert stream is None or (stream.pixels is None)
        if stage.pseudo_labels is not None:
            assert stage.pseudo_labels.size is not None
    assert recipe.resolve((640, 480), (480, 360)) == recipe


# --- FADA as published (specification, sections 4 and 5) ----------------------------------------------------


def published_sgd(lr: float, total: int) -> dict:
    """SGD with momentum 0.9 and weight decay 5e-4, the classifier at ten times the features' rate, the rate
    falling with (1 − it/max)^0.9."""
    return {
        "kind": "sgd",
        "lr": lr,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "group_lr": {"head": 10.0},
        "schedule": {"kind": "poly", "power": 0.9, "total": total, "warmup": 0},
    }


#: stage: (F's rate, max iterations, stop iterations, images a step)
PUBLISHED = {
    "source-only": (5e-4, 31_250, 20_000, 8),
    "adversarial": (2.5e-4, 62_500, 40_000, 4),
    "self-distillation": (5e-4, 31_250, 20_000, 8),
}
JITTER = {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.2}


def test_fada_has_the_published_stages() -> None:
    recipe = load_recipe("fada")
    assert [stage.name for stage in recipe.stages] == list(PUBLISHED)
    assert [stage.method for stage in recipe.stages] == ["source-only", "fada", "self-distillation"]
    assert (recipe.segmenter.arch, recipe.segmenter.encoder) == ("deeplab-v2", "resnet101")
    assert recipe.precision == "fp32"
    # Stage 3 starts from ImageNet weights again, not from stage 2.
    assert [stage.start for stage in recipe.stages] == ["initial", "previous", "initial"]
    # Batch norm is frozen but in stage 3 of GTA5.
    assert recipe.segmenter.batch_norm_frozen
    assert [stage.segmenter for stage in recipe.stages] == [{}, {}, {"freeze_batch_norm": False}]


@pytest.mark.parametrize("name", PUBLISHED)
def test_fada_has_the_published_optimisation(name: str) -> None:
    lr, total, stop, images = PUBLISHED[name]
    stage = stage_of(load_recipe("fada"), name)
    sgd = stage.optimizers["segmenter"].model_dump()
    assert {key: sgd[key] for key in published_sgd(lr, total)} == published_sgd(lr, total)
    assert (stage.trainer.steps, stage.trainer.batch) == (stop, images)
    assert stage.trainer.checkpoint_every == 2000
    assert stage.trainer.clip_gradient is None
    # 64 % of the way: 0.36^0.9.
    factor = stage.optimizers["segmenter"].schedule.factor(stop, stop)
    assert factor == pytest.approx(0.3987, abs=5e-5)
    assert stage.optimizers["segmenter"].schedule.factor(0, stop) == 1


def test_fada_has_the_published_discriminator() -> None:
    adam = stage_of(load_recipe("fada"), "adversarial").optimizers["discriminator"]
    assert (adam.kind, adam.lr, adam.betas, adam.weight_decay) == ("adam", 1e-4, (0.9, 0.99), 0.0)
    assert (adam.schedule.kind, adam.schedule.power, adam.schedule.total) == ("poly", 0.9, 62_500)
    options = stage_of(load_recipe("fada"), "adversarial").options
    published = SEGMENTATION_METHODS["fada"].Options()
    assert SEGMENTATION_METHODS["fada"].Options(**options) == published


def test_fada_has_the_published_data_preparation() -> None:
    recipe = load_recipe("fada")
    first, second, third = recipe.stages
    assert first.source is not None
    assert second.source is not None
    assert second.target is not None
    assert third.target is not None
    nothing = {"resize": None, "scale": None, "crop": None, "flip": 0.0, "jitter": None, "blur": None}
    assert first.source.augmentation.model_dump() == nothing | {"resize": (1280, 720)}
    assert second.source.augmentation.model_dump() == nothing | {"resize": (1280, 720), "jitter": JITTER}
    assert second.target.augmentation.model_dump() == nothing | {"resize": (1024, 512)}
    assert third.target.augmentation.model_dump() == nothing | {
        "scale": (0.5, 1.5),
        "crop": (1024, 512),
        "flip": 0.5,
        "jitter": JITTER,
    }
    assert [first.source.sampler, second.source.sampler] == ["class-balanced", "class-balanced"]
    assert [second.target.sampler, third.target.sampler] == ["uniform", "uniform"]
    # Pseudo-labels: one scale, no flip, from images at 1024×512. The last model is tested at 2048×1024.
    assert third.pseudo_labels is not None
    assert third.pseudo_labels == InferenceConfig(size=(1024, 512), batch=third.pseudo_labels.batch)
    assert recipe.inference == InferenceConfig(size=(2048, 1024), batch=recipe.inference.batch)


def test_source_only_is_fadas_first_stage() -> None:
    source_only, fada = load_recipe("source-only"), load_recipe("fada")
    assert source_only.stages == fada.stages[:1]
    assert source_only.segmenter == fada.segmenter
    assert source_only.inference.size == (1024, 512)


def test_self_training_has_daformers_settings() -> None:
    """Hoyer et al. 2022, section 4.1: AdamW, 6e-5 for the encoder and ten times that for the decoder, weight
    decay 0.01, 1,500 steps of warm-up, 40,000 steps of two 512×512 crops, α 0.999, τ 0.968."""
    (stage,) = load_recipe("self-training").stages
    adamw = stage.optimizers["segmenter"]
    assert (adamw.kind, adamw.lr, adamw.weight_decay, adamw.group_lr) == ("adamw", 6e-5, 0.01, {"head": 10})
    assert (adamw.schedule.kind, adamw.schedule.power, adamw.schedule.warmup) == ("poly", 1.0, 1500)
    assert (stage.trainer.steps, stage.trainer.batch) == (40_000, 2)
    assert stage.source is not None
    assert stage.target is not None
    assert stage.source.augmentation.crop == stage.target.augmentation.crop == (512, 512)
    assert stage.source.sampler == "rare-class"
    assert (stage.options["teacher_decay"], stage.options["confidence"]) == (0.999, 0.968)


def test_the_small_recipes_share_their_first_stage() -> None:
    """A comparison between them is one of methods only, and ``--reuse`` can take the stage over."""
    recipes = [load_recipe(name) for name in builtin_recipes() if name.endswith("-small")]
    assert len({recipe.stages[0].model_dump_json() for recipe in recipes}) == 1
    assert len({recipe.segmenter.model_dump_json() for recipe in recipes}) == 1
    assert len({recipe.inference.model_dump_json() for recipe in recipes}) == 1


# --- sizes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pixels", "usual", "size"),
    [
        (43_200, (480, 360), (240, 180)),
        (43_200, (360, 480), (180, 240)),
        (172_800, (480, 360), (480, 360)),
        (1_000_000, (480, 360), (480, 360)),  # never enlarged
        (524_288, (2048, 1024), (1024, 512)),
        (43_200, (160, 120), (160, 120)),
        (1, (1000, 10), (8, 4)),  # no side below 4
    ],
)
def test_size_for(pixels: int, usual: tuple[int, int], size: tuple[int, int]) -> None:
    assert size_for(pixels, usual) == size


@pytest.mark.parametrize("usual", [(1914, 1052), (1281, 719), (333, 517), (1242, 375)])
def test_size_for_keeps_the_aspect_ratio_and_the_number_of_pixels(usual: tuple[int, int]) -> None:
    width, height = size_for(43_200, usual)
    assert width % 4 == height % 4 == 0
    assert width * height == pytest.approx(43_200, rel=0.04)
    assert width / height == pytest.approx(usual[0] / usual[1], rel=0.03)


@pytest.mark.parametrize("usual", [(63, 47), (163, 123), (4, 4)])
def test_size_for_does_not_enlarge(usual: tuple[int, int]) -> None:
    width, height = size_for(10**9, usual)
    assert width <= usual[0]
    assert height <= usual[1]


def test_pixels_become_a_size_of_each_domains_own_aspect_ratio() -> None:
    recipe = load_recipe("fada-small", ["stages.1.source.pixels=10000", "stages.1.target.pixels=20000"])
    stage = recipe.resolve((200, 200), (400, 200)).stages[1]
    assert stage.source is not None
    assert stage.target is not None
    assert stage.source.augmentation.resize == (100, 100)
    assert stage.target.augmentation.resize == (200, 100)


def test_images_that_fit_into_the_crop_are_taken_whole() -> None:
    recipe = load_recipe("source-only-small")
    (small,), (large,) = recipe.resolve((160, 120), (9, 9)).stages, recipe.resolve((480, 360), (9, 9)).stages
    assert small.source is not None
    assert large.source is not None
    assert (small.source.augmentation.crop, small.source.augmentation.scale) == (None, None)
    assert small.source.augmentation.resize == (160, 120)
    assert (large.source.augmentation.crop, large.source.augmentation.resize) == ((256, 192), (480, 360))
    assert large.source.augmentation.scale == (0.55, 1.0)


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
    with pytest.raises(RecipeError, match="self-distillation"):
        parse_recipe(data, "mine")


def test_changes_of_the_segmenter_need_a_new_one() -> None:
    with pytest.raises(RecipeError, match=r"stages\[1\].*start: initial"):
        load_recipe("fada-small", ["stages.1.segmenter={freeze_batch_norm: true}"])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"segmenter": OptimizerConfig(lr=1e-3)}, "discriminator"),
        ({n: OptimizerConfig(lr=1e-3) for n in ("segmenter", "discriminator", "critic")}, "critic"),
    ],
)
def test_optimisers_that_do_not_fit_a_later_stage_are_found_at_once(change: dict, named: str) -> None:
    """Not after the hours that the stages before it take."""
    data = yaml.safe_load(load_recipe("fada-small").to_yaml())
    data["stages"][1]["optimizers"] = {key: value.model_dump(mode="json") for key, value in change.items()}
    with pytest.raises(RecipeError, match=named):
        parse_recipe(data, "mine")


def test_a_wrong_segmenter_setting_of_a_later_stage_is_found_at_once() -> None:
    with pytest.raises(RecipeError, match=r"stages\[2\].*freeze_bn"):
        load_recipe("fada-small", ["stages.2.segmenter={freeze_bn: true}"])


# --- files --------------------------------------------------------------------------------------------------


def test_an_unknown_name_lists_the_recipes_and_the_one_meant() -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("fada-smal")
    assert "'fada-smal'" in str(caught.value)
    assert "did you mean fada-small?" in str(caught.value)
    assert all(name in str(caught.value) for name in builtin_recipes())


@pytest.mark.parametrize("text", ["a: [1, 2", "- a\n- b\n", "", "just words", "a:\tb"])
def test_a_file_that_is_no_recipe(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=r"mine\.yaml"):
        load_recipe(path)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
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
