"""Sheets of mixes: one or two factors vary over many photos, with references at the edge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from stylebridge.data.files import FileRef, open_tree
from stylebridge.errors import DataError
from stylebridge.jobs.apply.mix import check_photos, mask_paths, output_path, photos_of
from stylebridge.jobs.apply.mixing.sheet import Reference, sheet
from stylebridge.jobs.apply.models.mixer import FACTORS, Mode, check_mode, pixels
from stylebridge.jobs.apply.models.model import open_model
from stylebridge.jobs.pictures import write_png
from stylebridge.terminal import open_console, open_progress

#: Most mixes on one sheet.
MOST = 2500


def mix_grid(
    run: str | Path,
    grid: str | Path | None,
    *,
    vary: Sequence[str],
    pose: str | Path | None = None,
    background: str | Path | None = None,
    shape: str | Path | None = None,
    texture: str | Path | None = None,
    mode: Mode = "code",
    masks: bool = False,
    device: str = "auto",
    overwrite: bool = False,
    quiet: bool = False,
) -> Path:
    """A sheet of mixes: the factors of ``vary`` from many photos, the others from one photo each.

    Every photo is encoded once.

    Args:
        grid: the PNG file to write.
        vary: ``FACTOR=PHOTOS`` once or twice, PHOTOS a folder, a zip file or a photo. The first varies from left to
            right, the second from top to bottom.
        mode: see :class:`stylebridge.jobs.apply.models.mixer.Mixing`.
        masks: also write sheets of the masks of shape and texture: ``NAME-shape-mask.png`` and
            ``NAME-texture-mask.png``.

    Raises:
        UserError: the run, a photo, a ``vary`` or the output is invalid.
    """
    check_mode(mode)
    given = {"pose": pose, "background": background, "shape": shape, "texture": texture}
    inputs = photos_of(given) | {f"the photos of --vary {each}": each.partition("=")[2] for each in vary}
    path = output_path(grid, ".png", "--grid", inputs=inputs, masks=masks, overwrite=overwrite)
    varied = parse_vary(vary)
    fixed = check_photos(given, mode=mode, elsewhere={f: f"--vary {f}" for f in varied})
    mixing = open_model(run, device, "mix").mixing(mode)
    files: dict[str, list[FileRef]] = {**varied, **{factor: [file] for factor, file in fixed.items()}}
    references, coded = {}, {}
    for factor in mixing.factors:
        photos = mixing.read(files[factor])
        coded[factor] = mixing.encode(factor, photos)
        references[factor] = [
            Reference(factor, file.stem, photo) for file, photo in zip(files[factor], photos, strict=True)
        ]
    picks, form = crossed(mixing.factors, varied)
    kinds: list[list[np.ndarray]] = [[], [], []] if masks else [[]]
    with open_progress(open_console(stderr=True, quiet=quiet)) as progress:
        task = progress.add_task("mix", total=form[0] * form[1])
        for made in mixing.paint(coded, picks):
            for kind, pictures in zip(kinds, made, strict=False):
                kind.append(pixels(pictures))
            progress.advance(task, len(made.image))
    across, *down = (references[factor] for factor in varied)
    edges = [references[f][0] for f in mixing.factors if f not in varied], across, down[0] if down else []
    for kind, place in zip(kinds, (path, *mask_paths(path)), strict=False):
        cells = np.concatenate(kind).reshape(*form, mixing.side, mixing.side, 3)
        write_png(sheet(*edges, cells), place)
    return path


def parse_vary(given: Sequence[str]) -> dict[str, list[FileRef]]:
    """Parse ``FACTOR=PHOTOS``.

    Raises:
        DataError: the form is invalid, there are no photos, a factor occurs twice, or there are too many mixes.
    """
    varied: dict[str, list[FileRef]] = {}
    for each in given:
        factor, sign, place = each.partition("=")
        if not sign or not place or factor not in FACTORS:
            raise DataError(
                f"--vary {each} is not FACTOR=PHOTOS: name one of {', '.join(FACTORS)} and a folder, such as "
                f"texture=photos/."
            )
        if factor in varied:
            raise DataError(f"--vary {factor} is given twice: put all of its photos in one folder.")
        varied[factor] = _photos(Path(place), factor)
    if len(varied) not in (1, 2):
        raise DataError("A sheet has two sides: give --vary once or twice.")
    cells = int(np.prod([len(photos) for photos in varied.values()]))
    if cells > MOST:
        counts = " × ".join(f"{len(photos):,}" for photos in varied.values())
        raise DataError(
            f"--vary needs {counts} mixes, but a sheet has at most {MOST:,}: give folders with fewer photos."
        )
    return varied


def _photos(place: Path, factor: str) -> list[FileRef]:
    if place.is_file() and place.suffix.lower() != ".zip":
        return [place]
    if not place.exists():
        raise DataError(f"--vary {factor}={place} does not exist: give a folder of photos.")
    photos = list(open_tree(place, factor).images().values())
    if not photos:
        raise DataError(
            f"--vary {factor}={place} has no photos: give a folder with image files such as .jpg or .png."
        )
    return photos


def crossed(
    factors: Sequence[str], varied: Mapping[str, Sequence[object]]
) -> tuple[dict[str, list[int]], tuple[int, int]]:
    """The photo of each factor for each mix, row by row; and the numbers of rows and columns.

    Args:
        varied: photos of one or two factors, the first across, the second down.
    """
    counts = [len(photos) for photos in varied.values()]
    columns, rows = counts[0], counts[1] if len(counts) == 2 else 1
    row, column = np.divmod(np.arange(rows * columns), columns)
    along = dict(zip(varied, (column.tolist(), row.tolist()), strict=False))
    return {factor: along.get(factor, [0] * (rows * columns)) for factor in factors}, (rows, columns)
