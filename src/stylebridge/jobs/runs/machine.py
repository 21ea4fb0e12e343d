"""Properties of the machine."""

from __future__ import annotations

import os
import platform
from datetime import datetime
from typing import Any

import torch

from stylebridge.version import __version__


def default_workers(device: torch.device) -> int:
    """Number of loader processes: some for a GPU; 0 on a CPU, where images are cached and the cores are busy."""
    return min(8, os.cpu_count() or 1) if device.type == "cuda" else 0


def device_name(device: torch.device) -> str:
    """A description of the device: the GPU's name, or the CPU and torch's number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()}, {torch.get_num_threads()} threads)"


def facts_of_start(device: torch.device) -> dict[str, Any]:
    """The facts of a run's start: time, device, versions."""
    return {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "device": device_name(device),
        "versions": {
            "stylebridge": __version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
    }
