"""What jobs print on the terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stylebridge.metrics.segmentation import SegmentationScores
from stylebridge.report.formats import gain, movers
from stylebridge.terminal import say

if TYPE_CHECKING:
    from stylebridge.jobs.exchange.export import ExportResult
    from stylebridge.jobs.recipe.reading import Described
    from stylebridge.jobs.tasks.adapt import AdaptationResult


def percent(value: float | None) -> str:
    """Format a ratio as a percentage with one decimal; None as a dash."""
    return "–" if value is None else f"{100 * value:.1f}"


def print_scores(
    scores: SegmentationScores, console: Console, title: str, before: SegmentationScores | None = None
) -> None:
    """Print per-class IoU and the means, in per cent; with ``before``, both columns."""
    table = Table(title=title, title_style="bold", title_justify="left")
    table.add_column("class")
    if before is not None:
        table.add_column("before", justify="right")
    table.add_column("IoU %" if before is None else "after", justify="right")

    def row(name: str, old: float | None, new: float | None, style: str = "") -> None:
        table.add_row(name, *([percent(old)] if before is not None else []), percent(new), style=style)

    for index, name in enumerate(scores.classes):
        row(name, before.iou[index] if before else None, scores.iou[index])
    table.add_section()
    row("mIoU, classes present", before.miou_present if before else None, scores.miou_present, "bold")
    row("mIoU, all classes", before.miou_all if before else None, scores.miou_all)
    old_subsets = dict(before.subsets) if before else {}
    for name, value in scores.subsets:
        row(f"mIoU, {name}", old_subsets.get(name), value)
    row("pixel accuracy", before.pixel_accuracy if before else None, scores.pixel_accuracy)
    console.print(table)
    say(console, f"protocol {scores.protocol}")


def print_movers(before: SegmentationScores, after: SegmentationScores, console: Console) -> None:
    """Print the classes that got worse, then those that gained, with points of IoU."""
    lost, gained = movers(after.classes, before.iou, after.iou)
    for word, classes, style in (("got worse", lost, "red"), ("gained", gained, "green")):
        named = ", ".join(f"{name} {text}" for name, text in classes) or "no class"
        console.print(Text.assemble((f"{word:<9}  ", style), named))


def print_adaptation(result: AdaptationResult, console: Console) -> None:
    """Print the scores of an adaptation and the paths of its results."""
    if result.after is not None:
        print_scores(result.after, console, "on the target (source-only → adapted)" if result.before else
                     "on the target", result.before)  # fmt: skip
        if result.before is not None:
            before, after = result.before.miou_present, result.after.miou_present
            print_movers(result.before, result.after, console)
            style = "bold red" if after < before else "bold"
            console.print(f"mIoU {percent(before)} → {percent(after)} ({gain(before, after)})", style=style)
    say(console, f"report   {result.report}")
    say(console, f"model    {result.run / 'segmenter'}")
    if result.onnx is not None:
        say(console, f"onnx     {result.onnx}")
    say(console, f"use it   stylebridge segment {result.run} PHOTO_OR_FOLDER --out masks/")


def print_export(result: ExportResult, console: Console) -> None:
    """Print the exported file and its comparison with the torch model."""
    sizes = ", ".join(f"{b} × {w}×{h}" for b, w, h in result.checked)
    say(console, f"written     {result.path} ({result.bytes / 1e6:.1f} MB)")
    say(console, f"compared    on {result.images}: {sizes}")
    say(
        console,
        f"difference  at most {result.max_difference:.2g} (logits reach {result.largest_logit:.3g}); the same class in "
        f"{100 * result.agreement:.3f} % of pixels",
    )


def print_recipes(
    recipes: Sequence[Described], defaults: Collection[str], tasks: bool, console: Console
) -> None:
    """Print recipes and what they are.

    Args:
        defaults: the names that are marked as defaults.
        tasks: whether each one's task is shown.
    """
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("recipe", *(["task"] if tasks else []), "what it is"):
        table.add_column(column, style="bold" if column == "recipe" else "")
    for name, task, description in recipes:
        mark = Text(" (default)", style="dim") if name in defaults else Text()
        table.add_row(Text(name) + mark, *([task] if tasks else []), Text(description))
    console.print(table)


def print_importers(console: Console) -> None:
    """Print the kinds of released weights, their files and their options."""
    from stylebridge.jobs.exchange.import_weights import flag, importers, usage

    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("kind", "method", "files ([…]: optional)", "options"):
        table.add_column(column, style="bold" if column == "kind" else "")
    for kind, (spec, importer) in importers().items():
        options = "\n".join(f"{flag(name)} ({meaning})" for name, meaning in importer.options.items())
        table.add_row(kind, spec.title, Text(usage(importer)), Text(options or "–"))
    console.print(table)


def print_layouts(console: Console) -> None:
    """Print the layouts, their splits (training takes the first) and their label spaces."""
    from stylebridge.data.layouts import LAYOUTS

    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("layout", "what it is", "splits", "scored", "label space"):
        table.add_column(column, style="bold" if column == "layout" else "")
    for layout in LAYOUTS.values():
        more = ", …" if len(layout.splits) > 7 else ""
        splits = "; ".join(part for part in (", ".join(layout.splits[:7]) + more, layout.free_splits) if part)
        splits, scored = splits or "–", layout.evaluation_split or "–"
        table.add_row(layout.name, layout.title, splits, scored, layout.space or "inferred from the files")
    table.add_row("shards", "made by `stylebridge data pack`; a folder or a URL", "–", "–", "as packed")
    console.print(table)


def print_label_spaces(console: Console) -> None:
    """Print the built-in label spaces."""
    from stylebridge.data.label_space import LabelSpace, builtin_label_spaces

    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("label space", "classes", "names"):
        table.add_column(column, style="bold" if column == "label space" else "")
    for name in builtin_label_spaces():
        space = LabelSpace.load(name)
        shown = ", ".join(space.classes[:24]) + (", …" if space.num_classes > 24 else "")
        table.add_row(name, str(space.num_classes), shown)
    console.print(table)
