"""torch switches that a recipe may set during training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from stylebridge.engine.config import TrainerConfig

#: Options of ``torch.compile``.
BACKEND = "inductor"


@contextlib.contextmanager
def torch_settings(config: TrainerConfig) -> Iterator[None]:
    """Set TF32 and cuDNN's benchmark as in the recipe, and restore them afterwards."""
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    try:
        if config.tf32 is not None:
            matmul.allow_tf32 = cudnn.allow_tf32 = config.tf32
        cudnn.benchmark = config.cudnn_benchmark
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before


@contextlib.contextmanager
def compiled(networks: Iterable[nn.Module], wanted: bool) -> Iterator[None]:
    """Inside, run the networks' forward passes with ``torch.compile``, if wanted.

    The modules stay the same objects with the same weight names, so that checkpoints, averages and exports are not
    affected. For a network that is only a container (without ``forward``), its parts are compiled.
    """
    parts = [part for network in networks for part in _callable_parts(network)] if wanted else []
    try:
        for part in parts:
            part.compile(backend=BACKEND)
        yield
    finally:
        for part in parts:
            part._compiled_call_impl = None


def _callable_parts(module: nn.Module) -> list[nn.Module]:
    """The module, or, if it cannot be called, the outermost callable modules inside."""
    if type(module).forward is not nn.Module.forward:
        return [module]
    return [part for child in module.children() for part in _callable_parts(child)]
