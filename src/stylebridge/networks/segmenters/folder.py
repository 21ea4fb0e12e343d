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

import contextlib
import io
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
from safetensors.torch import save_file

from stylebridge.atomic import explained, give_usual_modes, open_folder, put_in_place
from stylebridge.data.text_files import read_json
from stylebridge.errors import RecipeError, WeightsError
from stylebridge.networks.deeplab_v2 import load_fada_state, set_batch_norm_eps
from stylebridge.networks.model_card import write_model_card
from stylebridge.networks.pretrained import Normalisation, misfit, read_weights
from stylebridge.networks.segmenters.base import Segmenter
from stylebridge.networks.segmenters.build import DeepLabV2Segmenter, SmpSegmenter, ViTSegmenter
from stylebridge.networks.segmenters.config import DEEPLAB_V2, VIT_LIGHT, SegmenterConfig
from stylebridge.networks.segmenters.hf import TransformersSegmenter
from stylebridge.networks.segmenters.vit import build_vit

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
    with explained(folder, error=WeightsError):
        written = open_folder(folder)
        try:
            _write(segmenter, written, dict(segmenter.extra if extra is None else extra))
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


def _write(segmenter: Segmenter, folder: Path, extra: dict[str, Any]) -> None:
    facts = _facts(segmenter, extra)
    if isinstance(segmenter, SmpSegmenter):
        segmenter.model.save_pretrained(folder)
    elif isinstance(segmenter, TransformersSegmenter):
        _write_transformers(segmenter, folder, extra)
    elif isinstance(segmenter, DeepLabV2Segmenter | ViTSegmenter):
        keys = ("arch", "encoder", "num_classes", "freeze_batch_norm", "batch_norm_eps", "options")
        _write_json({key: facts[key] for key in keys if key in facts}, folder / "config.json")
        tensors = {key: value.detach().contiguous() for key, value in segmenter.state_dict().items()}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        raise TypeError(f"{type(segmenter).__name__} has no folder form")
    _write_json(facts, folder / FACTS)
    write_model_card(folder)  # in place of the hub client's, which claims a licence and a place on the hub


def _facts(segmenter: Segmenter, extra: dict[str, Any]) -> dict[str, Any]:
    config, normalisation = segmenter.config, segmenter.normalisation
    facts: dict[str, Any] = {
        "format": 1,
        "arch": config.arch,
        "encoder": config.encoder,
        "num_classes": segmenter.num_classes,
        "mean": list(normalisation.mean),
        "std": list(normalisation.std),
        "channels": "BGR" if normalisation.bgr else "RGB",
        "multiple_of": getattr(segmenter, "stride", 1),
        "at_least": getattr(segmenter, "smallest", 1),
        "resize_to": None,
        "freeze_batch_norm": config.batch_norm_frozen,
        "freeze_encoder": config.freeze_encoder,
        "options": config.options,
        "extra": extra,
    }
    if isinstance(segmenter, TransformersSegmenter) and segmenter.fixed_size is not None:
        facts |= {"multiple_of": 1, "at_least": 1, "resize_to": list(segmenter.fixed_size)}
    if isinstance(segmenter, DeepLabV2Segmenter):
        facts["batch_norm_eps"] = segmenter.batch_norm_eps
    return facts


def _write_transformers(segmenter: TransformersSegmenter, folder: Path, extra: dict[str, Any]) -> None:
    from stylebridge.networks.segmenters.hf_loading import quietly

    space = extra.get("label_space")
    segmenter.name_classes(space.get("classes", ()) if isinstance(space, Mapping) else ())
    with quietly():
        segmenter.model.save_pretrained(folder)
    normalisation, size = segmenter.normalisation, segmenter.fixed_size
    if not normalisation.bgr:  # no general image processor of transformers swaps channels
        processor = {
            "image_processor_type": "SegformerImageProcessor",
            "do_resize": size is not None,
            "size": None if size is None else {"height": size[0], "width": size[1]},
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(normalisation.mean),
            "image_std": list(normalisation.std),
        }
        _write_json(
            {k: v for k, v in processor.items() if v is not None}, folder / "preprocessor_config.json"
        )


def _write_json(data: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_segmenter(folder: Path) -> Segmenter:
    """The work of :func:`stylebridge.networks.segmenters.build.load_segmenter`."""
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
    if config.arch == DEEPLAB_V2:
        segmenter: Segmenter = _load_deeplab(folder, config, classes, eps)
    elif config.arch == VIT_LIGHT:
        segmenter = _load_vit(folder, config, classes)
    elif config.is_transformers:
        from stylebridge.networks.segmenters.hf_loading import load_transformers

        segmenter = load_transformers(folder, config, normalisation)
    else:
        segmenter = _load_smp(folder, config, normalisation)
    segmenter.extra = extra
    return segmenter.eval()


def _load_deeplab(folder: Path, config: SegmenterConfig, classes: int, eps: float) -> DeepLabV2Segmenter:
    segmenter = DeepLabV2Segmenter(config, classes)
    load_fada_state(segmenter, read_weights(folder))
    set_batch_norm_eps(segmenter, eps)
    return segmenter


def _load_vit(folder: Path, config: SegmenterConfig, classes: int) -> ViTSegmenter:
    try:
        segmenter = build_vit(config, classes)
    except RecipeError as error:
        reason = str(error).rstrip(".")
        raise WeightsError(f"The segmenter in {folder} cannot be built ({reason}); save it again.") from error
    state = read_weights(folder)
    problem = misfit(segmenter, state)
    if problem is not None:
        raise WeightsError(f"The segmenter in {folder} cannot be loaded ({problem}); save it again.")
    segmenter.load_state_dict(state)
    return segmenter


def _load_smp(folder: Path, config: SegmenterConfig, normalisation: Normalisation) -> SmpSegmenter:
    # Without this check the hub client would go looking for the missing file online.
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise WeightsError(f"{folder} has no {name}; save the segmenter again.")
    path = folder / "config.json"
    try:
        whole = "_model_class" in dict(read_json(path))
    except (OSError, ValueError, TypeError):
        whole = False
    if not whole:
        raise WeightsError(f"{path} is damaged: save the segmenter again.")
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
