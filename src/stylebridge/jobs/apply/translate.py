"""Translate images with a finished run, in the style of photos if it has styles, or write a labelled set."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from stylebridge.data.files import FileRef
from stylebridge.engine.rng import drawing
from stylebridge.errors import DataError
from stylebridge.jobs.apply.files.inputs import collect_inputs, places_of
from stylebridge.jobs.apply.labelled_set import write_translated_set
from stylebridge.jobs.apply.models.model import open_model
from stylebridge.jobs.apply.models.styles import StyleRequest
from stylebridge.jobs.apply.models.translator import translate_files
from stylebridge.jobs.datasets.label_options import space_of_label_maps
from stylebridge.jobs.runs.claimed_files import claimed_files, ensure_unclaimed
from stylebridge.jobs.runs.outputs import PICTURES, ensure_apart


def translate(
    run: str | Path,
    images: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    to: str | None = None,
    labels: str | None = None,
    size: int | None = None,
    pixels: int | None = None,
    style: str | Path | None = None,
    style_labels: str | Path | None = None,
    region_styles: Sequence[str] = (),
    mixes: Sequence[str] = (),
    samples: int | None = None,
    read_as: str | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Translate images with a run that can translate, as PNG files with the images' names.

    Args:
        images: files, folders or patterns. With ``labels="keep"`` one labelled set, or none: the run's.
        to: the output domain: its name, ``a`` or ``source``, ``b`` or ``target``; None: the second.
        labels: ``keep``: write a labelled set, see :func:`~stylebridge.jobs.apply.labelled_set.write_translated_set`.
        size, pixels: see :class:`~.models.translator.Translator`.
        style, style_labels, region_styles, mixes, samples: see :class:`~.models.styles.StyleRequest`.
        read_as: the label space of label maps regardless of evidence; ``run``: the run's.
        seed: for the noise of translators that add some (Bridge), and the style photos of ``labels="keep"``.

    Returns:
        The number of written images.

    Raises:
        UserError: the run cannot translate, or an image, an option or the output is invalid.
    """
    model = open_model(run, device, "translate")
    request = StyleRequest(style, style_labels, region_styles, mixes, samples)
    if labels is not None:
        data = _labelled_data(labels, _listed(images), request, size)
        return write_translated_set(
            model,
            out,
            data,
            to=to,
            pixels=pixels,
            read_as=read_as,
            seed=seed,
            overwrite=overwrite,
            quiet=quiet,
        )
    translator = model.translator
    translator.check(to, size, pixels)
    wanted = translator.resolve(request, to, space_of_label_maps(read_as, translator.space))
    outputs = _outputs_of(_listed(images), out, overwrite)
    made = partial(translator.translate, to=to, style=wanted, size=size, pixels=pixels)
    with drawing(seed), claimed_files(Path(out), PICTURES) as wrote:
        translate_files(made, outputs, quiet=quiet, wrote=wrote)
    return len(outputs)


def _listed(images: str | Path | Sequence[str | Path]) -> list[str | Path]:
    return [images] if isinstance(images, str | Path) else list(images)


def _labelled_data(
    labels: str, images: Sequence[str | Path], request: StyleRequest, size: int | None
) -> str | Path | None:
    """The labelled set for ``--labels keep``; None: the run's. Raises DataError."""
    if labels != "keep":
        raise DataError(f"--labels {labels!r} is not known: give --labels keep, or leave it out.")
    wrong = [*request.options(), *(["--size"] if size is not None else [])]
    if wrong:
        raise DataError(f"{wrong[0]} does not go with --labels keep: leave one of them out.")
    if len(images) > 1:
        raise DataError("--labels keep takes one labelled set: give one folder, or none for the run's own.")
    return images[0] if images else None


def _outputs_of(images: Sequence[str | Path], out: str | Path, overwrite: bool) -> dict[FileRef, Path]:
    """The output PNG file below ``out`` for each image.

    Raises:
        UserError: an image is missing or a video, an output exists, or ``out`` is not apart from the images.
    """
    if not images:
        raise DataError("Give the images to translate, or --labels keep for the labelled set of the run.")
    inputs = collect_inputs(images)
    if inputs.videos:
        raise DataError(f"{next(iter(inputs.videos))} is a video: translate takes images.")
    folder = Path(out)
    ensure_apart(folder, places_of(images, inputs))
    outputs = {file: folder / f"{name}.png" for file, name in inputs.images.items()}
    ensure_unclaimed(folder, PICTURES, list(outputs.values()), overwrite)
    return outputs
