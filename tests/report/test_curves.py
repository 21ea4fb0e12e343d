import json
import math
import re

import numpy as np
import pytest

from stylebridge.report.curves import (
    Curve,
    loss_curves,
    panels,
    read_metrics,
    short,
    smooth,
    svg_path,
    thin,
)


def record(stage: str, step: int, **losses: float) -> dict:
    return {"stage": stage, "step": step, "time": 1.5, **{f"loss/{k}": v for k, v in losses.items()}}


def curve(values: list[float], stage: str = "one", name: str = "segmenter/seg") -> Curve:
    return Curve(stage, name, np.arange(len(values), dtype=float), np.array(values))


def points(path: str) -> np.ndarray:
    return np.array([[float(v) for v in p.split()] for p in path[1:].split("L")])


def test_reading_skips_what_is_not_a_complete_json_object(tmp_path):
    path = tmp_path / "metrics.jsonl"
    good = [record("one", 10, seg=0.5), {"other": "keys", "nested": {"a": [1]}}]
    path.write_bytes(
        b"\n".join(json.dumps(r).encode() for r in good) + b'\n[1, 2]\n"text"\n\xff\xfe\n{"stage": "one", "st'
    )
    assert read_metrics(path) == good
    assert read_metrics(tmp_path / "missing.jsonl") == []


def test_curves_group_by_stage_and_name():
    records = [
        record("one", 10, seg=3.0),
        record("two", 10, seg=1.0, align=0.1),
        record("one", 20, seg=2.0),
    ]
    got = {(c.stage, c.name): (c.steps.tolist(), c.values.tolist()) for c in loss_curves(records)}
    assert got == {
        ("one", "seg"): ([10, 20], [3.0, 2.0]),
        ("two", "seg"): ([10], [1.0]),
        ("two", "align"): ([10], [0.1]),
    }


def test_a_step_logged_twice_keeps_the_later_value_and_steps_ascend():
    records = [record("one", s, seg=v) for s, v in ((10, 1.0), (30, 3.0), (20, 2.0), (30, 2.5))]
    (only,) = loss_curves(records)
    assert only.steps.tolist() == [10, 20, 30]
    assert only.values.tolist() == [1.0, 2.0, 2.5]


def test_values_that_cannot_be_drawn_are_left_out():
    records = [
        record("one", 10, seg=math.nan),
        record("one", 20, seg=math.inf),
        record("one", 30, seg=1.0),
        {"stage": "one", "step": "forty", "loss/seg": 1.0},
        {"stage": "one", "loss/seg": 1.0},
        {"stage": "one", "step": 50, "loss/seg": None, "loss/text": "high", "loss/flag": True},
        {"step": 60, "loss/seg": 4.0},
    ]
    assert [(c.stage, c.steps.tolist()) for c in loss_curves(records)] == [("one", [30]), ("training", [60])]


def test_smoothing_is_the_weighted_mean_of_the_past():
    values = np.random.default_rng(0).random(40)
    keep = 1 - 1 / 5
    for i, got in enumerate(smooth(values, window=5)):
        weights = keep ** np.arange(i, -1, -1)
        assert got == pytest.approx((weights * values[: i + 1]).sum() / weights.sum())


def test_smoothing_leaves_a_constant_and_a_short_curve_alone():
    assert smooth(np.full(9, 2.5), 4) == pytest.approx(np.full(9, 2.5))
    assert smooth(np.array([1.0, 5.0]), 0.1).tolist() == [1.0, 5.0]


def test_one_panel_a_stage_and_one_a_phase_when_crowded():
    few = [curve([2, 1], "one", f"p{i % 2}/l{i}") for i in range(6)]
    many = [curve([2, 1], "two", f"p{i % 2}/l{i}") for i in range(8)]
    got = panels([*few, *many])
    assert [(p.title, len(p.lines)) for p in got] == [("one", 6), ("two · p0", 4), ("two · p1", 4)]


@pytest.mark.parametrize(
    ("values", "scale"),
    [([1.0, 0.5, 0.2], "linear"), ([1e3, 1.0, 1e-2], "log"), ([1e3, 1.0, -1.0], "linear")],
)
def test_scale_is_log_only_for_positive_values_of_wide_range(values, scale):
    assert panels([curve(values)])[0].scale == scale


