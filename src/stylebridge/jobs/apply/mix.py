"""Mix the factors of four photos in one image with a finished MixNMatch run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from stylebridge.errors import DataError, RunError
from stylebridge.jobs.apply.models.mixer import FACTORS, Mixed, Mode, check_mode, pixels
from stylebridge.jobs.apply.models.model import open_model
from stylebridge.jobs.pictures import write_png
from stylebridge.jobs.runs.outputs import ensure_writable


def mix_images(
    run: str | Path,
    out: str | Path | None,
    *,
    background: str | Path | None,
    shape: str | Path | None,
    texture: str | Path | None,
    pose: str | Path | None = None,
    mode: Mode = "code",
    masks: bool = False,
    device: str = "auto",
    overwrite: bool = False,
) -> Path:
    """Write one image with each factor from a separate photo.

    Args:
        out: the PNG file to write.
        pose: needed in code mode, not used in feature mode.
        mode: see :class:`Mixing`; feature mode needs a run with a feature extractor.
        masks: also write the masks of shape and texture beside it: ``NAME-shape-mask.png``, ``NAME-texture-mask.png``.

    Raises:
        UserError: the run, a photo or the output is invalid.
    """
    check_mode(mode)
    given = {"pose": pose, "background": background, "shape": shape, "texture": texture}
    path = output_path(out, ".png", "--out", inputs=photos_of(given), masks=masks, overwrite=overwrite)
    files = check_photos(given, mode=mode)
    mixing = open_model(run, device, "mix").mixing(mode)
    coded = {factor: mixing.encode(factor, mixing.read([Path(file)])) for factor, file in files.items()}
    (made,) = mixing.paint(coded, {factor: [0] for factor in files})
    for place, picture in beside(path, made, masks).items():
        write_png(pixels(picture)[0], place)
    return path


def photos_of(given: Mapping[str, str | Path | None]) -> dict[str, object]:
    """The given photos, by their names in messages."""
    return {f"the {factor} photo": photo for factor, photo in given.items()}


def check_photos(
    given: Mapping[str, str | Path | None], *, mode: str, elsewhere: Mapping[str, str] | None = None
) -> dict[str, Path]:
    """Check and return the photo of each factor that needs one.

    Args:
        elsewhere: factors that another option provides, with that option.

    Raises:
        DataError: a factor has no photo, two sources, or a path that is not a file; names the option.
    """
    elsewhere = elsewhere or {}
    if mode == "feature" and "pose" in elsewhere:
        raise DataError(f"In feature mode pose and shape come from one photo: leave out {elsewhere['pose']}.")
    found: dict[str, Path] = {}
    for factor in FACTORS if mode != "feature" else FACTORS[1:]:
        photo = given.get(factor)
        if factor in elsewhere:
            if photo is not None:
                raise DataError(f"The {factor} comes from {elsewhere[factor]}: leave out --{factor}.")
        elif photo is None:
            only = ": only feature mode takes the pose from the --shape photo" if factor == "pose" else ""
            raise DataError(f"Give --{factor} PHOTO too{only}.")
        else:
            found[factor] = Path(photo)
            if not found[factor].is_file():
                raise DataError(
                    f"--{factor} {photo} is a folder: give one photo, or a sheet's many with --vary {factor}={photo}."
                    if found[factor].is_dir()
                    else f"--{factor} {photo} does not exist: give a photo."
                )
    return found


def output_path(
    given: str | Path | None,
    ending: str,
    option: str,
    *,
    inputs: Mapping[str, object],
    masks: bool = False,
    overwrite: bool = False,
) -> Path:
    """Check and return the output path.

    Args:
        ending: the suffix of the file, such as ``.png``.
        inputs: paths by their names in messages; the output must be apart from them.
        masks: whether masks are written too (:func:`beside`).

    Raises:
        UserError: it is missing, has another suffix, or the file exists already.
    """
    if given is None:
        raise DataError(f"Give {option} FILE{ending}: it is where the result is written.")
    path = Path(given)
    if path.suffix.lower() != ending:
        raise DataError(f"{option} {path} does not end in {ending}: choose such a name.")
    if path.is_dir():
        raise RunError(f"{option} {path} is a folder: give a file name in it.")
    for place in (path, *(mask_paths(path) if masks else ())):
        ensure_writable(place, inputs, overwrite=overwrite, option=option)
    return path


def mask_paths(path: Path) -> tuple[Path, Path]:
    """The paths of the shape mask and the texture mask."""
    first, second = (path.with_name(f"{path.stem}-{factor}-mask{path.suffix}") for factor in FACTORS[2:])
    return first, second


def beside(path: Path, made: Mixed, masks: bool) -> dict[Path, Tensor]:
    """The tensors to write by path: the images, and optionally the masks."""
    if not masks:
        return {path: made.image}
    return dict(zip((path, *mask_paths(path)), (made.image, made.shape_mask, made.texture_mask), strict=True))
