"""The doctor's output on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from stylebridge.data.doctor import Finding, FixSummary, SetSummary, Severity
from stylebridge.report.doctor_page import file_size
from stylebridge.report.formats import share

_STYLES = {Severity.STOPS: "bold red", Severity.MISLEADS: "bold yellow", Severity.KNOW: "bold cyan"}

#: Limits of what is printed; the HTML page contains everything.
_MOST_CLASSES, _MOST_ROWS, _MOST_EXAMPLES = 24, 5, 2


@dataclass(frozen=True)
class DoctorReport:
    """The result of the doctor.

    Attributes:
        findings: the worst first.
        sets: the statistics of each set, in the order given.
        page: the HTML page.
        seconds: reading time.
        fixes: the corrected copies by set; empty without ``fix``.
        left: findings in the corrected copies, read again, and in the evaluation sets; the worst first.
    """

    findings: list[Finding]
    sets: list[SetSummary]
    page: Path
    seconds: float
    fixes: dict[str, FixSummary]
    left: list[Finding] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """Whether no finding stops training."""
        return stopping(self.findings) == 0

    @property
    def ready(self) -> bool:
        """Whether no finding stops training, in the corrected copies if written, else in the sets."""
        return stopping(self.left) == 0 if self.fixes else self.healthy


def print_doctor(report: DoctorReport, console: Console) -> None:
    """Print the sets, their classes, the findings and the path of the page."""
    console.print(_sets(report.sets))
    for summary in report.sets:
        if summary.classes:
            console.print(_classes(summary))
    several = len(report.sets) > 1
    _print_findings(report.findings, console, several)
    for name, fixed in report.fixes.items():
        console.print("\n" + escape(_fixed(name, fixed, len(report.fixes) > 1)), highlight=False)
    if report.left:
        console.print("\n[bold]Left in the corrected copy[/]")
        _print_findings(report.left, console, several)
    console.print()
    console.print(_verdict(report), highlight=False)
    console.print(f"page     {report.page}", highlight=False, markup=False)


def _print_findings(findings: Sequence[Finding], console: Console, several: bool) -> None:
    for severity in Severity:
        group = [finding for finding in findings if finding.severity is severity]
        if group:
            console.print(f"\n[{_STYLES[severity]}]{severity.value.capitalize()}[/]")
            for finding in group:
                _print_finding(finding, console, several)


def stopping(findings: Sequence[Finding]) -> int:
    """Number of findings that stop training."""
    return sum(finding.severity is Severity.STOPS for finding in findings)


def _sets(sets: list[SetSummary]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("set", "as", "layout", "images", "label maps", "size", "format"):
        table.add_column(column, justify="right" if column in ("images", "label maps") else "left")
    for each in sets:
        sizes = [f"{w}×{h}" for (w, h), _ in each.sizes.most_common(1)]
        size = (sizes[0] if sizes else "–") + (
            f" and {len(each.sizes) - 1} more" if len(each.sizes) > 1 else ""
        )
        forms = ", ".join(form for form, _ in each.formats.most_common(2)) or "–"
        labels = f"{each.labels:,}" if each.labels else "–"
        table.add_row(escape(each.name), each.role, each.layout, f"{each.images:,}", labels, size, forms)
    return table


def _classes(summary: SetSummary) -> Table:
    title = f"{escape(summary.name)}: {escape(summary.space)} ({escape(summary.space_told)})"
    table = Table(title=title, title_justify="left", title_style="", box=None, padding=(0, 2, 0, 0))
    table.add_column("class")
    table.add_column("pixels %", justify="right")
    table.add_column("images %", justify="right")
    table.add_column("")
    total = max(1, summary.class_pixels)
    largest = max((c.pixels for c in summary.classes), default=0) or 1
    for each in summary.classes[:_MOST_CLASSES]:
        bar = "━" * round(24 * each.pixels / largest)
        pixels = share(each.pixels / total) if each.pixels else "[red]never[/]"
        images = share(each.images / max(1, summary.labels)) if each.images else ""
        table.add_row(escape(each.name), pixels, images, f"[cyan]{bar}[/]")
    if len(summary.classes) > _MOST_CLASSES:
        table.add_row(f"… and {len(summary.classes) - _MOST_CLASSES} more", "", "", "")
    return table


def _print_finding(finding: Finding, console: Console, several: bool) -> None:
    where = f"[dim]{escape(finding.domain)}:[/] " if several and finding.domain else ""
    fixable = " [green]--fix[/]" if finding.fixable else ""
    console.print(
        Padding(f"[{_STYLES[finding.severity]}]•[/] {where}{escape(finding.what)}{fixable}", (0, 0, 0, 1))
    )
    lines = [_row(finding, row) for row in finding.rows[:_MOST_ROWS]]
    if not lines and finding.examples:
        most = _MOST_EXAMPLES if finding.severity is Severity.STOPS else 1
        lines = list(finding.examples[:most])
        more = finding.count - len(lines)
        lines[-1] += f"  … and {more:,} more" if more > 0 else ""
    if finding.severity is not Severity.KNOW:  # the page has the rest
        lines.append(f"→ {finding.advice}")
    for line in lines:
        style = "" if line.startswith("→") else "dim"
        console.print(Padding(escape(line), (0, 0, 0, 4), style=style), highlight=False)


def _row(finding: Finding, row: tuple[str, ...]) -> str:
    noun, *counted = finding.columns[:3]
    amounts = ", ".join(
        f"{n} {what[:-1] if n == '1' else what}" for n, what in zip(row[1:3], counted, strict=True)
    )
    return f"{noun} {row[0]}: {amounts}, such as {row[3]}"


def _fixed(name: str, fixed: FixSummary, several: bool) -> str:
    made = (
        ", ".join(f"{number:,} × {what}" for what, number in fixed.changes.most_common())
        or "nothing to change"
    )
    left = f"; {len(fixed.left_out):,} files left out" if fixed.left_out else ""
    of = f" of {name}" if several else ""
    return f"Corrected copy{of}: {fixed.copied:,} files copied unchanged, {made}{left}, in {fixed.folder}"


def _verdict(report: DoctorReport) -> str:
    files = sum(each.images + each.labels for each in report.sets)
    size = sum(each.bytes for each in report.sets)
    read = f"{files:,} files, {file_size(size)}, read in {report.seconds:.1f} s."
    if report.fixes:
        return f"{_told(report.left, ' in the corrected copy')} {read}"
    return f"{_told(report.findings, '')} {read}"


def _told(findings: Sequence[Finding], where: str) -> str:
    if not findings:
        return f"[bold green]Nothing found{where}.[/]"
    number = stopping(findings)
    if not number:
        return f"[bold green]Nothing stops training{where}.[/]"
    return f"[bold red]{number} {'finding stops' if number == 1 else 'findings stop'} training{where}.[/]"
