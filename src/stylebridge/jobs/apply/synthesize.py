"""Pictures from label maps with a finished run: styles of photos, of regions, mixtures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from stylebridge.data.augment import resize
from stylebridge.data.files import FileRef, is_image_name
from stylebridge.data.images import check_image, read_image
from stylebridge.data.resizing import resized
from stylebridge.errors import DataError, RunError
from stylebridge.jobs.apply.files.inputs import collect_inputs
from stylebridge.jobs.apply.files.instances import InstanceMaps, label_ids_only
from stylebridge.jobs.apply.models.segmenter import load_adapted
from stylebridge.jobs.apply.models.styles import MEAN, RegionStyle, StylePhotos, parse_region_styles, read_map
from stylebridge.jobs.apply.models.synthesizer import MAX_PIXELS, Style, Synthesizer, mix
from stylebridge.jobs.datasets.label_options import parse_read_as, space_of_map
from stylebridge.jobs.pictures import write_png
from stylebridge.jobs.runs.claimed_files import claimed_files, ensure_unclaimed
from stylebridge.jobs.runs.outputs import (
    PICTURES,
    ensure_apart,
    ensure_writable,
)
from stylebridge.terminal import open_console


def synthesize(
    run: str | Path,
    labels: str | Path,
    out: str | Path,
    *,
    style: str | Path | None = None,
    style_labels: str | Path | None = None,
    region_styles: Sequence[str] = (),
    mixes: Sequence[str] = (),
    segmenter: str | Path | None = None,
    instances: str | Path | None = None,
    read_as: str | None = None,
    size: tuple[int, int] | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Draw pictures from label maps with a trained synthesizer, as PNG files of the maps' sizes, or of ``size``.

    Args:
        labels: a label map, or a folder of them.
        out: the picture to write; of a folder of label maps, the folder for the pictures.
        style: the photo whose regions give the styles, or (SPADE with a VAE) whose look the pictures take; None: the
            mean style of each class, or a look at random.
        style_labels: the label map of ``style``; None: found beside it by name, or predicted by ``segmenter``.
        region_styles: ``CLASS=PHOTO``: the style of one class from another photo, or ``CLASS=mean``.
        mixes: ``CLASS=PHOTO:PHOTO:SHARE``: a style between two, the second's share from 0 to 1.
        segmenter: a run of ``stylebridge adapt`` that predicts label maps that are not found.
        instances: the instance map of the label map, or a folder of them, for networks that take instance edges.
        read_as: the space that label maps are read in whatever their palettes show; ``run``: the run's own.
        size: (width, height) that label maps, instance maps and style photos are resized to first, whatever their
            aspect (as the published programs do, at the size of training); None: they keep their sizes.
        seed: of the noise, and of the look.

    Returns:
        How many pictures were written.

    Raises:
        UserError: the run, a file or a wish is not what it should be.
    """
    synthesizer = Synthesizer.open(run, device)
    wishes = parse_region_styles(region_styles, mixes, synthesizer.space)
    _check_options(run, synthesizer, style, style_labels, wishes, instances)
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        raise DataError(f"{size[0]}×{size[1]} is larger than {MAX_PIXELS} pixels: give a smaller size.")
    if style_labels is not None and style is None:
        raise DataError("--style-labels is the label map of the --style photo: give both.")
    space = synthesizer.space
    said = parse_read_as([read_as] if read_as else [], ("label maps",), space).get("label maps")
    photos = StylePhotos(
        synthesizer.space,
        {str(style): Path(style_labels)} if style is not None and style_labels is not None else {},
        load_adapted(Path(segmenter)) if segmenter is not None else None,
        said,
    )
    names = _names(Path(labels))
    inputs: dict[str, object] = {
        "the label maps": labels,
        "the style photo": style,
        "its label map": style_labels,
        "the instance maps": instances,
    }
    inputs |= {
        f"the photo ({p})": p for wish in wishes for p in (wish.first, wish.second) if p not in (None, MEAN)
    }
    outputs = _outputs(Path(labels), names, Path(out), overwrite, inputs)
    edges = InstanceMaps(Path(instances), not Path(labels).is_dir()) if instances is not None else None
    codes = _Codes(synthesizer, photos, style, wishes, size) if synthesizer.uses_styles else None
    look = synthesizer.look(read_image(Path(style))) if codes is None and style is not None else None
    spaces = {file: space_of_map(file, space, said) for file in outputs}  # before anything is drawn
    with ExitStack() as stack:
        wrote: Callable[[Path], None] | None = None
        if Path(labels).is_dir():
            wrote = stack.enter_context(claimed_files(Path(out), PICTURES))
        for file, path in track(
            outputs.items(), "synthesize", console=open_console(stderr=True, quiet=quiet)
        ):
            maps = read_map(space, file, check_image(file), spaces[file])
            picture = synthesizer.render(
                resized(maps, size),
                codes(maps) if codes is not None else None,
                seed,
                edges=edges.edges(file, names[file], maps, size) if edges is not None else None,
                look=look,
            )
            write_png(picture, path)
            if wrote is not None:
                wrote(path)
    return len(outputs)


