"""Segmenters of transformers: tiny models of random weights, from folders."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from stylebridge.engine import OptimizerConfig
from stylebridge.errors import WeightsError
from stylebridge.methods.registry import find_method
from stylebridge.networks import pretrained
from stylebridge.networks.segmenters.build import (
    load_segmenter,
)
from support.hf_models import FAMILIES, build, folder, hf, mobilevit, segformer, spread
from support.mini import batches, mini_trainer


def prepared(image: Tensor, facts: dict[str, Any]) -> Tensor:
    """The documented preparation of an image [B, 3, H, W] in [0, 1] for the model alone."""
    mean, std = (torch.tensor(facts[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    image = (image - mean) / std
    if facts["resize_to"]:
        return F.interpolate(image, size=facts["resize_to"], mode="bilinear", antialias=True)
    step = facts["multiple_of"]
    height, width = (max(-(-side // step) * step, facts["at_least"]) for side in image.shape[-2:])
    return F.pad(image, (0, width - image.shape[-1], 0, height - image.shape[-2]), mode="reflect")


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_loads_what_is_saved(family: Callable[[], Any], tmp_path: Path) -> None:
    segmenter = build(folder(tmp_path / "model", family())).eval()
    spread(segmenter.model)
    segmenter.extra = {"label_space": {"classes": ["straße", "wall", "sky", "car"]}}
    segmenter.save_pretrained(tmp_path / "saved")
    image = torch.rand(2, 3, 70, 90)
    with torch.no_grad():
        ours = segmenter(image)
        again = load_segmenter(tmp_path / "saved")(image)
        model = hf.AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "saved").eval()
        facts = json.loads((tmp_path / "saved" / "stylebridge.json").read_text(encoding="utf-8"))
        inputs = prepared(image, facts)
        canvas = (70, 90) if facts["resize_to"] else inputs.shape[-2:]
        logits = model(pixel_values=inputs).logits
    theirs = F.interpolate(logits, size=canvas, mode="bilinear", align_corners=True)[..., :70, :90]
    assert ours.std() > 1e-3
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(again, ours, rtol=1e-5, atol=1e-5)
    assert model.config.id2label == {0: "straße", 1: "wall", 2: "sky", 3: "car"}
    assert model.config.label2id["car"] == 3


@pytest.mark.parametrize("family", FAMILIES)
def test_features_come_from_one_pass_and_everything_learns(family: Callable[[], Any], tmp_path: Path) -> None:
    segmenter = build(folder(tmp_path, family())).train()
    passes = []
    segmenter.encoder_module().register_forward_hook(lambda *_: passes.append(1))
    image = torch.rand(2, 3, 70, 90)
    features = segmenter.features(image)
    assert features.shape[1] == segmenter.feature_channels
    height, width = features.shape[-2:]
    if segmenter.fixed_size is None:
        assert height * segmenter.canvas((70, 90))[1] == width * segmenter.canvas((70, 90))[0]
    logits = segmenter.classify(features, (70, 90))
    assert logits.shape == (2, 4, 70, 90)
    assert passes == [1]
    logits.square().mean().backward()
    groups = segmenter.parameter_groups()
    ids = [id(p) for group in groups.values() for p in group]
    assert sorted(ids) == sorted({id(p) for p in segmenter.parameters()})
    for group in groups.values():
        learning = sum(p.grad is not None for p in group)
        assert learning >= 0.7 * len(group)  # DPT and BEiT leave layers behind the last one read unused


def test_the_classifier_is_held_once_and_put_back(tmp_path: Path) -> None:
    segmenter = build(folder(tmp_path, segformer()))
    classifier = segmenter.model.decode_head.classifier
    assert set(segmenter.state_dict()) == {f"model.{key}" for key in segmenter.model.state_dict()}
    segmenter.features(torch.rand(1, 3, 64, 64))
    assert segmenter.model.decode_head.classifier is classifier

    def stop(*_: object) -> None:
        raise RuntimeError("out of memory")

    segmenter.model.decode_head.batch_norm.register_forward_hook(stop)
    with pytest.raises(RuntimeError, match="out of memory"):
        segmenter.features(torch.rand(1, 3, 64, 64))
    assert segmenter.model.decode_head.classifier is classifier


# --- weights ------------------------------------------------------------------------------------------------


def test_the_folders_weights_but_a_fresh_classifier(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = folder(tmp_path, segformer(), classes=5)
    whole = hf.AutoModelForSemanticSegmentation.from_pretrained(path).state_dict()
    with caplog.at_level(logging.WARNING):
        found = build(path, classes=4).model.state_dict()
    fresh = {key for key in whole if whole[key].shape != found[key].shape}
    assert fresh == {"decode_head.classifier.weight", "decode_head.classifier.bias"}
    assert all(torch.equal(found[key], whole[key]) for key in whole if key not in fresh)
    assert "2 tensors start random: decode_head.classifier.bias, decode_head.classifier.weight" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        found = build(path, classes=5).model.state_dict()
    assert all(torch.equal(found[key], value) for key, value in whole.items())
    assert not caplog.text


def test_an_image_classifiers_encoder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = folder(tmp_path, segformer(), kind=hf.AutoModelForImageClassification)
    whole = load_file(path / "model.safetensors")
    with caplog.at_level(logging.WARNING):
        segmenter = build(path)
    assert "decode_head" in caplog.text
    mine = segmenter.encoder_module().state_dict()
    shared = [value for key, value in whole.items() if key.startswith("segformer.") and value.dim() == 4]
    assert shared
    assert all(any(v.shape == w.shape and torch.equal(v, w) for v in mine.values()) for w in shared)


def test_without_weights_only_the_configuration_is_read(tmp_path: Path) -> None:
    path = folder(tmp_path, segformer())
    (path / "model.safetensors").unlink()
    one, two = (build(path, weights=None, options={"decoder_hidden_size": 12}) for _ in range(2))
    assert one.feature_channels == 12
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    with torch.device("meta"):
        build(path, weights=None)
    with pytest.raises(WeightsError, match=r"no model\.safetensors.*segmenter\.weights: none"):
        build(path)


@pytest.mark.parametrize("which", ["saved", "state"])
def test_a_file(tmp_path: Path, which: str) -> None:
    path = folder(tmp_path / "model", segformer())
    trained = build(path, weights=None)
    spread(trained.model)
    trained.save_pretrained(tmp_path / "saved")
    file = tmp_path / "saved" / "model.safetensors"
    if which == "state":
        file = tmp_path / "state.pth"
        torch.save({"state_dict": {f"module.{k}": v for k, v in trained.state_dict().items()}}, file)
    loaded = build(path, weights=str(file))
    assert all(torch.equal(v, trained.state_dict()[k]) for k, v in loaded.state_dict().items())
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"other\.safetensors does not fit"):
        build(path, weights=str(tmp_path / "other.safetensors"))


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    path = folder(tmp_path, segformer())
    torch.save(load_file(path / "model.safetensors"), path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="only safetensors"):
        build(path)


def test_normalisation_is_the_processors(tmp_path: Path) -> None:
    path = folder(tmp_path / "a", segformer())
    assert build(path, weights=None).normalisation == pretrained.Normalisation()
    hf.SegformerImageProcessor(image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6]).save_pretrained(path)
    assert build(path, weights=None).normalisation == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), False)
    path = folder(tmp_path / "b", mobilevit())
    hf.MobileViTImageProcessor().save_pretrained(path)
    segmenter = build(path, weights=None)
    image = torch.rand(1, 3, 4, 4)
    assert torch.equal(segmenter.normalise(image), image.flip(1))


# --- training -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["source-only", "fada", "self-training"])
def test_trains_with_a_method(name: str, tmp_path: Path) -> None:
    segmenter = build(folder(tmp_path / "model", segformer())).double()
    before = {key: value.clone() for key, value in segmenter.state_dict().items()}
    method = find_method(name).method(segmenter)
    streams = {"source": batches(2, (40, 24)), "target": batches(2, (40, 24), seed=1, labelled=False)}
    optimizers = {"segmenter": OptimizerConfig(kind="adamw", lr=1e-3, group_lr={"head": 10.0})}
    if name == "fada":
        optimizers["discriminator"] = OptimizerConfig(lr=1e-4)
        method.networks["discriminator"].double()
    streams = {key: streams[key] for key in method.streams}
    trainer = mini_trainer(method, streams, tmp_path / "run", optimizers, channels_last=True)
    trainer.fit()
    changed = {key for key, value in segmenter.state_dict().items() if not torch.equal(value, before[key])}
    assert "model.decode_head.classifier.weight" in changed
    assert any(key.startswith("model.segformer.") for key in changed)
    assert all(value.isfinite().all() for value in segmenter.state_dict().values())
