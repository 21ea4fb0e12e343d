"""Check data sets and report problems before training."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from stylebridge.data.doctor import (
    Examined,
    ExaminedBoxes,
    Finding,
    FixSummary,
    Listed,
    SetSummary,
    by_severity,
    duplicate_findings,
    examine,
    examine_boxes,
    fix_set,
    image_findings,
    label_findings,
    list_set,
    read_facts,
    set_findings,
    summarise,
)
from stylebridge.data.doctor.examine import short_name
from stylebridge.data.doctor.sheet import contact_sheet, offending_pictures
from stylebridge.data.domain import DomainSpec
from stylebridge.data.label_space import LabelSpace
from stylebridge.errors import DataError, RunError
from stylebridge.jobs.runs.outputs import COPY, ensure_apart, ensure_free, replaced_folder
from stylebridge.report.doctor_page import DoctorPage, SetSheet, is_doctor_page, write_doctor_page
from stylebridge.report.doctor_tables import DoctorReport, print_doctor
from stylebridge.terminal import open_progress

#: Number of pictures on all contact sheets, and the least number for one set.
_PICTURES, _FEWEST = 24, 8

#: Lists the changes in a corrected copy, file by file.
CHANGES_FILE = "changes.csv"


def doctor(
    paths: Sequence[str | Path],
    *,
    label_space: str | Path | LabelSpace | None = None,
    evaluation: Sequence[str | Path] = (),
    out: str | Path = "doctor.html",
    fix: str | Path | None = None,
    unlabelled: bool = False,
    workers: int | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    console: Console | None = None,
    boxes: str | Path | None = None,
) -> DoctorReport:
    """Read every file of some sets once and report problems, on the terminal and on one HTML page.

    Args:
        paths: the sets: ``PATH``, ``LAYOUT:PATH`` or ``LAYOUT/SPLIT:PATH``. A plain folder without label maps is
            checked as unlabelled.
        label_space: the label space of the label files: a built-in name or a YAML file; None: that of the layout, or
            inferred from the files, and printed.
        evaluation: evaluation sets; images that are also in ``paths`` are reported.
        out: the page. An earlier page of the doctor is replaced.
        fix: write a corrected copy of ``paths`` into this new folder, as ``images/`` and ``labels/`` (for several sets,
            one such folder each). The data itself is never changed. The copy is then read again, and remaining findings
            are reported.
        unlabelled: ignore labels.
        workers: number of threads; None: one for each core.
        console: for the findings; None: standard output, unless ``quiet``.
        overwrite: replace another file at ``out``, or an earlier corrected copy at ``fix``.
        boxes: the box file of ``paths``; None: ``boxes.csv`` or ``bounding_boxes.txt`` of each, if it has one.

    Raises:
        UserError: a path or option is wrong. Problems *in* the data are findings.
    """
    told, console = console or Console(quiet=quiet), console or Console(stderr=True, quiet=quiet)
    page = Path(out)
    named = _named([*((p, "training") for p in paths), *((p, "evaluation") for p in evaluation)])
    _check_places(page, fix, (*paths, *evaluation), overwrite)
    space = LabelSpace.load(label_space) if isinstance(label_space, str | Path) else label_space
    sets = [list_set(spec, name, role, unlabelled) for spec, name, role in named]
    begin = time.perf_counter()
    examined = _examine_all(sets, space, workers, console, quiet)
    boxed, box_findings = _boxes(examined, boxes)
    summaries = [summarise(each) for each in examined]
    findings = by_severity([*box_findings, *_findings(examined, summaries)])
    seconds = time.perf_counter() - begin
    fixes: dict[str, FixSummary] = {}
    left: list[Finding] = []
    if fix is not None:
        fixes = _fix_all(examined, boxed, Path(fix), workers, console, quiet)
        left = _left(examined, fixes, unlabelled, workers, console, quiet)
    most = max(_FEWEST, _PICTURES // len(examined))
    sheets = [SetSheet(e.name, e.space, contact_sheet(e, most)) for e in examined]
    shown = offending_pictures(examined, findings, workers)
    write_doctor_page(page, DoctorPage(findings, summaries, sheets, seconds, fixes, left, shown))
    report = DoctorReport(findings, summaries, page, seconds, fixes, left)
    print_doctor(report, told)
    return report


def _boxes(
    examined: Sequence[Examined], named: str | Path | None
) -> tuple[dict[str, ExaminedBoxes], list[Finding]]:
    """The boxes of the training sets by the set's name, and findings about them."""
    boxed: dict[str, ExaminedBoxes] = {}
    findings: list[Finding] = []
    for each in examined:
        if each.listed.role == "training":
            read, found = examine_boxes(each, named)
            findings += found
            boxed |= {each.name: read} if read is not None else {}
    return boxed, findings


