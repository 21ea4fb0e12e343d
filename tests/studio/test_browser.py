"""The page in Debian's chromium: painting against slow references, and the ways that a visitor goes."""

import os
import shutil
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stylebridge.studio.canvas import pack, unpack

pytest.importorskip("gradio", reason="the studio needs gradio: pip install 'stylebridge[studio]'")
playwright = pytest.importorskip("playwright.sync_api", reason="the browser test needs playwright")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="the browser test needs Debian's chromium")

ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@contextmanager
def opened(browser: Any, address: str) -> Iterator[Any]:
    """The page, ready; afterwards: it asked no other machine for anything, and no script failed."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    page = context.new_page()
    asked: list[str] = []
    failed: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#sb[data-ready=true]")
    yield page
    context.close()
    assert asked
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert failed == []


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A fresh page."""
    with opened(browser, address) as page:
        yield page


@pytest.fixture(scope="module")
def still(browser: Any, address: str) -> Iterator[Any]:
    """A page whose functions are called, and nothing else."""
    with opened(browser, address) as page:
        yield page


@pytest.fixture
def files(tmp_path: Path, town: tuple[np.ndarray, np.ndarray]) -> Path:
    """A photo of one colour a class and its map, a second photo of other colours, and a file that is no image."""
    photo, labels = town
    Image.fromarray(photo).save(tmp_path / "photo.png")
    Image.fromarray(labels).save(tmp_path / "labels.png")
    Image.fromarray(255 - photo).save(tmp_path / "other.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    return tmp_path


def answer(page: Any, opener: str, photo: Path | None, labels: Path | None) -> None:
    """Open a dialog, choose its files, and wait until it has closed."""
    page.click(opener)
    for name, file in (("photo", photo), ("labels", labels)):
        if file is not None:
            page.set_input_files(f"#sb-ask [name={name}]", file)
    page.click("#sb-ask [value=ok]")
    page.wait_for_function("!document.querySelector('#sb-ask').open")


def painted(page: Any) -> np.ndarray:
    """The label map on the canvas, by way of the bytes that are sent."""
    sent = page.evaluate("stylebridge.packMap(stylebridge.paint.editor.at)")
    return unpack(sent, 4, 256)


def generated(page: Any) -> None:
    page.keyboard.press("g")
    page.wait_for_function("stylebridge.paint.picture && !document.querySelector('#sb-generate[aria-busy]')")


def downloaded(page: Any, button: str) -> np.ndarray:
    with page.expect_download() as caught:
        page.click(button)
    return np.array(Image.open(caught.value.path()))


def at(page: Any, x: int, y: int) -> tuple[float, float]:
    """Where a pixel of the map is on the screen."""
    box = page.locator("#sb-canvas").bounding_box()
    height, width = painted(page).shape
    return box["x"] + (x + 0.5) * box["width"] / width, box["y"] + (y + 0.5) * box["height"] / height


# --- painting, against references a pixel at a time -----------------------------------------------------------


def flood(labels: np.ndarray, x: int, y: int, value: int) -> np.ndarray:
    out, old, waiting = labels.copy(), labels[y, x], deque([(x, y)])
    if old == value:
        return out
    while waiting:
        x, y = waiting.popleft()
        if 0 <= x < out.shape[1] and 0 <= y < out.shape[0] and out[y, x] == old:
            out[y, x] = value
            waiting.extend([(x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)])
    return out


def stroke(
    labels: np.ndarray, start: tuple[int, int], end: tuple[int, int], size: int, value: int
) -> np.ndarray:
    """Every pixel whose centre is within half a size of the middle of a stamp; a stamp a step along the longer way."""
    out = labels.copy()
    rows, columns = np.mgrid[: out.shape[0], : out.shape[1]]
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    offset = (size - 1) / 2 - (size - 1) // 2  # an even brush lies half a pixel right and below
    for step in range(steps + 1):
        # JavaScript rounds halves up.
        x, y = (np.floor(a + (b - a) * step / steps + 0.5) + offset for a, b in zip(start, end, strict=True))
        out[(columns - x) ** 2 + (rows - y) ** 2 <= (size / 2) ** 2] = value
    return out


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


# --- the ways that a visitor goes -----------------------------------------------------------------------------


def test_paint_swap_a_style_generate_download(
    page: Any, files: Path, town: tuple[np.ndarray, np.ndarray]
) -> None:
    labels = town[1]
    answer(page, "#sb-open", files / "photo.png", files / "labels.png")
    np.testing.assert_array_equal(painted(page), labels)

    # Paint a line of window over the sky by hand, and fill the old window with wall.
    page.keyboard.press("2")
    page.evaluate("stylebridge.paint.editor.setSize(3)")
    page.mouse.move(*at(page, 30, 5))
    page.mouse.down()
    page.mouse.move(*at(page, 40, 5))
    page.mouse.up()
    expected = stroke(labels, (30, 5), (40, 5), 3, 2)
    np.testing.assert_array_equal(painted(page), expected)
    page.click("[data-tool=fill]")
    page.keyboard.press("1")
    page.mouse.click(*at(page, 15, 20))
    filled = flood(expected, 15, 20, 1)
    np.testing.assert_array_equal(painted(page), filled)
    page.click("#sb-undo")
    np.testing.assert_array_equal(painted(page), expected)
    page.click("#sb-redo")
    np.testing.assert_array_equal(painted(page), filled)

    # Two photos; the window's style is then swapped to the second, the wall's lies between both.
    answer(page, "#sb-add", files / "photo.png", files / "labels.png")
    answer(page, "#sb-add", files / "other.png", files / "labels.png")
    generated(page)
    before = downloaded(page, "#sb-save-picture")
    np.testing.assert_array_equal(before[filled == 2][0], (250, 240, 230))
    page.click("#sb-palette [data-value='2']")
    page.select_option("#sb-first", label="other")
    page.click("#sb-palette [data-value='1']")
    page.select_option("#sb-second", label="other")
    page.fill("#sb-share", "20")
    generated(page)
    after = downloaded(page, "#sb-save-picture")
    wall = 0.8 * np.array([40, 50, 60]) + 0.2 * (255 - np.array([40, 50, 60]))
    colours = np.array([(10, 20, 30), np.rint(wall), (5, 15, 25)])
    np.testing.assert_array_equal(after, colours[filled])
    np.testing.assert_array_equal(downloaded(page, "#sb-save-map"), filled)


def test_everything_by_keyboard(page: Any) -> None:
    """A dot, a line and a filled rest, without a pointer."""
    blank = painted(page)
    assert blank.shape == (32, 48)
    page.keyboard.press("c")
    assert page.evaluate("document.activeElement.id") == "sb-stage"
    for key in ("[", "[", "[", "[", "[", "[", "[", "[", "[", "[", "[", "[", "[", "[", "["):
        page.keyboard.press(key)
    page.keyboard.press("1")
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.down(" ")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.up(" ")
    expected = blank.copy()
    expected[16, 24] = expected[16:19, 34] = 1
    np.testing.assert_array_equal(painted(page), expected)
    page.keyboard.press("f")
    page.keyboard.press("3")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    filled = flood(expected, 35, 18, 3)
    np.testing.assert_array_equal(painted(page), filled)
    page.keyboard.press("z")
    page.keyboard.press("Control+z")
    page.keyboard.press("y")
    np.testing.assert_array_equal(painted(page), expected)
    page.keyboard.press("x")
    assert page.evaluate("stylebridge.paint.editor.value") == 255
    generated(page)
    with page.expect_download():
        page.keyboard.press("p")
    with page.expect_download():
        page.keyboard.press("m")


def test_every_control_is_reached_and_named(page: Any) -> None:
    wanted = {
        "sb-tab-paint", "sb-help", "sb-theme", "sb-run", "sb-new", "sb-open", "sb-save-map", "sb-size", "sb-generate",
        "sb-live", "sb-stage", "sb-first", "sb-second", "sb-add", "sb-seed", "sb-in", "sb-out", "sb-fit",
    }  # fmt: skip
    reached = set()
    page.evaluate("document.activeElement.blur()")
    for _ in range(60):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            """() => { const at = document.activeElement; const view = at.id === 'sb-stage' ? at.parentElement : at;
                return [at.id, getComputedStyle(view).outlineStyle]; }"""
        )
        if name.startswith("sb-"):
            reached.add(name)
            assert outline == "solid", f"{name} shows no focus"
    assert wanted <= reached
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('#sb button, #sb input, #sb select, #sb a[href], #sb [tabindex="0"]')]
            .filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length))
            .map((e) => e.outerHTML)"""
    )
    assert nameless == []


def test_segment_and_translate(page: Any, files: Path, town: tuple[np.ndarray, np.ndarray]) -> None:
    photo, labels = town
    colours = np.array([(80, 160, 220), (200, 60, 40), (240, 220, 90)], np.uint8)
    Image.fromarray(colours[labels]).save(files / "street.png")
    page.click("#sb-tab-segment")
    page.set_input_files("#sb-segment [name=photo]", files / "street.png")
    page.click("#sb-segment [type=submit]")
    page.wait_for_selector("#sb-segment .seen:not([hidden])")
    np.testing.assert_array_equal(downloaded(page, "#sb-segment a[download]"), labels)
    assert "wall" in page.inner_text("#sb-segment .found li:first-child")
    page.click("#sb-segment .to-paint")
    np.testing.assert_array_equal(painted(page), labels)

    page.click("#sb-tab-translate")
    page.set_input_files("#sb-translate [name=photo]", files / "photo.png")
    page.keyboard.press("g")
    page.wait_for_selector("#sb-translate .seen:not([hidden])")
    np.testing.assert_array_equal(downloaded(page, "#sb-translate a[download]"), 255 - photo)


def test_what_goes_wrong_is_a_sentence_on_the_page(page: Any, files: Path, root: Path) -> None:
    def told(where: str) -> str:
        page.wait_for_selector(f"{where}:not([hidden])")
        said = page.inner_text(where).removesuffix("Close").strip()
        assert said.endswith(".")
        assert "Traceback" not in page.content()
        assert str(root) not in page.content()
        return said

    page.fill("#sb-run", "/etc")
    page.click(".run [type=submit]")
    assert told("#sb-error").startswith("Only runs below the folder")
    page.fill("#sb-run", "runs/broken")
    page.click(".run [type=submit]")
    page.wait_for_function("document.querySelector('#sb-error').innerText.includes('damaged')")
    assert told("#sb-error").startswith("runs/broken/networks is damaged")
    page.fill("#sb-seed", "13")
    page.click("#sb-generate")
    page.wait_for_function("document.querySelector('#sb-error').innerText.includes('inside the studio')")
    told("#sb-error")
    page.click("#sb-open")
    page.set_input_files("#sb-ask [name=photo]", files / "broken.png")
    page.click("#sb-ask [value=ok]")
    assert told("#sb-ask .notice").startswith("broken.png cannot be read as an image")
    large = files / "large.png"
    with large.open("wb") as file:
        os.truncate(file.fileno(), 21 * 2**20)
    page.set_input_files("#sb-ask [name=photo]", large)
    page.click("#sb-ask [value=ok]")
    page.wait_for_function("document.querySelector('#sb-ask .notice').innerText.includes('larger')")
    assert "20 MB" in told("#sb-ask .notice")
    page.keyboard.press("Escape")
    assert "20 MB and 24 megapixels" in page.inner_text("#sb footer")


def test_zooming_keeps_what_is_under_the_cursor_in_its_place(page: Any) -> None:
    page.mouse.move(*at(page, 36, 24))
    before = at(page, 36, 24)
    for _ in range(2):
        page.keyboard.press("+")
    assert page.evaluate("stylebridge.paint.editor.zoom") == 2.25
    np.testing.assert_allclose(at(page, 36, 24), before, atol=1.5)
    page.mouse.click(*at(page, 36, 24))
    assert page.evaluate("stylebridge.paint.editor.cursor") == {"x": 36, "y": 24}
    page.keyboard.press("w")
    assert page.evaluate("document.querySelector('#sb-view').scrollLeft") == 0


def test_the_page_fits_narrow_windows_and_both_themes(page: Any) -> None:
    for width in (800, 390):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    grounds = []
    for _ in range(2):
        page.click("#sb-theme")
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(set(grounds)) == 2
