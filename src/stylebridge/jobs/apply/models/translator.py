"""A finished translator: its folder, and its use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from rich.progress import track
from torch import nn

from stylebridge.data.files import FileRef
from stylebridge.data.images import read_image
from stylebridge.data.resizing import Resample, resized
from stylebridge.engine import open_accelerator
from stylebridge.errors import DataError, RunError
from stylebridge.jobs.apply.files.inputs import collect_inputs, places_of
from stylebridge.jobs.pictures import as_pixels, as_tensor, write_png
from stylebridge.jobs.recipe.adapt import size_for
from stylebridge.jobs.runs.claimed_files import claimed_files, ensure_unclaimed
from stylebridge.jobs.runs.folder import RunFolder, open_run
from stylebridge.jobs.runs.networks_folder import load_parts, save_parts
from stylebridge.jobs.runs.outputs import PICTURES, ensure_apart
from stylebridge.terminal import open_console


def save_networks(networks: nn.Module, run: Path) -> None:
    """Write ``networks/discriminators.safetensors`` and ``generators.safetensors``, and the settings; the folder is
    whole or not there."""
    settings = networks.config.model_dump_json()  # type: ignore[union-attr,operator]
    save_parts(dict(networks.named_children()), str(settings), run, "the translator")


def load_networks(run: Path) -> nn.Module:
    """The networks of a finished translation run.

    Raises:
        RunError: there is no run, it is of another kind, or it is not finished.
    """
    opened = open_run(run, "translate")
    folder = opened.path / "networks"
    if not folder.is_dir():
        raise RunError(
            f"{run} has no finished translator: continue it with `stylebridge translate train --resume --out {run}`."
        )
    return load_parts(folder, opened.recipe().spec.networks.build_from)


def resample_of(run: Path) -> Resample:
    """The filter that a translation run resizes images with."""
    return RunFolder(run).recipe().spec.resample


@torch.inference_mode()
def translate(
    run: str | Path,
    images: str | Path | list[str | Path],
    out: str | Path,
    *,
    to: str = "b",
    size: int | None = None,
    pixels: int | None = None,
    device: str = "auto",
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Translate images with a trained translator, as PNG files of the images' own sizes and names.

    Args:
        to: the domain they shall look like, ``a`` or ``b``.
        size: resize images to this square first; None: as they are (sides that do not fit the network's stride are
            padded, and cropped back).
        pixels: translate at about this many pixels, at the image's own aspect ratio, and resize what comes out back.

    Returns:
        How many images were written.

    Raises:
        UserError: the run, an image or the output folder is not what it should be.
    """
    translator = load_networks(Path(run)).translator(to)  # type: ignore[operator]
    outputs = outputs_of([images] if isinstance(images, str | Path) else images, out, overwrite)
    accelerator = open_accelerator(device)
    with claimed_files(Path(out), PICTURES) as wrote:
        translate_files(
            translator.to(accelerator.device),
            outputs,
            size=size,
            pixels=pixels,
            resample=resample_of(Path(run)),
            quiet=quiet,
            wrote=wrote,
        )
    return len(outputs)


def outputs_of(images: Sequence[str | Path], out: str | Path, overwrite: bool) -> dict[FileRef, Path]:
    """The PNG file below ``out`` that each image is translated into.

    Raises:
        UserError: an image is not there or a video, an output is there already, or ``out`` is not apart from them.
    """
    inputs = collect_inputs(images)
    if inputs.videos:
        raise DataError(f"{next(iter(inputs.videos))} is a video: translate takes images.")
    folder = Path(out)
    ensure_apart(folder, places_of(images, inputs))
    outputs = {file: folder / f"{name}.png" for file, name in inputs.images.items()}
    ensure_unclaimed(folder, PICTURES, list(outputs.values()), overwrite)
    return outputs


@torch.inference_mode()
def translate_files(
    translator: nn.Module,
    outputs: Mapping[FileRef, Path],
    *,
    size: int | None = None,
    pixels: int | None = None,
    resample: Resample = "bicubic",
    quiet: bool = False,
    wrote: Callable[[Path], None] = lambda path: None,
) -> None:
    """Translate each file into the PNG file it is mapped to, written beside and renamed.

    Args:
        translator: takes and gives [1, 3, H, W] in [0, 1]; the images go to its device.
        size, pixels: as in :func:`translate`.
        resample: the filter for images that come to another size.
        wrote: called with each file that is finished.
    """
    device = next(translator.parameters()).device
    for file, path in track(outputs.items(), "translate", console=open_console(stderr=True, quiet=quiet)):
        image = read_image(file)
        height, width = image.shape[:2]
        asked = (size, size) if size is not None else size_for(pixels, (width, height)) if pixels else None
        result = translator(as_tensor(image, asked, resample)[None].to(device))[0]
        made = as_pixels(result)
        write_png(made if pixels is None else resized(made, (width, height)), path)
        wrote(path)
