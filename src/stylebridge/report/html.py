"""The page that ends a run: one HTML file that needs nothing else, not even a network.

`AdaptationReport` is what a job knows of its run; `write_report` turns it into the page. The templates hold
the looks, this module the numbers and pictures that they show. All names are escaped by the templates.
"""

import base64
import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from stylebridge.errors import RunError
from stylebridge.metrics.segmentation import SegmentationScores
from stylebridge.report import curves
from stylebridge.report.pictures import (
    IGNORE,
    Palette,
    Picture,
    check_sizes,
    map_uri,
    mask_uri,
    photo_uri,
    shrink,
)
from stylebridge.version import __version__

_MAX_WIDTH = 720  # px of an embedded picture
_MARK = (255, 45, 85)  # colour of wrong or changed pixels
_MAX_CONFUSION = 40  # classes; a larger heat map could not be read


@dataclass(frozen=True)
class DomainFacts:
    """A domain in words: its name, where it lies, and how many images it has."""

    name: str
    path: str
    images: int | None = None


@dataclass(frozen=True)
class SourceSample:
    """A labelled source image: image uint8 [H, W, 3], label uint8 [H, W] (255 = ignore)."""

    image: Picture
    label: Picture
    name: str


@dataclass(frozen=True)
class TargetSample:
    """A target image uint8 [H, W, 3] and its label maps uint8 [H, W]: by the segmenter before and after
    adaptation, and the truth where there is one (255 = ignore)."""

    image: Picture
    before: Picture
    after: Picture
    name: str
    truth: Picture | None = None


@dataclass(frozen=True)
class StageTiming:
    """How long a stage took."""

    stage: str
    seconds: float
    steps: int | None = None