def _left(
    examined: Sequence[Examined],
    fixes: dict[str, FixSummary],
    unlabelled: bool,
    workers: int | None,
    console: Console,
    quiet: bool,
) -> list[Finding]:
    """Findings in the corrected copies, read as new sets together with the evaluation sets."""
    held_out = [each for each in examined if each.listed.role == "evaluation"]
    sets = [list_set(fixed.folder, name, "training", unlabelled) for name, fixed in fixes.items()]
    copies = _examine_all(sets, None, workers, console, quiet)
    _, box_findings = _boxes(copies, None)
    every = [*copies, *held_out]
    return by_severity([*box_findings, *_findings(every, [summarise(each) for each in every])])


def _findings(examined: Sequence[Examined], summaries: Sequence[SetSummary]) -> list[Finding]:
    found = [
        finding
        for each in examined
        for finding in (*each.listed.findings, *label_findings(each), *image_findings(each))
    ]
    return by_severity([*found, *duplicate_findings(examined), *set_findings(summaries)])


def _examine_all(
    sets: list[Listed], space: LabelSpace | None, workers: int | None, console: Console, quiet: bool
) -> list[Examined]:
    examined: list[Examined] = []
    with _progress("read", sum(len(each.pairs) for each in sets), console, quiet) as advance:
        for each in sets:
            facts = read_facts(each.pairs, workers, advance)
            done = examine(each, facts, space)
            trained = next((e.space for e in examined if e.listed.role == "training" and e.space), None)
            unclear = each.role == "evaluation" and (done.space is None or done.space.nameless)
            if space is None and unclear and trained is not None:
                done = examine(each, facts, trained, "that of the training set")
            examined.append(done)
    return examined


@contextmanager
def _progress(what: str, total: int, console: Console, quiet: bool) -> Iterator:
    with open_progress(console, quiet) as bar:
        task = bar.add_task(what, total=total)
        yield lambda number: bar.advance(task, number)


def _named(specs: list[tuple[str | Path, str]]) -> list[tuple[str | Path, str, str]]:
    """Each set with a unique short name, and its role."""
    if not any(role == "training" for _, role in specs):
        raise DataError("No data to check: name a folder, a zip file or LAYOUT:PATH.")
    named, taken = [], set()
    for spec, role in specs:
        name = short = short_name(spec)
        number = 2
        while name in taken:
            name, number = f"{short} ({number})", number + 1
        taken.add(name)
        named.append((spec, name, role))
    return named


# --- outputs ---------------------------------------------------------------------------------------


def _check_places(page: Path, fix: str | Path | None, data: Sequence[str | Path], overwrite: bool) -> None:
    """Refuse a page or a corrected copy that would replace something else."""
    if page.is_dir():
        raise RunError(f"{page} is a folder: give a file name as --out, such as doctor.html.")
    own = is_doctor_page(page)
    if page.exists() and not overwrite and not own:
        raise RunError(
            f"{page} exists already and is not a page of the doctor: choose another --out, or --overwrite."
        )
    places = {f"the data ({spec})": DomainSpec.parse(spec).path for spec in data}
    if os.path.lexists(page) and not own:  # our own page may be inside the data
        ensure_apart(page, places)
    if fix is not None:
        ensure_apart(Path(fix), places, "--fix")
        ensure_free(Path(fix), COPY, overwrite, "--fix")


def _fix_all(
    examined: Sequence[Examined],
    boxed: dict[str, ExaminedBoxes],
    folder: Path,
    workers: int | None,
    console: Console,
    quiet: bool,
) -> dict[str, FixSummary]:
    """Write the copies into a temporary folder, then rename it."""
    chosen = [each for each in examined if each.listed.role == "training"]
    fixes: dict[str, FixSummary] = {}
    with replaced_folder(folder, COPY, "choose another folder as --fix", "--fix") as beside:
        with _progress("fix", sum(len(e.listed.pairs) for e in chosen), console, quiet) as advance:
            for each in chosen:
                inside = each.name if len(chosen) > 1 else "."
                done = fix_set(each, beside / inside, workers, advance, boxed.get(each.name))
                fixes[each.name] = replace(done, folder=folder / inside)
        _write_changes(fixes, beside / CHANGES_FILE)
    return fixes


def _write_changes(fixes: dict[str, FixSummary], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("set", "file", "what"))
        for name, fixed in fixes.items():
            rows.writerows((name, changed, what) for changed, what in fixed.changed)
            rows.writerows((name, left, f"left out: {why}") for left, why in fixed.left_out)
