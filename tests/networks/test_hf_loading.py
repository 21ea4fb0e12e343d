"""Transformers models that are unsupported or not available: each mistake is named."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants as hub_constants
from safetensors.torch import load_file, save_file
from torch import nn

from stylebridge.errors import RecipeError, UserError, WeightsError
from stylebridge.networks import pretrained
from stylebridge.networks.segmenters import hf_loading
from stylebridge.networks.segmenters.build import (
    SegmenterConfig,
    TransformersSegmenter,
    build_segmenter,
    load_segmenter,
)
from support.hf_models import build, folder, hf, segformer


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pretrained, "reachable", lambda *_: False)
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def refused(kind: type[UserError], *parts: str, **values) -> None:
    with pytest.raises(kind) as caught:
        build_segmenter(SegmenterConfig(**values), 4)
    message = str(caught.value)
    assert all(part in message for part in parts), message
    assert "\n" not in message
    assert message.endswith((".", "?"))


def test_out_of_reach(no_network: None) -> None:
    refused(WeightsError, "nvidia/mit-b0", "nor downloadable", "hf:FOLDER", arch="hf:nvidia/mit-b0")


def test_a_cached_configuration_without_weights(
    no_network: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The hub's own cache layout, as it is after someone looked at the configuration only."""
    kept = tmp_path / "hub" / "models--org--name"
    folder(kept / "snapshots" / "abc", segformer())
    (kept / "snapshots" / "abc" / "model.safetensors").unlink()
    hf.SegformerImageProcessor().save_pretrained(kept / "snapshots" / "abc")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("abc")
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"), raising=False)
    refused(WeightsError, "weights of org/name", "segmenter.weights: none", arch="hf:org/name")
    built = build_segmenter(SegmenterConfig(arch="hf:org/name", weights=None), 4)
    assert isinstance(built, TransformersSegmenter)
    assert not hub_constants.HF_HUB_OFFLINE


def test_names_that_are_none(tmp_path: Path) -> None:
    refused(RecipeError, "segmenter.arch", "hf:ORG/NAME", arch="hf:a/b/c")
    refused(RecipeError, "config.json", arch=f"hf:{tmp_path}")
    assert hf_loading.Source.parse("hf:nvidia/mit-b0@refs/pr/4") == ("nvidia/mit-b0", "refs/pr/4", False)
    config = SegmenterConfig(arch="HF:NVIDIA/MiT-b0")
    assert (config.arch, config.encoder) == ("hf:NVIDIA/MiT-b0", "transformers")


def test_models_that_classify_masks_or_no_pixels(tmp_path: Path) -> None:
    for name, config, words in [
        ("mask", hf.MaskFormerConfig(), "classifies masks"),
        ("mask2", hf.Mask2FormerConfig(), "classifies masks"),
        ("vit", hf.ViTConfig(), "segformer"),
    ]:
        config.save_pretrained(tmp_path / name)
        refused(RecipeError, "segmenter.arch", words, arch=f"hf:{tmp_path / name}", weights=None)


def test_a_repositorys_own_code_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    auto = {"AutoConfig": "evil.Config", "AutoModelForSemanticSegmentation": "evil.Model"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": auto}))
    refused(WeightsError, "config.json", arch=f"hf:{tmp_path}", weights=None)
    assert not (tmp_path / "ran").exists()


def test_wrong_options_and_encoders(tmp_path: Path) -> None:
    path = folder(tmp_path, segformer())
    values = {"arch": f"hf:{path}", "weights": None}
    refused(
        RecipeError, "decoder_hiden_size", "decoder_hidden_size", options={"decoder_hiden_size": 8}, **values
    )
    refused(RecipeError, "segmenter.options", "num_labels", options={"num_labels": 8}, **values)
    refused(RecipeError, "segmenter.options", options={"decoder_hidden_size": "wide"}, **values)
    refused(RecipeError, "segmenter.options", options={"hidden_act": "wavy"}, **values)
    refused(RecipeError, "segmenter.encoder", "mit_b5", encoder="mit_b5", **values)


def test_a_model_without_a_classifying_convolution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder(tmp_path, segformer())
    head = type(build(path).model.decode_head)
    before = head.__init__

    def with_linear(self, config: Any) -> None:
        before(self, config)
        self.classifier = nn.Linear(config.decoder_hidden_size, config.num_labels)

    monkeypatch.setattr(head, "__init__", with_linear)
    refused(
        RecipeError, "one convolution", "SegformerForSemanticSegmentation", arch=f"hf:{path}", weights=None
    )


def test_transformers_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder(tmp_path / "model", segformer())
    build(path).save_pretrained(tmp_path / "saved")
    find = hf_loading.importlib.util.find_spec
    monkeypatch.setattr(
        hf_loading.importlib.util, "find_spec", lambda name: None if name == "transformers" else find(name)
    )
    refused(RecipeError, "pip install 'stylebridge[transformers]'", arch=f"hf:{path}")
    with pytest.raises(WeightsError, match="pip install"):
        load_segmenter(tmp_path / "saved")


def test_damaged_folders_are_named(tmp_path: Path) -> None:
    build(folder(tmp_path / "model", segformer())).save_pretrained(tmp_path / "saved")
    file = tmp_path / "saved" / "model.safetensors"
    state = load_file(file)
    lost = state.pop("decode_head.batch_norm.weight")
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"lacks decode_head\.batch_norm\.weight"):
        load_segmenter(tmp_path / "saved")
    state |= {"decode_head.batch_norm.weight": lost, "decode_head.classifier.bias": torch.zeros(9)}
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"decode_head\.classifier\.bias"):
        load_segmenter(tmp_path / "saved")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_segmenter(tmp_path / "saved")
    file.unlink()
    with pytest.raises(WeightsError, match=r"no model\.safetensors"):
        load_segmenter(tmp_path / "saved")
