"""List the files of a set; problems with names become findings instead of errors."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from stylebridge.data.doctor.findings import Finding, Line, Severity, examples, many, places
from stylebridge.data.doctor.findings import listed as some
from stylebridge.data.domain import DomainSpec, find_layout, open_domain
from stylebridge.data.files import FileRef, LabelRef, PackedFile, Tree, open_tree, path_below
from stylebridge.data.label_inference import CLASSES_FILE
from stylebridge.data.label_space import LabelSpace
from stylebridge.data.layouts.folder import Folders, describe, find_folders, how_to_name, unclear
from stylebridge.data.layouts.labelmap import listed_space
from stylebridge.errors import DataError

#: Names of folders for the parts of a set, in lower case.
_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})

_RENAME = "Rename the files so that an image and its label map differ only in the suffix."


@dataclass(frozen=True)
class Pair:
    """An image and its label map, one of which may be missing.

    ``key`` is the path below the set without suffix, also used in a corrected copy.
    """

    key: str
    image: FileRef | None
    label: LabelRef | None


@dataclass(frozen=True)
class Listed:
    """The files of one set.

    Attributes:
        name: its name in findings.
        labelled: whether it has label maps.
        space: that of the layout; None: it is given or inferred.
        findings: problems with the names.
        left_out: (file, reason) for files in no pair.
    """

    name: str
    spec: str
    root: Path
    role: str
    layout: str
    labelled: bool
    space: LabelSpace | None
    pairs: list[Pair]
    findings: list[Finding] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def below(self, file: LabelRef) -> str:
        """A file's path in findings."""
        return str(path_below(file, self.root) if isinstance(file, Path | PackedFile) else file)


def list_set(spec: str | Path, name: str, role: str = "training", unlabelled: bool = False) -> Listed:
    """List ``PATH``, ``LAYOUT:PATH`` or ``LAYOUT/SPLIT:PATH``.

    Raises:
        DataError: the path, layout or split does not exist, or an archive cannot be opened.
    """
    parsed = DomainSpec.parse(spec)
    evaluation = role == "evaluation"
    if parsed.layout != "shards":
        layout, tree = find_layout(parsed, open_tree(parsed.path, name), labelled=not unlabelled)
        if layout.name == "folder":
            empty = Listed(name, str(spec), tree.root, role, "folder", False, None, [])
            return _list_folder(tree, empty, parsed.split, unlabelled)
    problem: Finding | None = None
    try:
        domain = open_domain(spec, name, labelled=not unlabelled, evaluation=evaluation)
    except DataError as error:
        if unlabelled:
            raise
        domain = open_domain(spec, name, labelled=False, evaluation=evaluation)
        advice = "Correct it, or check only the images with --unlabelled: labels were not checked."
        problem = Finding("layout", Severity.STOPS, str(error), 1, advice, domain=name)
    labels = domain.labels if domain.labels is not None else [None] * len(domain.images)
    pairs = [
        Pair(path_below(image, domain.root).with_suffix("").as_posix(), image, label)
        for image, label in zip(domain.images, labels, strict=True)
    ]
    return Listed(
        name,
        str(spec),
        domain.root,
        role,
        f"{domain.layout}{'/' + domain.split if domain.split else ''}",
        domain.labels is not None,
        domain.space,
        pairs,
        [problem] if problem else [],
    )


# --- plain folders ------------------------------------------------------------------------------------------


def _list_folder(tree: Tree, listed: Listed, named: str | None, unlabelled: bool) -> Listed:
    found = find_folders(tree, named, not unlabelled)
    if len(found.images) != 1:
        return replace(listed, findings=[_no_images(tree, found, listed.name)])
    findings = _about_folders(tree, found, listed.name, unlabelled)
    images_at, labels_at = found.images[0], found.labels[0] if len(found.labels) == 1 else None
    images, twice = _by_stem(tree, images_at, recursive=bool(images_at))
    labels: dict[str, FileRef] = {}
    if labels_at is not None:
        labels, also = _by_stem(tree, labels_at, recursive=True)
        twice += also
    if twice:
        findings.append(_same_name(twice, listed))
    if not images:
        findings.append(_empty(tree.root / images_at, listed.name))
    findings += _passed_over(tree, [f for f in (images_at, labels_at) if f], listed.name)
    space = None
    if labels_at is None:
        pairs = [Pair(key, image, None) for key, image in images.items()]
    else:
        labels, renamed = _match_names(images, labels, listed)
        findings += renamed + _partners(images, labels, listed)
        pairs = [Pair(k, images.get(k), labels.get(k)) for k in sorted(images.keys() | labels.keys())]
        space, wrong = _listed_space(tree, listed.name)
        findings += wrong
    usual = images_at in ("images", "") and labels_at in ("labels", None)
    return replace(
        listed,
        layout="folder" if usual else f"folder/{images_at}{f'+{labels_at}' if labels_at else ''}",
        labelled=labels_at is not None,
        space=space,
        pairs=pairs,
        findings=findings,
        left_out=[(listed.below(a), "another file differs only in the suffix") for a, _ in twice],
    )


