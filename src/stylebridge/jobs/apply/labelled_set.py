"""A labelled data set out of a translator: translated images with the labels they had, for training elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from rich.console import Console
from rich.progress import track

from stylebridge.data.dataset import read_pair
from stylebridge.data.domain import Domain, DomainSpec, open_domain
from stylebridge.data.files import path_below
from stylebridge.data.images import read_image
from stylebridge.data.label_space import IGNORE, LabelSpace
from stylebridge.data.resizing import resized
from stylebridge.engine import open_accelerator
from stylebridge.errors import DataError
from stylebridge.jobs.apply.models.bridge import BridgeRun, domain_of
from stylebridge.jobs.apply.models.inference import write_label_png
from stylebridge.jobs.apply.models.translator import load_networks, resample_of
from stylebridge.jobs.datasets.domains import open_labelled, reopen_adaptation
from stylebridge.jobs.pictures import as_pixels, as_tensor, write_png
from stylebridge.jobs.recipe.adapt import size_for
from stylebridge.jobs.runs.folder import RunFolder, data_of, find_run
from stylebridge.jobs.runs.outputs import TRANSLATED, ensure_apart, ensure_free, replaced_folder
from stylebridge.terminal import open_console

MANIFEST, SPACE = "manifest.jsonl", "label_space.yaml"

#: Translates the image of a number, given with its label map; returns it and the name of the photo that gave the style.
Paint = Callable[[int, np.ndarray, np.ndarray], tuple[np.ndarray, str | None]]


def write_translated_set(
    run: str | Path,
    out: str | Path,
    data: str | Path | None = None,
    *,
    to: str = "b",
    pixels: int | None = None,
    read_as: str | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Translate a labelled set and write it with its labels: ``images/``, ``labels/`` (8-bit class numbers, 255 =
    none), ``label_space.yaml`` and ``manifest.jsonl`` (a line a picture: image, labels, source, the photo of its style,
    pixels of each class). The folder is whole or not there, and is read as any other domain.

    Args:
        run: of ``stylebridge adapt`` with a Bridge recipe (each image takes the region styles of a random image of the
            other domain), or of ``stylebridge translate train``.
        data: labelled images; None: those that the run was trained on.
        to: the domain they shall look like: ``a`` (the source) or ``b`` (the target).
        pixels: translate at about so many pixels (runs of ``translate train`` only).
        read_as: the space that the label files are read in whatever they show; ``run``: the run's own.
        seed: chooses the style photos.

    Returns:
        How many images were written.

    Raises:
        UserError: the run, the data or the output folder is not what it should be.
    """
    folder = Path(out)
    places = {"the run": run, "the data": DomainSpec.parse(data).path if data is not None else None}
    ensure_apart(folder, places)
    ensure_free(folder, TRANSLATED, overwrite)
    found, kind = find_run(Path(run), "translate")
    console, said = open_console(stderr=True, quiet=quiet), [read_as] if read_as else []
    where = open_accelerator(device).device
    if kind == "adapt":
        if pixels is not None:
            raise DataError(
                "--pixels does not belong to a Bridge run: it translates at the size it was trained on."
            )
        domain, paint = _of_bridge(found, data, to, seed, where, said, console)
    else:
        domain, paint = _of_translator(found, data, to, pixels, where, said, console)
    assert domain.space is not None
    ensure_apart(folder, {"the data": domain.root, **data_of(found.facts())})
    with replaced_folder(folder, TRANSLATED) as beside:
        with (beside / MANIFEST).open("w", encoding="utf-8") as manifest:
            for index in track(range(len(domain.images)), "translate", console=console):
                line = json.dumps(_write_one(domain, index, paint, beside), ensure_ascii=False)
                manifest.write(f"{line}\n")
        (beside / SPACE).write_text(_space_yaml(domain.space), encoding="utf-8")
    return len(domain.images)


def _write_one(domain: Domain, index: int, paint: Paint, folder: Path) -> dict[str, Any]:
    """One picture and its label map; returns its line of the manifest."""
    image, labels = read_pair(domain, index)
    assert labels is not None
    assert domain.space is not None
    name = path_below(domain.images[index], domain.root).with_suffix(".png")
    # Plain folders keep their images below "images"; the set has such a folder of its own.
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


def _of_bridge(
    run: RunFolder,
    data: str | Path | None,
    to: str,
    seed: int,
    device: torch.device,
    read_as: Sequence[str],
    console: Console,
) -> tuple[Domain, Paint]:
    opened = BridgeRun.open(run.path, device)
    wanted = domain_of(to)
    facts = run.facts()
    if data is None and wanted == "source":
        raise DataError("The run's target has no labels to keep: give labelled images, or --to b.")
    domain = (
        reopen_adaptation(facts, None).source
        if data is None
        else open_labelled(data, "data", console, model=opened.space, read_as=read_as)
    )
    photos = open_domain(facts[wanted], f"the run's {wanted}", labelled=False).images
    order = np.random.default_rng(seed).integers(0, len(photos), len(domain.images))

    def paint(index: int, image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, str | None]:
        photo = photos[int(order[index])]
        styles = opened.styles(read_image(photo), None, wanted)
        return opened.translate(image, labels, wanted, styles), str(photo)

    return domain, paint


def _of_translator(
    run: RunFolder,
    data: str | Path | None,
    to: str,
    pixels: int | None,
    device: torch.device,
    read_as: Sequence[str],
    console: Console,
) -> tuple[Domain, Paint]:
    translator = load_networks(run.path).translator(to).to(device)  # type: ignore[operator]
    own = run.facts().get("a" if to == "b" else "b")
    wanted = own if data is None else data
    if wanted is None:
        raise DataError(
            "Give the labelled images too: `stylebridge translate apply RUN DATA --labels keep --out DIR`."
        )
    domain = open_labelled(wanted, "data", console, read_as=read_as)
    resample = resample_of(run.path)

    @torch.inference_mode()
    def paint(index: int, image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, str | None]:
        height, width = image.shape[:2]
        size = size_for(pixels, (width, height)) if pixels else None
        made = as_pixels(translator(as_tensor(image, size, resample)[None].to(device))[0])
        return resized(made, (width, height)), None

    return domain, paint


def _space_yaml(space: LabelSpace) -> str:
    """A label space of class numbers, as ``--label-space`` takes it."""
    classes = [
        {"name": name, "colour": list(colour), "raw": [index]}
        for index, (name, colour) in enumerate(zip(space.classes, space.colours, strict=True))
    ]
    return yaml.safe_dump(
        {"name": space.name, "classes": classes, "ignore_raw": [IGNORE]}, sort_keys=False, allow_unicode=True
    )
