"""Checkpoints of SPADE's and SEAN's authors (NVlabs/SPADE, ZPdesu/SEAN): ``latest_net_G.pth``, ``latest_net_D.pth``.

A file is a plain state dict. Stacked tensors here are one entry per layer there: SEAN's linear layer of each class
(``fc_mu0``, ``fc_mu1``, …: any number), and the convolutions to γ and β.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from stylebridge.errors import WeightsError
from stylebridge.networks.label_gan import LabelGanConfig, MultiScaleDiscriminator
from stylebridge.networks.pretrained import abridge, misfit, read_authors_file, strip_prefix
from stylebridge.networks.sean import SEANConfig, SEANNetworks
from stylebridge.networks.spade import SPADEConfig, SPADEEncoder, SPADENetworks

State = dict[str, Tensor]
Config = TypeVar("Config", bound=LabelGanConfig)
#: A tensor of one of our norms: block, norm, part, and tensor (weight, running_mean, …).
_NORM = re.compile(r"generator\.(\w+)\.norm_([01s])\.(norm|mask\.\w+|\w+)(?:\.(\w+))?$")
#: Unused entries that a checkpoint may have: batch norm inside SEAN's mask part, counters.
_UNUSED = re.compile(r"\.Spade\.param_free_norm\.|\.num_batches_tracked$")
#: SEAN's linear layer of one class.
_CLASS_LAYER = re.compile(r"(.+)\.fc_mu(\d+)\.(?:weight|bias)$")


class Source(NamedTuple):
    """The source of one of our tensors: published ``names``, each of ``shape``, combined by ``join``."""

    names: list[str]
    shape: tuple[int, ...]
    join: Callable[[list[Tensor]], Tensor]


def label_channels(path: Path, what: str) -> int:
    """The number of label channels of a generator file, from a layer that all of them have.

    Args:
        what: ``SEAN`` or ``SPADE``.

    Raises:
        WeightsError: the file is not such a checkpoint.
    """
    key = "head_0.ace_0.Spade.mlp_shared.0.weight" if what == "SEAN" else "head_0.norm_0.mlp_shared.0.weight"
    return _shape(read_state(path, what), key, 4, what, path)[1]


def load_sean(
    path: Path, upsampling: Literal["normal", "more"] = "normal", *, void_class: bool = False
) -> tuple[SEANConfig, State]:
    """Settings and weights of a published SEAN generator with its style encoder.

    Args:
        path: ``latest_net_G.pth``.
        upsampling: cannot be read from the weights; the published commands train ``normal``.
        void_class: whether the last channel stands for pixels without a class.

    Returns:
        The config, with the file's number of classes, and a state for
        :class:`~stylebridge.networks.sean.SEANNetworks`, float32 on the CPU; without mean styles.

    Raises:
        WeightsError: the file is not such a checkpoint; names the file and the missing, surplus or misshapen tensors.
    """
    state = read_state(path, "SEAN")
    first, classes = _shape(state, "fc.weight", 4, "SEAN", path)[:2]
    config = _config(
        SEANConfig,
        path,
        "SEAN",
        classes=classes,
        void_class=void_class,
        channels=first // 16,
        hidden=_shape(state, "head_0.ace_0.Spade.mlp_shared.0.weight", 4, "SEAN", path)[0],
        style_channels=_shape(state, "Zencoder.model.14.weight", 4, "SEAN", path)[0],
        upsampling=upsampling,
    )
    with torch.device("meta"):
        network = SEANNetworks(config)
    own = network.state_dict()
    never_run = _never_run(state, classes)
    state = {key: value for key, value in state.items() if key not in never_run}
    fresh = {key: torch.zeros(own.pop(key).shape, dtype=dtype) for key, dtype in _MEANS.items()}
    return config, _translate(own, state, path, "SEAN") | fresh


#: Our buffers that published files do not have.
_MEANS = {"generator.mean_styles": torch.float32, "generator.style_counts": torch.int64}


def load_spade(
    path: Path,
    upsampling: Literal["normal", "more"] = "normal",
    image_size: tuple[int, int] | None = None,
    *,
    void_class: bool = False,
    edges: bool = False,
) -> tuple[SPADEConfig, State]:
    """Settings and weights of a published SPADE generator.

    Args:
        path: ``latest_net_G.pth``.
        upsampling: ``normal`` or ``more``, which cannot be read from the weights; ``most`` is detected.
        image_size: (width, height) of a VAE's images, if not square.
        void_class, edges: whether the last label channels mean pixels without a class, and instance edges.

    Returns:
        The config, with the file's number of classes, and a state for
        :class:`~stylebridge.networks.spade.SPADENetworks`, float32 on the CPU. The state has no weights of a VAE's
        encoder, which is in another file.

    Raises:
        WeightsError: like :func:`load_sean`.
    """
    state = read_state(path, "SPADE")
    # The number of channels is read from a layer that also exists with a VAE.
    first = _shape(state, "head_0.conv_0.weight_orig", 4, "SPADE", path)[0]
    hidden, classes = _shape(state, "head_0.norm_0.mlp_shared.0.weight", 4, "SPADE", path)[:2]
    settings: dict[str, Any] = {"classes": classes - edges, "void_class": void_class, "edges": edges}
    settings |= {"channels": first // 16, "hidden": hidden}
    settings["upsampling"] = "most" if any(key.startswith("up_4.") for key in state) else upsampling
    start = state.get("fc.weight")
    if isinstance(start, Tensor) and start.dim() == 2:
        grid = start.shape[0] // first
        side = round(grid**0.5) * _config(SPADEConfig, path, "SPADE", **settings).stride
        size = image_size or (side, side)
        stride = _config(SPADEConfig, path, "SPADE", **settings).stride
        if size[0] // stride * (size[1] // stride) != grid:
            raise WeightsError(
                f"{path} starts from {grid} cells of {stride}×{stride} pixels, which does not match images of "
                f"{size[0]}×{size[1]}: give --image-size WIDTHxHEIGHT and --upsampling as in its training."
            )
        settings |= {"vae": True, "latent": start.shape[1], "image_size": size}
    config = _config(SPADEConfig, path, "SPADE", **settings)
    with torch.device("meta"):
        network = SPADENetworks(config)
    own = {key: value for key, value in network.state_dict().items() if key.startswith("generator.")}
    return config, _translate(own, state, path, "SPADE")


def load_spade_encoder(path: Path, config: SPADEConfig) -> State:
    """Weights of a published VAE's encoder (``latest_net_E.pth``) for a
    :class:`~stylebridge.networks.spade.SPADEEncoder` of ``config``.

    Raises:
        WeightsError: the file is not such a checkpoint, or does not match the generator of ``config``.
    """
    state = read_state(path, "SPADE encoder", "latest_net_E.pth")
    if "layer1.0.weight_orig" not in state:
        raise WeightsError(f"{path} is not the encoder of a SPADE VAE: give latest_net_E.pth.")
    made = {
        re.sub(r"^layer(\d)\.0\.", lambda m: f"model.{3 * (int(m[1]) - 1)}.", key): value
        for key, value in state.items()
    }
    with torch.device("meta"):
        problem = misfit(SPADEEncoder(config), made)
    if problem is not None:
        raise WeightsError(
            f"{path} does not fit the generator ({problem}): give the latest_net_E.pth of the same training."
        )
    return {key: value.float().clone() for key, value in made.items()}


def load_discriminator(path: Path, config: LabelGanConfig) -> State:
    """Weights of a published discriminator (``latest_net_D.pth``) for a
    :class:`~stylebridge.networks.label_gan.MultiScaleDiscriminator` of ``config``.

    Raises:
        WeightsError: the file is not such a checkpoint, or has other settings.
    """
    state = read_state(path, "discriminator")
    with torch.device("meta"):
        problem = misfit(MultiScaleDiscriminator(config), state)
    if problem is not None:
        raise WeightsError(
            f"{path} does not fit a discriminator of {config.classes} classes and {config.discriminator_layers} layers "
            f"({problem}): give the latest_net_D.pth that belongs to the generator."
        )
    return {key: value.float().clone() for key, value in state.items()}


def read_state(path: Path, what: str, file: str = "latest_net_G.pth") -> dict[str, Any]:
    """Read a state dict without the key prefix of multi-GPU wrappers; no code is unpickled.

    Also reads ``.safetensors``, for converted files.

    Raises:
        WeightsError: the file does not exist, cannot be read, or is not a dictionary of tensors.
    """
    wanted = f"a {what} checkpoint of its authors ({file})"
    if path.suffix == ".safetensors" and path.is_file():
        try:
            return strip_prefix(load_file(path))
        except SafetensorError as error:
            raise WeightsError(f"{path} is not a readable file of plain tensors: give {wanted}.") from error
    loaded = read_authors_file(path, wanted)
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise WeightsError(f"{path} is not a state dict: give {wanted}.")
    return strip_prefix(loaded)


def _never_run(state: Mapping[str, Any], classes: int) -> set[str]:
    """The published network has ``fc_mu0`` to ``fc_mu18`` even with fewer classes: the names of the unused ones. Empty
    if they differ between layers; then the file is not of this network."""
    found = [match for match in map(_CLASS_LAYER.match, state) if match is not None]
    layers, last = {match[1] for match in found}, max((int(match[2]) for match in found), default=0)
    wanted = {
        f"{layer}.fc_mu{n}.{kind}"
        for layer in layers
        for n in range(classes, last + 1)
        for kind in ("weight", "bias")
    }
    return wanted if wanted <= state.keys() else set()


def _shape(state: Mapping[str, Any], key: str, dims: int, what: str, path: Path) -> torch.Size:
    value = state.get(key)
    if not isinstance(value, Tensor) or value.dim() != dims:
        raise WeightsError(
            f"{path} has no tensor {key} of {dims} axes: give an unchanged {what} checkpoint (latest_net_G.pth)."
        )
    return value.shape


def _config(kind: type[Config], path: Path, what: str, **settings: Any) -> Config:
    try:
        return kind(**settings)
    except ValidationError as error:
        reason = error.errors()[0]
        where = ".".join(map(str, reason["loc"])) or "sizes"
        raise WeightsError(
            f"{path}: its tensors are not a valid {what} ({where}: {reason['msg']}): give an unchanged checkpoint."
        ) from error


def _translate(own: Mapping[str, Tensor], state: Mapping[str, Tensor], path: Path, what: str) -> State:
    """Convert published tensors to ours; errors name mismatches by their published names."""
    sean = what == "SEAN"
    sources = {
        key: _source(key, value, sean)
        for key, value in own.items()
        if not key.endswith("num_batches_tracked")
    }
    wanted = {name: source.shape for source in sources.values() for name in source.names}
    shapes = [
        f"{name} {list(state[name].shape)} instead of {list(shape)}"
        for name, shape in wanted.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    parts = [
        ("missing", [name for name in wanted if name not in state]),
        ("surplus", [name for name in state if name not in wanted and not _UNUSED.search(name)]),
        ("wrong shape", shapes),
    ]
    problem = "; ".join(f"{kind}: {abridge(names)}" for kind, names in parts if names)
    if problem:
        raise WeightsError(
            f"{path} does not fit {what} ({problem}): give an unchanged checkpoint (latest_net_G.pth)."
        )
    made = {key: source.join([state[n].float() for n in source.names]) for key, source in sources.items()}
    counters = {key: torch.zeros((), dtype=torch.int64) for key in own if key not in made}
    return {key: value.clone(memory_format=torch.contiguous_format) for key, value in made.items()} | counters


def _only(tensors: list[Tensor]) -> Tensor:
    return tensors[0]


def _by_tap(tensors: list[Tensor]) -> Tensor:
    """Join the convolutions [C, S, 3, 3] to γ and β into one weight [9, 2C, S]."""
    return torch.cat(tensors).permute(2, 3, 0, 1).flatten(0, 1)


def _source(key: str, value: Tensor, sean: bool) -> Source:
    """The published entries of our tensor ``key``."""
    shape = tuple(value.shape)
    if key.startswith("encoder."):
        return Source([key.replace("encoder.", "Zencoder.", 1)], shape, _only)
    norm = _NORM.match(key)
    if norm is None:
        return Source([key.removeprefix("generator.")], shape, _only)
    block, number, part, kind = norm.groups()
    layer = f"{block}.ace_{number}" if sean else f"{block}.norm_{number}"
    mask = f"{layer}.Spade" if sean else layer
    half = (shape[0] // 2, *shape[1:])
    if part == "norm":
        return Source([f"{layer}.param_free_norm.{kind}"], shape, _only)
    if part == "noise_scale":
        return Source([f"{layer}.noise_var"], shape, _only)
    if part == "mask.shared":
        return Source([f"{mask}.mlp_shared.0.{kind}"], shape, _only)
    if part == "mask.scale_shift":
        return Source([f"{mask}.mlp_{name}.{kind}" for name in ("gamma", "beta")], half, torch.cat)
    if part == "blending":
        return Source([f"{layer}.blending_{name}" for name in ("gamma", "beta")], half, torch.cat)
    group, kind = part.split("_")
    if group == "code":
        return Source([f"{layer}.fc_mu{n}.{kind}" for n in range(shape[0])], shape[1:], torch.stack)
    names = [f"{layer}.conv_{name}.{kind}" for name in ("gamma", "beta")]
    if kind == "bias":
        return Source(names, half, torch.cat)
    return Source(names, (shape[1] // 2, shape[2], 3, 3), _by_tap)