def test_paths_lie_in_the_box_and_on_the_axis_of_the_ticks():
    values = np.linspace(0.0, 10.0, 21).tolist()
    (panel,) = panels([curve(values)])
    raw = points(panel.lines[0].raw)
    assert raw.min() >= 0
    assert raw.max() <= 1000
    for tick in panel.y_ticks:  # the raw curve passes each tick's height just where its value is the tick's
        step = np.interp(float(tick.text), values, np.arange(21))
        assert np.interp(step / 20 * 1000, raw[:, 0], raw[:, 1]) == pytest.approx(10 * tick.at, abs=1.5)
    assert [(t.at, t.text) for t in panel.x_ticks] == [
        (0, "0"),
        (25, "5"),
        (50, "10"),
        (75, "15"),
        (100, "20"),
    ]


def test_steps_are_marked_by_whole_numbers_and_once_each():
    (panel,) = panels([Curve("one", "seg", np.array([10.0, 12.0]), np.array([2.0, 1.0]))])
    assert [(t.at, t.text) for t in panel.x_ticks] == [(0, "10"), (50, "11"), (100, "12")]


def test_a_single_step_stands_in_the_middle():
    (panel,) = panels([Curve("one", "seg", np.array([6.0]), np.array([2.0]))])
    assert [(t.at, t.text) for t in panel.x_ticks] == [(50, "6")]
    assert panel.lines[0].smooth.startswith("M488 ")


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([1.4, 2.6], ["2.5", "2.0", "1.5"]),
        ([0.8, 4.2], ["4", "3", "2", "1"]),
        ([1000.2, 1001.8], ["1,001.5", "1,001.0", "1,000.5"]),
        ([-0.2, 0.2], ["0.2", "0.0", "-0.2"]),
    ],
)
def test_marks_of_an_axis_have_as_many_decimals(values, texts):
    (panel,) = panels([curve(values)])
    assert [t.text for t in panel.y_ticks][::-1] == texts


def test_log_ticks_agree_with_a_log_curve():
    values = np.logspace(-2, 2, 21).tolist()
    (panel,) = panels([curve(values)])
    raw = points(panel.lines[0].raw)
    assert len(panel.y_ticks) >= 3
    for tick in panel.y_ticks:
        step = np.interp(math.log10(float(tick.text)), np.log10(values), np.arange(21))
        assert np.interp(step / 20 * 1000, raw[:, 0], raw[:, 1]) == pytest.approx(10 * tick.at, abs=1.5)


def test_one_rare_spike_does_not_press_the_rest_flat():
    values = np.tile([1.0, 2.0], 500)
    values[700] = 30.0
    (panel,) = panels([curve(values.tolist())])
    calm = points(panel.lines[0].raw)[:150, 1]
    assert np.ptp(calm) > 500


@pytest.mark.parametrize("values", [[0.7], [0.7, 0.7, 0.7], [0.0, 0.0], [-3.0]])
def test_flat_and_single_curves_are_drawn(values):
    (panel,) = panels([curve(values)])
    assert re.fullmatch(r"M\d+ \d+(h24|(L\d+ \d+)*)", panel.lines[0].smooth)
    assert panel.y_ticks


def test_thinning_keeps_ends_and_extremes():
    x = np.arange(10_000.0)
    y = np.sin(x / 50)
    y[4321] = 9.0
    thin_x, thin_y = thin(x, y)
    assert len(thin_x) <= 300
    assert (np.diff(thin_x) > 0).all()
    assert (thin_x[0], thin_x[-1]) == (0, 9999)
    assert thin_y.max() == 9.0
    assert thin_y.min() == y.min()


def test_svg_path_of_points():
    assert svg_path(np.array([0.0, 10.4]), np.array([1.0, 2.6])) == "M0 1L10 3"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.83456, "0.835"), (12.345, "12.3"), (45678, "45,678"), (0.00052, "5.2e-4"), (1e6, "1.0e6")],
)
def test_short_numbers(value, text):
    assert short(value) == text
