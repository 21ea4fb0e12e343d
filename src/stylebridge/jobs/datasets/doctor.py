"""Look through data sets and tell what would bite later."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from stylebridge.cli.doctor_tables import print_doctor, stopping
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

#: Pictures on the contact sheets of all sets together, and the fewest of one set.
_PICTURES, _FEWEST = 24, 8

#: Tells, file by file, what a corrected copy changed.
CHANGES_FILE = "changes.csv"


@dataclass(frozen=True)
class DoctorReport:
    """What was found.

    Attributes:
        findings: the worst first.
        sets: each set in numbers, in the order given.
        page: the HTML page.
        seconds: that reading took.
        fixes: the corrected copies by set; empty if none was asked for.
        left: what was found in the corrected copies, read again, and in the evaluation sets; the worst first.
    """

    findings: list[Finding]
    sets: list[SetSummary]
    page: Path
    seconds: float
    fixes: dict[str, FixSummary]
    left: list[Finding] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """Whether nothing was found that stops training."""
        return stopping(self.findings) == 0

    @property
    def ready(self) -> bool:
        """Whether nothing stops training: in the corrected copies where they were written, else in the sets."""
        return stopping(self.left) == 0 if self.fixes else self.healthy


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
    """Read every file of some sets once and tell, on the terminal and on one HTML page, what would bite later.

    Args:
        paths: the sets: ``PATH``, ``LAYOUT:PATH`` or ``LAYOUT/SPLIT:PATH``. A plain folder without label maps is
            checked as unlabelled.
        label_space: how label files are read: a built-in label space's name or a YAML file; None: as the layout says,
            or as inferred from the files, and printed.
        evaluation: sets that are scored: images that are in ``paths`` too are found.
        out: the page. A page of the doctor's there is replaced.
        fix: write a corrected copy of ``paths`` into this new folder, as ``images/`` and ``labels/`` (of several
            sets: one such folder each). Nothing is ever changed in place. The copy is then read again, and what is left
            is reported.
        unlabelled: do not look at labels.
        workers: threads; None: one a core.
        console: takes the findings; None: standard output, unless ``quiet``.
        overwrite: replace another file at ``out``, or an earlier corrected copy at ``fix``.
        boxes: the boxes file of ``paths``; None: ``boxes.csv`` or ``bounding_boxes.txt`` of each, if it has one.

    Raises:
        UserError: a path or option is wrong. What is wrong *in* the data is a finding.
    """
    told, console = console or Console(quiet=quiet), console or Console(stderr=True, quiet=quiet)
    page = Path(out)
    _check_out(page, overwrite)
    if os.path.lexists(page) and not is_doctor_page(page):  # a page of ours may lie with the data
        ensure_apart(page, {f"the data ({p})": DomainSpec.parse(p).path for p in (*paths, *evaluation)})
    named = _named([*((p, "training") for p in paths), *((p, "evaluation") for p in evaluation)])
    if fix is not None:
        _check_fix(Path(fix), [spec for spec, _, _ in named], overwrite)
    space = (
        label_space
        if label_space is None or isinstance(label_space, LabelSpace)
        else LabelSpace.load(label_space)
    )
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
    """The boxes of the training sets by the set's name, and what is wrong with them."""
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
    """What is found in the corrected copies, read as new sets beside the evaluation sets."""
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
                done = examine(each, facts, trained, "the training set's")
            examined.append(done)
    return examined


@contextmanager
def _progress(what: str, total: int, console: Console, quiet: bool) -> Iterator:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=quiet) as bar:
        task = bar.add_task(what, total=total)
        yield lambda number: bar.advance(task, number)


def _named(specs: list[tuple[str | Path, str]]) -> list[tuple[str | Path, str, str]]:
    """Each set with a short name of its own, and its role."""
    if not any(role == "training" for _, role in specs):
        raise DataError("No data to look at: name a folder, a zip file or LAYOUT:PATH.")
    named, taken = [], set()
    for spec, role in specs:
        name = short = short_name(spec)
        number = 2
        while name in taken:
            name, number = f"{short} ({number})", number + 1
        taken.add(name)
        named.append((spec, name, role))
    return named


# --- where is written ---------------------------------------------------------------------------------------


def _check_out(page: Path, overwrite: bool) -> None:
    if page.is_dir():
        raise RunError(f"{page} is a folder: give a file name as --out, such as doctor.html.")
    if page.exists() and not overwrite and not is_doctor_page(page):
        raise RunError(
            f"{page} exists already and is no page of the doctor's: choose another --out, or --overwrite."
        )


def _check_fix(folder: Path, specs: Sequence[str | Path], overwrite: bool) -> None:
    ensure_apart(folder, {f"the data ({spec})": DomainSpec.parse(spec).path for spec in specs}, "--fix")
    ensure_free(folder, COPY, overwrite, "--fix")


def _fix_all(
    examined: Sequence[Examined],
    boxed: dict[str, ExaminedBoxes],
    folder: Path,
    workers: int | None,
    console: Console,
    quiet: bool,
) -> dict[str, FixSummary]:
    """Write the copies beside, then give the folder its name."""
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
