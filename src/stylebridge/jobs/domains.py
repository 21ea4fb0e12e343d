"""The domains of a job: opened, told aloud, and brought to the classes of one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from stylebridge.data.class_map import ClassMap, map_classes, read_class_map
from stylebridge.data.domain import Domain, DomainSpec, open_domain
from stylebridge.data.files import FileRef, LabelRef, is_image_name, path_below
from stylebridge.data.label_inference import infer_label_space
from stylebridge.data.label_space import LabelSpace
from stylebridge.data.layouts import LAYOUTS
from stylebridge.errors import DataError


@dataclass(frozen=True)
class AdaptationDomains:
    """What an adaptation works on. ``space`` is the model's; the label files' own spaces are mapped to it.

    Attributes:
        target_labels: some labelled images of the target that join training; None: none.
        class_maps: those in use, for the run folder.
    """

    space: LabelSpace
    source: Domain
    target: Domain
    evaluation: Domain | None
    target_labels: Domain | None
    class_maps: tuple[ClassMap, ...]


class _Spaces:
    """The model's label space, and how each domain's label files come to it."""

    def __init__(self, named: LabelSpace | None, maps: Sequence[ClassMap], console: Console) -> None:
        self.model, self.console = named, console
        self.begins: dict[str, LabelSpace] = {}
        self.maps: list[ClassMap] = []
        for found in maps:
            # from and to are names or files; spaces are compared by the names they have inside.
            begin, end = LabelSpace.load(found.source), LabelSpace.load(found.target)
            self.begins[begin.name] = begin
            self.maps.append(replace(found, source=begin.name, target=end.name))
            if self.model is None:
                self.model = end
        # How plain folders are read, as far as the user said; else it is inferred from their files.
        self.plain = self.begins[self.maps[0].source] if self.maps else named
        self.used: list[ClassMap] = []

    def settle(self, domain: Domain) -> Domain:
        """The domain with a space that gives the model's classes."""
        own = domain.space or self._plain_space(domain)
        self.model = self.model or own
        if own.nameless and own.classes != self.model.classes:
            raise DataError(
                f"The label files of {domain.root} do not say which classes their ids are, and the model's are those "
                f"of {self.model.name}: put a classes.yaml beside images/ and labels/, or name them with "
                f"--label-space."
            )
        found = map_classes(own, self.model, self.maps)
        if found is None:
            return replace(domain, space=own)
        if found not in self.used:
            self.used.append(found)
            print_class_map(found, self.model, self.console)
        return replace(domain, space=found.apply(own, self.model))

    def _plain_space(self, domain: Domain) -> LabelSpace:
        if self.plain is None:
            assert domain.labels is not None
            self.plain, told = infer_label_space(domain.labels)
            self.console.print(told, highlight=False)
        return self.plain


def open_adaptation(
    source: str | Path,
    target: str | Path,
    *,
    evaluate_on: str | Path | None,
    label_space: str | Path | LabelSpace | None,
    class_maps: Sequence[str | Path],
    target_labels: str | Path | None,
    console: Console,
) -> AdaptationDomains:
    """Open everything an adaptation reads, and tell what was taken for what.

    The model's label space is ``label_space``, or the one a class map leads to, or the source's own. Label files
    of a known layout are read in the layout's space, those of plain folders in the space that the first class
    map begins at, or in ``label_space``, or as inferred from the files; then mapped to the model's classes by
    name.

    Raises:
        DataError: a path, layout, label space or class map is wrong.
    """
    opened = open_domain(source, "source", labelled=True)
    unlabelled = open_domain(target, "target", labelled=False)
    for domain in (opened, unlabelled):
        tell_layout(domain, console)
    spaces = _Spaces(_loaded(label_space), [read_class_map(path) for path in class_maps], console)
    settled = spaces.settle(opened)
    evaluation = _evaluation(target, unlabelled, evaluate_on, console)
    few = _few_labels(unlabelled, target_labels, console) if target_labels is not None else None
    if evaluation is not None:
        evaluation = spaces.settle(evaluation)
        if few is not None:
            evaluation = _without(evaluation, few, console)
    if few is not None:
        few = spaces.settle(few)
    assert spaces.model is not None
    return AdaptationDomains(spaces.model, settled, unlabelled, evaluation, few, tuple(spaces.used))


def open_evaluation(
    data: str | Path,
    model: LabelSpace,
    label_space: str | Path | LabelSpace | None,
    class_maps: Sequence[str | Path],
    console: Console,
) -> Domain:
    """A labelled domain to score a model on; ``label_space`` says how its label files are read.

    Raises:
        DataError: a path, layout, label space or class map is wrong.
    """
    domain = open_domain(data, "evaluation", labelled=True, space=_loaded(label_space), evaluation=True)
    tell_layout(domain, console)
    return _Spaces(model, [read_class_map(path) for path in class_maps], console).settle(domain)