def _no_images(tree: Tree, found: Folders, name: str) -> Finding:
    """Why no image folder was found, and how to name it."""
    if found.images:
        what, advice = unclear(tree, found), "Nothing was checked: name the folder."
        return Finding("several-folders", Severity.STOPS, what, len(found.images), advice, domain=name)
    if not any(tree.images()):
        return _empty(tree.root, name)
    what = f"{tree.root} has no known layout: it holds {describe(tree)}."
    advice = f"Nothing was checked. {how_to_name(tree)}"
    return Finding("unknown-layout", Severity.STOPS, what, 1, advice, domain=name)


def _about_folders(tree: Tree, found: Folders, name: str, unlabelled: bool) -> list[Finding]:
    """Findings about label map folders: ambiguous, with unusual names, or divided further."""
    if len(found.labels) > 1:
        what, advice = (
            unclear(tree, found),
            "Labels were not checked: name the folder, or add --unlabelled.",
        )
        return [Finding("several-folders", Severity.STOPS, what, len(found.labels), advice, domain=name)]
    images_at = found.images[0]
    findings: list[Finding] = []
    beside = [f for f in tree.folders() if f != images_at.partition("/")[0] and any(tree.images(f))]
    if not found.labels and not unlabelled and beside:
        what = f"No label maps were found; beside the images there are {some([f'{f}/' for f in beside])}."
        way = f"folder/{f'{images_at}+' if images_at else ''}{beside[0]}:{tree.root}"
        advice = f"If they hold label maps, name the folder, as {way}."
        findings.append(Finding("other-folders", Severity.KNOW, what, len(beside), advice, domain=name))
    parts = [f for f in tree.folders(images_at) if images_at and f.lower() in _SPLITS]
    if len(parts) > 1:
        what = f"{images_at}/ holds {some([f'{part}/' for part in parts])}, which are read as one set."
        labels = "+".join(f"{folder}/{parts[0]}" for folder in (images_at, *found.labels))
        advice = f"To use one of them, name it as folder/{labels}:{tree.root}."
        findings.append(Finding("read-together", Severity.KNOW, what, len(parts), advice, domain=name))
    return findings


def _listed_space(tree: Tree, name: str) -> tuple[LabelSpace | None, list[Finding]]:
    """The label space from a list of classes beside the labels; a malformed list is a finding."""
    if CLASSES_FILE in tree.names():
        return None, []
    try:
        return listed_space(tree), []
    except DataError as error:
        advice = "Correct the file, or name the classes with --label-space NAME_OR_YAML."
        return None, [Finding("class-list", Severity.STOPS, str(error), 1, advice, domain=name)]


def _same_name(twice: list[tuple[FileRef, FileRef]], listed: Listed) -> Finding:
    what = f"{many(len(twice), 'file has', 'files have')} the name of another except for the suffix."
    lines = [Line(listed.below(a), f"beside {listed.below(b)}", " ") for a, b in twice]
    advice = "Keep one of each; a corrected copy keeps the first of each."
    return _finding(listed, "same-name", what, lines, advice)


def _finding(listed: Listed, kind: str, what: str, lines: list[Line], advice: str) -> Finding:
    """A finding that stops training and is fixed in a corrected copy."""
    shown = places(listed.name, lines)
    return Finding(
        kind, Severity.STOPS, what, len(lines), advice, examples(lines), True, listed.name, files=shown
    )


def _by_stem(
    tree: Tree, folder: str, recursive: bool
) -> tuple[dict[str, FileRef], list[tuple[FileRef, FileRef]]]:
    """Image files by path without suffix, sorted; and files whose key was taken, with the first file."""
    found: dict[str, FileRef] = {}
    twice: list[tuple[FileRef, FileRef]] = []
    start = len(folder) + 1 if folder else 0
    for path, file in tree.images(folder, recursive).items():
        stem = path[start : path.rindex(".")]
        if stem in found:
            twice.append((file, found[stem]))
        found.setdefault(stem, file)
    return dict(sorted(found.items())), twice


