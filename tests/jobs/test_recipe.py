"""Recipes: built-in ones, published settings, and resolved sizes."""

from pathlib import Path

import pytest

from stylebridge.jobs.recipe.adapt import AdaptRecipe, AdaptStage, InferenceConfig, size_for
from stylebridge.jobs.recipe.reading import load_recipe, recipe_names
from stylebridge.methods.registry import find_method

CITYSCAPES, GTA5 = (2048, 1024), (1914, 1052)


def stage_of(recipe: AdaptRecipe, name: str) -> AdaptStage:
    return next(stage for stage in recipe.stages if stage.name == name)


# --- what comes with the package ----------------------------------------------------------------------------


def test_the_built_in_recipes() -> None:
    small = {f"{name}-small" for name in ("source-only", "colour-transfer", "fada", "self-training")}
    small |= {"fada-self-training-small", "translate-then-train-small", "bridge-small"}
    published = {"source-only", "colour-transfer", "fada", "self-training", "self-training-dinov2"}
    published |= {"translate-then-train", "bridge", "fada-synthia", "fada-vgg16", "fada-vgg16-synthia"}
    assert set(recipe_names("adapt")) == small | published


@pytest.mark.parametrize("name", recipe_names("adapt"))
def test_resolving_leaves_no_size_open_and_is_read_back(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name).resolve((640, 480), (480, 360))
    assert recipe.inference.pixels is None
    assert recipe.inference.size is not None
    for stage in recipe.stages:
        for stream in (stage.source, stage.target):
            assert stream is None or (stream.pixels is None)
        if stage.pseudo_labels is not None:
            assert stage.pseudo_labels.size is not None
    assert recipe.resolve((640, 480), (480, 360)) == recipe
    (tmp_path / "resolved.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    assert load_recipe(tmp_path / "resolved.yaml") == recipe


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
    published = find_method("fada").options()
    assert find_method("fada").options(**options) == published


def test_fada_has_the_published_data_preparation() -> None:
    recipe = load_recipe("fada")
    first, second, third = recipe.stages
    assert first.source is not None
    assert second.source is not None
    assert second.target is not None
    assert third.target is not None
    nothing = {"resize": None, "scale": None, "crop": None, "flip": 0.0, "jitter": None, "blur": None}
    nothing |= {"resample": "bicubic"}
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


def test_fadas_first_two_stages_are_scored_at_the_smaller_size() -> None:
    for name in ("fada", "fada-synthia", "fada-vgg16", "fada-vgg16-synthia"):
        recipe = load_recipe(name)
        sizes = [recipe.inference_of(recipe.stage_name(i)).size for i in range(3)]
        assert sizes == [(1024, 512), (1024, 512), (2048, 1024)]


@pytest.mark.parametrize(("name", "source"), [("fada-synthia", (1280, 760)), ("fada-vgg16", (1280, 720)),
                                              ("fada-vgg16-synthia", (1280, 760))])  # fmt: skip
def test_the_other_published_fadas(name: str, source: tuple[int, int]) -> None:
    """SYNTHIA: sources of 1280×760, frozen batch norm in stage 3, too. VGG-16: no jitter in stage 3."""
    recipe, plain = load_recipe(name), load_recipe("fada")
    vgg = "vgg16" in name
    assert (recipe.segmenter.arch, recipe.segmenter.encoder) == (
        "deeplab-v2",
        "vgg16" if vgg else "resnet101",
    )
    assert recipe.segmenter.weights == "imagenet"
    assert recipe.segmenter.batch_norm_frozen
    assert [stage.segmenter for stage in recipe.stages] == [{}, {}, {}]
    for stage, other in zip(recipe.stages, plain.stages, strict=True):
        assert (stage.method, stage.start, stage.optimizers) == (other.method, other.start, other.optimizers)
        assert (stage.trainer, stage.options) == (other.trainer, other.options)
        assert stage.pseudo_labels == other.pseudo_labels
    first, second, third = recipe.stages
    assert first.source is not None
    assert second.source is not None
    assert third.target is not None
    assert first.source.augmentation.resize == second.source.augmentation.resize == source
    assert first.source.augmentation.jitter is None
    assert second.source.augmentation.jitter is not None
    assert second.source.augmentation.jitter.model_dump() == JITTER
    assert second.target == plain.stages[1].target
    jitter = third.target.augmentation.jitter
    assert (jitter is None) == vgg
    assert third.target.augmentation.model_copy(update={"jitter": None}) == plain.stages[
        2
    ].target.augmentation.model_copy(update={"jitter": None})  # type: ignore[union-attr]


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
    recipes = [load_recipe(name) for name in recipe_names("adapt") if name.endswith("-small")]
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
