"""Read and write checkpoints in the layout of MixNMatch's authors (WisconsinAIVision/MixNMatch).

One file for each network, a state dict saved from a data-parallel wrapper (every key begins with ``module.``):
``G.pth`` the generator, ``E.pth`` the encoders, ``EX.pth`` the feature extractor.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from stylebridge.atomic import written_file
from stylebridge.errors import WeightsError
from stylebridge.interop.importer import Given, Imported, Importer, ReleasedFile
from stylebridge.networks.mixnmatch import (
    LAYOUT,
    Encoders,
    FeatureExtractor,
    Generator,
    Mixer,
    MixNMatchConfig,
)
from stylebridge.networks.mixnmatch.config import PARENT_CHANNELS
from stylebridge.networks.pretrained import misfit, read_authors_file, strip_prefix

PREFIX = "module."
#: The file names in the authors' release.
FILES = {"generator": "G.pth", "encoder": "E.pth", "feature extractor": "EX.pth"}
#: A key that identifies each network.
_MARKS = {
    "generator": "background_stage.fc.0.weight",
    "encoder": "model_z.0.0.weight",
    "feature extractor": "first.0.0.weight",
}
_DOUBLING = re.compile(r"^background_stage\.upsample(\d+)\.1\.weight$")
_Network = TypeVar("_Network", bound=nn.Module)


def read_network(path: Path, kind: str) -> dict[str, Tensor]:
    """Read a network's tensors without the wrapper's prefix; no code is unpickled.

    Args:
        path: the ``.pth`` file.
        kind: ``generator``, ``encoder`` or ``feature extractor``.

    Raises:
        WeightsError: the file does not exist, cannot be read, or contains something else (named, if it is another of
            the three networks).
    """
    name = FILES[kind]
    loaded = read_authors_file(path, f"the {kind} of MixNMatch's authors ({name})")
    if not isinstance(loaded, Mapping) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise WeightsError(f"{path} is not a dictionary of tensors: give the {kind}'s state dict ({name}).")
    state = strip_prefix(loaded, PREFIX)
    if _MARKS[kind] not in state:
        other = next((k for k, mark in _MARKS.items() if mark in state), None)
        what = f"is the {other}" if other else f"has no tensor {_MARKS[kind]}"
        raise WeightsError(f"{path} {what}, not MixNMatch's {kind}: give {name}.")
    return state


def infer_config(
    generator: tuple[Path, Mapping[str, Tensor]],
    encoder: tuple[Path, Mapping[str, Tensor]] | None = None,
    extractor: tuple[Path, Mapping[str, Tensor]] | None = None,
) -> MixNMatchConfig:
    """Infer the settings from the tensors' shapes: image size, categories, length of the pose code, and channels. The
    files contain no discriminators: their channels are the published ones.

    Args:
        generator, encoder, extractor: each a path (for messages) and the result of :func:`read_network`.

    Raises:
        WeightsError: a key or shape that determines a setting is missing or invalid.
    """
    path, state = generator
    doublings = sum(_DOUBLING.match(key) is not None for key in state)
    shapes = _shape(state, "parent_stage.jointConv.0.weight", 4, path)[1] - PARENT_CHANNELS
    settings: dict[str, Any] = {
        "image_size": 4 << doublings,
        "shapes": shapes,
        "textures": _shape(state, "child_stage.jointConv.0.weight", 4, path)[1] - PARENT_CHANNELS,
        "pose": _shape(state, "parent_stage.fc.0.weight", 2, path)[1] - shapes,
        "generator_channels": 2 * _shape(state, "background_image.img.0.weight", 4, path)[1],
    }
    if encoder is not None:
        settings["encoder_channels"] = _shape(encoder[1], "model_z.0.0.weight", 4, encoder[0])[0]
    if extractor is not None:
        settings["extractor_channels"] = _shape(extractor[1], "first.0.0.weight", 4, extractor[0])[0] // 2
    try:
        return MixNMatchConfig(**settings)
    except ValidationError as error:
        reason = error.errors()[0]
        where = ".".join(map(str, reason["loc"])) or "sizes"
        raise WeightsError(
            f"{path}: its tensors are not a valid MixNMatch generator ({where}: {reason['msg']}): give an unchanged "
            "checkpoint."
        ) from error


def _shape(state: Mapping[str, Any], key: str, dims: int, path: Path) -> torch.Size:
    value = state.get(key)
    if not isinstance(value, Tensor) or value.dim() != dims:
        raise WeightsError(
            f"{path} has no tensor {key} of {dims} axes: give an unchanged checkpoint of MixNMatch's authors."
        )
    return value.shape


def load_mixnmatch(generator: Path, encoder: Path, extractor: Path | None = None) -> Mixer:
    """Networks in evaluation mode with the weights of the authors' files; ``.config`` has their settings.

    Args:
        generator, encoder, extractor: ``G.pth``, ``E.pth`` and, for feature mode, ``EX.pth``.

    Raises:
        WeightsError: a file is not such a checkpoint, or the files do not match; names the file and the missing,
            surplus or misshapen tensors.
    """
    of_generator = read_network(generator, "generator")
    of_encoder = read_network(encoder, "encoder")
    of_extractor = None if extractor is None else read_network(extractor, "feature extractor")
    config = infer_config(
        (generator, of_generator),
        (encoder, of_encoder),
        None if extractor is None or of_extractor is None else (extractor, of_extractor),
    )
    with torch.device("meta"):
        empty = Mixer(Generator(config), Encoders(config), FeatureExtractor(config))
    made = _fill(empty.generator, of_generator, generator, "generator", config)
    encoders = _fill(empty.encoders, of_encoder, encoder, "encoder", config)
    if extractor is None or of_extractor is None:
        return Mixer(made, encoders)
    assert empty.extractor is not None
    return Mixer(made, encoders, _fill(empty.extractor, of_extractor, extractor, "feature extractor", config))


def _fill(
    network: _Network, state: Mapping[str, Tensor], path: Path, kind: str, config: MixNMatchConfig
) -> _Network:
    problem = misfit(network, state)
    if problem is not None:
        raise WeightsError(
            f"{path} does not match a MixNMatch {kind} with {config.shapes} shapes, {config.textures} textures and "
            f"{config.image_size} pixels ({problem}): give unchanged files of the same training."
        )
    # Old files have no batch counters. Clones: the file's tensors may share memory, ours must not.
    counts = {
        key: torch.zeros((), dtype=torch.int64) for key in network.state_dict() if key.endswith("_tracked")
    }
    given = {k: v.clone().float() for k, v in state.items() if k not in counts}
    kept = {k: state[k].clone() for k in counts if k in state}
    network.load_state_dict(counts | kept | given, assign=True)
    return network


def save_mixnmatch(mixer: Mixer, folder: Path) -> None:
    """Write ``G.pth``, ``E.pth`` and (with a feature extractor) ``EX.pth`` in the authors' layout, each file
    atomically."""
    networks = {"G.pth": mixer.generator, "E.pth": mixer.encoders, "EX.pth": mixer.extractor}
    for name, network in networks.items():
        if network is None:
            continue
        state = {f"{PREFIX}{k}": v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
        with written_file(folder / name) as beside:
            torch.save(state, beside)


def read_mixer(given: Given) -> Imported:
    """The networks of the authors' files. Raises WeightsError like :func:`load_mixnmatch`."""
    files = given.files
    mixer = load_mixnmatch(files["generator"], files["encoder"], files.get("feature_extractor"))
    return Imported(
        networks=dict(mixer.named_children()),
        settings=json.dumps({"layout": LAYOUT, **mixer.config.model_dump(mode="json")}),
    )


IMPORTER = Importer(
    {
        "generator": ReleasedFile(FILES["generator"]),
        "encoder": ReleasedFile(FILES["encoder"]),
        "feature_extractor": ReleasedFile(FILES["feature extractor"], required=False),
    },
    read_mixer,
    "mix apply {run} …",
)
