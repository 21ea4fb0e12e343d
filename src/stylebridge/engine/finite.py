"""Which tensor of a network is not finite."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn


def first_bad_gradient(network: nn.Module) -> str:
    """The name of the first parameter whose gradient is not finite; ``?`` where none is."""
    for name, parameter in network.named_parameters():
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
            return name
    return "?"


@torch.no_grad()
def first_bad_tensor(networks: Mapping[str, nn.Module]) -> tuple[str, str] | None:
    """The first network and its first saved tensor (parameter or persistent buffer) that holds an infinity or a NaN.

    The answer needs one transfer from the device, whatever the number of tensors.
    """
    names, flags = [], []
    for network, module in networks.items():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point() and tensor.numel():
                names.append((network, name))
                flags.append(torch.isfinite(tensor).all())
    if not flags:
        return None
    finite = torch.stack(flags).tolist()
    return names[finite.index(False)] if not all(finite) else None
