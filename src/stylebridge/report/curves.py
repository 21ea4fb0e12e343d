"""Learning curves: read a run's `metrics.jsonl` and lay out its losses as small panels.

This module computes geometry and texts; the page's template draws them, so that they follow its light or dark theme. A
panel's plot is a box of 1000 × 1000 units, y downwards, stretched to the available space.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BOX = 1000
_MAX_LINES = 6
_MAX_POINTS = 300

Series = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """One logged value over the steps of one stage; ascending steps, finite values."""

    stage: str
    name: str
    steps: Series
    values: Series


@dataclass(frozen=True)
class Tick:
    """A tick of an axis: its position in percent of the axis from the left or top, and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """One curve as drawn: SVG paths of the raw and of the smoothed values, and its last smoothed value."""

    name: str
    colour: int
    raw: str
    smooth: str
    last: str


@dataclass(frozen=True)
class Panel:
    """One small plot. `scale` is "log" or "linear"."""

    title: str
    scale: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a `metrics.jsonl`, in order; empty if the file is missing.

    Lines that are not JSON objects are skipped: a killed run may leave an incomplete line.
    """
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def loss_curves(records: Sequence[dict[str, Any]], prefix: str = "loss/") -> list[Curve]:
    """One curve for each stage and each key that starts with `prefix`, in order of first appearance.

    Records without a numeric step are skipped, and so are values that are not finite. A step that was logged twice (by
    a resumed run) keeps its last value. A record without a stage belongs to "training".
    """
    found: dict[tuple[str, str], dict[float, float]] = {}
    for record in records:
        step, stage = record.get("step"), str(record.get("stage", "training"))
        if step is None or not _is_number(step):
            continue
        for key, value in record.items():
            if key.startswith(prefix) and _is_number(value):
                found.setdefault((stage, key.removeprefix(prefix)), {})[float(step)] = float(value)
    curves = []
    for (stage, name), points in found.items():
        steps = np.array(sorted(points))
        curves.append(Curve(stage, name, steps, np.array([points[step] for step in steps.tolist()])))
    return curves


def panels(curves: Sequence[Curve]) -> list[Panel]:
    """One panel for each stage; with more than six losses, one for each phase (first part of the loss's name)."""
    stages: dict[str, list[Curve]] = {}
    for curve in curves:
        stages.setdefault(curve.stage, []).append(curve)
    result = []
    for stage, members in stages.items():
        if len(members) <= _MAX_LINES:
            result.append(_panel(stage, members))
            continue
        phases: dict[str, list[Curve]] = {}
        for curve in members:
            phases.setdefault(curve.name.split("/")[0], []).append(curve)
        result += [_panel(f"{stage} · {phase}", group) for phase, group in phases.items()]
    return result


def smooth(values: Series, window: float) -> Series:
    """Exponential moving average of about `window` values, corrected for its start (Kingma & Ba 2015, §3)."""
    keep = 1 - 1 / max(1.0, window)
    average, weight, result = 0.0, 0.0, np.empty_like(values)
    for i, value in enumerate(values.tolist()):
        average = keep * average + (1 - keep) * value
        weight = keep * weight + (1 - keep)
        result[i] = average / weight
    return result


def _panel(title: str, curves: Sequence[Curve]) -> Panel:
    smoothed = [smooth(curve.values, len(curve.values) / 15) for curve in curves]
    everything = np.concatenate([curve.values for curve in curves])
    log = bool((everything > 0).all()) and _spread(np.concatenate(smoothed)) > 20
    # The range excludes the largest raw spikes, which would flatten the rest.
    shown = np.concatenate([np.quantile(everything, [0.005, 0.995]), *smoothed])
    low, high = _padded(_forward(shown, log))
    steps = np.concatenate([curve.steps for curve in curves])
    first, last = float(steps.min()), float(steps.max())

    def along(steps: Series) -> Series:
        return (steps - first) / (last - first) if last > first else np.full_like(steps, 0.5)

    def path(curve: Curve, values: Series) -> str:
        x = along(curve.steps) * BOX
        y = np.clip((high - _forward(values, log)) / (high - low) * BOX, 0, BOX)
        return svg_path(*thin(x, y))

    lines = tuple(
        Line(c.name, i % 8, path(c, c.values), path(c, s), short(float(s[-1])))
        for i, (c, s) in enumerate(zip(curves, smoothed, strict=True))
    )
    marks = _nice(first, last, 4, least=1)  # steps are integers, and so are their ticks
    x_ticks = tuple(
        Tick(float(at), f"{step:,.0f}") for at, step in zip(100 * along(np.array(marks)), marks, strict=True)
    )
    return Panel(title, "log" if log else "linear", lines, x_ticks, _y_ticks(low, high, log))


def thin(x: Series, y: Series) -> tuple[Series, Series]:
    """At most `_MAX_POINTS` points of a line: both ends, and the minimum and maximum of each bin."""
    if len(x) <= _MAX_POINTS:
        return x, y
    bins = np.array_split(np.arange(len(x)), _MAX_POINTS // 2 - 1)
    keep = np.unique(
        [0, len(x) - 1, *(b[y[b].argmin()] for b in bins), *(b[y[b].argmax()] for b in bins)],
    )
    return x[keep], y[keep]


def svg_path(x: Series, y: Series) -> str:
    """The `d` of an SVG path through the points; a single point becomes a short dash, to be visible."""
    if len(x) == 1:
        return f"M{x[0] - 12:.0f} {y[0]:.0f}h24"
    return "M" + "L".join(f"{a:.0f} {b:.0f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))


def short(value: float) -> str:
    """A number with about three digits, for a label."""
    if value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e5):
        return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _spread(values: Series) -> float:
    return float(values.max() / max(values.min(), 1e-12))


def _forward(values: Series, log: bool) -> Series:
    return np.log10(np.maximum(values, 1e-12)) if log else values


def _padded(values: Series) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin


def _nice(low: float, high: float, count: int, least: float = 0.0) -> list[float]:
    """About `count` round numbers from low to high, at least `least` apart."""
    if high <= low:
        return [low]
    rough = max((high - low) / count, least)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _y_ticks(low: float, high: float, log: bool) -> tuple[Tick, ...]:
    if log:
        powers = range(math.floor(low), math.ceil(high) + 1)
        factors = (1,) if high - low > 2.5 else (1, 3) if high - low > 1.2 else (1, 2, 5)
        marks = [(p + math.log10(f), short(f * 10.0**p)) for p in powers for f in factors]
    else:
        values = _nice(low, high, 4)
        marks = list(zip(values, _alike(values), strict=True))
    return tuple(Tick(100 * (high - at) / (high - low), text) for at, text in marks if low <= at <= high)


def _alike(values: Sequence[float]) -> list[str]:
    """Evenly spaced round numbers as texts with the decimals of their spacing: 2.5, 2.0, 1.5."""
    distance = values[1] - values[0] if len(values) > 1 else 0.0
    if distance < 1e-4 or max(abs(value) for value in values) >= 1e5:
        return [short(value) for value in values]
    decimals = max(0, -math.floor(math.log10(distance) + 1e-9))
    return [f"{value:,.{decimals}f}" for value in values]
