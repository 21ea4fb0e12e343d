"""Random generators of this process: seeding, and state as tensors and JSON."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor


def mixed_seed(*words: int) -> int:
    """A seed in [0, 2⁶³) from several numbers. Adjacent numbers give unrelated seeds."""
    state = 0
    for word in words:  # a small mixing hash
        state = (state * 6364136223846793005 + word + 1442695040888963407) % 2**64
    return (state ^ (state >> 31)) % 2**63


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch on all devices, equally in every process."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  (libraries below us may use it)
    torch.manual_seed(seed)


@contextmanager
def drawing(seed: int) -> Iterator[None]:
    """Inside, networks draw the numbers of a seed; torch's generators are as before afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def seed_phase(seed: int, step: int, micro: int, phase: int, device: torch.device, process: int = 0) -> None:
    """Seed torch for the draws of networks in one phase of a step. The seed depends on the arguments only, so neither
    on restarts nor on the process unless it is given. Generators of other devices are unchanged."""
    mixed = mixed_seed(seed, step, micro, phase, process)
    random.seed(mixed)
    np.random.seed(mixed % 2**32)  # noqa: NPY002
    torch.default_generator.manual_seed(mixed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(mixed)


def pack_rng() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The generators' state: torch (CPU, GPU) as byte tensors, Python and NumPy as JSON."""
    tensors = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    version, words, gauss = random.getstate()
    return tensors, {
        "numpy": [name, np.asarray(keys).tolist(), int(position), int(has_gauss), float(cached)],
        "python": [version, list(words), gauss],
    }


def unpack_rng(tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
    """Restore the state from :func:`pack_rng`."""
    torch.set_rng_state(tensors["torch"].cpu())
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"].cpu())
    name, keys, position, has_gauss, cached = scalars["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))  # noqa: NPY002
    version, words, gauss = scalars["python"]
    random.setstate((version, tuple(words), gauss))
