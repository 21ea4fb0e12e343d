"""Use an adapted model: label images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.progress import track

from stylebridge.data.files import IMAGE_SUFFIXES
from stylebridge.engine import open_accelerator
from stylebridge.errors import DataError, RunError
from stylebridge.jobs.inference import predict_files, write_label_png
from stylebridge.jobs.load import load_adapted
from stylebridge.report.pictures import overlay as lay_over


def segment(
    run: str | Path,
    images: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    overlay: bool = False,
    device: str = "auto",
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Label images with an adapted model.

    Writes ``out/<name>.png``, an 8-bit palette PNG of the image's own size whose values are class indices;
    with ``overlay`` also ``out/overlays/<name>.jpg``. Images of a folder keep their place below it.

    Returns:
        How many label maps were written.

    Raises:
        UserError: the run, an image or the output folder is not what it should be.
    """
    model = load_adapted(Path(run))
    listed = [images] if isinstance(images, str | Path) else list(images)
    names = _output_names([Path(p) for p in listed])
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file: give a folder as --out.")
    outputs = [folder / name for name in names.values()]
    if overlay:
        outputs += [folder / "overlays" / name.with_suffix(".jpg") for name in names.values()]
    existing = [path for path in outputs if path.exists()]
    if existing and not overwrite:
        raise RunError(f"{existing[0]} exists already: choose another --out or give --overwrite.")
    accelerator = open_accelerator(device)
    segmenter = model.segmenter.to(accelerator.device)
    predictions = predict_files(segmenter, list(names), model.inference, accelerator.device)
    console = Console(stderr=True, quiet=quiet)
    for file, image, labels in track(predictions, "segment", len(names), console=console):
        name = names[Path(str(file))]
        write_label_png(labels, model.space, folder / name)
        if overlay:
            picture = folder / "overlays" / name.with_suffix(".jpg")
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(lay_over(image, labels, model.space)).save(picture, quality=92)
    return len(names)


def _output_names(paths: list[Path]) -> dict[Path, Path]:
    """Each image file and the relative name of its label map."""
    names: dict[Path, Path] = {}
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
            if not found:
                raise DataError(f"{path} holds no images: give a folder with .jpg, .png or the like.")
            names |= {p: p.relative_to(path).with_suffix(".png") for p in found}
        elif path.is_file():
            names[path] = Path(path.name).with_suffix(".png")
        else:
            raise DataError(f"{path} does not exist: give an image file or a folder of images.")
    taken: dict[Path, Path] = {}
    for path, name in names.items():
        if name in taken:
            raise DataError(
                f"{path} and {taken[name]} would both be written to {name}: segment them into two folders."
            )
        taken[name] = path
    return names
