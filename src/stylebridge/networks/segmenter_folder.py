"""Segmenters on disk.

An smp segmenter's folder is what ``segmentation_models_pytorch.from_pretrained(folder)`` reads, with nothing
of ours installed and without network: ``config.json``, ``model.safetensors``, ``README.md``. DeepLab-V2's has
the first two in a form of our own. Both hold ``stylebridge.json`` too: architecture, encoder, classes,
normalisation (without our code, apply it yourself: images in [0, 1], minus mean, over std) and free facts.
"""

import contextlib
import io
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
from pydantic import ValidationError
from safetensors.torch import save_file

from stylebridge.errors import WeightsError
from stylebridge.networks.deeplab_v2 import load_fada_state, set_batch_norm_eps
from stylebridge.networks.pretrained import Normalisation, read_weights
from stylebridge.networks.segmenter import (
    DEEPLAB_V2,
    DeepLabV2Segmenter,
    Segmenter,
    SegmenterConfig,
    SmpSegmenter,
)

FACTS = "stylebridge.json"


def save_segmenter(segmenter: Segmenter, folder: Path, extra: Mapping[str, Any] | None = None) -> None:
    """Write ``folder``: whole or not at all if it is new; file by file, each whole, if it exists.

    Args:
        extra: JSON-able facts to keep with it (default: the segmenter's own ``extra``).

    Raises:
        WeightsError: ``folder`` is a file, or cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise WeightsError(f"{folder} is a file; give a folder for the segmenter.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
            written = Path(temporary) / "segmenter"
            written.mkdir()
            _write(segmenter, written, dict(segmenter.extra if extra is None else extra))
            _move(written, folder)
    except OSError as error:
        raise WeightsError(
            f"The segmenter cannot be written to {folder} ({error}); check the disk."
        ) from error


def _move(written: Path, folder: Path) -> None:
    if not folder.exists():
        os.replace(written, folder)
        return
    # Other files of the user's may lie in the folder, so it is not swapped. The facts come last.
    for path in sorted(written.iterdir(), key=lambda path: path.name == FACTS):
        os.replace(path, folder / path.name)


def _write(segmenter: Segmenter, folder: Path, extra: dict[str, Any]) -> None:
    config = segmenter.config
    facts: dict[str, Any] = {
        "format": 1,
        "arch": config.arch,
        "encoder": config.encoder,
        "num_classes": segmenter.num_classes,
        "mean": list(segmenter.normalisation.mean),
        "std": list(segmenter.normalisation.std),
        "channels": "BGR" if segmenter.normalisation.bgr else "RGB",
        "freeze_batch_norm": config.batch_norm_frozen,
        "options": config.options,
        "extra": extra,
    }
    if isinstance(segmenter, SmpSegmenter):
        segmenter.model.save_pretrained(folder)
    elif isinstance(segmenter, DeepLabV2Segmenter):
        facts["batch_norm_eps"] = segmenter.batch_norm_eps
        own = {
            key: facts[key]
            for key in ("arch", "encoder", "num_classes", "freeze_batch_norm", "batch_norm_eps")
        }
        (folder / "config.json").write_text(json.dumps(own, indent=2) + "\n", encoding="utf-8")
        tensors = {key: value.detach().contiguous() for key, value in segmenter.state_dict().items()}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        raise TypeError(f"{type(segmenter).__name__} has no folder form")
    (folder / FACTS).write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_segmenter(folder: Path) -> Segmenter:
    """The work of :func:`stylebridge.networks.segmenter.load_segmenter`."""
    path = folder / FACTS
    if not path.is_file():
        raise WeightsError(
            f"{folder} is not a saved segmenter (it has no {FACTS}); give a folder that holds one."
        )
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        config = SegmenterConfig(
            arch=facts["arch"],
            encoder=facts["encoder"],
            weights=None,
            freeze_batch_norm=facts["freeze_batch_norm"],
            options=facts["options"],
        )
        normalisation = Normalisation(
            tuple(facts["mean"]), tuple(facts["std"]), bgr=facts.get("channels") == "BGR"
        )
        classes, eps = int(facts["num_classes"]), float(facts.get("batch_norm_eps", 0.0))
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise WeightsError(f"{path} is damaged ({error!r}); save the segmenter again.") from error
    if config.arch == DEEPLAB_V2:
        segmenter: Segmenter = _load_deeplab(folder, config, classes, eps)
    else:
        segmenter = _load_smp(folder, config, normalisation)
    segmenter.extra = dict(facts.get("extra") or {})
    return segmenter.eval()


def _load_deeplab(folder: Path, config: SegmenterConfig, classes: int, eps: float) -> DeepLabV2Segmenter:
    segmenter = DeepLabV2Segmenter(config, classes)
    load_fada_state(segmenter, read_weights(folder))
    set_batch_norm_eps(segmenter, eps)
    return segmenter


def _load_smp(folder: Path, config: SegmenterConfig, normalisation: Normalisation) -> SmpSegmenter:
    # Without this check the hub client would go looking for the missing file online.
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise WeightsError(f"{folder} has no {name}; save the segmenter again.")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # the hub client prints that it loads
            model = smp.from_pretrained(str(folder))
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise WeightsError(
            f"The segmenter in {folder} cannot be loaded ({reason}); save it again."
        ) from error
    return SmpSegmenter(model, config, normalisation)


__all__ = ["FACTS", "read_segmenter", "save_segmenter"]
