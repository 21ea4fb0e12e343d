"""What the machine offers, in words and numbers."""

from __future__ import annotations

import os
import platform
from datetime import datetime
from typing import Any

import torch

from stylebridge.version import __version__


def default_workers(device: torch.device) -> int:
    """Loader processes: some for a GPU; none on a CPU, where the images are cached and the cores are busy."""
    return min(8, os.cpu_count() or 1) if device.type == "cuda" else 0


def device_name(device: torch.device) -> str:
    """The device in words: the GPU's name, or the CPU and how many threads torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()}, {torch.get_num_threads()} threads)"


def facts_of_start(device: torch.device) -> dict[str, Any]:
    """What every run says of its start: when, on what, with which versions."""
    return {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "device": device_name(device),
        "versions": {
            "stylebridge": __version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
    }
