"""Find tensors of a network that are not finite."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn


def first_bad_gradient(network: nn.Module) -> str:
    """The name of the first parameter whose gradient is not finite; ``?`` if there is none."""
    for name, parameter in network.named_parameters():
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
            return name
    return "?"


@torch.no_grad()
def first_bad_tensor(networks: Mapping[str, nn.Module]) -> tuple[str, str] | None:
    """The first network and its first saved tensor (parameter or persistent buffer) with an infinity or a NaN.

    Needs one transfer from the device, whatever the number of tensors.
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
