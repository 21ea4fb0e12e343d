"""The packaged EfficientNet-Lite0 weights know real cats and dogs: tensor order and input range are right."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from stylebridge.networks.pretrained import packaged_weights, timm_normalisation

ENCODER = "tu-tf_efficientnet_lite0"
ANIMALS = Path(__file__).parents[3] / "shared" / "data" / "cat2dog"


def predict(folder: Path, count: int = 24) -> list[int]:
    if not folder.is_dir():
        pytest.skip("shared/data/cat2dog is not beside the project")
    images = [Image.open(path).convert("RGB").resize((224, 224)) for path in sorted(folder.iterdir())[:count]]
    batch = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2) / 255
    state = packaged_weights(ENCODER)
    assert state is not None
    classifier = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    classifier.load_state_dict(state, strict=True)
    normalisation = timm_normalisation(ENCODER)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (normalisation.mean, normalisation.std))
    with torch.no_grad():
        return classifier((batch - mean) / std).argmax(1).tolist()


def test_cats_are_cats() -> None:
    """ImageNet's house cats are 281…285 (283 Persian, 284 Siamese), wild cats 286 and 287."""
    classes = predict(ANIMALS / "cat")
    assert np.isin(classes, range(281, 288)).mean() >= 0.9
    assert np.isin(classes, (283, 284)).mean() >= 0.8


def test_dogs_are_samoyeds() -> None:
    """The dogs are Samoyeds (258); their nearest are huskies and malamutes (248…250)."""
    classes = predict(ANIMALS / "dog")
    assert np.isin(classes, range(151, 269)).mean() >= 0.9
    assert classes.count(258) / len(classes) >= 0.7
