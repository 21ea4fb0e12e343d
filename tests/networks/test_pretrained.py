"""Where weights come from, what happens when they are not available, and what fits what."""

from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants as hub_constants
from safetensors.torch import save_file
from torch import nn

from stylebridge.errors import WeightsError
from stylebridge.networks import pretrained
from stylebridge.networks.segmenters.build import SegmenterConfig, build_segmenter

LITE0 = "tu-tf_efficientnet_lite0"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No host answers, and the caches are empty."""
    monkeypatch.setattr(pretrained, "reachable", lambda *_: False)
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))


def test_packaged_weights_have_timms_keys_and_shapes() -> None:
    state = pretrained.packaged_weights(LITE0)
    with torch.device("meta"):
        wanted = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    assert state is not None
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in wanted.items()}
    assert len(state) == 296
    variances = [value for key, value in state.items() if key.endswith("running_var")]
    means = [value for key, value in state.items() if key.endswith("running_mean")]
    assert min(v.min().item() for v in variances) >= 0  # so the order within a layer is right too
    assert min(v.min().item() for v in means) < 0


def test_default_segmenter_starts_from_the_package(no_network: None) -> None:
    segmenter = build_segmenter(SegmenterConfig(), 4)
    state = pretrained.packaged_weights(LITE0)
    assert state is not None
    encoder = segmenter.model.encoder.model.state_dict()
    assert len(encoder) == 288
    assert all(torch.equal(value, state[key]) for key, value in encoder.items())
    assert segmenter.mean.flatten().tolist() == segmenter.std.flatten().tolist() == [0.5] * 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "encoder", "what"),
    [
        ("fpn", "resnet18", "imagenet weights of resnet18"),
        ("fpn", "tu-mobilenetv3_small_050", "imagenet weights of tu-mobilenetv3_small_050"),
        ("deeplab-v2", "resnet101", "ResNet-101"),
        ("deeplab-v2", "vgg16", "VGG-16"),
    ],
)
def test_out_of_reach(no_network: None, arch: str, encoder: str, what: str) -> None:
    with pytest.raises(WeightsError, match=what) as caught:
        build_segmenter(SegmenterConfig(arch=arch, encoder=encoder), 4)
    assert "segmenter.weights: none" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_the_package_lite0_asks_the_hub(no_network: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(WeightsError, match="lite0"):
        build_segmenter(SegmenterConfig(), 4)


def test_the_hub_is_not_tried_when_it_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    before = hub_constants.HF_HUB_OFFLINE
    monkeypatch.setattr(pretrained, "reachable", lambda *_: False)
    with pretrained.hub_or_cache():
        assert hub_constants.HF_HUB_OFFLINE is True
    assert before == hub_constants.HF_HUB_OFFLINE
    monkeypatch.setattr(pretrained, "reachable", lambda *_: True)
    with pretrained.hub_or_cache():
        assert before == hub_constants.HF_HUB_OFFLINE


def test_no_host_is_not_reachable() -> None:
    assert not pretrained.reachable("http://127.0.0.1:9", seconds=1)
    assert not pretrained.reachable("nonsense", seconds=1)


def part(segmenter, which: str) -> dict[str, torch.Tensor]:
    if which == "whole":
        return segmenter.state_dict()
    if which == "smp":
        return segmenter.model.state_dict()
    if which == "encoder":
        return segmenter.model.encoder.state_dict()
    # A timm classifier: the encoder's keys and a head that is not wanted.
    return {**segmenter.model.encoder.model.state_dict(), "classifier.weight": torch.zeros(3, 3)}


@pytest.mark.parametrize("which", ["whole", "smp", "encoder", "timm"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_files(tmp_path: Path, which: str, suffix: str) -> None:
    config = SegmenterConfig(encoder="tu-mobilenetv3_small_050", weights=None)
    trained = build_segmenter(config, 4)
    path, state = tmp_path / f"weights{suffix}", part(trained, which)
    if suffix == ".pth":
        torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, path)
    else:
        save_file(state, path)
    loaded = build_segmenter(config.model_copy(update={"weights": str(path)}), 4)
    expected, found = trained.state_dict(), loaded.state_dict()
    same = {key: torch.equal(expected[key], found[key]) for key in expected}
    assert all(equal for key, equal in same.items() if which in ("whole", "smp") or ".encoder." in key)
    if which in ("encoder", "timm"):
        assert not same["model.segmentation_head.0.weight"]


def test_another_number_of_classes_is_named(tmp_path: Path) -> None:
    config = SegmenterConfig(encoder="tu-mobilenetv3_small_050", weights=None)
    path = tmp_path / "five.safetensors"
    save_file(build_segmenter(config, 5).state_dict(), path)
    with pytest.raises(WeightsError, match=r"segmentation_head\.0\.bias \[5\] instead of \[4\]"):
        build_segmenter(config.model_copy(update={"weights": str(path)}), 4)


def test_files_that_are_none(tmp_path: Path) -> None:
    pickled, text, tensor = (tmp_path / name for name in ("code.pth", "text.safetensors", "one.pth"))
    torch.save(nn.Linear(1, 1), pickled)  # needs unpickling of code
    text.write_text("no weights")
    torch.save(torch.zeros(1), tensor)
    for path in (pickled, text, tensor, tmp_path / "missing.pth"):
        with pytest.raises(WeightsError, match=path.name):
            pretrained.read_weights(path)


def test_misfit_lists_only_some_keys() -> None:
    problem = pretrained.misfit(nn.Linear(2, 2), {f"k{i}": torch.zeros(1) for i in range(9)})
    assert problem == "missing: bias, weight; surplus: k0, k1, k2, k3 and 5 more"
    assert (
        pretrained.misfit(nn.BatchNorm2d(2), {k: torch.zeros(2) for k in nn.BatchNorm2d(2).state_dict()})
        is None
    )
