"""Write a corrected copy of a set as plain ``images/`` and ``labels/`` folders. Good files are copied unchanged."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from stylebridge.data.doctor.box_rules import FIXED_BOXES, ExaminedBoxes, write_boxes
from stylebridge.data.doctor.examine import Examined, class_pixels
from stylebridge.data.doctor.facts import ImageFacts, LabelFacts, PairFacts
from stylebridge.data.doctor.listing import Pair
from stylebridge.data.doctor.resize import same_shape
from stylebridge.data.doctor.spaces import contradicts
from stylebridge.data.doctor.translate import reading_space, to_train_ids
from stylebridge.data.files import LabelRef, MaskStack, open_file
from stylebridge.data.images import ImageHeader, read_image, turn_pixels
from stylebridge.data.label_inference import CLASSES_FILE
from stylebridge.data.label_space import IGNORE, LabelSpace
from stylebridge.errors import DataError


@dataclass(frozen=True)
class FixSummary:
    """The contents of a corrected copy.

    Attributes:
        folder: its path.
        copied: number of files copied unchanged.
        changes: number of files for each change.
        changed: (file, change), file by file.
        left_out: (file, reason), file by file.
    """

    folder: Path
    copied: int
    changes: Counter[str]
    changed: list[tuple[str, str]]
    left_out: list[tuple[str, str]]


@dataclass(frozen=True)
class WrittenIds:
    """The ids of the classes in the copy's label files.

    Attributes:
        space: the label space that reads them, written to the copy's ``classes.yaml``.
        ids: uint8 [K], the id of each class.
        ignore: the id of ignored pixels.
    """

    space: LabelSpace
    ids: np.ndarray
    ignore: int

    def spell(self, train_ids: np.ndarray) -> np.ndarray:
        """Convert train ids uint8 [H, W] with 255 = ignore to the ids of the copy's files."""
        table = np.full(256, self.ignore, np.uint8)
        table[: len(self.ids)] = self.ids
        return table[train_ids]


def written_ids(space: LabelSpace) -> WrittenIds:
    """Keep the raw ids of a space if they fit in 8 bits, so that good files stay unchanged; else train ids."""
    small = {raw: train for raw, train in space.raw_ids.items() if raw <= 255}
    classes = range(space.num_classes)
    keeps = not space.raw_colours and set(classes) <= set(small.values())
    raw_ids = small if keeps else {i: i for i in classes}
    if raw_ids.get(255, IGNORE) == IGNORE:
        ignore = 255
    else:  # masks of 0 and 255 use 255 as a class
        ignore = next(i for i in range(254, -1, -1) if raw_ids.get(i, IGNORE) == IGNORE)
    raw_ids = {**raw_ids, ignore: IGNORE}
    ids = [i if raw_ids.get(i) == i else min(r for r, t in raw_ids.items() if t == i) for i in classes]
    return WrittenIds(replace(space, raw_ids=raw_ids, raw_colours={}), np.array(ids, np.uint8), ignore)


def fix_set(
    examined: Examined,
    out: Path,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
    boxes: ExaminedBoxes | None = None,
) -> FixSummary:
    """Write the corrected copy of one set below ``out``, which exists and is empty; with ``boxes``, of a set of images
    and boxes, which are clipped to their images.

    Raises:
        OSError: a file cannot be written.
    """
    written = written_ids(examined.space) if examined.space is not None else None
    labelled = examined.listed.labelled
    for folder in ("images", "labels") if labelled else ("images",):
        (out / folder).mkdir(parents=True)
    if written is not None:
        _write_classes(written, out / CLASSES_FILE)
    copied, changed, left_out, changes = 0, [], list(examined.listed.left_out), Counter()
    jobs = list(zip(examined.listed.pairs, examined.facts, strict=True))
    names: dict[str, str] = {}
    with ThreadPoolExecutor(max_workers=workers or os.cpu_count() or 1) as pool:
        made = pool.map(lambda job: _fix_pair(examined, written, boxes, out, *job), jobs)
        for (pair, facts), done in zip(jobs, made, strict=True):
            if progress is not None:
                progress(1)
            if not done.why:
                names[pair.key] = _image_name(pair, facts)
            left_out += [(file, done.why) for file in done.files if done.why]
            for file, what in zip(done.files, done.what, strict=True):
                if what:
                    changed.append((file, ", ".join(what)))
                    changes.update(what)
                elif not done.why:
                    copied += 1
    cut = write_boxes(boxes, names, out / FIXED_BOXES) if boxes is not None else 0
    if cut:
        changed.append((FIXED_BOXES, f"{cut:,} boxes clipped to their images"))
        changes["box clipped to its image"] = cut
    return FixSummary(out, copied, changes, changed, left_out)


@dataclass(frozen=True)
class _Done:
    """One pair: its files and their changes, or why the pair was left out."""

    files: list[str]
    what: list[list[str]]
    why: str = ""


def _fix_pair(
    examined: Examined,
    written: WrittenIds | None,
    boxes: ExaminedBoxes | None,
    out: Path,
    pair: Pair,
    facts: PairFacts,
) -> _Done:
    files = [examined.show(file) for file in (pair.image, pair.label) if file is not None]
    why = _unusable(examined, written, pair, facts)
    if not why and boxes is not None and pair.key not in boxes.kept:
        why = "its box is uncertain" if boxes.corners else "no box in the image"
    if why:
        return _Done(files, [[] for _ in files], why)
    try:
        what = [_fix_image(pair, facts, out)]
        if examined.listed.labelled and written is not None:
            what.append(_fix_label(examined, written, pair, facts, out))
    except DataError as error:  # the file changed after it was read
        for folder in ("images", "labels"):
            for file in (out / folder / pair.key).parent.glob(f"{Path(pair.key).name}.*"):
                file.unlink()
        return _Done(files, [[] for _ in files], str(error))
    return _Done(files, what)


