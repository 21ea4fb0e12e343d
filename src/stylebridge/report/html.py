"""The report page of a run: one self-contained HTML file.

`AdaptationReport` holds the facts of a run; `write_report` renders the page. The templates define the appearance, this
module the numbers and pictures. The templates escape all names.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from stylebridge.data.label_space import IGNORE
from stylebridge.metrics.segmentation import SegmentationScores
from stylebridge.report import curves
from stylebridge.report.formats import (
    gain,
    movers,
    percent,
    share,
)
from stylebridge.report.page import open_environment, write_page
from stylebridge.report.pictures import (
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
_MAX_CONFUSION = 40  # classes; a larger heat map would be unreadable


@dataclass(frozen=True)
class DomainFacts:
    """A domain: its name, path, and number of images."""

    name: str
    path: str
    images: int | None = None


@dataclass(frozen=True)
class SourceSample:
    """A labelled source image: image uint8 [H, W, 3], label uint8 [H, W] (255 = ignore); ``translated`` [H, W, 3]: the
    image in the target's style, if the run translates."""

    image: Picture
    label: Picture
    name: str
    translated: Picture | None = None


@dataclass(frozen=True)
class TargetSample:
    """A target image uint8 [H, W, 3] and its label maps uint8 [H, W] (255 = ignore).

    before: by the segmenter before adaptation; None, in all samples, if the run has none.
    after: by the final segmenter.
    truth: the true label map, if available.
    """

    image: Picture
    before: Picture | None
    after: Picture
    name: str
    truth: Picture | None = None


@dataclass(frozen=True)
class StageTiming:
    """Training time of a stage; 0 if it was copied from another run."""

    stage: str
    seconds: float
    steps: int | None = None


@dataclass(frozen=True)
class Table:
    """A table of texts, e.g. of baselines. `highlight`: index of this run's row."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    highlight: int | None = None


@dataclass(frozen=True)
class AdaptationReport:
    """The contents of the report of an adaptation.

    title: name of the run, e.g. "day → dusk"; the page's heading. recipe: the recipe's name.
    before, after: scores on the target's truth, of the segmenter trained on source alone and of the adapted one; both
        None if the target has no labels. `before` alone may be None (not measured).
    source_score: scores of the adapted segmenter on the source, for comparison.
    seen_on: the domain of the target samples and scores, if it is not the target itself.
    label_free: (name, value) of scores without truth; shown prominently if there are no others.
    metrics: the run's `metrics.jsonl`.
    facts: (name, value) of the run: command, device, seed, ...; a value may have several lines.
    notices: important sentences for the reader.
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
    seen_on: str | None = None
    label_free: Sequence[tuple[str, str]] = ()
    metrics: Path | None = None
    facts: Sequence[tuple[str, str]] = ()
    notices: Sequence[str] = ()
    table: Table | None = None
    timing: Sequence[StageTiming] = ()

    @property
    def headline(self) -> str:
        """The result in one line, e.g. "day → dusk: 41.2 → 63.0 mIoU (+21.8)"."""
        if self.after is None:
            return f"{self.title}: no truth to score against"
        if self.before is None:
            return f"{self.title}: {percent(self.after.miou_present)} mIoU"
        before, after = self.before.miou_present, self.after.miou_present
        return f"{self.title}: {percent(before)} → {percent(after)} mIoU ({gain(before, after)})"

    @property
    def compared(self) -> bool:
        """Whether there are label maps or scores from before adaptation."""
        return self.before is not None or any(s.before is not None for s in self.target_samples)


def write_report(path: Path, report: AdaptationReport, mend: str = "choose another folder") -> None:
    """Write the page to `path` atomically; its folder is created if needed.

    Raises ValueError if the report contradicts itself (sizes, classes), RunError if it cannot be written.
    """
    write_page(path, render(report), mend)


def render(report: AdaptationReport) -> str:
    """The page's HTML. Raises ValueError if the report contradicts itself."""
    _check(report)
    environment = open_environment()
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
        # Content security policy: only this script may run, not one injected through a user's names.
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


def _check(report: AdaptationReport) -> None:
    names = tuple(report.label_space.classes)
    if report.before is not None and report.after is None:
        raise ValueError("a report with scores before adaptation needs those after it")
    for what in ("before", "after", "source_score"):
        scores = getattr(report, what)
        if scores is not None and tuple(scores.classes) != names:
            raise ValueError(f"the scores '{what}' are of other classes than the report's label space")
    if len({sample.before is None for sample in report.target_samples}) > 1:
        raise ValueError("either all target samples have a map from before adaptation, or none has")
    for sample in report.target_samples:
        _check_sample(sample.name, sample.image, _maps(sample))
    for sample in report.source_samples:
        _check_sample(sample.name, sample.image, {"label": sample.label})
        if sample.translated is not None and sample.translated.shape != sample.image.shape:
            raise ValueError(f"sample '{sample.name}': its translation has another size")


