"""Problems of the label maps of a set."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np

from stylebridge.data.doctor.examine import Examined
from stylebridge.data.doctor.findings import Finding, Line, Severity, listed, many
from stylebridge.data.doctor.image_rules import finding
from stylebridge.data.doctor.resize import same_shape
from stylebridge.data.label_space import IGNORE, LabelSpace

#: Most ids or colours outside the space that are listed.
_MOST_ROWS = 12

#: A class with a smaller share of the pixels is reported.
_RARE = 1e-4


def label_findings(examined: Examined) -> list[Finding]:
    """All findings about the label maps of a set."""
    if not examined.listed.labelled:
        return []
    rules = (
        _unreadable,
        _jpeg,
        _colours,
        _no_space,
        _odd,
        _contradiction,
        _unknown,
        _size_differs,
        _palette_disagrees,
        _nothing_labelled,
        _gaps,
        _unseen,
        _rare,
        _sixteen_bit,
        _palette,
    )
    return [found for rule in rules for found in rule(examined)]


def _unreadable(examined: Examined) -> list[Finding]:
    lines = [
        examined.line(pair.label, facts.label.error)
        for pair, facts in zip(examined.listed.pairs, examined.facts, strict=True)
        if pair.label is not None and facts.label is not None and facts.label.error
    ]
    return finding(
        examined,
        "unreadable-label",
        Severity.STOPS,
        lines,
        ("label map cannot be read", "label maps cannot be read"),
        "Copy or export them again, or remove them with their images; a corrected copy leaves such pairs out.",
        fixable=True,
    )


def _jpeg(examined: Examined) -> list[Finding]:
    return finding(
        examined,
        "jpeg-label",
        Severity.STOPS,
        [examined.line(file) for _, file, label in examined.labels() if label.jpeg],
        ("label map is a JPEG, which changes ids", "label maps are JPEGs, which changes ids"),
        "Export them again as PNG: the loss cannot be repaired; a corrected copy leaves such pairs out.",
        fixable=True,
    )


def _colours(examined: Examined) -> list[Finding]:
    space = examined.space
    files = [(file, label) for _, file, label in examined.labels() if not label.grey and not label.jpeg]
    if space is not None and space.raw_colours:
        return finding(
            examined,
            "colour-labels",
            Severity.KNOW,
            [examined.line(file) for file, _ in files],
            ("label map holds colours", "label maps hold colours"),
            f"They are read by the colours of label space {space.name}; a corrected copy has ids, which is faster.",
            fixable=True,
        )
    known = set(space.colours) if space is not None and not space.nameless else set()
    lines = [
        examined.line(
            file,
            f"{many(len(label.colours), 'colour')}{'+' if label.rest else ''}, such as "
            f"{max(label.colours, key=lambda c: label.colours[c])}",
        )
        for file, label in files
    ]
    fits = bool(known) and all(
        sum(c in known for c in label.colours) * 2 >= len(label.colours) for _, label in files
    )
    advice = (
        f"Their colours are those of label space {space.name if space else ''}: a corrected copy has the ids."
        if fits
        else "Name a label space that lists raw_colours with --label-space, or export 8-bit PNGs of class ids."
    )
    nouns = "label map holds colours instead of ids", "label maps hold colours instead of ids"
    return finding(examined, "colour-labels", Severity.STOPS, lines, nouns, advice, fits)


def _no_space(examined: Examined) -> list[Finding]:
    if examined.space is not None or not any(True for _ in examined.labels()):
        return []
    what = f"The label space of the label maps is unknown: {examined.space_told}."
    advice = "Name the classes with --label-space NAME_OR_YAML."
    return [Finding("no-space", Severity.STOPS, what, 1, advice, domain=examined.name)]


def _odd(examined: Examined) -> list[Finding]:
    """Files that do not match the label space of most files."""
    odd, space = examined.odd, examined.space
    if not odd or space is None:
        return []
    others = sum(1 for _ in examined.labels()) - len(odd)
    lines = [
        examined.line(pair.label, odd[pair.key])
        for pair in examined.listed.pairs
        if pair.label is not None and pair.key in odd
    ]
    advice = (
        "Correct them or remove the pairs. A corrected copy sets ids outside the space to ignored and leaves out the "
        "label maps whose colours mean other classes."
    )
    kind = f"label map is {space.name}" if others == 1 else f"label maps are {space.name}"
    rest = "this one is not" if len(odd) == 1 else f"these {len(odd):,} are not"
    found = finding(examined, "odd-labels", Severity.STOPS, lines, ("", ""), advice, fixable=True)[0]
    return [replace(found, what=f"{others:,} {kind}, {rest}.")]


def _contradiction(examined: Examined) -> list[Finding]:
    """Ids that are shifted against their palette, or class names that contradict the palette."""
    if not examined.contradiction:
        return []
    what, advice = (
        examined.contradiction,
        "Or name the label space with --label-space NAME_OR_YAML.",
    )
    return [Finding("contradiction", Severity.STOPS, what, 1, advice, domain=examined.name)]


def _unknown(examined: Examined) -> list[Finding]:
    pixels: Counter = Counter()
    files: dict[object, list[str]] = defaultdict(list)
    lines = []
    for _, file, counts in examined.counted():
        for value, number in counts.unknown.items():
            pixels[value] += number
            files[value].append(examined.show(file))
        if counts.unknown:
            share = sum(counts.unknown.values())
            lines.append(examined.line(file, f"{many(share, 'pixel')}"))
    if not pixels or examined.space is None:
        return []
    noun = "ids" if all(isinstance(value, int) for value in pixels) else "colours"
    rows = [
        ("others" if value is None else str(value), f"{number:,}", f"{len(files[value]):,}", files[value][0])
        for value, number in pixels.most_common(_MOST_ROWS)
    ]
    kinds = listed([value for value, _ in pixels.most_common() if value is not None], 4)
    advice = (
        f"Name the label space of the files with --label-space, or add the {noun} to it; a corrected copy sets these "
        f"pixels to ignored."
    )
    found = finding(
        examined,
        "unknown-ids",
        Severity.STOPS,
        lines,
        (
            f"label map has {noun} outside label space {examined.space.name}",
            f"label maps have {noun} outside label space {examined.space.name}",
        ),
        advice,
        fixable=True,
    )[0]
    what = f"{found.what.rstrip('.')}: {kinds}."
    return [
        replace(found, what=what, columns=(noun[:-1], "pixels", "files", "for example"), rows=tuple(rows))
    ]


def _size_differs(examined: Examined) -> list[Finding]:
    scaled: list[Line] = []
    other: list[Line] = []
    for pair, facts in zip(examined.listed.pairs, examined.facts, strict=True):
        image, label = facts.image, facts.label
        if image is None or label is None or image.error or label.error or image.header is None:
            continue
        size = image.header.shown_size
        if label.size == size or pair.label is None:
            continue
        turned = label.size == image.header.size
        sizes = f"{label.size[0]}×{label.size[1]}, its image {size[0]}×{size[1]}"
        sizes += " (the image's size before its EXIF rotation)" if turned else ""
        place = scaled if turned or same_shape(label.size, size) else other
        place.append(examined.line(pair.label, sizes))
    return [
        *finding(
            examined,
            "label-size",
            Severity.STOPS,
            scaled,
            ("label map has another size than its image", "label maps have other sizes than their images"),
            "Scale them with nearest neighbour, never smoothly; a corrected copy scales them, and rotates those that "
            "were drawn before an EXIF rotation.",
            fixable=True,
        ),
        *finding(
            examined,
            "label-shape",
            Severity.STOPS,
            other,
            (
                "label map has another aspect ratio than its image",
                "label maps have another aspect ratio than their images",
            ),
            "Image and label map do not show the same scene: find the right files; a corrected copy leaves them out.",
            fixable=True,
        ),
    ]


def _palette_disagrees(examined: Examined) -> list[Finding]:
    space = examined.space
    if space is None or space.raw_colours or space.nameless:
        return []
    classes = {colour: i for i, colour in enumerate(space.colours)}
    lines = []
    for _, file, label in examined.labels():
        said = {
            (value, classes[colour])
            for value, colour in label.palette.items()
            if colour in classes and space.raw_ids.get(value, classes[colour]) not in (classes[colour], 255)
        }
        if said:
            value, train = min(said)
            theirs, ours = space.classes[train], space.classes[space.raw_ids[value]]
            lines.append(examined.line(file, f"id {value} is {ours}, but has the colour of {theirs}"))
    return finding(
        examined,
        "palette-disagrees",
        Severity.MISLEADS,
        lines,
        (
            "label map's palette contradicts its ids",
            "label maps have palettes that contradict their ids",
        ),
        f"The ids are used. If the colours are right, the files do not belong to label space {space.name}.",
    )


def _nothing_labelled(examined: Examined) -> list[Finding]:
    lines = [
        examined.line(file, "the rest is unknown" if counts.unknown else "")
        for _, file, counts in examined.counted()
        if counts.counts.sum() == 0 and (counts.ignored or not counts.unknown)
    ]
    if examined.space is None:
        lines = [examined.line(file) for _, file, label in examined.labels() if label.ids.keys() == {IGNORE}]
    return finding(
        examined,
        "nothing-labelled",
        Severity.MISLEADS,
        lines,
        ("label map has no class, only ignored pixels", "label maps have no class, only ignored pixels"),
        "Training learns nothing from them; remove the pairs, or export the label maps again.",
    )


# --- classes ------------------------------------------------------------------------------------------------


def _pixels(examined: Examined, space: LabelSpace) -> np.ndarray:
    counted = [counts.counts for _, _, counts in examined.counted()]
    return sum(counted, np.zeros(space.num_classes, np.int64))


def _gaps(examined: Examined) -> list[Finding]:
    """Plain ids with many unused numbers are probably not numbered 0, 1, 2, …"""
    space = examined.space
    if space is None or not space.nameless:
        return []
    pixels = _pixels(examined, space)
    missing = np.flatnonzero(pixels == 0)
    if not len(missing):
        return []
    used = np.flatnonzero(pixels).tolist()
    what = (
        f"{many(len(missing), 'id')} below {space.num_classes - 1} never {'occurs' if len(missing) == 1 else 'occur'}: "
        f"used ids are {listed(used, 12)}."
    )
    advice = "A stray id makes the model larger and its scores lower; name the classes with --label-space."
    return [Finding("gaps", Severity.MISLEADS, what, len(missing), advice, domain=examined.name)]


def _unseen(examined: Examined) -> list[Finding]:
    space = examined.space
    if space is None or space.nameless or not any(True for _ in examined.counted()):
        return []
    names = [space.classes[i] for i in np.flatnonzero(_pixels(examined, space) == 0)]
    if not names:
        return []
    what = f"{many(len(names), 'class', 'classes')} of {space.name} never seen: {listed(names, 20)}."
    advice = "A model cannot learn them from this set; if they should occur, the label space or the files are wrong."
    return [Finding("unseen", Severity.MISLEADS, what, len(names), advice, domain=examined.name)]


def _rare(examined: Examined) -> list[Finding]:
    space = examined.space
    if space is None:
        return []
    pixels = _pixels(examined, space)
    shares = pixels / max(1, pixels.sum())
    rare = [(shares[i], space.classes[i]) for i in np.flatnonzero((pixels > 0) & (shares < _RARE))]
    if not rare:
        return []
    names = [f"{name} ({100 * share:.2g} %)" for share, name in sorted(rare)]
    what = f"{many(len(rare), 'class has', 'classes have')} less than {100 * _RARE:g} % of the pixels: {listed(names)}."
    advice = "Sample rare classes more often in training, and expect their scores to vary from run to run."
    return [Finding("rare", Severity.KNOW, what, len(rare), advice, domain=examined.name)]


# --- depths -------------------------------------------------------------------------------------------------


def _sixteen_bit(examined: Examined) -> list[Finding]:
    lines = [
        examined.line(f) for _, f, label in examined.labels() if label.header and label.header.sixteen_bit
    ]
    return finding(
        examined,
        "sixteen-bit-label",
        Severity.KNOW,
        lines,
        ("label map has 16 bits", "label maps have 16 bits"),
        "They are read in full, for colour files the first channel, as in SYNTHIA; a corrected copy has 8-bit ids.",
        fixable=True,
    )


def _palette(examined: Examined) -> list[Finding]:
    lines = [examined.line(file) for _, file, label in examined.labels() if label.palette]
    by_colour = examined.space is not None and bool(examined.space.raw_colours)
    advice = (
        f"They are read by their colours, as listed in label space {examined.space.name if examined.space else ''}."
        if by_colour
        else "They are read by index, as intended; tools that convert them to RGB would lose the ids."
    )
    nouns = "label map is a palette file", "label maps are palette files"
    return finding(examined, "palette-label", Severity.KNOW, lines, nouns, advice)
