"""Released-form FADA through the command line, against the published networks written out."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from support import published_fada, released

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("backbone", "classes"), [("vgg16", 16), ("resnet101", 19)])
def test_label_maps_are_those_of_the_published_program(tmp_path: Path, backbone: str, classes: int) -> None:
    """A file of stage 2 (with the discriminator), so at the smaller size; at a toy's size here."""
    g = torch.Generator().manual_seed(3)
    vgg = backbone == "vgg16"
    channels = 1024 if vgg else 2048
    features = published_fada.vgg_state(g) if vgg else published_fada.resnet_state(g)
    classifier = published_fada.classifier_state(channels, classes, g)
    discriminator = {}
    for key, out, into in (
        ("D.0", 256, channels),
        ("D.2", 128, 256),
        ("cls1", classes, 128),
        ("cls2", classes, 128),
    ):
        discriminator |= {
            f"{key}.weight": torch.randn(out, into, 3, 3, generator=g),
            f"{key}.bias": torch.zeros(out),
        }
    parts = {"feature_extractor": features, "classifier": classifier, "model_D": discriminator}
    content = {name: {f"module.{k}": v for k, v in part.items()} for name, part in parts.items()}
    torch.save({"iteration": 40000, **content}, tmp_path / "adv.pth")
    released.run("import", "fada", tmp_path / "adv.pth", "--out", tmp_path / "run")

    facts = tmp_path / "run" / "segmenter" / "stylebridge.json"
    kept = json.loads(facts.read_text())
    assert kept["extra"]["inference"]["size"] == [1024, 512]
    kept["extra"]["inference"]["size"] = [104, 56]
    facts.write_text(json.dumps(kept))
    photo = released.write_photo(tmp_path / "photo.png", (190, 90))
    released.run("segment", tmp_path / "run", photo, "--out", tmp_path / "out", "--device", "cpu", "--quiet")

    found = np.array(Image.open(tmp_path / "out" / "photo.png"))
    image = np.array(Image.open(photo))
    wanted = published_fada.logits(features, classifier, image, (104, 56))
    top = wanted.topk(2, 0).values
    sure = (top[0] - top[1] > 1e-3 * wanted.abs().max()).numpy()  # float32 rounding may decide a tie
    assert sure.mean() > 0.97
    labels = wanted.argmax(0).numpy()
    assert len(np.unique(labels)) > 3
    assert np.array_equal(found[sure], labels[sure])
