"""``networks/`` of a run of images: the parts' weights and the settings they are built from; and pictures as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from stylebridge.atomic import OTHER_OUT, written_file, written_folder
from stylebridge.data.text_files import MAX_JSON_BYTES, read_text
from stylebridge.engine import checkpoint as ckpt
from stylebridge.errors import RunError
from stylebridge.jobs.runs.outputs import PART, mark

_Networks = TypeVar("_Networks", bound=nn.Module)


def save_parts(parts: Mapping[str, nn.Module], settings: str, run: Path, what: str) -> None:
    """Write ``networks/NAME.safetensors`` for each part, and ``config.json``; the folder is whole or not there.

    Args:
        settings: JSON that the networks can be built from.
        what: what a message about a full disk calls it.
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
    """Build networks from ``config.json`` and give each of their children its weights.

    Args:
        folder: ``networks/`` of a run.
        build: makes the networks of the settings; they may be on no device.
        convert: takes a part's name and its tensors as the file has them, and gives them as the network has them.

    Raises:
        RunError: something in the folder is missing or damaged.
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
        reason = " ".join(str(error).split())[:160]
        raise RunError(f"{folder} is damaged ({reason}): train or import it again.") from error
    return networks


def write_png(picture: Image.Image, path: Path) -> None:
    """Write a picture, whole or not at all; its folder is made if need be."""
    with written_file(path, mend=OTHER_OUT) as beside:
        picture.save(beside, format="PNG")
