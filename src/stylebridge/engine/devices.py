"""Devices, processes and precision, with Hugging Face Accelerate."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs
from torch import nn

from stylebridge.errors import RecipeError

Precision = Literal["fp32", "bf16", "fp16"]
#: Time after which a process stops waiting for the others.
LONGEST_WAIT = timedelta(days=1)


def open_accelerator(device: str = "auto", precision: Precision = "fp32") -> Accelerator:
    """Open the device and the process group of this process.

    Args:
        device: ``auto`` (a GPU if available), ``cpu`` or ``cuda``.
        precision: ``fp32``, or autocast to ``bf16`` or ``fp16`` (fp16 needs a GPU).

    Raises:
        RecipeError: the device is not available, or does not support the precision.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise RecipeError(f"device is {device!r}: choose auto, cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise RecipeError("device is 'cuda', but torch sees no GPU here: choose auto or cpu.")
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    if precision == "fp16" and on_cpu:
        raise RecipeError("precision is 'fp16', which needs a GPU: choose bf16 or fp32.")
    wanted = "no" if precision == "fp32" else precision
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != wanted:
        # Accelerate keeps one precision per process; a second job in the process may use another.
        AcceleratorState._reset_state()
    # Processes wait while the main one works alone, which may take long and is no failure. If a process dies, the
    # launcher ends the others at once.
    patience = InitProcessGroupKwargs(timeout=LONGEST_WAIT)
    return Accelerator(mixed_precision=wanted, cpu=on_cpu, kwargs_handlers=[patience])


def synchronised(network: nn.Module) -> nn.Module:
    """The network with batch norms synchronised over all processes.

    timm's combined layers of batch norm and activation keep the activation, which torch's converter drops.

    Raises:
        RecipeError: the network has a batch norm that neither library can convert faithfully.
    """
    from timm.layers.norm_act import BatchNormAct2d, SyncBatchNormAct, convert_sync_batchnorm

    plain = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    for name, layer in network.named_modules():
        is_norm = isinstance(layer, nn.modules.batchnorm._BatchNorm)
        if is_norm and type(layer) not in (*plain, BatchNormAct2d, SyncBatchNormAct):
            raise RecipeError(
                f"Layer {name} is a {type(layer).__name__}, which cannot be synchronised over processes: train with "
                "one process, or choose another encoder."
            )
    return convert_sync_batchnorm(network)
