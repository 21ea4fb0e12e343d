"""Label options of commands: label spaces, class maps, single label maps, and notices before training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stylebridge.data.class_map import ClassMap, read_class_map
from stylebridge.data.domain import DomainSummary
from stylebridge.data.files import LabelRef
from stylebridge.data.label_evidence import kinds_of_maps
from stylebridge.data.label_inference import find_evidence, read_alike
from stylebridge.data.label_space import LabelSpace
from stylebridge.errors import DataError
from stylebridge.terminal import say


def space_of_map(label: LabelRef, space: LabelSpace, override: LabelSpace | None = None) -> LabelSpace:
    """The label space of a single label map for a model with ``space``.

    Args:
        override: the user's space (``--read-as``); None: that of the file's evidence, else ``space``.

    Raises:
        DataError: the file has other classes than the model.
    """
    if override is not None:
        if override.classes != space.classes:
            raise DataError(
                f"--read-as names {override.name}, whose classes are not the run's ({space.name}): name a space with "
                f"the run's classes."
            )
        return override
    if any(kind.matched(space) for kind in kinds_of_maps([label])):
        return space
    evidence = find_evidence([label], [space], override="--read-as SPACE")
    shown = evidence.space
    if shown is not None and shown.classes != space.classes:
        if read_alike(space, shown, evidence.used):
            return space
        raise DataError(
            f"{label} is a label map of {shown.name} by {evidence.by}, but the run has the classes of {space.name}",
            "give a label map of the run's classes",
            "read its ids as the run's with --read-as run",
        )
    if shown is None and evidence.palette is not None and not space.invented_colours:
        raise DataError(
            f"{label} has a palette of no known label space, which does not have the colours of the run's classes "
            f"({space.name})",
            "give a label map of these classes",
            "read its ids as the run's with --read-as run",
        )
    return shown or space


def parse_read_as(
    given: Sequence[str], roles: Sequence[str], own: LabelSpace | None = None
) -> dict[str, LabelSpace]:
    """Parse ``DOMAIN=SPACE``, or ``SPACE`` for commands with one domain; ``run`` is the run's ``own`` space.

    Raises:
        DataError: the form, domain or space is invalid.
    """
    found: dict[str, LabelSpace] = {}
    for text in given:
        role, sign, space = text.partition("=")
        if len(roles) == 1 and not sign:
            role, space = roles[0], text
        if role not in roles or not space:
            form = "SPACE" if len(roles) == 1 else "DOMAIN=SPACE"
            raise DataError(
                f"--read-as {text!r} is not of the form {form}: DOMAIN is one of {', '.join(roles)}."
            )
        found[role] = own if own is not None and space == "run" else LabelSpace.load(space)
    return found


def space_of_label_maps(read_as: str | None, own: LabelSpace | None) -> LabelSpace | None:
    """The space of ``--read-as`` for a command whose label maps are of one domain; None: it was not given.

    Raises:
        DataError: see :func:`parse_read_as`.
    """
    given = [read_as] if read_as else []
    return parse_read_as(given, ("label maps",), own).get("label maps")


def stated_space(label_space: str | Path | LabelSpace | None) -> LabelSpace | None:
    """The user's label space, given as name, file or object."""
    if label_space is None or isinstance(label_space, LabelSpace):
        return label_space
    return LabelSpace.load(label_space)


def read_maps(class_maps: Sequence[str | Path]) -> list[ClassMap]:
    """Read the user's class maps."""
    return [read_class_map(path) for path in class_maps]


def ensure_classes_present(
    space: LabelSpace, summaries: Sequence[DomainSummary], allow: bool, console: Console
) -> None:
    """Report the model's classes in no label map, before training.

    Raises:
        DataError: more than half are missing and ``allow`` is false.
    """
    pixels = sum((s.pixel_counts.sum(axis=0) for s in summaries), np.zeros(space.num_classes, np.int64))
    missing = [name for name, count in zip(space.classes, pixels, strict=True) if not count]
    if not missing:
        return
    listed = ", ".join(missing[:24]) + (", …" if len(missing) > 24 else "")
    verb = "is" if len(missing) == 1 else "are"
    told = (
        f"{len(missing)} of the {space.num_classes} classes of {space.name} {verb} in no label map: {listed}"
    )
    if 2 * len(missing) > space.num_classes and not allow:
        raise DataError(
            f"{told}: name the label space of the files, or train without these classes with "
            f"--allow-missing-classes."
        )
    say(console, Text.assemble((f"{told}.", "yellow"), " The model cannot learn them."))


def print_class_map(found: ClassMap, target: LabelSpace, console: Console) -> None:
    """Print a class map as a table, and the classes that these labels do not teach."""
    table = Table(title=f"{found.source} → {found.target} ({found.origin})", title_justify="left", box=None)
    table.add_column(found.source)
    table.add_column(found.target)
    for name, other in found.pairs.items():
        table.add_row(name, other or Text("ignored", style="dim"))
    console.print(table)
    missing = found.missing(target)
    if missing:
        say(console, f"No class of {found.source} maps to {', '.join(missing)}.")
