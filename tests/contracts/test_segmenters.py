"""The contract of every family of segmenters."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from stylebridge.networks.segmenters.base import Segmenter
from stylebridge.networks.segmenters.build import (
    DeepLabV2Segmenter,
    SegmenterConfig,
    SmpSegmenter,
    TransformersSegmenter,
    ViTSegmenter,
    build_segmenter,
    load_segmenter,
)
from support import hf_models

CLASSES, SIZE = 4, (45, 61)
TINY = "tu-mobilenetv3_small_050"
SMP = {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32}


def _smp(_: Path, **changes: object) -> Segmenter:
    return build_segmenter(SegmenterConfig(encoder=TINY, weights=None, options=SMP, **changes), CLASSES)  # type: ignore[arg-type]


def _deeplab(_: Path, **changes: object) -> Segmenter:
    changes = {"freeze_batch_norm": False, **changes}
    config = SegmenterConfig(arch="deeplab-v2", encoder="vgg16", weights=None, **changes)  # type: ignore[arg-type]
    return build_segmenter(config, CLASSES)


def _vit(_: Path, **changes: object) -> Segmenter:
    options = {"channels": 16, "layers": [0, 4], "upsample": 2}
    config = SegmenterConfig(arch="vit-light", encoder="test_vit", weights=None, options=options, **changes)  # type: ignore[arg-type]
    return build_segmenter(config, CLASSES)


def _transformers(folder: Path, **changes: object) -> Segmenter:
    if not folder.exists():
        hf_models.folder(folder, hf_models.segformer())
    return hf_models.build(folder, CLASSES, **changes)


Build = Callable[..., Segmenter]
FAMILIES: dict[type[Segmenter], Build] = {
    SmpSegmenter: _smp,
    DeepLabV2Segmenter: _deeplab,
    ViTSegmenter: _vit,
    TransformersSegmenter: _transformers,
}


#: VGG-16 has no smaller form.
SLOW = {DeepLabV2Segmenter: [pytest.mark.slow]}


@pytest.fixture(
    params=[pytest.param(each, marks=SLOW.get(kind, []), id=kind.__name__) for kind, each in FAMILIES.items()]
)
def build(request: pytest.FixtureRequest, tmp_path: Path) -> Build:
    """Builds a tiny one; keyword arguments are settings."""

    def built(**changes: object) -> Segmenter:
        torch.manual_seed(0)
        return request.param(tmp_path / "model", **changes)

    return built


def test_every_family_is_among_them() -> None:
    package = Segmenter.__module__.rsplit(".", 1)[0]
    known = {kind for kind in Segmenter.__subclasses__() if kind.__module__.startswith(package)}
    assert known == FAMILIES.keys(), "add the family to tests/contracts/test_segmenters.py"


@pytest.mark.parametrize("size", [SIZE, (64, 96), (9, 70), (33, 32)])
def test_logits_have_the_images_size(build: Build, size: tuple[int, int]) -> None:
    segmenter = build().eval()
    with torch.no_grad():
        features = segmenter.features(torch.rand(1, 3, *size))
        assert features.shape[:2] == (1, segmenter.feature_channels)
        logits = segmenter.classify(features, size)
    assert logits.shape == (1, CLASSES, *size)
    assert segmenter.num_classes == CLASSES
    assert all(ours >= wanted for ours, wanted in zip(segmenter.canvas(size), size, strict=True))


def test_features_of_another_size_are_refused(build: Build) -> None:
    segmenter = build().eval()
    if type(segmenter) is DeepLabV2Segmenter:
        pytest.skip("its features do not tell the size of their image")
    features = segmenter.features(torch.rand(1, 3, 64, 64))
    with pytest.raises(ValueError, match="size"):
        segmenter.classify(features, (64, 96))


def test_in_use_each_image_is_by_itself_and_always_equally(build: Build) -> None:
    segmenter, image = build().eval(), torch.rand(2, 3, *SIZE)
    with torch.no_grad():
        logits = segmenter(image)
        assert torch.equal(segmenter(image), logits)
        assert torch.equal(segmenter.classify(segmenter.features(image), SIZE), logits)
        torch.testing.assert_close(segmenter(image[1:]), logits[1:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("frozen", [False, True])
def test_every_parameter_is_in_one_group_and_learns_unless_frozen(build: Build, frozen: bool) -> None:
    segmenter = build(freeze_encoder=frozen).train()
    groups = segmenter.parameter_groups()
    ids = [id(parameter) for group in groups.values() for parameter in group]
    assert groups.keys() == {"encoder", "head"}
    assert sorted(ids) == sorted({id(parameter) for parameter in segmenter.parameters()})
    encoder = segmenter.encoder_module()
    assert encoder is not None
    assert {id(p) for p in encoder.parameters()} == {id(p) for p in groups["encoder"]}

    segmenter(torch.rand(2, 3, *SIZE)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in groups["head"])
    assert all((parameter.grad is None) == frozen for parameter in groups["encoder"])
    if frozen:
        assert not any(module.training for module in encoder.modules())
        copied = copy.deepcopy(segmenter).parameter_groups()["encoder"]
        assert not any(parameter.requires_grad for parameter in copied)


@pytest.mark.parametrize("frozen", [False, True])
def test_it_comes_back_the_same_and_asks_for_no_weights(
    build: Build, frozen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = build(freeze_encoder=frozen).eval()
    segmenter.config.weights = "imagenet"
    segmenter.save_pretrained(tmp_path / "new" / "segmenter", extra={"label_space": {"classes": ["straße"]}})
    written = {path.name for path in (tmp_path / "new" / "segmenter").iterdir()}
    assert written >= {"README.md", "config.json", "model.safetensors", "stylebridge.json"}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["segmenter"]

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    loaded = load_segmenter(tmp_path / "new" / "segmenter")
    assert type(loaded) is type(segmenter)
    assert not loaded.training
    assert loaded.num_classes == CLASSES
    assert loaded.extra == {"label_space": {"classes": ["straße"]}}
    assert loaded.config.freeze_encoder == frozen
    assert {p.requires_grad for p in loaded.parameter_groups()["encoder"]} == {not frozen}
    ours, theirs = segmenter.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    image = torch.rand(1, 3, *SIZE)
    with torch.no_grad():
        torch.testing.assert_close(loaded(image), segmenter(image), rtol=1e-5, atol=1e-5)
