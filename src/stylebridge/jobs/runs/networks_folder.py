"""``networks/`` of a run: the networks' weights and their settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from stylebridge.atomic import written_folder
from stylebridge.data.text_files import MAX_JSON_BYTES, read_text
from stylebridge.engine import checkpoint as ckpt
from stylebridge.errors import RunError, one_line
from stylebridge.jobs.runs.outputs import PART, mark

_Networks = TypeVar("_Networks", bound=nn.Module)


def save_parts(parts: Mapping[str, nn.Module], settings: str, run: Path, what: str) -> None:
    """Write ``networks/NAME.safetensors`` for each part, and ``config.json``, atomically.

    Args:
        settings: JSON to rebuild the networks.
        what: its name in messages about a full disk.
    """
    with ckpt.explain_full_disk(what, run), written_folder(run / "networks", error=None) as beside:
        for name, part in parts.items():
            ckpt.save_tensors(part.state_dict(), beside / f"{name}.safetensors")
        (beside / "config.json").write_text(settings, encoding="utf-8")
        mark(beside, PART)


def load_parts(
    folder: Path,
    build: Callable[[str], _Networks],
    convert: Callable[[str, dict[str, Tensor]], dict[str, Tensor]] = lambda _, tensors: tensors,
) -> _Networks:
    """Build networks from ``config.json`` and load the weights of each child.

    Args:
        folder: ``networks/`` of a run.
        build: creates the networks from the settings; may be on the meta device.
        convert: converts a part's tensors from the file's to the network's form; called with name and tensors.

    Raises:
        RunError: a file is missing or damaged.
    """
    try:
        networks = build(read_text(folder / "config.json", MAX_JSON_BYTES))
        for name, part in networks.named_children():
            tensors = convert(name, load_file(folder / f"{name}.safetensors"))
            part.load_state_dict(tensors, assign=True)
    except (
        OSError,
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        RuntimeError,
        SafetensorError,
    ) as error:
        reason = one_line(error)[:160]
        raise RunError(f"{folder} is damaged ({reason}): train or import it again.") from error
    return networks
