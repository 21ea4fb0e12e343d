"""``stylebridge translate apply``: any translator, with Bridge's region styles, or a labelled set out of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.progress import track

from stylebridge.data.images import read_image
from stylebridge.engine import open_accelerator
from stylebridge.errors import DataError
from stylebridge.jobs.apply.labelled_set import write_translated_set
from stylebridge.jobs.apply.models.bridge import BridgeRun
from stylebridge.jobs.apply.models.styles import StylePhotos, parse_region_styles
from stylebridge.jobs.apply.models.translator import outputs_of, translate
from stylebridge.jobs.datasets.label_options import parse_read_as
from stylebridge.jobs.pictures import write_png
from stylebridge.jobs.runs.claimed_files import claimed_files
from stylebridge.jobs.runs.folder import find_run
from stylebridge.jobs.runs.outputs import PICTURES
from stylebridge.terminal import open_console


def apply_translator(
    run: str | Path,
    images: Sequence[str | Path],
    out: str | Path,
    *,
    to: str = "b",
    labels: str | None = None,
    size: int | None = None,
    pixels: int | None = None,
    style: str | Path | None = None,
    style_labels: str | Path | None = None,
    region_styles: Sequence[str] = (),
    mixes: Sequence[str] = (),
    read_as: str | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Translate images with a run of `translate train`, or of `adapt` with a Bridge recipe.

    Args:
        images: files, folders or patterns. With ``labels="keep"`` one labelled set, or none: the run's own.
        style, style_labels, region_styles, mixes: of Bridge runs: whose region styles the images take; see
            :mod:`stylebridge.jobs.apply.models.styles`.
        read_as: the space that label maps are read in whatever their palettes show; ``run``: the run's own.
        seed: of the styles that ``labels="keep"`` draws.

    Returns:
        How many images were written.

    Raises:
        UserError: the run, an image, the output or a wish is not what it should be.
    """
    found, kind = find_run(Path(run), "translate")
    bridge = kind == "adapt"
    styled = {
        "--style": style,
        "--style-labels": style_labels,
        "--region-style": region_styles,
        "--mix": mixes,
    }
    given = next((name for name, value in styled.items() if value), None)
    shared: dict[str, Any] = {
        "to": to,
        "pixels": pixels,
        "device": device,
        "overwrite": overwrite,
        "quiet": quiet,
    }
    if labels is not None:
        if labels != "keep":
            raise DataError(f"--labels {labels!r} is not known: give --labels keep, or leave it out.")
        if given is not None or size is not None:
            wrong = given or "--size"
            raise DataError(f"{wrong} does not go with --labels keep: leave one of them out.")
        if len(images) > 1:
            raise DataError(
                "--labels keep takes one labelled set: give one folder, or none for the run's own."
            )
        return write_translated_set(
            run, out, images[0] if images else None, read_as=read_as, seed=seed, **shared
        )
    if not images:
        raise DataError("Give the images to translate, or --labels keep for the labelled set of the run.")
    if not bridge:
        if given is not None:
            raise DataError(
                f"{given} needs a Bridge run: {run} translates whole images, without region styles."
            )
        return translate(run, list(images), out, size=size, **shared)
    if size is not None or pixels is not None:
        raise DataError(
            "--size and --pixels do not belong to a Bridge run: it translates at the size it was trained on."
        )
    opened = BridgeRun.open(found.path, open_accelerator(device).device)
    said = parse_read_as([read_as] if read_as else [], ("label maps",), opened.space).get("label maps")
    known = {str(style): Path(style_labels)} if style is not None and style_labels is not None else {}
    photos = StylePhotos(opened.space, known, opened.model, said)
    wishes = parse_region_styles(region_styles, mixes, opened.space)
    wanted = opened.wanted(to, photos, str(style) if style is not None else None, wishes)
    outputs = outputs_of(images, out, overwrite)
    with claimed_files(Path(out), PICTURES) as wrote:
        for file, path in track(outputs.items(), "translate", console=open_console(stderr=True, quiet=quiet)):
            write_png(opened.translate(read_image(file), None, to, wanted), path)
            wrote(path)
    return len(outputs)
