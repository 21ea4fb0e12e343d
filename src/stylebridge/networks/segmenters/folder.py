"""Segmenters on disk.

An smp segmenter's folder is what ``segmentation_models_pytorch.from_pretrained(folder)`` reads, with nothing
of ours installed and without network: ``config.json``, ``model.safetensors``, ``README.md``. A transformers
segmenter's is what ``AutoModelForSemanticSegmentation.from_pretrained(folder)`` reads: ``config.json`` with the
classes' names, ``model.safetensors``, ``preprocessor_config.json``. DeepLab-V2's and ``vit-light``'s have the first
two in a form of our own.

All hold ``stylebridge.json`` too: architecture, encoder, classes, free facts, and what to do to an image without
our code. Take it in [0, 1] with its channels in the order of ``channels``, minus ``mean``, over ``std``; then resize
it to ``resize_to`` (height, width; bilinear, with anti-aliasing) if that is given, else mirror it below and to the
right to multiples of ``multiple_of``, no side below ``at_least``. Logits are enlarged with aligned corners.
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
    """What ``stylebridge.json`` says that is needed to read the network.

    ``batch_norm_eps`` is DeepLab-V2's alone; ``extra`` are the free facts.
    """

    config: SegmenterConfig
    num_classes: int
    normalisation: Normalisation
    batch_norm_eps: float
    extra: dict[str, Any]


def write_folder(folder: Path, facts: Mapping[str, Any], write: Callable[[Path], None]) -> None:
    """Write ``folder``: whole or not at all if it is new; file by file, each whole, if it exists.

    Args:
        facts: what ``stylebridge.json`` is to hold.
        write: writes the network's own files into the folder that it is given.

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
            )  # in place of the hub client's, which claims a licence and a place on the hub
            if not folder.exists():
                put_in_place(written, folder)
            else:
                _move(written, folder)
        finally:
            shutil.rmtree(written, ignore_errors=True)


def _move(written: Path, folder: Path) -> None:
    # Other files of the user's may lie in the folder, so it is not swapped. The facts come last.
    give_usual_modes(written)
    for path in sorted(written.iterdir(), key=lambda path: path.name == FACTS):
        os.replace(path, folder / path.name)


def write_own_form(network: nn.Module, folder: Path, facts: Mapping[str, Any]) -> None:
    """Write ``config.json`` and ``model.safetensors`` of a network that no other library reads."""
    keys = ("arch", "encoder", "num_classes", "freeze_batch_norm", "batch_norm_eps", "options")
    write_json({key: facts[key] for key in keys if key in facts}, folder / "config.json")
    tensors = {key: value.detach().contiguous() for key, value in network.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def write_json(data: Mapping[str, Any], path: Path) -> None:
    """Write indented JSON with a line end."""
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_facts(folder: Path) -> Saved:
    """Read ``stylebridge.json``. Raises :class:`WeightsError` if ``folder`` has none, or it is damaged."""
    path = folder / FACTS
    if not path.is_file():
        raise WeightsError(
            f"{folder} is not a saved segmenter (it has no {FACTS}); give a folder that holds one."
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