def _empty(where: Path, name: str) -> Finding:
    return Finding(
        "empty",
        Severity.STOPS,
        f"{where} holds no images.",
        1,
        "Add images, or check the path.",
        domain=name,
    )


def _passed_over(tree: Tree, folders: list[str], name: str) -> list[Finding]:
    """Files in the folders without an image suffix."""
    other = [path for folder in folders for path in tree.files(folder).keys() - tree.images(folder).keys()]
    if not other:
        return []
    endings = some(sorted({os.path.splitext(path)[1].lower() or "none" for path in other}))
    what = f"{many(len(other), 'file is', 'files are')} skipped because of the suffix ({endings})."
    advice = "If they are images or label maps, save them as JPEG or PNG; otherwise ignore this."
    return [
        Finding("passed-over", Severity.KNOW, what, len(other), advice, examples(sorted(other)), domain=name)
    ]


def _partners(images: dict[str, FileRef], labels: dict[str, FileRef], listed: Listed) -> list[Finding]:
    findings = []
    for kind, these, others, noun, lacks in (
        ("missing-label", images, labels, "image", "label map"),
        ("missing-image", labels, images, "label map", "image"),
    ):
        alone = sorted(these.keys() - others.keys())
        if alone:
            what = f"{many(len(alone), noun + ' has', noun + 's have')} no {lacks} of the same name."
            advice = f"Add the {lacks}s or remove these files; a corrected copy leaves them out."
            lines = [Line(listed.below(these[key])) for key in alone]
            findings.append(_finding(listed, kind, what, lines, advice))
    return findings


# --- names that almost match --------------------------------------------------------------------------------


def _match_names(
    images: dict[str, FileRef], labels: dict[str, FileRef], listed: Listed
) -> tuple[dict[str, FileRef], list[Finding]]:
    """Labels by the key of their image, also if all names differ in the same suffix (``x_mask`` beside ``x``) or in
    upper and lower case."""
    bare = sorted(images.keys() - labels.keys())
    spare = sorted(labels.keys() - images.keys())
    for reduce_image, reduce_label, told in _reductions(bare, spare):
        keys = {reduce_image(key): key for key in bare}
        pairs = {keys[reduce_label(key)]: key for key in spare if reduce_label(key) in keys}
        if len(keys) == len(bare) and pairs and 2 * len(pairs) >= min(len(bare), len(spare)):
            matched = {key: file for key, file in labels.items() if key not in set(pairs.values())}
            matched |= {image: labels[label] for image, label in pairs.items()}
            what = f"{many(len(pairs), 'label map is', 'label maps are')} not named like the image: {told}."
            lines = [
                Line(listed.below(labels[b]), f"for {listed.below(images[a])}", " ") for a, b in pairs.items()
            ]
            finding = _finding(listed, "names-differ", what, lines, _RENAME)
            return matched, [finding]
    return labels, []


_Reduce = Callable[[str], str]


def _reductions(bare: list[str], spare: list[str]) -> list[tuple[_Reduce, _Reduce, str]]:
    """Ways to make two names equal, with a description of the difference."""
    if not bare or not spare:
        return []
    of_images, of_labels = _common_ending(bare), _common_ending(spare)
    ends = " and ".join(
        f"the {noun} end in {ending!r}"
        for noun, ending in (("images", of_images), ("label maps", of_labels))
        if ending
    )
    ways: list[tuple[_Reduce, _Reduce, str]] = [
        (str.lower, str.lower, "upper and lower case differ"),
    ]
    if ends:
        for a, b in ((of_images, of_labels), ("", of_labels), (of_images, "")):
            ways.append((lambda k, a=a: k.removesuffix(a), lambda k, b=b: k.removesuffix(b), ends))
    return ways


def _common_ending(keys: list[str]) -> str:
    """The common end of all keys (at least two) from a separator on, or empty."""
    if len(keys) < 2:
        return ""
    # The common prefix of the first and last in order is common to all.
    turned = sorted(key[::-1] for key in keys)
    alike = [a == b for a, b in zip(turned[0], turned[-1], strict=False)]
    length = alike.index(False) if False in alike else len(alike)
    common = turned[0][:length][::-1].rpartition("/")[2]
    starts = [i for i, letter in enumerate(common) if letter in "_-. "]
    return common[starts[0] :] if starts else ""