def _check_sample(name: str, image: Picture, maps: dict[str, Picture]) -> None:
    try:
        check_sizes(image, maps)
    except ValueError as error:
        raise ValueError(f"sample '{name}': {error}") from error


def _maps(sample: TargetSample) -> dict[str, Picture]:
    """The label maps of the sample, in the order of the page."""
    maps = {"before": sample.before, "after": sample.after, "truth": sample.truth}
    return {key: labels for key, labels in maps.items() if labels is not None}


def _css(colour: Sequence[int]) -> str:
    return "#" + bytes(int(channel) for channel in colour).hex()


def _frame(image: Picture) -> dict[str, Any]:
    height, width = image.shape[:2]
    return {"width": width, "height": height, "tiny": width < 300, "photo": photo_uri(image)}


def _source_view(sample: SourceSample, space: Palette) -> dict[str, Any]:
    label = map_uri(shrink(sample.label, _MAX_WIDTH), space)
    view = _frame(shrink(sample.image, _MAX_WIDTH)) | {"name": sample.name, "maps": {"label": label}}
    translated = None if sample.translated is None else photo_uri(shrink(sample.translated, _MAX_WIDTH))
    return view | {"translated": translated}


def _target_view(sample: TargetSample, space: Palette) -> dict[str, Any]:
    """Pictures and marks of one target image; pixel counts are those of the full size.

    Marked are wrong pixels in one colour or, without truth, changed pixels in their class colours; nothing if there is
    only the map after adaptation.
    """
    maps = _maps(sample)
    marks: dict[str, str] = {}
    rates: dict[str, float] = {}
    if sample.truth is not None:
        labelled = sample.truth != IGNORE
        for key in maps.keys() - {"truth"}:
            wrong = (maps[key] != sample.truth) & labelled
            rates[key] = float(wrong.sum() / max(1, labelled.sum()))
            marks[key] = mask_uri(shrink(wrong.astype(np.uint8), _MAX_WIDTH) > 0, _MARK)
    elif sample.before is not None:
        changed = sample.before != sample.after
        rates["changed"] = float(changed.mean())
        for key, labels in maps.items():
            only = np.where(changed, labels, IGNORE).astype(np.uint8)
            marks[key] = map_uri(shrink(only, _MAX_WIDTH), space)
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
    lost, gained = (
        movers(report.after.classes, report.before.iou, report.after.iou) if report.before else ([], [])
    )
    return {
        "before": before,
        "after": after,
        "text": text,
        "source": report.source_score.miou_present if report.source_score else None,
        "worse": text.startswith("−"),
        "lost": lost,
        "gained": gained,
        "compared": report.before is not None,
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
    """Per class, without truth: its share of the target samples' pixels after and, if known, before."""
    space, samples = report.label_space, report.target_samples
    if not samples:
        return []
    after = _class_shares([s.after for s in samples], len(space.classes))
    before = _class_shares([s.before for s in samples if s.before is not None], len(space.classes))
    scale = max(1e-9, *after, *before)
    bars = []
    for i, (name, colour) in enumerate(zip(space.classes, space.colours, strict=True)):
        was = before[i] if before else None
        text = "" if was is None else gain(was, after[i])
        bars.append(_bar(name, colour, was, after[i], text) | {"share": None, "scale": scale})
    return bars


def _class_shares(maps: Sequence[Picture], num_classes: int) -> list[float]:
    """Each class's share of the pixels of the maps; empty without maps."""
    if not maps:
        return []
    counts = np.bincount(np.concatenate([m.ravel() for m in maps]), minlength=256)[:num_classes]
    return (counts / max(1, counts.sum())).tolist()


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
    """Row-normalised shares, and the five confusions with the most pixels."""
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
    changed = [(s.before != s.after).mean() for s in report.target_samples if s.before is not None]
    if report.after is None and changed:
        text = f"{share(float(np.mean(changed)))} %"
        facts.append((f"of the pixels changed class, over {len(changed)} samples", text))
    return facts


def _panels(metrics: Path | None) -> list[curves.Panel]:
    return [] if metrics is None else curves.panels(curves.loss_curves(curves.read_metrics(metrics)))


def _facts(report: AdaptationReport) -> list[tuple[str, str]]:
    def describe(role: str, domain: DomainFacts) -> tuple[str, str]:
        images = None if domain.images is None else f"{domain.images:,} images"
        name = None if domain.name == role else domain.name
        return role, "\n".join(filter(None, (", ".join(filter(None, (name, images))), domain.path)))

    return [describe("source", report.source), describe("target", report.target), *report.facts]


def _timing_view(timing: Sequence[StageTiming]) -> list[dict[str, Any]]:
    total = sum(stage.seconds for stage in timing) or 1.0
    return [
        {"stage": t.stage, "seconds": t.seconds, "steps": t.steps, "share": t.seconds / total} for t in timing
    ]