@dataclass(frozen=True)
class Table:
    """A table of texts, e.g. of baselines. `highlight`: index of the row that is this run's."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    highlight: int | None = None


@dataclass(frozen=True)
class AdaptationReport:
    """All that the page of an adaptation shows.

    title: what this run is, e.g. "CamVid, day to dusk". recipe: the recipe's name.
    before, after: scores on the target's truth, of the segmenter trained on source alone and of the adapted
        one; both None where the target has no labels. `before` alone may be None (it was not measured).
    source_score: scores of the adapted segmenter on the source, for comparison.
    label_free: (name, value) of what can be said without truth; shown large where there are no scores.
    metrics: the run's `metrics.jsonl`.
    facts: (name, value) of what was run: command, device, seed, ...; a value may have several lines.
    notices: sentences that the reader should not miss.
    """

    title: str
    recipe: str
    source: DomainFacts
    target: DomainFacts
    label_space: Palette
    before: SegmentationScores | None = None
    after: SegmentationScores | None = None
    source_score: SegmentationScores | None = None
    source_samples: Sequence[SourceSample] = ()
    target_samples: Sequence[TargetSample] = ()
    label_free: Sequence[tuple[str, str]] = ()
    metrics: Path | None = None
    facts: Sequence[tuple[str, str]] = ()
    notices: Sequence[str] = ()
    table: Table | None = None
    timing: Sequence[StageTiming] = ()

    @property
    def headline(self) -> str:
        """The result in one line, e.g. "sim → camera: 41.2 → 63.0 mIoU (+21.8)"."""
        domains = f"{self.source.name} → {self.target.name}"
        if self.after is None:
            return f"{domains}: adapted, no truth to score against"
        if self.before is None:
            return f"{domains}: {percent(self.after.miou_present)} mIoU"
        before, after = self.before.miou_present, self.after.miou_present
        return f"{domains}: {percent(before)} → {percent(after)} mIoU ({gain(before, after)})"


def write_report(path: Path, report: AdaptationReport) -> None:
    """Write the page to `path`, whole or not at all; its folder is made if need be.

    Raises ValueError if the report contradicts itself (sizes, classes), RunError if it cannot be written.
    """
    page = render(report)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise RunError(
            f"cannot write the report '{path}': {error.strerror}; choose another folder"
        ) from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(page)
        os.chmod(beside, 0o644)  # mkstemp gives 0o600, but a report is made to be passed on
        os.replace(beside, path)
    except OSError as error:
        raise RunError(f"cannot write the report '{path}': {error.strerror}; choose another place") from error
    finally:
        Path(beside).unlink(missing_ok=True)


def render(report: AdaptationReport) -> str:
    """The page's HTML. Raises ValueError if the report contradicts itself."""
    _check(report)
    environment = Environment(
        loader=PackageLoader("stylebridge.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "count": count, "share": share, "duration": duration}
    script = Markup(environment.get_template("script.js.j2").render())
    classes = [
        {"name": name, "colour": _css(colour)}
        for name, colour in zip(report.label_space.classes, report.label_space.colours, strict=True)
    ]
    return environment.get_template("report.html.j2").render(
        report=report,
        version=__version__,
        style=Markup(environment.get_template("style.css.j2").render()),
        script=script,
        # Only this very script may run, whatever a name from a user might smuggle in.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        classes=classes,
        gain=_gain_view(report),
        samples=[_target_view(sample, report.label_space) for sample in report.target_samples],
        sources=[_source_view(sample, report.label_space) for sample in report.source_samples],
        bars=_score_bars(report) if report.after else _share_bars(report),
        confusion=_confusion_view(report.after),
        label_free=_label_free(report),
        panels=_panels(report.metrics),
        facts=_facts(report),
        timing=_timing_view(report.timing),
    )


def percent(ratio: float | None) -> str:
    """0.4123 as "41.2"; None as a dash."""
    return "–" if ratio is None else f"{100 * ratio:.1f}"


def gain(before: float, after: float) -> str:
    """The difference of two ratios in points, "+21.8", as the two rounded numbers give it."""
    points = round(round(100 * after, 1) - round(100 * before, 1), 1)
    return f"{points:+.1f}".replace("-", "−") if points else "±0.0"


def share(ratio: float) -> str:
    """A share in percent with as many digits as it deserves: "31", "2.4", "0.07"."""
    value = 100 * ratio
    if value == 0:
        return "0"
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}" if value >= 0.095 else f"{value:.2g}"


def count(number: int) -> str:
    """A count for the eye: 812, 45,300, 10.7 M (with a space that does not break)."""
    for limit, unit in ((1e9, "G"), (1e6, "M")):
        if number >= limit:
            return f"{number / limit:.1f}\u00a0{unit}"
    return f"{number:,}"


def duration(seconds: float) -> str:
    """Seconds for the eye: 42 s, 3.5 min, 2.1 h."""
    if seconds < 90:
        return f"{seconds:.0f}\u00a0s"
    return f"{seconds / 60:.1f}\u00a0min" if seconds < 5400 else f"{seconds / 3600:.1f}\u00a0h"


def _check(report: AdaptationReport) -> None:
    names = tuple(report.label_space.classes)
    if report.before is not None and report.after is None:
        raise ValueError("a report with scores before adaptation needs those after it")
    for what in ("before", "after", "source_score"):
        scores = getattr(report, what)
        if scores is not None and tuple(scores.classes) != names:
            raise ValueError(f"the scores '{what}' are of other classes than the report's label space")
    for sample in report.target_samples:
        maps = {"before": sample.before, "after": sample.after}
        _check_sample(
            sample.name, sample.image, maps | ({} if sample.truth is None else {"truth": sample.truth})
        )
    for sample in report.source_samples:
        _check_sample(sample.name, sample.image, {"label": sample.label})


def _check_sample(name: str, image: Picture, maps: dict[str, Picture]) -> None:
    try:
        check_sizes(image, maps)
    except ValueError as error:
        raise ValueError(f"sample '{name}': {error}") from error


def _css(colour: Sequence[int]) -> str:
    return "#" + bytes(int(channel) for channel in colour).hex()


def _frame(image: Picture) -> dict[str, Any]:
    height, width = image.shape[:2]
    return {"width": width, "height": height, "tiny": width < 300, "photo": photo_uri(image)}


def _source_view(sample: SourceSample, space: Palette) -> dict[str, Any]:
    label = map_uri(shrink(sample.label, _MAX_WIDTH), space)
    return _frame(shrink(sample.image, _MAX_WIDTH)) | {"name": sample.name, "maps": {"label": label}}


def _target_view(sample: TargetSample, space: Palette) -> dict[str, Any]:
    """Pictures and marks of one target image; the counted pixels are those of the full size.

    Marked are the wrong pixels in one colour or, without truth, the changed ones in their classes' colours.
    """
    maps = {"before": sample.before, "after": sample.after}
    if sample.truth is None:
        changed = sample.before != sample.after
        only = {key: np.where(changed, labels, IGNORE).astype(np.uint8) for key, labels in maps.items()}
        marks = {key: map_uri(shrink(labels, _MAX_WIDTH), space) for key, labels in only.items()}
        rates = {"changed": float(changed.mean())}
    else:
        labelled = sample.truth != IGNORE
        wrong = {key: (labels != sample.truth) & labelled for key, labels in maps.items()}
        rates = {key: float(mark.sum() / max(1, labelled.sum())) for key, mark in wrong.items()}
        small = {key: shrink(mark.astype(np.uint8), _MAX_WIDTH) > 0 for key, mark in wrong.items()}
        marks = {key: mask_uri(mark, _MARK) for key, mark in small.items()}
        maps["truth"] = sample.truth
    return _frame(shrink(sample.image, _MAX_WIDTH)) | {
        "name": sample.name,
        "maps": {key: map_uri(shrink(labels, _MAX_WIDTH), space) for key, labels in maps.items()},
        "marks": marks,
        "rates": rates,
    }


def _gain_view(report: AdaptationReport) -> dict[str, Any] | None:
    if report.after is None:
        return None
    after = report.after.miou_present
    before = report.before.miou_present if report.before else None
    text = gain(before, after) if before is not None else ""
    return {
        "before": before,
        "after": after,
        "text": text,
        "source": report.source_score.miou_present if report.source_score else None,
        "worse": text.startswith("−"),
    }


def _score_bars(report: AdaptationReport) -> list[dict[str, Any]]:
    """Per class: IoU before and after, the gain, and the class's share of the truth's pixels."""
    after = report.after
    assert after is not None
    before_iou = report.before.iou if report.before else (None,) * len(after.iou)
    bars = []
    for name, colour, before, now, row in zip(
        after.classes, report.label_space.colours, before_iou, after.iou, after.confusion, strict=True
    ):
        text = gain(before, now) if before is not None and now is not None else ""
        weight = sum(row) / after.pixels
        bars.append(_bar(name, colour, before, now, text) | {"share": weight, "scale": 1.0})
    return bars


def _share_bars(report: AdaptationReport) -> list[dict[str, Any]]:
    """Per class, without truth: its share of the target samples' pixels before and after."""
    if not report.target_samples:
        return []
    num_classes = len(report.label_space.classes)
    shares = []
    for maps in ([s.before for s in report.target_samples], [s.after for s in report.target_samples]):
        counts = np.bincount(np.concatenate([m.ravel() for m in maps]), minlength=256)[:num_classes]
        shares.append(counts / max(1, counts.sum()))
    scale = float(max(1e-9, np.max(shares)))
    return [
        _bar(name, colour, float(before), float(after), gain(float(before), float(after)))
        | {"share": None, "scale": scale}
        for name, colour, before, after in zip(
            report.label_space.classes, report.label_space.colours, *shares, strict=True
        )
    ]


def _bar(
    name: str, colour: Sequence[int], before: float | None, after: float | None, text: str
) -> dict[str, Any]:
    worse = text.startswith("−")
    return {
        "name": name,
        "colour": _css(colour),
        "before": before,
        "after": after,
        "gain": text,
        "worse": worse,
    }


def _confusion_view(scores: SegmentationScores | None) -> dict[str, Any] | None:
    """Row-normalised shares, and the five mistakes that cost the most pixels."""
    if scores is None or len(scores.classes) > _MAX_CONFUSION:
        return None
    matrix = np.array(scores.confusion, dtype=np.float64)
    totals = matrix.sum(axis=1)
    shares = matrix / np.maximum(totals, 1)[:, None]
    wrong = matrix * (1 - np.eye(len(matrix)))
    worst = np.argsort(-wrong, axis=None)[:5]
    mistakes = [
        {"truth": int(t), "called": int(p), "share": float(shares[t, p]), "pixels": int(wrong[t, p])}
        for t, p in zip(*np.unravel_index(worst, wrong.shape), strict=True)
        if wrong[t, p] > 0
    ]
    return {"rows": shares.tolist(), "present": (totals > 0).tolist(), "mistakes": mistakes}


def _label_free(report: AdaptationReport) -> list[tuple[str, str]]:
    facts = list(report.label_free)
    samples = report.target_samples
    if report.after is None and samples:
        changed = float(np.mean([(s.before != s.after).mean() for s in samples]))
        facts.append((f"of the pixels changed class, over {len(samples)} samples", f"{share(changed)} %"))
    return facts


def _panels(metrics: Path | None) -> list[curves.Panel]:
    return [] if metrics is None else curves.panels(curves.loss_curves(curves.read_metrics(metrics)))


def _facts(report: AdaptationReport) -> list[tuple[str, str]]:
    def describe(domain: DomainFacts) -> str:
        images = "" if domain.images is None else f", {domain.images:,} images"
        return f"{domain.name}{images}\n{domain.path}"

    return [("source", describe(report.source)), ("target", describe(report.target)), *report.facts]


def _timing_view(timing: Sequence[StageTiming]) -> list[dict[str, Any]]:
    total = sum(stage.seconds for stage in timing) or 1.0
    return [
        {"stage": t.stage, "seconds": t.seconds, "steps": t.steps, "share": t.seconds / total} for t in timing
    ]