def reopen_adaptation(facts: Mapping[str, Any], evaluate_on: str | Path | None) -> AdaptationDomains:
    """The domains of a run that is continued, as ``run.yaml`` tells them: nothing is inferred anew.

    Raises:
        DataError: the data is no longer there, or is not what it was.
    """
    space = LabelSpace.from_dict(facts["label_space"])
    spaces = {name: LabelSpace.from_dict(kept) for name, kept in (facts.get("read_as") or {}).items()}

    def reopen(name: str, key: str, given: str | Path | None = None) -> Domain | None:
        path = given or facts.get(key)
        if path is None:
            return None
        return open_domain(path, name, labelled=True, space=spaces.get(key, space), evaluation=True)

    source = open_domain(facts["source"], "source", labelled=True, space=spaces.get("source", space))
    target = open_domain(facts["target"], "target", labelled=False)
    few = None
    if facts.get("target_labels"):
        few = _few_labels(target, facts["target_labels"], Console(quiet=True))
        few = replace(few, space=spaces.get("target_labels", space))
    evaluation = reopen("evaluation", "evaluate_on", evaluate_on)
    if evaluation is not None and few is not None:
        evaluation = _without(evaluation, few, Console(quiet=True))
    return AdaptationDomains(space, source, target, evaluation, few, ())


def tell_layout(domain: Domain, console: Console) -> None:
    """Say what a path was recognised as; a plain folder needs no word."""
    if domain.layout != "folder":
        split = f", split {domain.split}" if domain.split else ""
        title = LAYOUTS[domain.layout].title if domain.layout in LAYOUTS else domain.layout
        console.print(f"{domain.name}: {title}{split}, {len(domain.images):,} images.", highlight=False)


def print_class_map(found: ClassMap, target: LabelSpace, console: Console) -> None:
    """The class map as a table, and what the model will not learn from these labels."""
    table = Table(title=f"{found.source} → {found.target} ({found.origin})", title_justify="left", box=None)
    table.add_column(found.source)
    table.add_column(found.target)
    for name, other in found.pairs.items():
        table.add_row(name, other or "[dim]ignored[/]")
    console.print(table)
    missing = found.missing(target)
    if missing:
        console.print(f"No class of {found.source} becomes {', '.join(missing)}.", highlight=False)


def _loaded(label_space: str | Path | LabelSpace | None) -> LabelSpace | None:
    if label_space is None or isinstance(label_space, LabelSpace):
        return label_space
    return LabelSpace.load(label_space)


def _evaluation(
    given: str | Path, target: Domain, evaluate_on: str | Path | None, console: Console
) -> Domain | None:
    """The labelled images that scores are told of; of a target whose layout has labels, its evaluation split."""
    if evaluate_on is not None:
        domain = open_domain(evaluate_on, "evaluation", labelled=True, evaluation=True)
        tell_layout(domain, console)
        return domain
    if target.layout == "folder":
        root = target.root
        if not ((root / "images").is_dir() and (root / "labels").is_dir()):
            return None
    elif target.layout in LAYOUTS and LAYOUTS[target.layout].evaluation_split is None:
        return None
    path = DomainSpec.parse(given).path
    try:
        plain = target.layout == "folder" or target.layout not in LAYOUTS
        domain = open_domain(
            given if plain else f"{target.layout}:{path}", "evaluation", labelled=True, evaluation=True
        )
    except DataError:
        if target.layout == "folder":
            raise
        return None  # an evaluation split without labels: nothing to score, and nothing wrong
    where = f"{given} has labels/" if target.layout == "folder" else f"{domain.spec} has labels"
    console.print(f"{where}: they are read after training, for the report only.", highlight=False)
    return domain


# --- some labelled images of the target ---------------------------------------------------------------------


def _few_labels(target: Domain, given: str | Path, console: Console) -> Domain:
    """``given`` is a labelled domain, or a folder of label maps named as images of the target."""
    spec = DomainSpec.parse(given)
    folder = spec.path
    if spec.layout is not None or (folder / "images").is_dir() or not folder.is_dir():
        few = open_domain(given, "labelled target", labelled=True)
    else:
        few = _match_labels(target, folder)
    console.print(
        f"{len(few.images)} labelled image(s) of the target join training; scores leave them out.",
        highlight=False,
    )
    return few


def _match_labels(target: Domain, folder: Path) -> Domain:
    files = sorted(f for f in folder.rglob("*") if f.is_file() and is_image_name(f.name))
    if not files:
        raise DataError(f"The folder {folder} holds no label maps: give label maps named as target images.")
    known: dict[str, FileRef] = {}
    for image in target.images:
        inside = path_below(image, target.root).with_suffix("").as_posix()
        for key in (inside, inside.removeprefix("images/")):
            known[key] = image
    images: list[FileRef] = []
    labels: list[LabelRef] = []
    for file in files:
        key = file.relative_to(folder).with_suffix("").as_posix()
        if key not in known:
            raise DataError(
                f"{file} has the name of no target image in {target.root}: name each label map as its image, or give "
                f"a folder with images/ and labels/."
            )
        images.append(known[key])
        labels.append(file)
    return Domain("labelled target", folder, images, labels, None)


def _without(evaluation: Domain, few: Domain, console: Console) -> Domain:
    """The evaluation set without images that are trained on with their labels."""
    trained = {str(image) for image in few.images} | {str(Path(str(i)).resolve()) for i in few.images}
    assert evaluation.labels is not None
    kept = [
        i
        for i, image in enumerate(evaluation.images)
        if str(image) not in trained and str(Path(str(image)).resolve()) not in trained
    ]
    if len(kept) == len(evaluation.images):
        return evaluation
    if not kept:
        raise DataError(
            f"Every labelled image in {evaluation.root} joins training, so none is left to score: give others as "
            f"--evaluate-on."
        )
    console.print(
        f"{len(evaluation.images) - len(kept)} labelled image(s) are left out of the scores.", highlight=False
    )
    labels = evaluation.labels
    return replace(evaluation, images=[evaluation.images[i] for i in kept], labels=[labels[i] for i in kept])
