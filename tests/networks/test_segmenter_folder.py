"""Saved segmenters: loading restores what was saved, also without our package and offline."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch

from stylebridge.errors import WeightsError
from stylebridge.networks.deeplab_v2 import set_batch_norm_eps
from stylebridge.networks.segmenters.build import (
    DeepLabV2Segmenter,
    Segmenter,
    SegmenterConfig,
    build_segmenter,
    load_segmenter,
)

#: Runs where nothing of ours can be imported and no socket can be opened.
ALONE = """
import socket, sys
def refuse(*args, **kwargs): raise OSError("no network here")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
sys.modules["stylebridge"] = None
import segmentation_models_pytorch as smp, torch
from safetensors.torch import load_file, save_file
torch.set_num_threads(1)
model = smp.from_pretrained("saved").eval()
with torch.no_grad():
    save_file({"logits": model(load_file("image.safetensors")["image"])}, "logits.safetensors")
"""


@pytest.fixture
def segmenter() -> Segmenter:
    torch.manual_seed(0)
    options = {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32}
    return build_segmenter(SegmenterConfig(options=options), 4).eval()


@pytest.mark.slow
def test_smp_loads_it_alone_and_offline(segmenter: Segmenter, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    segmenter.save_pretrained(tmp_path / "saved")
    image = torch.rand(1, 3, 64, 64)
    save_file({"image": segmenter.normalise(image)}, tmp_path / "image.safetensors")
    command = [sys.executable, "-I", "-c", ALONE]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    with torch.no_grad():
        torch.testing.assert_close(load_file(tmp_path / "logits.safetensors")["logits"], segmenter(image))


def test_pretrained_encoders_do_not_ask_for_their_weights_again(segmenter: Segmenter, tmp_path: Path) -> None:
    assert segmenter.config.weights == "imagenet"
    segmenter.save_pretrained(tmp_path / "saved")
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert config["encoder_weights"] is None


def test_facts_for_others(segmenter: Segmenter, tmp_path: Path) -> None:
    segmenter.save_pretrained(tmp_path / "saved", extra={"miou": 0.5})
    facts = json.loads((tmp_path / "saved" / "stylebridge.json").read_text())
    assert (facts["arch"], facts["encoder"], facts["num_classes"]) == ("fpn", "tu-tf_efficientnet_lite0", 4)
    assert facts["mean"] == facts["std"] == [0.5] * 3
    assert facts["extra"] == {"miou": 0.5}


def test_other_memory_formats_and_frozen_batch_norm(tmp_path: Path) -> None:
    config = SegmenterConfig(encoder="tu-mobilenetv3_small_050", weights=None, freeze_batch_norm=True)
    saved = build_segmenter(config, 2).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    saved.save_pretrained(tmp_path / "saved")
    loaded = load_segmenter(tmp_path / "saved").train()
    assert loaded.config.freeze_batch_norm is True
    norms = [m for m in loaded.model.encoder.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert not any(m.training for m in norms)
    assert all(torch.equal(v, saved.state_dict()[k]) for k, v in loaded.state_dict().items())


def test_writing_over_keeps_other_files(segmenter: Segmenter, tmp_path: Path) -> None:
    segmenter.save_pretrained(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with torch.no_grad():
        segmenter.model.segmentation_head[0].bias.fill_(3.0)
    segmenter.save_pretrained(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert load_segmenter(tmp_path).model.segmentation_head[0].bias.unique().item() == 3.0
    names = {"README.md", "config.json", "model.safetensors", "notes.txt", "stylebridge.json"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_a_failed_write_leaves_what_was(
    segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter.save_pretrained(tmp_path / "saved")
    before = {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}

    def fail(self, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(type(segmenter.model), "save_pretrained", fail)
    for folder in ("saved", "fresh"):
        with pytest.raises(WeightsError, match="disk full"):
            segmenter.save_pretrained(tmp_path / folder)
    assert {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


@pytest.mark.slow
def test_deeplab(tmp_path: Path) -> None:
    config = SegmenterConfig(arch="deeplab-v2", encoder="resnet101", weights=None)
    saved = build_segmenter(config, 3)
    assert isinstance(saved, DeepLabV2Segmenter)
    set_batch_norm_eps(saved, 1e-5)  # as after a checkpoint with trainable batch normalisation
    saved.save_pretrained(tmp_path / "saved", extra={"a": 1})
    names = {path.name for path in (tmp_path / "saved").iterdir()}
    assert names == {"README.md", "config.json", "model.safetensors", "stylebridge.json"}
    loaded = load_segmenter(tmp_path / "saved")
    assert isinstance(loaded, DeepLabV2Segmenter)
    assert loaded.batch_norm_eps == 1e-5
    assert loaded.extra == {"a": 1}
    assert all(torch.equal(v, saved.state_dict()[k]) for k, v in loaded.state_dict().items())


def test_mistakes_are_named(segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match="not a saved segmenter"):
        load_segmenter(tmp_path)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(WeightsError, match="is a file"):
        segmenter.save_pretrained(file)
    saved = tmp_path / "saved"
    segmenter.save_pretrained(saved)
    monkeypatch.setattr(smp, "from_pretrained", lambda _: pytest.fail("asked the hub"))
    weights = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        load_segmenter(saved)
    monkeypatch.undo()
    (saved / "model.safetensors").write_bytes(weights[:1000])
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_segmenter(saved)
    (saved / "stylebridge.json").write_text('{"arch": "fpn"}')
    with pytest.raises(WeightsError, match="damaged"):
        load_segmenter(saved)


@pytest.mark.parametrize("text", ["[" * 100_000, '["a"]', "{}", "null", ""])
def test_a_damaged_config_is_named(tmp_path: Path, text: str) -> None:
    """The hub's loader said `('_model_class')` or that recursion was too deep."""
    facts = {
        "arch": "fpn",
        "encoder": "resnet18",
        "freeze_batch_norm": False,
        "options": {},
        "num_classes": 3,
    }
    facts |= {"mean": [0, 0, 0], "std": [1, 1, 1]}
    (tmp_path / "stylebridge.json").write_text(json.dumps(facts))
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(WeightsError, match=r"config\.json is damaged"):
        load_segmenter(tmp_path)
