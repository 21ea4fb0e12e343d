"""Whole adaptations with a vision transformer and with a transformers model."""

import json
from pathlib import Path

import pytest
import torch

from stylebridge.data.images import read_image
from stylebridge.jobs.apply.models.segmenter import load_adapted
from stylebridge.jobs.recipe.reading import load_recipe
from stylebridge.jobs.tasks.adapt import check_stages
from stylebridge.networks.segmenters.build import TransformersSegmenter, ViTSegmenter
from support.folders import COLOURS, NAMES, World, own_cache, tiny_adapt, world

__all__ = ["own_cache", "world"]


def swap(arch: str, encoder: str, options: str = "{}") -> list[str]:
    return [f"segmenter.arch={arch}", f"segmenter.encoder={encoder}", f"segmenter.options={options}"]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["source-only-small", "fada-small"])
def test_adapting_a_transformers_model(recipe: str, world: World, tmp_path: Path) -> None:
    from support.hf_models import folder, hf, segformer

    model = folder(tmp_path / "model", segformer(), classes=7)
    overrides = [*swap(f"hf:{model}", "transformers"), "segmenter.weights=imagenet"]
    result = tiny_adapt(world, tmp_path / "run", recipe, overrides=overrides, evaluate_on=world.held_out)
    adapted = load_adapted(result.run)
    assert isinstance(adapted.segmenter, TransformersSegmenter)
    alone = hf.AutoModelForSemanticSegmentation.from_pretrained(result.run / "segmenter").eval()
    assert alone.config.id2label == dict(enumerate(NAMES))
    image = next((world.held_out / "images").iterdir())
    pixels = torch.from_numpy(read_image(image)).permute(2, 0, 1)[None]
    facts = json.loads((result.run / "segmenter" / "stylebridge.json").read_text(encoding="utf-8"))
    mean, std = (torch.tensor(facts[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    assert (facts["multiple_of"], facts["at_least"]) == (32, 64)
    inputs = torch.nn.functional.pad((pixels / 255 - mean) / std, (0, 0, 0, 16), mode="reflect")  # 48 × 64
    with torch.no_grad():
        ours = adapted.segmenter(pixels / 255)
        logits = alone(pixel_values=inputs).logits
    theirs = torch.nn.functional.interpolate(logits, size=(64, 64), mode="bilinear", align_corners=True)
    assert ours.shape == (1, len(COLOURS), 48, 64)
    torch.testing.assert_close(theirs[..., :48, :], ours, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_adapting_a_vision_transformer(world: World, tmp_path: Path) -> None:
    overrides = swap("vit-light", "test_vit", "{channels: 16}")
    result = tiny_adapt(world, tmp_path / "run", "self-training-small", overrides=overrides)
    segmenter = load_adapted(result.run).segmenter
    assert isinstance(segmenter, ViTSegmenter)
    assert all(value.isfinite().all() for value in segmenter.state_dict().values())


def test_the_dinov2_recipe_is_sound() -> None:
    recipe = load_recipe("self-training-dinov2").resolve((1914, 1052), (2048, 1024))
    check_stages(recipe, num_classes=19, processes=1)
    assert "not measured" in recipe.description.lower()
    plain, ours = load_recipe("self-training").resolve((1914, 1052), (2048, 1024)).stages[0], recipe.stages[0]
    assert ours.options == plain.options
    (adamw, before) = (stage.optimizers["segmenter"] for stage in (ours, plain))
    assert adamw.lr < before.lr / 5
    # The fresh head learns at half the rate that DAFormer's does, the encoder at a sixth.
    assert adamw.lr * adamw.group_lr["head"] == pytest.approx(3e-4)
    for stream in (ours.source, ours.target):
        assert stream is not None
        assert stream.augmentation.crop is not None
        assert all(side % 14 == 0 for side in stream.augmentation.crop)  # whole patches: nothing is padded
    assert recipe.inference.size is not None
    assert all(side % 14 == 0 for side in recipe.inference.size)
