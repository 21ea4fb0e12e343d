"""The studio's page in Debian's chromium: how tests open it and act on it, and slow references of its tools."""

import base64
import shutil
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stylebridge.studio.canvas import unpack

#: Opens the studios of the tests.
TOKEN = "known-to-the-tests"
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's chromium, for a module's tests."""
    pytest.importorskip("gradio", reason="the studio needs gradio: pip install 'stylebridge[studio]'")
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser test needs playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("the browser test needs Debian's chromium")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=ARGUMENTS)
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
    page.goto(f"{address}/?token={TOKEN}")
    page.wait_for_selector("#sb[data-ready=true]")
    assert "token" not in page.url
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


def drop(page: Any, where: str, file: Path) -> bool:
    """Drop a file; True: the browser is left to do what it likes with it, which is to leave the page."""
    return page.evaluate(
        """([where, part, name]) => {
            const held = new DataTransfer();
            const bytes = Uint8Array.from(atob(part), (c) => c.charCodeAt(0));
            held.items.add(new File([bytes], name, { type: "image/png" }));
            return document.querySelector(where)
                .dispatchEvent(new DragEvent("drop", { dataTransfer: held, bubbles: true, cancelable: true }));
        }""",
        [where, base64.b64encode(file.read_bytes()).decode(), file.name],
    )


# --- the same as the page does, a pixel at a time -----------------------------------------------------------


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
