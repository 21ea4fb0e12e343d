"""The tab that mixes photos: its calls, and a visitor's workflows in Debian's chromium."""

import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from studio import pages
from studio.pages import TOKEN
from stylebridge.jobs.apply.models.mixer import pixels
from stylebridge.networks.mixnmatch import Mixer
from stylebridge.studio.app import calls_of
from stylebridge.studio.desk import Desk
from stylebridge.studio.mix import MAX_VARIED
from stylebridge.studio.runs import Runs
from support.mixing import as_unit, patches, save_photos, tiny_mixer, tiny_run

pytestmark = pytest.mark.slow

browser, page = pages.browser, pages.page
FACTORS = ("pose", "background", "shape", "texture")


@pytest.fixture(scope="module")
def mixer() -> Mixer:
    return tiny_mixer()


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, mixer: Mixer) -> Path:
    """The folder that the studio is started in: a run, one without feature mode, and a damaged one."""
    folder = tmp_path_factory.mktemp("machine")
    tiny_run(folder / "runs" / "birds", mixer)
    tiny_run(folder / "runs" / "plain", tiny_mixer(extractor=False))
    broken = tiny_run(folder / "runs" / "zebra", mixer)
    (broken / "networks" / "generator.safetensors").write_bytes(b"x")
    return folder


@pytest.fixture
def call(start: Path) -> Callable[..., dict]:
    calls = calls_of(Desk(Runs([], start), max_side=256, device="cpu"))
    return lambda name, **request: calls[name](request)


def sent(photo: np.ndarray, name: str = "photo.png") -> dict[str, str]:
    memory = io.BytesIO()
    Image.fromarray(photo).save(memory, "PNG")
    return {"name": name, "data": base64.b64encode(memory.getvalue()).decode()}


def shown(url: str) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def close(made: np.ndarray, wanted: np.ndarray) -> bool:
    """Equal except for rounding."""
    return made.shape == wanted.shape and int(abs(made.astype(int) - wanted).max()) <= 1


# --- calls ----------------------------------------------------------------------------------------------------


def placed(call: Callable[..., dict], photos: np.ndarray, run: str = "runs/birds") -> list[str]:
    return [call("mix_photo", run=run, photo=sent(photo))["id"] for photo in photos]


@pytest.mark.parametrize("mode", ["code", "feature"])
def test_mixes_are_those_of_the_networks(call: Callable[..., dict], mixer: Mixer, mode: str) -> None:
    photos = patches(6, seed=2)
    ids, images = placed(call, photos), as_unit(photos)
    wells = {"pose": ids[:1], "background": ids[1:2], "shape": ids[2:3], "texture": ids[3:6]}
    reply = call("mix", run="runs/birds", mode=mode, wells=wells, masks=True)
    assert reply["varied"] == "texture"
    pose, behind, shape = (images[[place] * 3] for place in range(3))
    if mode == "code":
        made = mixer.mix(pose, behind, shape, images[3:])
    else:
        made = mixer.mix_features(shape, behind, images[3:])
    kinds = {
        "picture": made.image * 0.5 + 0.5,
        "shape_mask": made.parent_mask,
        "texture_mask": made.child_mask,
    }
    for name, kind in kinds.items():
        for each, wanted in zip(reply["mixes"], pixels(kind), strict=True):
            assert close(shown(each[name]), wanted)
    (single,) = call("mix", run="runs/birds", mode=mode, wells=wells | {"texture": ids[4:5]})["mixes"]
    assert list(single) == ["picture"]
    assert close(shown(single["picture"]), pixels(made.image * 0.5 + 0.5)[1])


