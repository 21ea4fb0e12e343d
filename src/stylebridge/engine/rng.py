"""The state of this process's random generators, as tensors and JSON."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor


def seed_everything(seed: int, process_index: int = 0) -> None:
    """Seed Python, NumPy and torch; processes get different streams (for dropout and the like)."""
    random.seed(seed + process_index)
    np.random.seed((seed + process_index) % 2**32)  # noqa: NPY002  (libraries below us may use it)
    torch.manual_seed(seed + process_index)


def pack_rng() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Take the generators' state: torch (CPU, GPU) as byte tensors, Python and NumPy as JSON."""
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
    """Put the generators back into the state that :func:`pack_rng` took."""
    torch.set_rng_state(tensors["torch"].cpu())
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"].cpu())
    name, keys, position, has_gauss, cached = scalars["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))  # noqa: NPY002
    version, words, gauss = scalars["python"]
    random.setstate((version, tuple(words), gauss))
