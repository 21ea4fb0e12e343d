"""Generate images from label maps with a finished run, in styles of photos or regions, mixed or random."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from rich.progress import track

from stylebridge.data.files import FileRef, is_image_name
from stylebridge.data.images import check_image
from stylebridge.data.label_space import LabelSpace
from stylebridge.data.resizing import resized
from stylebridge.errors import DataError, RunError
from stylebridge.jobs.apply.files.arrays import read_map
from stylebridge.jobs.apply.files.inputs import collect_inputs
from stylebridge.jobs.apply.files.instances import InstanceMaps, label_ids_only
from stylebridge.jobs.apply.models.model import open_model
from stylebridge.jobs.apply.models.style_photos import StylePhotos
from stylebridge.jobs.apply.models.styles import StyleRequest, sampled
from stylebridge.jobs.apply.models.synthesizer import MAX_PIXELS, Synthesizer
from stylebridge.jobs.datasets.label_options import space_of_label_maps, space_of_map
from stylebridge.jobs.pictures import write_png
from stylebridge.jobs.runs.claimed_files import claimed_files, ensure_unclaimed
from stylebridge.jobs.runs.outputs import PICTURES, ensure_apart, ensure_writable
from stylebridge.terminal import open_console


class _Map(NamedTuple):
    """A label map: its path below its folder without suffix, its label space, and its output files."""

    file: FileRef
    name: PurePosixPath
    space: LabelSpace
    pictures: list[Path]


def synthesize(
    run: str | Path,
    labels: str | Path,
    out: str | Path,
    *,
    style: str | Path | None = None,
    style_labels: str | Path | None = None,
    region_styles: Sequence[str] = (),
    mixes: Sequence[str] = (),
    samples: int | None = None,
    segmenter: str | Path | None = None,
    instances: str | Path | None = None,
    read_as: str | None = None,
    size: tuple[int, int] | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Generate images from label maps with a run that can synthesize, as PNG files of the maps' sizes, or of ``size``.

    Args:
        labels: a label map, or a folder of them.
        out: the image to write; for a folder of label maps, the output folder. With ``samples`` each image NAME.png
            becomes NAME-1.png and so on.
        style, style_labels, region_styles, mixes, samples: see
            :class:`~stylebridge.jobs.apply.models.styles.StyleRequest`.
        segmenter: a run that predicts missing label maps of style photos.
        instances: the instance map of the label map, or a folder of them, for networks that take instance edges.
        read_as: the label space of label maps regardless of their palettes; ``run``: the run's.
        size: (width, height) of label maps, instance maps and style photos after resizing, regardless of aspect ratio
            (as in the published programs, at the training size); None: their own sizes.
        seed: for the noise, and random styles.

    Returns:
        The number of written images.

    Raises:
        UserError: the run cannot synthesize or does not support an option, or a file is invalid.
    """
    synthesizer = open_model(run, device, "synthesize").synthesizer
    space, request = synthesizer.space, StyleRequest(style, style_labels, region_styles, mixes, samples)
    inputs = {"the label maps": labels, "the instance maps": instances, **request.photos(space)}
    request.check(synthesizer)
    _check_options(synthesizer, instances, size)
    said = space_of_label_maps(read_as, space)
    predicts = None if segmenter is None else open_model(segmenter, device, "segment").segmenter
    photos = StylePhotos(space, style, style_labels, predicts, said)
    names = _names(Path(labels))
    outputs = _outputs(Path(labels), names, Path(out), samples, overwrite, inputs)
    edges = InstanceMaps(Path(instances), not Path(labels).is_dir()) if instances is not None else None
    drawing = _Drawing(synthesizer, synthesizer.resolve(request, photos, size), edges, size, seed)
    maps = [
        _Map(file, names[file], space_of_map(file, space, said), paths) for file, paths in outputs.items()
    ]
    _draw(drawing, maps, Path(out) if Path(labels).is_dir() else None, quiet)
    return sum(len(each.pictures) for each in maps)


class _Drawing(NamedTuple):
    """Settings for generating images; ``style`` is from :meth:`Synthesizer.resolve`."""

    synthesizer: Synthesizer
    style: Any
    edges: InstanceMaps | None
    size: tuple[int, int] | None
    seed: int


def _draw(drawing: _Drawing, maps: Sequence[_Map], folder: Path | None, quiet: bool) -> None:
    """Generate and write images; ``folder``: the output folder, if there may be several."""
    size, space = drawing.size, drawing.synthesizer.space
    with ExitStack() as stack:
        wrote = stack.enter_context(claimed_files(folder, PICTURES)) if folder is not None else None
        for each in track(maps, "synthesize", console=open_console(stderr=True, quiet=quiet)):
            labels = read_map(space, each.file, check_image(each.file), each.space)
            edges = None
            if drawing.edges is not None:
                edges = drawing.edges.edges(each.file, each.name, labels, size)
            labels = resized(labels, size)
            for number, path in enumerate(each.pictures):
                picture = drawing.synthesizer.draw(labels, drawing.style, drawing.seed + number, edges=edges)
                write_png(picture, path)
                if wrote is not None:
                    wrote(path)


def _check_options(
    synthesizer: Synthesizer, instances: str | Path | None, size: tuple[int, int] | None
) -> None:
    """Raises UserError for missing or unsupported instance maps, and for a size that is too large."""
    if synthesizer.takes_edges and instances is None:
        raise DataError(
            f"{synthesizer.title} also takes the edges of instances: give the instance map of each label map with "
            f"--instances."
        )
    if instances is not None and not synthesizer.takes_edges:
        raise DataError(f"{synthesizer.title} takes no instance edges: leave out --instances.")
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        raise DataError(f"{size[0]}×{size[1]} is larger than {MAX_PIXELS} pixels: give a smaller size.")


def _names(labels: Path) -> dict[FileRef, PurePosixPath]:
    """Each label map, and its path below the folder without suffix."""
    return (
        label_ids_only(collect_inputs([labels]).images)
        if labels.is_dir()
        else {labels: PurePosixPath(labels.stem)}
    )


def _outputs(
    labels: Path,
    names: dict[FileRef, PurePosixPath],
    out: Path,
    samples: int | None,
    overwrite: bool,
    inputs: dict[str, object],
) -> dict[FileRef, list[Path]]:
    """The output files of each label map. Raises UserError if one exists, or a path has the wrong form."""
    if labels.is_dir():
        if out.is_file():
            raise RunError(f"{out} is a file: give a folder as --out for a folder of label maps.")
        outputs = {file: sampled(out / f"{name}.png", samples) for file, name in names.items()}
        ensure_apart(out, inputs)
        ensure_unclaimed(out, PICTURES, [path for paths in outputs.values() for path in paths], overwrite)
        return outputs
    if not labels.exists():
        raise DataError(f"There is no label map {labels}: give a PNG file, or a folder of them.")
    if not labels.is_file() or not is_image_name(labels.name):
        raise DataError(f"{labels} is no label map: give a PNG file, or a folder of them.")
    if out.suffix.lower() != ".png":
        raise DataError(f"--out {out} does not end in .png: pictures are written as PNG files.")
    for path in sampled(out, samples):
        ensure_writable(path, inputs, overwrite=overwrite)
    return {labels: sampled(out, samples)}