def test_a_photo_is_seen_as_the_networks_see_it_and_encoded_once(
    start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = calls_of(Desk(Runs([], start), max_side=256, device="cpu"))
    photo = np.array(Image.fromarray(patches(1)[0]).resize((100, 40)))
    made = calls["mix_photo"]({"run": "runs/birds", "photo": sent(photo)})
    wanted = np.array(Image.fromarray(photo).resize((64, 64), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(shown(made["picture"]), wanted)
    from stylebridge.studio import mix as tab

    encoded: list[int] = []
    encode = tab.Mixing.encode
    monkeypatch.setattr(
        tab.Mixing,
        "encode",
        lambda self, factor, photos: (encoded.append(len(photos)), encode(self, factor, photos))[1],
    )
    wells = {factor: [made["id"]] for factor in FACTORS}
    for _ in range(3):
        assert "error" not in calls["mix"]({"run": "runs/birds", "wells": wells})
    assert encoded == [1, 1, 1, 1]


def test_what_goes_wrong_is_a_sentence(call: Callable[..., dict], start: Path) -> None:
    ids = placed(call, patches(2))
    wells = dict.fromkeys(FACTORS, ids[:1])

    def said(name: str = "mix", **request: Any) -> str:
        reply = call(name, **({"run": "runs/birds", "wells": wells} | request))
        assert set(reply) <= {"error", "forgotten"}
        assert ("forgotten" in reply) == ("no longer available" in reply["error"])
        assert reply["error"].endswith(".")
        assert str(start) not in reply["error"]
        return reply["error"]

    assert "No run" in said(run="")
    assert "mix train" in said(run="")
    assert "below the folder" in said(run="../elsewhere")
    assert "damaged" in said(run="runs/zebra")
    assert "feature extractor" in said(run="runs/plain", mode="feature")
    assert "no longer available" in said(run="runs/plain")
    assert "no longer available" in said(wells=wells | {"pose": ["nonsense"]})
    assert "The shape has no photo" in said(wells=wells | {"shape": []})
    assert "several photos" in said(wells=wells | {"shape": ids, "pose": ids})
    assert str(MAX_VARIED) in said(wells=wells | {"shape": ids[:1] * (MAX_VARIED + 1)})
    for nonsense in (None, "x", wells | {"shape": "x"}, wells | {"shape": [1]}, wells | {"shape": {}}):
        said(wells=nonsense)
    assert "No photo" in said("mix_photo")
    assert "broken.png" in said("mix_photo", photo={"name": "broken.png", "data": "aGFsbG8="})
    assert "20 MB" in said("mix_photo", photo={"name": "large.png", "data": "A" * (45 * 2**20)})


def test_old_photos_are_let_go(call: Callable[..., dict], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylebridge.studio.mix._KEPT", 4)
    ids = placed(call, patches(6))
    wells = {factor: [ids[-1]] for factor in FACTORS}
    assert "mixes" in call("mix", run="runs/birds", wells=wells)
    assert "no longer available" in call("mix", run="runs/birds", wells=wells | {"pose": ids[:1]})["error"]


# --- the page -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address(start: Path) -> Iterator[str]:
    pytest.importorskip("gradio", reason="the studio needs gradio: pip install 'stylebridge[studio]'")
    from stylebridge.studio.app import build, serve

    desk = Desk(Runs([], start), max_side=256, device="cpu")
    blocks, endpoints = build(desk, run="runs/birds")
    yield serve(blocks, endpoints, 0, token=TOKEN).partition("/?")[0]
    blocks.close(verbose=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return save_photos(tmp_path_factory.mktemp("photos"), patches(7, seed=4), "bird-")


def fill(page: Any, files: list[Path]) -> None:
    for factor, file in zip(FACTORS, files, strict=False):
        page.set_input_files(f"#sb-mix-{factor}", file)


def mixed(page: Any, count: int) -> None:
    page.wait_for_function(
        "n => document.querySelectorAll('#sb-mixes > li').length === n"
        " && !document.querySelector('#sb-mix-go[aria-busy]')",
        arg=count,
    )


def downloaded(page: Any, link: Any) -> np.ndarray:
    with page.expect_download() as caught:
        link.click()
    return np.array(Image.open(caught.value.path()))


def test_four_photos_are_mixed_and_masks_are_shown_on_demand(
    page: Any, files: list[Path], mixer: Mixer
) -> None:
    assert page.get_attribute("#sb-tab-mix", "aria-selected") == "true"
    assert page.input_value("#sb-mix-run") == "runs/birds"
    fill(page, files)
    page.click("#sb-mix-go")
    mixed(page, 1)
    wanted = mixer.mix(*as_unit(patches(7, seed=4))[:4].split(1))
    assert close(downloaded(page, page.locator("#sb-mixes a[download]")), pixels(wanted.image * 0.5 + 0.5)[0])
    assert page.locator("#sb-mixes .masks img").count() == 0
    page.check("#sb-mix-masks")
    page.wait_for_selector("#sb-mixes .masks img")
    urls = page.locator("#sb-mixes .masks img").evaluate_all("all => all.map(each => each.src)")
    for url, mask in zip(urls, (wanted.parent_mask, wanted.child_mask), strict=True):
        assert close(shown(url), pixels(mask)[0])
    page.uncheck("#sb-mix-masks")
    page.wait_for_function("!document.querySelector('#sb-mixes .masks')")


def test_several_photos_on_a_well_make_a_grid(page: Any, files: list[Path], mixer: Mixer) -> None:
    fill(page, files)
    # Dropped, as from a file manager.
    parts = [base64.b64encode(file.read_bytes()).decode() for file in files[3:]]
    page.evaluate(
        """parts => {
            const held = new DataTransfer();
            parts.forEach((part, i) => held.items.add(new File(
                [Uint8Array.from(atob(part), (c) => c.charCodeAt(0))], `drop ${i}.png`, { type: "image/png" })));
            document.querySelector("[data-factor=texture] .drop")
                .dispatchEvent(new DragEvent("drop", { dataTransfer: held, bubbles: true, cancelable: true }));
        }""",
        parts,
    )
    assert "4 photos" in page.inner_text("[data-factor=texture] .called")
    page.keyboard.press("g")
    mixed(page, 4)
    assert "texture varied" in page.inner_text("#sb-mix-said")
    photos = as_unit(patches(7, seed=4))
    wanted = mixer.mix(*(photos[[place] * 4] for place in range(3)), photos[3:])
    urls = page.locator("#sb-mixes img.mix").evaluate_all("all => all.map(each => each.src)")
    for url, picture in zip(urls, pixels(wanted.image * 0.5 + 0.5), strict=True):
        assert close(shown(url), picture)
    assert page.locator("#sb-mixes .source").all_inner_texts() == [f"drop {number}" for number in range(4)]
    page.set_input_files("#sb-mix-shape", files[:2])
    page.click("#sb-mix-go")
    page.wait_for_selector("#sb-error:not([hidden])")
    assert page.inner_text("#sb-error span").startswith("Shape and texture have several photos")


def test_pixel_by_pixel_needs_no_pose(page: Any, files: list[Path], mixer: Mixer) -> None:
    fill(page, files)
    page.click("[data-factor=pose] .heading button")
    page.select_option("#sb-mix-mode", "feature")
    assert page.is_disabled("#sb-mix-pose")
    page.click("#sb-mix-go")
    mixed(page, 1)
    photos = as_unit(patches(7, seed=4))
    wanted = mixer.mix_features(shape=photos[[2]], background=photos[[1]], texture=photos[[3]])
    assert close(downloaded(page, page.locator("#sb-mixes a[download]")), pixels(wanted.image * 0.5 + 0.5)[0])


def test_another_run_and_a_studio_that_forgot_see_the_photos_anew(page: Any, files: list[Path]) -> None:
    fill(page, files)
    page.click("#sb-mix-go")
    mixed(page, 1)
    page.fill("#sb-mix-run", "runs/plain")
    page.click("#sb-mix-go")
    page.wait_for_function("stylebridge.mix.wells.pose.photos[0].run === 'runs/plain'")
    mixed(page, 1)
    page.evaluate("stylebridge.mix.wells.pose.photos[0].id = 'forgotten'")
    page.click("#sb-mix-go")
    page.wait_for_function("stylebridge.mix.wells.pose.photos[0].id !== 'forgotten'")
    mixed(page, 1)
    assert page.is_hidden("#sb-error")


def test_everything_is_reached_by_keyboard_and_named(page: Any, files: list[Path]) -> None:
    fill(page, files)
    wanted = {
        "sb-mix-run",
        "sb-mix-mode",
        "sb-mix-masks",
        "sb-mix-go",
        *(f"sb-mix-{factor}" for factor in FACTORS),
    }
    reached = set()
    page.evaluate("document.activeElement.blur()")
    for _ in range(30):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            """() => { const at = document.activeElement; const view = at.type === 'file' ? at.nextElementSibling : at;
                return [at.id, getComputedStyle(view).outlineStyle]; }"""
        )
        if name.startswith("sb-mix"):
            reached.add(name)
            assert outline == "solid", f"{name} shows no focus"
    assert wanted <= reached
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('#sb-mix :is(button, input, select, a[href])')]
            .filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.[0]?.textContent.trim()))
            .map((e) => e.outerHTML)"""
    )
    assert nameless == []
    page.keyboard.press("g")
    mixed(page, 1)


def test_the_page_says_what_is_missing_and_fits_narrow_windows(
    page: Any, files: list[Path], tmp_path: Path, start: Path
) -> None:
    def told() -> str:
        page.wait_for_selector("#sb-error:not([hidden])")
        page.wait_for_function("!document.querySelector('#sb-mix-go[aria-busy]')")
        assert str(start) not in page.content()
        return page.inner_text("#sb-error span")

    page.click("#sb-mix-go")
    assert told() == "The pose has no photo: choose one."
    fill(page, files)
    (tmp_path / "broken.png").write_bytes(b"no image")
    page.set_input_files("#sb-mix-pose", tmp_path / "broken.png")
    page.click("#sb-mix-go")
    assert told().startswith("broken.png cannot be read as an image")
    page.set_input_files("#sb-mix-pose", files[0])
    page.fill("#sb-mix-run", "/etc")
    page.click("#sb-mix-go")
    assert told().startswith("Only runs below the folder")
    page.fill("#sb-mix-run", "runs/birds")
    page.set_input_files("#sb-mix-shape", files)
    page.click("#sb-mix-go")
    mixed(page, 7)
    for width in (800, 390):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
