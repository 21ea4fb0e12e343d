"""Create optimisers from settings, and convert their state to tensors and JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stylebridge.engine.config import OptimizerConfig
from stylebridge.errors import RecipeError


def check_groups(network: str, groups: dict[str, list[nn.Parameter]], config: OptimizerConfig) -> None:
    """Raises RecipeError if ``group_lr`` names a group that the network does not have."""
    unknown = set(config.group_lr) - set(groups)
    if unknown:
        raise RecipeError(
            f"optimizers.{network}.group_lr names {sorted(unknown)}, but the network's parameter groups "
            f"are {sorted(groups)}: use one of these."
        )


def make_optimizer(
    network: str, groups: dict[str, list[nn.Parameter]], config: OptimizerConfig
) -> torch.optim.Optimizer:
    """Build the optimiser of one network; each parameter group remembers its own base rate as ``base_lr``.

    Raises:
        RecipeError: ``group_lr`` names a group that the network does not have.
    """
    check_groups(network, groups, config)
    parameters = []
    for name, members in groups.items():
        trainable = [p for p in members if p.requires_grad]
        if trainable:
            lr = config.lr * config.group_lr.get(name, 1.0)
            parameters.append({"params": trainable, "lr": lr, "base_lr": lr, "name": name})
    common: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay, "fused": True}
    if config.kind == "sgd":
        return torch.optim.SGD(parameters, momentum=config.momentum, **common)
    kind = torch.optim.Adam if config.kind == "adam" else torch.optim.AdamW
    return kind(parameters, betas=config.betas, **common)


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's rate to its base rate times ``factor``. A function of the step alone, so that a resumed run
    cannot apply the decay twice."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def pack_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split an optimiser's state into tensors (for safetensors) and scalars (for JSON)."""
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, Any] = {}
    for index, entries in optimizer.state_dict()["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{key}"] = value
            elif value is not None:
                scalars[f"{index}.{key}"] = value
    return tensors, scalars


def unpack_optimizer(
    optimizer: torch.optim.Optimizer,
    tensors: dict[str, Tensor],
    scalars: dict[str, Any],
    conversions: Sequence[tuple[Tensor, Callable[[Tensor], Tensor]]] = (),
) -> None:
    """Restore the state from :func:`pack_optimizer`; the current optimiser keeps its settings.

    Args:
        conversions: parameters whose moments have an older layout, and their conversions.

    Each tensor gets the memory layout of its parameter. Fused optimisers read parameters and moments as flat memory, so
    a contiguous moment with a channels-last weight would be applied to the wrong elements.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for name, value in [*tensors.items(), *scalars.items()]:
        index, key = name.split(".", 1)
        parameter = parameters[int(index)]
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            for converted, convert in conversions:
                value = convert(value) if converted is parameter else value
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