def _unusable(examined: Examined, written: WrittenIds | None, pair: Pair, facts: PairFacts) -> str:
    """Why a pair cannot be copied, else empty."""
    image, label = facts.image, facts.label
    if pair.image is None or image is None:
        return "no image of the same name"
    if image.error or image.header is None:
        return "image cannot be read"
    if not examined.listed.labelled:
        return ""
    if pair.label is None or label is None:
        return "no label map of the same name"
    if label.error:
        return "label map cannot be read"
    if label.jpeg:
        return "label map is a JPEG"
    space = examined.space
    if space is not None and pair.key in examined.odd and contradicts(label, space):
        return "label map's palette belongs to another label space"
    if written is None or space is None or class_pixels(label, reading_space(space, label)) is None:
        return "label map's colours or ids belong to no known label space"
    if label.size != image.header.size and not same_shape(label.size, image.header.shown_size):
        return "label map has another aspect ratio than its image"
    return ""


# --- images -------------------------------------------------------------------------------------------------


def _fix_image(pair: Pair, facts: PairFacts, out: Path) -> list[str]:
    assert pair.image is not None
    assert facts.image is not None
    assert facts.image.header is not None
    what = _image_changes(facts.image.header, facts.image)
    target = out / "images" / _image_name(pair, facts)
    target.parent.mkdir(parents=True, exist_ok=True)
    if what:
        Image.fromarray(read_image(pair.image)).save(target)
    else:
        _copy(pair.image, target)
    return what


def _image_name(pair: Pair, facts: PairFacts) -> str:
    """The path of the copied image below the image folder."""
    assert pair.image is not None
    assert facts.image is not None
    assert facts.image.header is not None
    return f"{pair.key}{'.png' if _image_changes(facts.image.header, facts.image) else pair.image.suffix}"


def _image_changes(header: ImageHeader, image: ImageFacts) -> list[str]:
    changes = {
        "EXIF rotation applied": header.orientation != 1,
        "alpha removed": header.alpha,
        "CMYK to RGB": header.mode == "CMYK",
        "palette to RGB": header.mode in ("P", "PA"),
        "16 bits to 8": header.sixteen_bit,
    }
    what = [change for change, made in changes.items() if made]
    return what if what or header.mode in ("RGB", "L") else ["converted to RGB"]


def _copy(file: LabelRef, target: Path) -> None:
    assert not isinstance(file, MaskStack)
    with open_file(file) as opened:
        target.write_bytes(opened.read())


# --- labels -------------------------------------------------------------------------------------------------


def _fix_label(examined: Examined, written: WrittenIds, pair: Pair, facts: PairFacts, out: Path) -> list[str]:
    image, label = facts.image, facts.label
    assert image is not None
    assert image.header is not None
    assert label is not None
    assert pair.label is not None
    space = examined.space
    assert space is not None
    what = _label_changes(space, written, label)
    size, stored = image.header.shown_size, image.header.size
    turned = label.size != size and label.size == stored
    what += ["rotated like its image"] if turned else []
    what += [] if turned or label.size == size else ["scaled by nearest neighbour"]
    suffix = ".png" if what or isinstance(pair.label, MaskStack) else pair.label.suffix
    target = out / "labels" / f"{pair.key}{suffix}"
    target.parent.mkdir(parents=True, exist_ok=True)
    if not what:
        _copy(pair.label, target)
        return []
    train_ids = to_train_ids(pair.label, reading_space(space, label), size)[0]
    if turned:
        train_ids = turn_pixels(train_ids, image.header.orientation)
    picture = Image.fromarray(written.spell(train_ids))
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.NEAREST)
    picture.save(target)
    return what


def _label_changes(space: LabelSpace, written: WrittenIds, label: LabelFacts) -> list[str]:
    """The changes that a label file needs; empty: it is copied unchanged."""
    header = label.header
    if header is None:
        return ["masks painted as ids"]
    counted = class_pixels(label, reading_space(space, label))
    what = ["unknown ids ignored"] if counted is not None and counted.unknown else []
    if not label.grey:
        return [*what, "colours to ids"]
    if header.sixteen_bit:
        return [*what, "16-bit labels to 8-bit"]
    if what:
        return what
    if header.mode not in ("L", "P"):
        return ["label to 8-bit ids"]
    # A palette file read by colours equals one read by ids only if each used entry has its own id's colour.
    as_read = space.raw_colours if label.palette and space.raw_colours else None
    for value in label.ids:
        train = as_read.get(label.palette[value]) if as_read is not None else space.raw_ids.get(value)
        if written.space.raw_ids.get(value) != train:
            return ["ids of its label space to train ids"]
    return []


def _write_classes(written: WrittenIds, path: Path) -> None:
    space = written.space
    raw: list[list[int]] = [[] for _ in space.classes]
    ignored = []
    for value, train in sorted(space.raw_ids.items()):
        (ignored if train == IGNORE else raw[train]).append(value)
    content = {
        "name": space.name,
        "classes": [
            {"name": name, "colour": list(colour), "raw": ids}
            for name, colour, ids in zip(space.classes, space.colours, raw, strict=True)
        ],
        "ignore_raw": ignored,
        "protocols": {name: list(classes) for name, classes in space.protocols.items()},
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None)
    path.write_text(text, encoding="utf-8")
