"""The model card says what holds for this model, and claims nothing else."""

import json
import re
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch

from stylebridge.metrics.segmentation import ConfusionMatrix, SegmentationScores
from stylebridge.networks.model_card import CARD, Training, write_model_card
from stylebridge.networks.segmenters.build import build_segmenter
from stylebridge.networks.segmenters.config import SegmenterConfig

NAMES = ("sky", "road | kerb", "<b>car</b>")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = SegmenterConfig(encoder="tu-mobilenetv3_small_050", weights=None)
    place = tmp_path_factory.mktemp("model") / "segmenter"
    extra = {"label_space": {"name": "street", "classes": list(NAMES)}}
    build_segmenter(config, 3).save_pretrained(place, extra=extra)
    return place


def scores(prediction: list[int]) -> SegmentationScores:
    matrix = ConfusionMatrix(3)
    matrix.update(torch.tensor(prediction), torch.tensor([0, 0, 1, 1]))
    return matrix.scores(NAMES, "street")


def test_nothing_is_claimed_that_nobody_said(folder: Path) -> None:
    for training in (None, Training("a/train", "b", "fada", 3)):
        write_model_card(folder, training)
        card = (folder / CARD).read_text(encoding="utf-8")
        front = card.split("---")[1]
        assert "license" not in front
        assert not re.search(r"\bMIT\b|push|Hub\b", card)
        assert "licences of the training data are unknown" in card
        assert "No licence is claimed" in card


def test_classes_domains_and_scores_are_those_of_the_run(folder: Path) -> None:
    before, after = scores([0, 1, 1, 0]), scores([0, 0, 1, 0])  # IoU 1/3, 1/3; 2/3, 1/2
    training = Training("sim/train", "camera", "bridge", 7, "camera held out", before, after)
    write_model_card(folder, training)
    card = (folder / CARD).read_text(encoding="utf-8")
    assert card.split("---")[2].strip().startswith("# sim/train → camera:")
    assert "| sky | 33.3 | 66.7 |" in card
    assert "| **mean** | 33.3 | 58.3 |" in card
    assert after.protocol in card
    assert "on camera held out: 4 labelled pixels" in card
    assert "One seed (7)" in card
    # A name of a class is no Markdown and no HTML.
    assert "1. road \\| kerb" in card
    assert "<b>" not in card.replace("\\<b\\>", "")


def test_the_folder_loads_as_the_card_says(folder: Path) -> None:
    card = (folder / CARD).read_text(encoding="utf-8")
    assert "smp.from_pretrained(FOLDER)" in card
    assert isinstance(smp.from_pretrained(str(folder)), torch.nn.Module)
    assert json.loads((folder / "stylebridge.json").read_text())["num_classes"] == 3
