"""Export an adapted model to ONNX, and verify its outputs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from stylebridge.atomic import written_file
from stylebridge.data.domain import DomainSpec, open_domain
from stylebridge.data.files import FileRef
from stylebridge.data.images import read_image
from stylebridge.errors import DataError, RunError, WeightsError
from stylebridge.interop.onnx import OnnxSegmenter, export_onnx
from stylebridge.jobs.apply.models.model import open_model
from stylebridge.jobs.apply.models.segmenter import AdaptedModel
from stylebridge.jobs.pictures import as_tensor
from stylebridge.jobs.runs.folder import open_run
from stylebridge.jobs.runs.outputs import ensure_writable
from stylebridge.terminal import open_console
from stylebridge.version import __version__

#: Largest accepted difference of logits, relative to the largest logit.
TOLERANCE = 1e-3
#: (batch, width, height) of the comparison; odd sides are padded inside the file.
CHECKED = ((1, 320, 240), (2, 257, 191), (3, 192, 256))


@dataclass(frozen=True)
class ExportResult:
    """The written file, and its comparison with the torch model.

    Attributes:
        max_difference: the largest absolute difference of logits.
        largest_logit: the largest absolute logit, for comparison.
        agreement: share of pixels with the same class.
        checked: (batch, width, height) of the comparison.
        images: the compared images, in words.
    """

    path: Path
    max_difference: float
    largest_logit: float
    agreement: float
    checked: tuple[tuple[int, int, int], ...]
    images: str
    bytes: int


def export(
    run: str | Path,
    *,
    onnx: str | Path,
    images: str | Path | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    console: Console | None = None,
) -> ExportResult:
    """Write a run's segmenter as an ONNX file and compare it with the torch model in onnxruntime.

    The file's input is ``image``, float [B, 3, H, W] RGB in [0, 1] of any batch and size (no side below the network's
    stride), its output ``logits`` [B, K, H, W]; class names and colours are in its metadata.

    Args:
        run: a run folder, or its ``segmenter`` folder.
        onnx: the file to write.
        images: images for the comparison; None: the run's target if it still exists, else noise.
        overwrite: replace the file.

    Raises:
        UserError: the run, the images or the output path are invalid; a package is missing; or the file's outputs
            differ (it is then removed).
    """
    console = console or open_console(stderr=True, quiet=quiet)
    path = Path(onnx)
    if path.is_dir():
        raise RunError(f"{path} is a folder: give a file name as --onnx, such as model.onnx.")
    if path.suffix.lower() != ".onnx":
        raise RunError(
            f"--onnx {path} does not end in .onnx", f"give a name such as {path.with_suffix('.onnx').name}"
        )
    inputs = {"the images": DomainSpec.parse(images).path if images is not None else None}
    ensure_writable(path, inputs, overwrite=overwrite, option="--onnx")
    model = open_model(run, "cpu", "segment").segmenter
    files, described = _images(Path(run), images)
    with written_file(path, mend="choose another --onnx") as beside:
        with console.status("Exporting …"):
            export_onnx(model.segmenter, beside, _facts(model))
        with console.status("Comparing with the torch model …"):
            result = _compare(model, beside, path, files, described)
        if result.max_difference > TOLERANCE * max(1.0, result.largest_logit):
            raise WeightsError(
                f"The ONNX file of {run} differs from the torch model by {result.max_difference:.2g} (largest logit: "
                f"{result.largest_logit:.2g}), so it was not kept: report this with the run's recipe.yaml."
            )
    return result


def _facts(model: AdaptedModel) -> dict[str, str]:
    size = model.inference.size
    return {
        "stylebridge": __version__,
        "classes": json.dumps(list(model.space.classes), ensure_ascii=False),
        "label_space": json.dumps(model.space.as_dict(), ensure_ascii=False),
        "inference": json.dumps(model.inference.model_dump(mode="json")),
        "image": "RGB in [0, 1], float32 [batch, 3, height, width]; normalisation is inside",
        "trained_size": f"{size[0]}x{size[1]}" if size else "the image's own",
    }


def _images(run: Path, given: str | Path | None) -> tuple[Sequence[FileRef], str]:
    if given is not None:
        domain = open_domain(given, "comparison", labelled=False)
        return domain.images, f"images of {given}"
    if (run / "run.yaml").is_file():
        target = open_run(run, "adapt").facts().get("target")
        if target:
            try:
                return open_domain(target, "target", labelled=False).images, f"images of the target {target}"
            except DataError:
                pass
    return (), "noise (the run's target is not there: give --images FOLDER)"


@torch.inference_mode()
def _compare(
    model: AdaptedModel, written: Path, path: Path, files: Sequence[FileRef], described: str
) -> ExportResult:
    exported = OnnxSegmenter(written)
    difference = largest = agreed = 0.0
    for images, width, height in CHECKED:
        batch = _batch(files, images, width, height)
        ours, theirs = model.segmenter(batch), exported(batch)
        difference = max(difference, float((ours - theirs).abs().max()))
        largest = max(largest, float(ours.abs().max()))
        agreed += float((ours.argmax(1) == theirs.argmax(1)).float().mean()) / len(CHECKED)
    return ExportResult(path, difference, largest, agreed, CHECKED, described, written.stat().st_size)


def _batch(files: Sequence[FileRef], count: int, width: int, height: int) -> Tensor:
    if not files:
        return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(count))
    chosen = np.linspace(0, len(files) - 1, count).astype(int)  # one file several times, where there are few
    return torch.stack([as_tensor(read_image(files[i]), (width, height)) for i in chosen])
