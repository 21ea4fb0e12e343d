"""The domains of a job: open them, print them, and map them to the classes of one model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from rich.console import Console
from rich.text import Text

from stylebridge.data.class_map import ClassMap
from stylebridge.data.domain import Domain, DomainSpec, DomainSummary, label_folders, open_domain
from stylebridge.data.files import FileRef, FolderTree, LabelRef, is_image_name, path_below
from stylebridge.data.label_space import LabelSpace
from stylebridge.data.layouts import LAYOUTS
from stylebridge.data.layouts.names import is_image_folder
from stylebridge.errors import DataError
from stylebridge.jobs.datasets.label_options import parse_read_as, read_maps, stated_space
from stylebridge.jobs.datasets.label_reading import LabelReader
from stylebridge.terminal import open_console, say

#: The labelled domains of an adaptation, as ``--read-as`` names them.
ROLES = ("source", "target-labels", "evaluation")


@dataclass(frozen=True)
class AdaptationDomains:
    """The domains of an adaptation. ``space`` is the model's; the label files' spaces are mapped to it.

    Attributes:
        target_labels: labelled images of the target for training, or None.
        class_maps: the class maps in use, for the run folder.
        unscored: why the target's labels are not scored; empty if they are scored, or do not exist.
    """

    space: LabelSpace
    source: Domain
    target: Domain
    evaluation: Domain | None
    target_labels: Domain | None
    class_maps: tuple[ClassMap, ...]
    unscored: str = ""


def open_adaptation(
    source: str | Path,
    target: str | Path,
    *,
    evaluate_on: str | Path | None,
    label_space: str | Path | LabelSpace | None,
    class_maps: Sequence[str | Path],
    target_labels: str | Path | None,
    read_as: Sequence[str] = (),
    console: Console,
) -> AdaptationDomains:
    """Open all domains of an adaptation, and print how they are read.

    The model's label space is ``label_space``, or the target of a class map, or the source's. Each labelled domain is
    identified separately (:class:`~stylebridge.jobs.datasets.label_reading.LabelReader`) and mapped to the model's
    classes by name. Labels of the target itself, which are only used for scores, never stop training: if they cannot be
    scored, ``unscored`` gives the reason.

    Raises:
        DataError: a path, layout, label space or class map is wrong, or contradicts the label files.
    """
    opened = open_domain(source, "source", labelled=True)
    unlabelled = open_domain(target, "target", labelled=False)
    for domain in (opened, unlabelled):
        tell_layout(domain, console)
    evaluation, unscored = _evaluation(target, unlabelled, evaluate_on, console)
    few = _few_labels(unlabelled, target_labels, console) if target_labels is not None else None
    reader = LabelReader(
        console,
        model=stated_space(label_space),
        maps=read_maps(class_maps),
        read_as=parse_read_as(read_as, ROLES),
        unlabelled=(unlabelled,),
    )
    domains = {"source": opened, "target-labels": few, "evaluation": evaluation}
    optional = ("evaluation",) if evaluate_on is None else ()
    settled = reader.settle({role: d for role, d in domains.items() if d is not None}, optional)
    evaluation, few = settled.get("evaluation"), settled.get("target-labels")
    if evaluation is not None and few is not None:
        evaluation = _without(evaluation, few, console)
    assert reader.model is not None
    return AdaptationDomains(
        reader.model,
        settled["source"],
        unlabelled,
        evaluation,
        few,
        tuple(reader.used),
        unscored or reader.problems.get("evaluation", ""),
    )


def check_evaluation(
    domains: AdaptationDomains, needed: bool, check: Callable[[Domain], DomainSummary], console: Console
) -> AdaptationDomains:
    """Check before training that the evaluation set can be scored.

    Args:
        needed: whether the user requested it. Labels that merely exist beside the target never stop training:
            ``unscored`` gives the reason why they are not scored.
        check: decodes and checks every file of a domain.

    Raises:
        DataError: the set was requested, and a file is invalid or no label map has a class.
    """
    evaluation, problem = domains.evaluation, domains.unscored
    if evaluation is not None:
        try:
            if not check(evaluation).pixel_counts.any():
                raise DataError(
                    f"The label maps in {evaluation.root} have no class, only ignored pixels: give labelled ones."
                )
        except DataError as error:
            if needed:
                raise
            problem = str(error)
    if problem:
        say(console, Text.assemble(("The labels of the target will not be scored:", "yellow"), f" {problem}"))
        return replace(domains, evaluation=None, unscored=problem)
    return domains


def open_labelled(
    data: str | Path,
    name: str,
    console: Console,
    *,
    label_space: str | Path | LabelSpace | None = None,
    class_maps: Sequence[str | Path] = (),
    read_as: Sequence[str] = (),
    model: LabelSpace | None = None,
    evaluation: bool = False,
) -> Domain:
    """The single labelled domain of a command, in a space with the model's classes.

    Args:
        name: its name in messages.
        label_space: the user's label space for its label files; compared with the files' evidence.
        read_as: as in ``--read-as``: the label space regardless of the files' evidence.
        model: the model's classes; None: the domain's.

    Raises:
        DataError: a path, layout, label space or class map is wrong, or contradicts the label files.
    """
    domain = open_domain(data, name, labelled=True, evaluation=evaluation)
    tell_layout(domain, console)
    reader = LabelReader(
        console,
        model=model,
        stated=stated_space(label_space),
        maps=read_maps(class_maps),
        read_as=parse_read_as(read_as, (name,), model),
        single=True,
    )
    return reader.settle({name: domain})[name]


def reopen_adaptation(
    facts: Mapping[str, Any], evaluate_on: str | Path | None, console: Console | None = None
) -> AdaptationDomains:
    """The domains of a resumed run, as in ``run.yaml``: only the label space of another evaluation set is inferred.

    Raises:
        DataError: the data no longer exists, or changed.
    """
    space = LabelSpace.from_dict(facts["label_space"])
    spaces = {name: LabelSpace.from_dict(kept) for name, kept in (facts.get("read_as") or {}).items()}

    def reopen(name: str, key: str, given: str | Path | None = None) -> Domain | None:
        path = given or facts.get(key)
        if path is None:
            return None
        if given is not None and str(given) != str(facts.get(key)):
            return open_labelled(
                given, name, console or open_console(quiet=True), model=space, evaluation=True
            )
        return open_domain(path, name, labelled=True, space=spaces.get(key, space), evaluation=True)

    source = open_domain(facts["source"], "source", labelled=True, space=spaces.get("source", space))
    target = open_domain(facts["target"], "target", labelled=False)
    few = None
    if facts.get("target_labels"):
        few = _few_labels(target, facts["target_labels"], open_console(quiet=True))
        few = replace(few, space=spaces.get("target_labels", space))
    evaluation = reopen("evaluation", "evaluate_on", evaluate_on)
    if evaluation is not None and few is not None:
        evaluation = _without(evaluation, few, open_console(quiet=True))
    return AdaptationDomains(space, source, target, evaluation, few, (), str(facts.get("unscored") or ""))


def tell_layout(domain: Domain, console: Console) -> None:
    """Print the recognised layout of a path, unless it is a plain folder."""
    if domain.layout != "folder":
        split = f", split {domain.split}" if domain.split else ""
        title = LAYOUTS[domain.layout].title if domain.layout in LAYOUTS else domain.layout
        say(console, f"{domain.name}: {title}{split}, {len(domain.images):,} images.")


def _evaluation(
    given: str | Path, target: Domain, evaluate_on: str | Path | None, console: Console
) -> tuple[Domain | None, str]:
    """The labelled images for scoring (for a target whose layout has labels, its evaluation split), and why the
    target's labels cannot be scored."""
    if evaluate_on is not None:
        domain = open_domain(evaluate_on, "evaluation", labelled=True, evaluation=True)
        tell_layout(domain, console)
        return domain, ""
    beside: tuple[str, ...] = ()
    if target.layout == "folder":
        beside = label_folders(given, "target") if target.root.is_dir() else ()
        if not beside:
            return None, ""
    elif target.layout in LAYOUTS and LAYOUTS[target.layout].evaluation_split is None:
        return None, ""
    path = DomainSpec.parse(given).path
    try:
        plain = target.layout == "folder" or target.layout not in LAYOUTS
        domain = open_domain(
            given if plain else f"{target.layout}:{path}", "evaluation", labelled=True, evaluation=True
        )
    except DataError as error:
        if len(beside) > 1:
            raise  # the user must choose between several folders
        # An evaluation split without labels is no error; label maps missing for some images are.
        return None, str(error) if target.layout == "folder" else ""
    where = f"{given} has {' and '.join(beside)}/" if beside else f"{domain.spec} has labels"
    say(console, f"{where}: they are not used for training, only for scores in the report.")
    return domain, ""