def _check_options(
    run: str | Path,
    synthesizer: Synthesizer,
    style: str | Path | None,
    style_labels: str | Path | None,
    wishes: Sequence[RegionStyle],
    instances: str | Path | None,
) -> None:
    """Raises UserError for what the networks of the run cannot take, and for what they need."""
    vae = getattr(synthesizer.networks.config, "vae", False)
    if not synthesizer.uses_styles and (wishes or style_labels):
        raise RunError(
            f"{run} draws pictures without a style for each class (SPADE): leave out --region-style, --mix and "
            f"--style-labels, or use a SEAN run."
        )
    if style is not None and not synthesizer.uses_styles and not synthesizer.takes_look:
        raise RunError(
            f"{run} was imported without the encoder of its VAE: import it again with --encoder latest_net_E.pth, or "
            f"leave out --style for a look at random."
            if vae
            else f"{run} draws pictures without styles (SPADE): leave out the style options, or use a SEAN run."
        )
    if synthesizer.takes_edges and instances is None:
        raise DataError(
            f"{run} also takes the edges of instances: give the instance map of each label map with --instances."
        )
    if instances is not None and not synthesizer.takes_edges:
        raise DataError(f"{run} takes no instance edges: leave out --instances.")


def _names(labels: Path) -> dict[FileRef, PurePosixPath]:
    """Each label map, and its place below the folder without the ending."""
    return (
        label_ids_only(collect_inputs([labels]).images)
        if labels.is_dir()
        else {labels: PurePosixPath(labels.stem)}
    )


def _outputs(
    labels: Path,
    names: dict[FileRef, PurePosixPath],
    out: Path,
    overwrite: bool,
    inputs: dict[str, object],
) -> dict[FileRef, Path]:
    if labels.is_dir():
        if out.is_file():
            raise RunError(f"{out} is a file: give a folder as --out for a folder of label maps.")
        outputs: dict[FileRef, Path] = {file: out / f"{name}.png" for file, name in names.items()}
        ensure_apart(out, inputs)
        ensure_unclaimed(out, PICTURES, list(outputs.values()), overwrite)
    else:
        if not labels.exists():
            raise DataError(f"There is no label map {labels}: give a PNG file, or a folder of them.")
        if not labels.is_file() or not is_image_name(labels.name):
            raise DataError(f"{labels} is no label map: give a PNG file, or a folder of them.")
        if out.suffix.lower() != ".png":
            raise DataError(f"--out {out} does not end in .png: pictures are written as PNG files.")
        outputs = {labels: out}
        ensure_writable(out, inputs, overwrite=overwrite)
    return outputs


class _Codes:
    """The style matrix for a label map; every photo is encoded once."""

    def __init__(
        self,
        synthesizer: Synthesizer,
        photos: StylePhotos,
        style: str | Path | None,
        wishes: Sequence[RegionStyle],
        size: tuple[int, int] | None = None,
    ) -> None:
        self.synthesizer, self.photos, self.size = synthesizer, photos, size
        self._styles: dict[str, Style] = {}
        self.base = self._of(str(style)) if style is not None else None
        self.rows = {wish.index: self._row(wish) for wish in wishes}

    def __call__(self, labels: np.ndarray) -> Tensor:
        """[K, S]: the photo's styles, class means where it lacks a class, and what was wished for single classes."""
        if self.base is None and self.synthesizer.means is None:
            missing = sorted(set(np.unique(labels).tolist()) - {255} - self.rows.keys())
            if missing:
                name = self.synthesizer.space.classes[missing[0]]
                raise DataError(
                    f"Class {name!r} has no style, and this run has no mean styles: give a --style photo."
                )
            if not self.rows:
                raise DataError(
                    "A label map has no class, and this run has no mean styles: give a --style photo."
                )
            codes = torch.zeros_like(next(iter(self.rows.values()))).repeat(
                self.synthesizer.space.num_classes, 1
            )
        else:
            codes = self.synthesizer.complete(self.base).clone()
        for index, row in self.rows.items():
            codes[index] = row
        return codes

    def _row(self, wish: RegionStyle) -> Tensor:
        first = self._code(wish.first, wish.index)
        return first if wish.second is None else mix(first, self._code(wish.second, wish.index), wish.share)

    def _code(self, photo: str, index: int) -> Tensor:
        name = self.synthesizer.space.classes[index]
        if photo == MEAN:
            means = self.synthesizer.means
            if means is None or not bool(means.present[index]):
                raise DataError(f"This run has no mean style of class {name!r}: give a photo.")
            return means.codes[index]
        style = self._of(photo)
        if not bool(style.present[index]):
            raise DataError(f"{photo} shows no {name!r}: give a photo that has that class.")
        return style.codes[index]

    def _of(self, photo: str) -> Style:
        if photo not in self._styles:
            image, labels = self.photos.read(photo)
            if self.size is not None:
                image = np.array(resize(image, None, self.size)[0])
                labels = resized(labels, self.size)
            self._styles[photo] = self.synthesizer.encode(image, labels)
        return self._styles[photo]
