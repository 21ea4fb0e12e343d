"""Write a labelled data set with a translator: translated images with their labels, for use in training."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console
from rich.progress import track

from stylebridge.data.dataset import read_pair
from stylebridge.data.domain import Domain, DomainSpec, open_domain
from stylebridge.data.files import path_below
from stylebridge.data.images import read_image
from stylebridge.data.label_space import IGNORE, LabelSpace
from stylebridge.engine.rng import drawing
from stylebridge.errors import DataError
from stylebridge.jobs.apply.models.inference import write_label_png
from stylebridge.jobs.apply.models.model import Model
from stylebridge.jobs.apply.models.translator import Translator
from stylebridge.jobs.datasets.domains import open_labelled, reopen_adaptation
from stylebridge.jobs.pictures import write_png
from stylebridge.jobs.runs.folder import RunFolder, data_of
from stylebridge.jobs.runs.outputs import TRANSLATED, ensure_apart, ensure_free, replaced_folder
from stylebridge.terminal import open_console

MANIFEST, SPACE = "manifest.jsonl", "label_space.yaml"

#: Translates the image with a number, given its label map; returns the result and the name of the style photo.
Paint = Callable[[int, np.ndarray, np.ndarray], tuple[np.ndarray, str | None]]


def write_translated_set(
    model: Model,
    out: str | Path,
    data: str | Path | None = None,
    *,
    to: str | None = None,
    pixels: int | None = None,
    read_as: str | None = None,
    seed: int = 0,
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Translate a labelled set and write it with its labels: ``images/``, ``labels/`` (8-bit class numbers, 255 =
    none), ``label_space.yaml`` and ``manifest.jsonl`` (a line for each image: image, labels, source, style photo,
    pixels of each class). The folder is written atomically, and can be read like any other domain.

    Args:
        model: a run that can translate. If it uses styles, each image gets that of a random photo of the domain.
        data: labelled images; None: the run's training images.
        to: the output domain: its name, ``a`` or ``source``, ``b`` or ``target``; None: the second.
        pixels: translate at about this many pixels, if the run can translate at any size.
        read_as: the label space regardless of the files' evidence; ``run``: the run's.
        seed: chooses the style photos, and the noise of translators that add some.

    Returns:
        The number of written images.

    Raises:
        UserError: the run cannot translate, or the data or the output folder is invalid.
    """
    folder = Path(out)
    places = {"the run": model.path, "the data": DomainSpec.parse(data).path if data is not None else None}
    ensure_apart(folder, places)
    ensure_free(folder, TRANSLATED, overwrite)
    console, said = open_console(stderr=True, quiet=quiet), [read_as] if read_as else []
    translator = model.translator
    translator.check(to, None, pixels)
    domain = _labelled(model, data, translator.domains.find(to) == 0, said, console)
    paint = _painting(translator, to, len(domain.images), pixels, seed)
    assert domain.space is not None
    ensure_apart(folder, {"the data": domain.root, **data_of(RunFolder(model.path).facts())})
    with replaced_folder(folder, TRANSLATED) as beside:
        with (beside / MANIFEST).open("w", encoding="utf-8") as manifest, drawing(seed):
            for index in track(range(len(domain.images)), "translate", console=console):
                line = json.dumps(_write_one(domain, index, paint, beside), ensure_ascii=False)
                manifest.write(f"{line}\n")
        (beside / SPACE).write_text(_space_yaml(domain.space), encoding="utf-8")
    return len(domain.images)


def _write_one(domain: Domain, index: int, paint: Paint, folder: Path) -> dict[str, Any]:
    """Write one image and its label map; returns its line of the manifest."""
    image, labels = read_pair(domain, index)
    assert labels is not None
    assert domain.space is not None
    name = path_below(domain.images[index], domain.root).with_suffix(".png")
    # Plain folders have their images below "images"; the set has its own such folder.
    parts = [part for part in name.parts if part not in ("images", "leftImg8bit")]
    places = {kind: Path(kind, *parts) for kind in ("images", "labels")}
    made, style = paint(index, image, labels)
    write_png(made, folder / places["images"])
    write_label_png(labels, domain.space, folder / places["labels"])
    present, counts = np.unique(labels[labels != IGNORE], return_counts=True)
    pixels = {domain.space.classes[int(k)]: int(n) for k, n in zip(present, counts, strict=True)}
    return {
        "image": places["images"].as_posix(),
        "labels": places["labels"].as_posix(),
        "source": str(domain.images[index]),
        "style": style,
        "pixels": pixels,
    }


def _labelled(
    model: Model, data: str | Path | None, first: bool, read_as: Sequence[str], console: Console
) -> Domain:
    """The labelled images: the given ones, or those of the run's input domain.

    Args:
        first: whether the output is the first domain, and the input the second.

    Raises:
        DataError: the run's images have no labels, are unknown or invalid.
    """
    space = model.translator.space
    if data is not None:
        return open_labelled(data, "data", console, model=space, read_as=read_as)
    if model.task == "adapt":
        if first:
            raise DataError("The run's target has no labels to keep: give labelled images, or --to b.")
        return reopen_adaptation(RunFolder(model.path).facts(), None).source
    own = model.translator.domains.specs[1 if first else 0]
    if own is None:
        raise DataError(
            "Give the labelled images too: `stylebridge translate apply RUN DATA --labels keep --out DIR`."
        )
    return open_labelled(own, "data", console, read_as=read_as)


def _painting(translator: Translator, to: str | None, count: int, pixels: int | None, seed: int) -> Paint:
    """A function that translates each image, with the style of a random photo of the domain if it uses styles."""
    domains, photos, order = translator.domains, None, np.zeros(count, np.int64)
    if translator.styles != "none":
        number = domains.find(to)
        spec, role = domains.specs[number], domains.keys[number]
        if spec is None:
            raise DataError("The run does not name the photos that styles are drawn from: give another run.")
        photos = open_domain(spec, f"the run's {role}", labelled=False).images
        order = np.random.default_rng(seed).integers(0, len(photos), count)

    def paint(index: int, image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, str | None]:
        photo = None if photos is None else photos[int(order[index])]
        style = None if photo is None else translator.code(read_image(photo), to)
        made = translator.translate(image, to, style, labels=labels, pixels=pixels)
        return made, None if photo is None else str(photo)

    return paint


def _space_yaml(space: LabelSpace) -> str:
    """A label space of class numbers, as a file for ``--label-space``."""
    classes = [
        {"name": name, "colour": list(colour), "raw": [index]}
        for index, (name, colour) in enumerate(zip(space.classes, space.colours, strict=True))
    ]
    return yaml.safe_dump(
        {"name": space.name, "classes": classes, "ignore_raw": [IGNORE]}, sort_keys=False, allow_unicode=True
    )
