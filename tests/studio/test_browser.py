"""The page in Debian's chromium: a visitor's workflows."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from studio import pages
from studio.pages import TOKEN, answer, at, downloaded, drop, flood, generated, opened, painted, stroke
from stylebridge.studio.app import build, serve
from stylebridge.studio.desk import Desk
from stylebridge.studio.runs import Runs

pytestmark = pytest.mark.slow

browser, page, files = pages.browser, pages.page, pages.files


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


def test_a_map_that_was_replaced_comes_back(
    page: Any, files: Path, town: tuple[np.ndarray, np.ndarray]
) -> None:
    """New maps and opened pictures are steps like others, also where they have another size."""
    page.mouse.click(*at(page, 24, 16))
    page.keyboard.press("3")
    page.mouse.click(*at(page, 10, 10))
    first = painted(page)
    answer(page, "#sb-open", files / "photo.png", files / "labels.png")
    small = files / "small.png"
    Image.fromarray(town[1][:20, :30]).save(small)
    answer(page, "#sb-open", None, small)
    page.mouse.click(*at(page, 5, 5))
    last = painted(page)
    assert last.shape == (20, 30)
    page.click("#sb-new")
    assert not painted(page).any()
    assert painted(page).shape == (32, 48)
    page.click("#sb-undo")
    np.testing.assert_array_equal(painted(page), last)
    assert page.is_hidden("#sb-see")
    for _ in range(2):
        page.click("#sb-undo")
    np.testing.assert_array_equal(painted(page), town[1])
    assert page.is_visible("#sb-see"), "the photo is back, too"
    page.click("#sb-undo")
    np.testing.assert_array_equal(painted(page), first)
    for _ in range(4):
        page.click("#sb-redo")
    assert not painted(page).any()
    assert page.is_disabled("#sb-redo")


def test_another_run_of_the_same_classes_keeps_the_map(page: Any) -> None:
    page.keyboard.press("2")
    page.mouse.click(*at(page, 24, 16))
    before = painted(page)
    page.fill("#sb-run", "runs/spade")
    page.click(".run [type=submit]")
    page.wait_for_function("stylebridge.paint.run === 'runs/spade'")
    np.testing.assert_array_equal(painted(page), before)
    assert before.any()
    page.evaluate("document.activeElement.blur()")
    generated(page)
    assert not page.is_disabled("#sb-save-picture")


def test_leaving_with_an_unsaved_map_is_asked(page: Any) -> None:
    """The browser asks after a stroke, and not after the map was downloaded."""
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    leave = "dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    assert page.evaluate(leave)
    page.keyboard.press("2")
    page.mouse.click(*at(page, 24, 16))
    assert not page.evaluate(leave)
    page.close(run_before_unload=True)
    page.wait_for_timeout(500)
    assert asked == ["beforeunload"]
    downloaded(page, "#sb-save-map")
    assert page.evaluate(leave)


def test_files_can_be_dropped(page: Any, files: Path, town: tuple[np.ndarray, np.ndarray]) -> None:
    photo, labels = town
    assert not drop(page, "#sb-canvas", files / "photo.png")
    assert page.evaluate("document.querySelector('#sb-ask').open")
    page.set_input_files("#sb-ask [name=labels]", files / "labels.png")
    page.wait_for_function("document.querySelector('#sb-ask .file').innerText.includes('photo.png')")
    page.click("#sb-ask [value=ok]")
    page.wait_for_function("!document.querySelector('#sb-ask').open")
    np.testing.assert_array_equal(painted(page), labels)
    assert page.is_visible("#sb-see")
    page.click("#sb-tab-translate")
    assert not drop(page, "#sb-translate .empty", files / "photo.png")
    assert "photo.png" in page.inner_text("#sb-translate .file")
    page.click("#sb-translate [type=submit]")
    page.wait_for_selector("#sb-translate .seen:not([hidden])")
    np.testing.assert_array_equal(downloaded(page, "#sb-translate a[download]"), 255 - photo)
    assert not drop(page, "#sb footer", files / "photo.png")


def test_a_clicked_run_field_suggests_every_run(page: Any) -> None:
    """Browsers suggest what holds the text that is written there; the name comes back when the field is left."""
    page.click("#sb-run")
    assert page.input_value("#sb-run") == ""
    assert page.get_attribute("#sb-run", "placeholder") == "runs/facades"
    page.click("#sb footer")
    assert page.input_value("#sb-run") == "runs/facades"
    page.click("#sb-run")
    page.keyboard.press("Enter")
    assert page.input_value("#sb-run") == "runs/facades"
    page.click("#sb footer")
    page.click("#sb-run")
    page.keyboard.type("runs/castles")
    page.keyboard.press("Enter")
    page.wait_for_function("stylebridge.paint.run === 'runs/castles'")
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    page.click("#sb footer")
    assert page.input_value("#sb-run") == "", "what was cleared stays so"


def test_shortcuts_rest_while_something_is_written(page: Any, files: Path) -> None:
    page.focus("#sb-run")
    page.keyboard.type("gbxf2")
    page.focus("#sb-seed")
    page.keyboard.press("g")
    page.focus("#sb-first")
    page.keyboard.press("g")
    page.wait_for_timeout(200)
    state = "[stylebridge.paint.editor.tool, stylebridge.paint.editor.value, stylebridge.paint.picture]"
    assert page.evaluate(state) == ["brush", 0, None]
    # Nothing is written in the field of a file: whoever chose one by keyboard goes on with G.
    page.click("#sb-tab-translate")
    page.focus("#sb-translate [name=photo]")
    page.set_input_files("#sb-translate [name=photo]", files / "photo.png")
    page.keyboard.press("g")
    page.wait_for_selector("#sb-translate .seen:not([hidden])")


def test_a_segmented_photo_is_offered_once_a_run_can_paint_it(
    page: Any, files: Path, town: tuple[np.ndarray, np.ndarray]
) -> None:
    page.evaluate("stylebridge.paint.run = null")
    page.click("#sb-tab-segment")
    page.set_input_files("#sb-segment [name=photo]", files / "photo.png")
    page.click("#sb-segment [type=submit]")
    page.wait_for_selector("#sb-segment .seen:not([hidden])")
    assert page.is_hidden("#sb-segment .to-paint")
    page.evaluate("stylebridge.paint.use('runs/castles')")
    page.wait_for_selector("#sb-segment .to-paint:not([hidden])")
    page.click("#sb-segment .to-paint")
    assert painted(page).shape == town[1].shape
    page.click("#sb-undo")
    assert not painted(page).any()


def test_without_runs_the_page_reports_it(browser: Any, fakes: None, tmp_path: Path) -> None:
    blocks, endpoints = build(Desk(Runs([], tmp_path), device="cpu"))
    address = serve(blocks, endpoints, 0, token=TOKEN).partition("/?")[0]
    try:
        with opened(browser, address) as page:
            for tab in ("paint", "segment", "translate", "mix"):
                page.click(f"#sb-tab-{tab}")
                assert "No run was found" in page.inner_text(f"#sb-{tab} .empty")
                assert page.is_visible("#sb .skip") == (tab == "paint")
            for button in ("new", "open", "save-map", "save-picture"):
                assert page.is_disabled(f"#sb-{button}")
    finally:
        blocks.close(verbose=False)


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