# --- some labelled images of the target ---------------------------------------------------------------------


def _few_labels(target: Domain, given: str | Path, console: Console) -> Domain:
    """Open ``given``: a labelled domain, or a folder of label maps named like images of the target."""
    spec = DomainSpec.parse(given)
    folder = spec.path
    labelled = folder.is_dir() and any(map(is_image_folder, FolderTree(folder).folders()))
    if spec.layout is not None or labelled or not folder.is_dir():
        few = open_domain(given, "labelled target", labelled=True)
    else:
        few = _match_labels(target, folder)
    say(console, f"{len(few.images)} labelled image(s) of the target join training; they are not scored.")
    return few


def _match_labels(target: Domain, folder: Path) -> Domain:
    files = sorted(f for f in folder.rglob("*") if f.is_file() and is_image_name(f.name))
    if not files:
        raise DataError(f"The folder {folder} has no label maps: give label maps named like target images.")
    known: dict[str, FileRef] = {}
    for image in target.images:
        inside = path_below(image, target.root).with_suffix("")
        known[inside.as_posix()] = image
        if is_image_folder(inside.parts[0]):
            known[PurePosixPath(*inside.parts[1:]).as_posix()] = image
    images: list[FileRef] = []
    labels: list[LabelRef] = []
    for file in files:
        key = file.relative_to(folder).with_suffix("").as_posix()
        if key not in known:
            raise DataError(
                f"{file} does not match a target image in {target.root}: name each label map like its image, or give "
                f"a folder with images/ and labels/."
            )
        images.append(known[key])
        labels.append(file)
    return Domain("labelled target", folder, images, labels, None)


def _without(evaluation: Domain, few: Domain, console: Console) -> Domain:
    """The evaluation set without images whose labels are used for training."""
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
    say(console, f"{len(evaluation.images) - len(kept)} labelled image(s) are not scored.")
    labels = evaluation.labels
    return replace(evaluation, images=[evaluation.images[i] for i in kept], labels=[labels[i] for i in kept])
