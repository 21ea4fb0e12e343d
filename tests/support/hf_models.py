"""Tiny transformers models of random weights, in folders as transformers writes them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from stylebridge.networks.segmenters.build import SegmenterConfig, TransformersSegmenter, build_segmenter

hf = pytest.importorskip(
    "transformers", reason="needs transformers (pip install 'stylebridge[transformers]')"
)

VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 64,
    "patch_size": 16,
}
STAGES = ["stage1", "stage2", "stage3", "stage4"]


def segformer() -> Any:
    widths = {"depths": [1] * 4, "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 2, 2]}
    return hf.SegformerConfig(**widths, decoder_hidden_size=24)


def upernet() -> Any:
    backbone = hf.ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1] * 4, out_features=STAGES)
    return hf.UperNetConfig(backbone_config=backbone, hidden_size=16, auxiliary_in_channels=16)


def dpt() -> Any:
    widths = {"neck_hidden_sizes": [8, 8, 16, 16], "fusion_hidden_size": 12}
    return hf.DPTConfig(**VIT, **widths, backbone_out_indices=[0, 1, 2, 3])


def beit() -> Any:
    return hf.BeitConfig(**VIT, out_indices=[1, 2, 3, 4], use_relative_position_bias=True)


def data2vec() -> Any:
    return hf.Data2VecVisionConfig(**VIT, out_indices=[1, 2, 3, 4], use_relative_position_bias=True)


def mobilevit() -> Any:
    necks = [8, 8, 8, 16, 16, 24, 24]
    return hf.MobileViTConfig(
        hidden_sizes=[16, 16, 24], neck_hidden_sizes=necks, aspp_out_channels=20, num_attention_heads=2
    )


def mobilenet() -> Any:
    return hf.MobileNetV2Config(depth_multiplier=0.25)


FAMILIES = [segformer, upernet, dpt, beit, data2vec, mobilevit, mobilenet]


def spread(model: Any) -> None:
    """Weights and statistics with which a difference would show; fresh ones give logits near nothing."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0, (2 * weight.shape[0] / weight.numel()) ** 0.5)
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = 1.0
        training = model.training
        model.train()(pixel_values=torch.rand(4, 3, 64, 64))
        model.train(training)


def folder(path: Path, config: Any, classes: int = 5, kind: Any = None) -> Path:
    """A folder as transformers writes it."""
    torch.manual_seed(3)
    config.num_labels = classes
    model = (kind or hf.AutoModelForSemanticSegmentation).from_config(config)
    spread(model)
    model.save_pretrained(path)
    return path


def build(path: Path, classes: int = 4, **changes) -> TransformersSegmenter:
    torch.manual_seed(0)
    segmenter = build_segmenter(SegmenterConfig(arch=f"hf:{path}", **changes), classes)
    assert isinstance(segmenter, TransformersSegmenter)
    return segmenter
