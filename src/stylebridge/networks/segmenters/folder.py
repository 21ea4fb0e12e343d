"""Saved segmenters.

The folder of an smp segmenter is readable by ``segmentation_models_pytorch.from_pretrained(folder)``, offline and
without this package: ``config.json``, ``model.safetensors``, ``README.md``. That of a transformers segmenter is
readable by ``AutoModelForSemanticSegmentation.from_pretrained(folder)``: ``config.json`` with the class names,
``model.safetensors``, ``preprocessor_config.json``. Those of DeepLab-V2 and ``vit-light`` have the first two in our own
form.

All have ``stylebridge.json`` with architecture, encoder, classes, further facts, and the preprocessing for use without
this package: take an image in [0, 1] with channels in the order of ``channels``, minus ``mean``, over ``std``; resize
it to ``resize_to`` (height, width; bilinear, with anti-aliasing) if given, else pad it by reflection at the bottom and
right to multiples of ``multiple_of``, sides at least ``at_least``. Logits are upsampled with aligned corners.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import save_file
from torch import nn

from stylebridge.atomic import explained, give_usual_modes, open_folder, put_in_place
from stylebridge.data.text_files import read_json
from stylebridge.errors import WeightsError
from stylebridge.networks.model_card import write_model_card
from stylebridge.networks.pretrained import Normalisation
from stylebridge.networks.segmenters.config import SegmenterConfig

FACTS = "stylebridge.json"


class Saved(NamedTuple):
    """The part of ``stylebridge.json`` that is needed to read the network.

    ``batch_norm_eps`` is only for DeepLab-V2; ``extra`` are further facts.
    """

    config: SegmenterConfig
    num_classes: int
    normalisation: Normalisation
    batch_norm_eps: float
    extra: dict[str, Any]


def write_folder(folder: Path, facts: Mapping[str, Any], write: Callable[[Path], None]) -> None:
    """Write ``folder``: atomically if it is new; file by file, each atomically, if it exists.

    Args:
        facts: the contents of ``stylebridge.json``.
        write: writes the network's files into a given folder.

    Raises:
        WeightsError: ``folder`` is a file, or cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise WeightsError(f"{folder} is a file; give a folder for the segmenter.")
    with explained(folder, error=WeightsError):
        written = open_folder(folder)
        try:
            write(written)
            write_json(facts, written / FACTS)
            write_model_card(
                written
            )  # replaces the hub client's, which claims a licence and a hub repository
            if not folder.exists():
                put_in_place(written, folder)
            else:
                _move(written, folder)
        finally:
            shutil.rmtree(written, ignore_errors=True)


def _move(written: Path, folder: Path) -> None:
    # The folder may have other files of the user, so it is not replaced. The facts come last.
    give_usual_modes(written)
    for path in sorted(written.iterdir(), key=lambda path: path.name == FACTS):
        os.replace(path, folder / path.name)


def write_own_form(network: nn.Module, folder: Path, facts: Mapping[str, Any]) -> None:
    """Write ``config.json`` and ``model.safetensors`` of a network that other libraries cannot read."""
    keys = ("arch", "encoder", "num_classes", "freeze_batch_norm", "batch_norm_eps", "options")
    write_json({key: facts[key] for key in keys if key in facts}, folder / "config.json")
    tensors = {key: value.detach().contiguous() for key, value in network.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def write_json(data: Mapping[str, Any], path: Path) -> None:
    """Write indented JSON with a final newline."""
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_facts(folder: Path) -> Saved:
    """Read ``stylebridge.json``. Raises :class:`WeightsError` if ``folder`` has none, or it is damaged."""
    path = folder / FACTS
    if not path.is_file():
        raise WeightsError(
            f"{folder} is not a saved segmenter (it has no {FACTS}); give the folder of a saved segmenter."
        )
    try:
        facts = read_json(path)
        config = SegmenterConfig(
            arch=facts["arch"],
            encoder=facts["encoder"],
            weights=None,
            freeze_batch_norm=facts["freeze_batch_norm"],
            freeze_encoder=facts.get("freeze_encoder", False),
            options=facts["options"],
        )
        normalisation = Normalisation(
            tuple(facts["mean"]), tuple(facts["std"]), bgr=facts.get("channels") == "BGR"
        )
        extra = dict(facts.get("extra") or {})
        classes, eps = int(facts["num_classes"]), float(facts.get("batch_norm_eps", 0.0))
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise WeightsError(f"{path} is damaged ({error!r}): save the segmenter again.") from error
    return Saved(config, classes, normalisation, eps, extra)
