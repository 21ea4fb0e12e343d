"""Read and write checkpoints in the layout of NICE-GAN's authors (alpc91/NICE-GAN-pytorch).

A file contains a dictionary: ``gen2B``, ``gen2A``, ``disA``, ``disB``, ``D_optimizer``, ``G_optimizer`` and
``start_iter``. gen2B generates domain B from codes of disA.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from stylebridge.atomic import written_file
from stylebridge.errors import DataError, WeightsError
from stylebridge.interop.importer import Given, Imported, Importer, ReleasedFile
from stylebridge.networks.nice_gan import PRESETS, NiceGanConfig, NiceGanNetworks
from stylebridge.networks.pretrained import misfit, read_authors_file, strip_prefix
from stylebridge.networks.two_domains import STRIDE

#: Our networks, by the authors' names.
PARTS = {
    "gen2A": ("generators", "a"),
    "gen2B": ("generators", "b"),
    "disA": ("discriminators", "a"),
    "disB": ("discriminators", "b"),
}
#: Entries of the authors' operation counter in released files.
COUNTERS = ("total_ops", "total_params")
_BLOCK = re.compile(r"^UpBlock1_(\d+)\.conv1\.weight$")
_STRIDED = re.compile(r"^(Dis[01]_0)\.\d+\.weight_orig$")


def read_checkpoint(path: Path) -> dict[str, dict[str, Tensor]]:
    """Read the four networks' tensors by the authors' names, without operation counts; no code is unpickled.

    Raises:
        WeightsError: the file does not exist, cannot be read, or lacks a network.
    """
    loaded = read_authors_file(path, "a checkpoint of NICE-GAN's authors (NAME_params_latest.pt)")
    absent = [
        part for part in PARTS if not isinstance(loaded, Mapping) or not isinstance(loaded.get(part), Mapping)
    ]
    if absent:
        raise WeightsError(
            f"{path} has no {', '.join(absent)}: give a NICE-GAN checkpoint, a dictionary with "
            f"{', '.join(PARTS)}."
        )
    return {part: _tensors(loaded[part]) for part in PARTS}


def _tensors(state: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in strip_prefix(state).items() if not k.endswith(COUNTERS)}


def infer_config(
    parts: Mapping[str, Mapping[str, Any]], path: Path, image_size: int | None = None
) -> NiceGanConfig:
    """Infer the settings from the tensors' shapes: channels, blocks, layers, light or full and, for a full model, its
    image size.

    For a light model the image size cannot be inferred: it is ``image_size``, or 256.

    Raises:
        WeightsError: a key or shape that determines a setting is missing or invalid, or ``image_size`` differs from
            that of the full model.
    """
    generator, discriminator = parts["gen2B"], parts["disA"]
    output = _shape(generator, "UpBlock2.17.weight", 4, "gen2B", path)
    style = _shape(generator, "FC.0.weight", 2, "gen2B", path)
    channels = output[1]
    blocks = [int(match[1]) for key in generator if (match := _BLOCK.match(key))]
    strided = sum(_STRIDED.match(key) is not None for key in discriminator)
    side, light = image_size or 256, style[1] == 4 * channels
    if not light:
        side = STRIDE * round((style[1] / (4 * channels)) ** 0.5)
        if (side // STRIDE) ** 2 * 4 * channels != style[1]:
            raise WeightsError(
                f"{path}: gen2B's FC.0.weight is {list(style)}, which fits neither a light nor a full generator with "
                f"{channels} channels: give an unchanged checkpoint."
            )
        if image_size not in (None, side):
            raise WeightsError(
                f"{path} is a full model for images of {side} pixels, not {image_size}: give {side}."
            )
    try:
        return NiceGanConfig(
            image_size=side, channels=channels, blocks=max(blocks, default=0), light=light, layers=strided + 4
        )
    except ValidationError as error:
        reason = error.errors()[0]
        where = ".".join(map(str, reason["loc"])) or "sizes"
        raise WeightsError(
            f"{path}: its networks are not a valid NICE-GAN ({where}: {reason['msg']}): give an unchanged checkpoint."
        ) from error


def _shape(state: Mapping[str, Any], key: str, dims: int, part: str, path: Path) -> torch.Size:
    value = state.get(key)
    if not isinstance(value, Tensor) or value.dim() != dims:
        raise WeightsError(
            f"{path}: {part} has no tensor {key} of {dims} axes: give an unchanged NICE-GAN checkpoint."
        )
    return value.shape


def load_nice_gan(path: Path, image_size: int | None = None) -> NiceGanNetworks:
    """Networks with the weights of a checkpoint in the authors' layout; ``.config`` has their settings.

    Args:
        path: the ``.pt`` file.
        image_size: for a light model, whose file does not contain it (recorded only; default 256).

    Raises:
        WeightsError: the file is not such a checkpoint; names the missing, surplus or misshapen tensors.
    """
    parts = read_checkpoint(path)
    config = infer_config(parts, path, image_size)
    with torch.device("meta"):
        networks = NiceGanNetworks(config)
    for part, (kind, domain) in PARTS.items():
        network = getattr(networks, kind)[domain]
        problem = misfit(network, parts[part])
        if problem is not None:
            raise WeightsError(
                f"{path}: {part} does not fit a NICE-GAN with {config.channels} channels, {config.blocks} blocks and "
                f"{config.layers} layers ({problem}): give an unchanged checkpoint."
            )
        # Clones: the file's tensors may share memory, ours must not.
        network.load_state_dict({k: v.clone().float() for k, v in parts[part].items()}, assign=True)
    for parameter in networks.parameters():
        parameter.requires_grad_(True)
    return networks


def save_nice_gan(networks: NiceGanNetworks, path: Path, iteration: int = 0) -> None:
    """Write the networks in the authors' layout, which their test script reads (``--light True`` for light).

    ``D_optimizer`` and ``G_optimizer`` have the published settings, before their first step. The file is written
    atomically.
    """
    saved: dict[str, Any] = {}
    for part, (kind, domain) in PARTS.items():
        state = getattr(networks, kind)[domain].state_dict()
        saved[part] = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    for key, kind in (("D_optimizer", "discriminators"), ("G_optimizer", "generators")):
        parameters = getattr(networks, kind).parameters()
        saved[key] = torch.optim.Adam(parameters, lr=1e-4, betas=(0.5, 0.999), weight_decay=1e-4).state_dict()
    saved["start_iter"] = iteration
    with written_file(path) as beside:
        torch.save(saved, beside)


def read_translator(given: Given) -> Imported:
    """Both translators of a checkpoint.

    Raises:
        UserError: like :func:`load_nice_gan`, or the image size is not square.
    """
    size = given.image_size
    if isinstance(size, tuple) and size[0] != size[1]:
        raise DataError("NICE-GAN was trained on squares: give --image-size as one number.")
    networks = load_nice_gan(given.files["file"], size[0] if isinstance(size, tuple) else size)
    config = networks.config
    return Imported(
        networks=dict(networks.named_children()),
        settings=config.model_dump_json(),
        recipe="nice-gan",
        changes={"preset": next((n for n, c in PRESETS.items() if c == config), "nice-gan"), "load": None},
    )


IMPORTER = Importer(
    {"file": ReleasedFile("NAME_params_latest.pt")},
    read_translator,
    "translate apply {run} PHOTOS --out out/",
    {"image_size": "image side of a light model; default: 256"},
)
