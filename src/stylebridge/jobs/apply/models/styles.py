"""Style requests in one grammar for all models, and their resolution by a model.

A model has one of three grades of styles: none, one for the whole image, or one for each region of a label map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from stylebridge.data.label_space import LabelSpace
from stylebridge.errors import DataError, RunError
from stylebridge.jobs.apply.files.arrays import Picture

Grade = Literal["none", "image", "region"]
Code = TypeVar("Code")
#: The style of one class: a tensor, or several related ones.
Row = tuple[Tensor, ...]

#: Instead of a photo: the mean style of the class.
MEAN = "mean"
#: Most results for one input.
MOST_SAMPLES = 1000

#: The grades that support each option.
_TAKE: dict[str, tuple[Grade, ...]] = {
    "--style": ("image", "region"),
    "--style-labels": ("region",),
    "--region-style": ("region",),
    "--mix": ("region",),
    "--samples": ("image", "region"),
}
_SAID: dict[Grade, str] = {
    "none": "no styles (grade none)",
    "image": "one style for the whole image (grade image)",
    "region": "a style for each region (grade region)",
}


@dataclass(frozen=True)
class RegionStyle:
    """The style of one class: that of ``first``, or a mixture ``(1 − share)·first + share·second``. Both are photos or
    :data:`MEAN`."""

    index: int
    first: str = MEAN
    second: str | None = None
    share: float = 0.0


class Styled:
    """The base of all models that may have styles.

    Attributes:
        styles: the grade of the model's styles.
        draws: whether it can draw random styles.
        styled_runs: runs of the same task whose models have styles for each region, for messages.
        title: its name in messages: run and method.
    """

    styles: Grade = "none"
    draws: bool = False
    styled_runs: ClassVar[str] = ""
    title: str = "this run"


@dataclass(frozen=True)
class StyleRequest:
    """The user's style options ``--style --style-labels --region-style --mix --samples``.

    Attributes:
        style: the photo that gives the style, or the styles of regions; None: mean styles or a random style.
        style_labels: the label map of ``style``; None: found beside it by name, or predicted.
        region_styles: ``CLASS=PHOTO``: the style of one class from another photo, or ``CLASS=mean``.
        mixes: ``CLASS=PHOTO:PHOTO:SHARE``: a style between two, the second's share from 0 to 1.
        samples: number of results with random styles for each input; None: one result.
    """

    style: Picture | None = None
    style_labels: Picture | None = None
    region_styles: Sequence[str] = ()
    mixes: Sequence[str] = ()
    samples: int | None = None

    def options(self) -> tuple[str, ...]:
        """The given options."""
        given = {
            "--style": self.style is not None,
            "--style-labels": self.style_labels is not None,
            "--region-style": bool(self.region_styles),
            "--mix": bool(self.mixes),
            "--samples": self.samples is not None,
        }
        return tuple(option for option, is_given in given.items() if is_given)

    def check(self, model: Styled) -> None:
        """Check that a model supports the options.

        Raises:
            RunError: its grade of styles does not; names the option, the grade and the mend.
            DataError: an option requires another one, or a number is out of range.
        """
        for option in self.options():
            draw = option == "--samples"
            if model.styles not in _TAKE[option]:
                other = f", or use {model.styled_runs}" if model.styled_runs and not draw else ""
                raise RunError(
                    f"{option} does not go with {model.title}, which takes {_SAID[model.styles]}",
                    f"leave it out{other}",
                )
            if draw and not model.draws:
                raise RunError(
                    f"--samples does not go with {model.title}, which takes {_SAID[model.styles]} and cannot draw one "
                    f"at random",
                    "leave it out",
                )
        if self.style_labels is not None and self.style is None:
            raise DataError("--style-labels is the label map of the --style photo: give both.")
        if self.samples is not None and not 1 <= self.samples <= MOST_SAMPLES:
            raise DataError(f"--samples is {self.samples}: give a number from 1 to {MOST_SAMPLES}.")

    def regions(self, space: LabelSpace) -> tuple[RegionStyle, ...]:
        """The requested styles of single classes. Raises DataError, see :func:`parse_region_styles`."""
        return parse_region_styles(self.region_styles, self.mixes, space)

    def photos(self, space: LabelSpace | None) -> dict[str, object]:
        """The input files, by their names in messages."""
        found: dict[str, object] = {"the style photo": self.style, "its label map": self.style_labels}
        for each in self.regions(space) if space is not None else ():
            found |= {f"the photo ({p})": p for p in (each.first, each.second) if p not in (None, MEAN)}
        return found


def sampled(picture: Path, samples: int | None) -> list[Path]:
    """The output files with ``--samples`` for a picture NAME.png: NAME-1.png …; without it the file itself."""
    if samples is None:
        return [picture]
    return [picture.with_name(f"{picture.stem}-{n}{picture.suffix}") for n in range(1, samples + 1)]


def parse_region_styles(
    styles: Sequence[str], mixes: Sequence[str], space: LabelSpace
) -> tuple[RegionStyle, ...]:
    """Parse ``CLASS=PHOTO`` and ``CLASS=PHOTO:PHOTO:SHARE``.

    Raises:
        DataError: one has another form, its class is unknown, or a class has two styles.
    """
    found = []
    for text in styles:
        name, sign, photo = text.partition("=")
        if not sign or not photo:
            raise DataError(
                f"--region-style {text!r} is not of the form CLASS=PHOTO, such as window=other.jpg."
            )
        found.append(RegionStyle(_class(name, space), photo))
    for text in mixes:
        name, sign, rest = text.partition("=")
        parts = rest.rsplit(":", 2)
        if not sign or len(parts) != 3 or not all(parts):
            raise DataError(
                f"--mix {text!r} is not of the form CLASS=PHOTO:PHOTO:SHARE, such as roof=a.jpg:b.jpg:0.3."
            )
        try:
            share = float(parts[2])
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            raise DataError(
                f"--mix {text!r}: the share of the second photo is a number from 0 to 1, not {parts[2]!r}."
            )
        found.append(RegionStyle(_class(name, space), parts[0], parts[1], share))
    indices = [each.index for each in found]
    twice = next((i for i in indices if indices.count(i) > 1), None)
    if twice is not None:
        raise DataError(f"Class {space.classes[twice]!r} is given two styles: leave one out.")
    return tuple(found)


def _class(name: str, space: LabelSpace) -> int:
    if name not in space.classes:
        raise DataError(f"There is no class {name!r} in this run: choose one of {', '.join(space.classes)}.")
    return space.classes.index(name)


# --- resolving a request -----------------------------------------------------------------------------------


class RegionCodes(NamedTuple, Generic[Code]):
    """Resolved styles of regions: ``base`` from a photo, None: the mean; ``rows`` for single classes."""

    base: Code | None
    rows: dict[int, Row]


def resolve_regions(
    request: StyleRequest,
    space: LabelSpace,
    code: Callable[[Picture], Code],
    row: Callable[[Code | None, str, int], Row],
) -> RegionCodes[Code]:
    """The requested styles of regions; every photo is encoded once.

    Args:
        code: the styles of all regions of a photo.
        row: the style of one class; called with the styles (None: the means), the photo's name and the class. Raises
            DataError if there is none.
    """
    known: dict[str, Code] = {}

    def of(photo: Picture) -> Code:
        key = str(photo) if isinstance(photo, str | Path) else str(id(photo))
        if key not in known:
            known[key] = code(photo)
        return known[key]

    def one(photo: str, index: int) -> Row:
        return row(None if photo == MEAN else of(photo), photo, index)

    base = None if request.style is None else of(request.style)
    return RegionCodes(base, rows_of(request.regions(space), one))


def rows_of(wanted: Iterable[RegionStyle], one: Callable[[str, int], Row]) -> dict[int, Row]:
    """The requested style of each single class; ``one`` returns that of a class in one photo."""
    rows: dict[int, Row] = {}
    for each in wanted:
        rows[each.index] = first = one(each.first, each.index)
        if each.second is not None:
            second = one(each.second, each.index)
            rows[each.index] = tuple(torch.lerp(a, b, each.share) for a, b in zip(first, second, strict=True))
    return rows


def resolve_image(request: StyleRequest, code: Callable[[Picture], Any]) -> Any:
    """The requested style of a whole image; None: the model's default."""
    return None if request.style is None else code(request.style)
