"""Painting in the page, against references a pixel at a time."""

from typing import Any

import numpy as np

from studio import pages
from studio.pages import flood, painted, stroke
from stylebridge.studio.canvas import pack

browser, still = pages.browser, pages.still


def test_the_bucket_fills_what_a_slow_flood_fills(still: Any) -> None:
    rng = np.random.default_rng(0)
    cases = []
    for number in range(60):
        shape = tuple(rng.integers(1, 14, 2))
        labels = rng.integers(0, 2 + number % 2, shape).astype(np.uint8)
        cases.append((labels, int(rng.integers(shape[1])), int(rng.integers(shape[0])), int(rng.integers(3))))
    spiral = np.zeros((11, 11), np.uint8)
    spiral[1::2, :-1] = 1
    spiral[3::4, 0], spiral[3::4, -1] = 0, 1
    cases.append((spiral, 0, 0, 2))
    filled = still.evaluate(
        """cases => cases.map(([map, width, height, x, y, value]) => {
            const at = Uint8Array.from(map);
            const box = stylebridge.bucketFill(at, width, height, x, y, value);
            return [[...at], box];
        })""",
        [[m.ravel().tolist(), m.shape[1], m.shape[0], x, y, v] for m, x, y, v in cases],
    )
    for (labels, x, y, value), (found, box) in zip(cases, filled, strict=True):
        expected = flood(labels, x, y, value)
        np.testing.assert_array_equal(np.array(found).reshape(labels.shape), expected)
        rows, columns = np.nonzero(expected != labels)
        if len(rows) == 0:
            assert box is None
        else:
            left, top = columns.min(), rows.min()
            assert box == {"x": left, "y": top, "width": np.ptp(columns) + 1, "height": np.ptp(rows) + 1}


def test_the_brush_paints_what_a_slow_brush_paints(still: Any) -> None:
    rng = np.random.default_rng(1)
    cases = []
    for size in [1, 2, 3, 4, 5, 8, 9, 16, 25] * 4:
        labels = rng.integers(0, 3, tuple(rng.integers(1, 40, 2))).astype(np.uint8)
        ends = rng.integers(-8, 48, (2, 2)).tolist()
        cases.append((labels, tuple(ends[0]), tuple(ends[1]), size, 255))
    found = still.evaluate(
        """cases => cases.map(([map, width, height, a, b, size, value]) => {
            const at = Uint8Array.from(map);
            const box = stylebridge.paintStroke(at, width, height, {x: a[0], y: a[1]}, {x: b[0], y: b[1]}, size, value);
            return [[...at], box];
        })""",
        [[m.ravel().tolist(), m.shape[1], m.shape[0], a, b, s, v] for m, a, b, s, v in cases],
    )
    for (labels, a, b, size, value), (after, box) in zip(cases, found, strict=True):
        expected = stroke(labels, a, b, size, value)
        np.testing.assert_array_equal(
            np.array(after).reshape(labels.shape), expected, err_msg=f"{a} {b} {size}"
        )
        rows, columns = np.nonzero(expected != labels)
        if len(rows):
            assert box["x"] <= columns.min() <= columns.max() < box["x"] + box["width"]
            assert box["y"] <= rows.min() <= rows.max() < box["y"] + box["height"]


def test_undo_and_redo_go_back_and_forth_over_all_states(still: Any) -> None:
    assert (
        still.evaluate(
            """() => {
            const width = 20, height = 15, map = new Uint8Array(width * height), history = new stylebridge.History();
            const states = [[...map].join()];
            let seed = 7;
            const next = (most) => (seed = (seed * 1103515245 + 12345) % 2147483648) % most;
            for (let n = 0; n < 30; n++) {
                const before = map.slice();
                const box = stylebridge.paintStroke(map, width, height, {x: next(20), y: next(15)},
                    {x: next(20), y: next(15)}, 1 + next(6), 1 + (n % 3));
                const steps = history.done.length;
                history.record(before, map, width, box);
                if (history.done.length > steps) states.push([...map].join());
            }
            const same = (state) => [...map].join() === state;
            for (let n = states.length - 2; n >= 0; n--) {
                if (!history.undo(map, width) || !same(states[n])) return `undo ${n}`;
            }
            if (history.undo(map, width) !== null) return "undo of nothing";
            for (let n = 1; n < states.length; n++) {
                if (!history.redo(map, width) || !same(states[n])) return `redo ${n}`;
            }
            if (history.redo(map, width) !== null) return "redo of nothing";
            history.undo(map, width);
            const before = map.slice();
            history.record(before, map, width, {x: 0, y: 0, width, height});
            if (!history.undone.length) return "a step that changed nothing was kept";
            map[3] = 200;
            history.record(before, map, width, {x: 0, y: 0, width, height});
            if (history.undone.length) return "what was undone can come back after another step";
            const small = new stylebridge.History(2 * 2 * width * height);
            for (let n = 0; n < 9; n++) {
                const old = map.slice();
                map.fill(n);
                small.record(old, map, width, {x: 0, y: 0, width, height});
            }
            return small.done.length === 2 ? "well" : `${small.done.length} kept`;
        }"""
        )
        == "well"
    )


def test_maps_travel_both_ways_unchanged(still: Any) -> None:
    labels = np.random.default_rng(2).choice([0, 1, 3, 255], (33, 57)).astype(np.uint8)
    still.evaluate(
        "async packed => stylebridge.paint.editor.load(await stylebridge.unpackMap(packed))", pack(labels)
    )
    np.testing.assert_array_equal(painted(still), labels)
    pixels = still.evaluate(
        "() => { const c = document.querySelector('#sb-canvas'); "
        "return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]; }"
    )
    shown = np.array(pixels, np.uint8).reshape(33, 57, 4)
    np.testing.assert_array_equal(
        shown[labels == 1], np.broadcast_to((200, 60, 40, 255), ((labels == 1).sum(), 4))
    )
    assert not shown[labels == 255].any()
