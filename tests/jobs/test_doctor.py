"""The doctor as a job and as a command: what it reads, writes, prints and refuses."""

import base64
import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from stylebridge.errors import DataError, RunError
from stylebridge.jobs.datasets.doctor import doctor
from support.folders import own_cache, stylebridge  # noqa: F401 (fixtures)
from support.sick import Sick, save, scene, write_sick


@pytest.fixture
def sick(tmp_path: Path) -> Sick:
    return write_sick(tmp_path / "sick")


def good(root: Path, count: int = 3) -> Path:
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for i in range(count):
        image, label = scene(i)
        label[40:60, 20:40] = 1
        save(root, f"{i}", image, label)
    return root


def test_a_sick_set_and_its_corrected_copy(tmp_path: Path, sick: Sick):
    out, told = tmp_path / "page.html", io.StringIO()
    console = Console(file=told, width=110)
    report = doctor(
        [sick.train],
        evaluation=[sick.evaluation],
        label_space=sick.space,
        fix=tmp_path / "fixed",
        out=out,
        console=console,
    )
    assert not report.healthy
    assert [f.severity for f in report.findings] == sorted(
        (f.severity for f in report.findings), key=["stops training", "will mislead", "worth knowing"].index
    )
    text = told.getvalue()
    for part in (
        "Stops training",
        "Will mislead",
        "Worth knowing",
        "id 77: 10 pixels, 1 file",
        "Corrected copy: ",
    ):
        assert part in text
    page = out.read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<figure") == page.count('href="data:image/webp') > 8
    assert page.count('href="data:image/png') > 8
    with (tmp_path / "fixed" / "changes.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    fixed = report.fixes["train"]
    assert len(rows) == 1 + len(fixed.changed) + len(fixed.left_out)
    again = doctor([tmp_path / "fixed"], out=tmp_path / "again.html", quiet=True)
    assert again.healthy
    assert all(not finding.fixable for finding in again.findings)


@pytest.mark.slow
def test_a_fix_ends_with_what_is_left_and_not_with_what_was(tmp_path: Path, sick: Sick, stylebridge):  # noqa: F811
    """Missing parts of the copy are found by examining it separately."""
    page, fixed = tmp_path / "page.html", tmp_path / "fixed"
    arguments = (sick.train, "--label-space", sick.space, "--out", page)
    done = stylebridge("data", "doctor", *arguments, "--fix", fixed)
    ends = " ".join(done.out[done.out.index("Left in the corrected copy") :].split())
    assert "Nothing stops training in the corrected copy." in ends
    assert "Stops training" not in ends
    for part in ("label-void.png", "1 class of streets never seen: boat", "label-swapped.png"):
        assert part in ends
    for part in ("cut.png", "label-unknown", "label-half", "EXIF"):
        assert part not in ends
    assert done.code == 0
    alone = doctor([fixed], out=tmp_path / "alone.html", quiet=True)
    report = doctor([sick.train], label_space=sick.space, out=page, fix=tmp_path / "more", quiet=True)
    assert [(f.kind, f.count) for f in report.left] == [(f.kind, f.count) for f in alone.findings]
    assert (report.healthy, report.ready) == (False, True)
    text = page.read_text(encoding="utf-8")
    assert "nothing stops training." in text
    assert text.index("Left in the corrected copy") < text.index("A sample of the set")


def test_a_copy_in_which_something_still_stops_training_is_reported(tmp_path: Path, stylebridge):  # noqa: F811
    root = good(tmp_path / "set", 1)
    (root / "labels" / "0.png").write_bytes(b"")  # nothing remains for the copy
    done = stylebridge("data", "doctor", root, "--out", tmp_path / "page.html", "--fix", tmp_path / "fixed")
    assert done.code == 1
    assert "1 finding stops training in the corrected copy." in " ".join(done.out.split())


def test_files_with_findings_are_shown_beside_them(tmp_path: Path, sick: Sick):
    page = doctor([sick.train], label_space=sick.space, out=tmp_path / "page.html", quiet=True).page
    text = page.read_text(encoding="utf-8")
    blocks = dict(re.findall(r"<h3>(.*?)</h3>(.*?)(?=<h3>|<section)", text, re.DOTALL))
    for what, names in (
        ("1 image has no label map of the same name.", ["no-label.png"]),
        ("1 label map has no image of the same name.", ["no-image.png"]),
        ("1 image is CMYK.", ["cmyk.jpg"]),
        ("2 label maps have other sizes than their images.", ["label-half.png", "rotated-early.png"]),
        ("1 image occurs twice with different label maps.", ["ok-0.png", "false-twin.png"]),
        ("1 label map has ids outside label space streets: 77, 99.", ["label-unknown.png"]),
    ):
        shown = re.findall(r"<figure>.*?</figure>", blocks[what], re.DOTALL)
        assert [re.findall(r"<figcaption[^>]*>(.*?)<", figure)[0] for figure in shown] == names, what
        for figure in shown:
            [photo] = re.findall(r'href="data:image/webp;base64,([^"]+)"', figure)
            with Image.open(io.BytesIO(base64.b64decode(photo))) as picture:
                assert max(picture.size) <= 180
    # Of the label map with unknown ids, these are marked where they are.
    [figure] = re.findall(r"<figure>.*?</figure>", blocks[what], re.DOTALL)
    marks = re.findall(r'class="unknown".*?base64,([^"]+)"', figure, re.DOTALL)
    with Image.open(io.BytesIO(base64.b64decode(marks[0]))) as picture:
        alpha = np.array(picture.convert("RGBA"))[..., 3] > 0
    unknown = np.zeros((72, 96), bool)
    unknown[10:12, 10:15] = unknown[20, 20] = True
    np.testing.assert_array_equal(alpha, unknown)


@pytest.mark.parametrize("size", [(10, 30_000), (30_000, 10), (1, 5000)])
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_pictures_of_any_shape_are_shown(tmp_path: Path, size: tuple[int, int], ending: str):
    root = good(tmp_path / "set")
    Image.new("RGB", size, (90, 120, 40)).save(root / "images" / f"long.{ending}")
    Image.new("L", size, 1).save(root / "labels" / "long.png")
    report = doctor([root], out=tmp_path / "page.html", quiet=True)
    assert {f.kind for f in report.findings} >= {"small", "sizes"}
    text = report.page.read_text(encoding="utf-8")
    assert text.count(f">long.{ending}<") >= 2
    boxes = [tuple(map(float, b)) for b in re.findall(r'viewBox="0 0 (\S+) (\S+)"', text)]
    assert min(map(min, boxes)) >= 1


def test_boxes_are_looked_at_and_mended(tmp_path: Path, stylebridge):  # noqa: F811
    root = tmp_path / "birds"
    (root / "images").mkdir(parents=True)
    for i in range(3):
        Image.fromarray(scene(i)[0]).save(root / "images" / f"{i}.png")
    (root / "mine.csv").write_text(
        "image,x,y,width,height\n0.png,5,5,20,20\n1.png,50,5,90,20\n2.png,200,5,9,9\n", encoding="utf-8"
    )
    page, fixed = tmp_path / "page.html", tmp_path / "fixed"
    assert stylebridge("data", "doctor", root, "--out", page).code == 0
    done = stylebridge("data", "doctor", root, "--boxes", "mine.csv", "--out", page, "--fix", fixed)
    text = " ".join(done.out.split())
    assert "1 box extends beyond its image." in text
    assert "1 box is outside its image." in text
    assert (
        "Nothing stops training in the corrected copy." in text
        or "Nothing found in the corrected copy" in text
    )
    assert done.code == 0
    assert (fixed / "boxes.csv").read_text(encoding="utf-8").split()[1:] == [
        "0.png,5,5,20,20",
        "1.png,50,5,46,20",
    ]
    stylebridge("data", "doctor", root, "--boxes", "mine.csv", "--out", page, "--quiet")
    shown = page.read_text(encoding="utf-8")
    assert "1 box is outside its image." in shown


def test_a_good_set_is_healthy_and_reports_it(tmp_path: Path):
    told = io.StringIO()
    report = doctor(
        [good(tmp_path / "good")], out=tmp_path / "x" / "page.html", console=Console(file=told, width=110)
    )
    assert (report.healthy, report.findings) == (True, [])
    assert "Nothing found." in told.getvalue()
    assert "Nothing stops training" in report.page.read_text(encoding="utf-8")


def test_several_sets_take_names_of_their_own(tmp_path: Path):
    first, second = good(tmp_path / "a" / "set"), good(tmp_path / "b" / "set", 2)
    report = doctor([first, second], out=tmp_path / "page.html", fix=tmp_path / "fixed", quiet=True)
    assert [s.name for s in report.sets] == ["set", "set (2)"]
    assert {f.kind for f in report.findings} == {"duplicates"}
    assert sorted(p.name for p in (tmp_path / "fixed").iterdir()) == [
        ".stylebridge.json",
        "changes.csv",
        "set",
        "set (2)",
    ]
    assert report.fixes["set (2)"].folder == tmp_path / "fixed" / "set (2)"
    assert (tmp_path / "fixed" / "set (2)" / "labels" / "0.png").is_file()


def test_an_evaluation_set_of_plain_ids_is_read_as_the_training_set(tmp_path: Path):
    train, held_out = good(tmp_path / "train"), good(tmp_path / "held")
    (train / "classes.yaml").write_text(
        "classes: [{name: ground}, {name: wall}, {name: sky}]", encoding="utf-8"
    )
    save(held_out, "0", scene(50)[0], np.full((72, 96), 3, np.uint8))
    report = doctor([train], evaluation=[held_out], out=tmp_path / "page.html", quiet=True)
    assert [(s.space, s.space_told) for s in report.sets] == [
        ("classes", "from classes.yaml"),
        ("classes", "that of the training set"),
    ]
    assert [f.rows[0][0] for f in report.findings if f.kind == "unknown-ids"] == ["3"]


def test_labels_are_not_looked_at_where_they_are_not_asked_for(tmp_path: Path):
    root = good(tmp_path / "good")
    (root / "labels" / "0.png").write_bytes(b"")
    assert not doctor([root], out=tmp_path / "page.html", quiet=True).healthy
    report = doctor([root], out=tmp_path / "page.html", unlabelled=True, quiet=True)
    assert report.healthy
    assert report.sets[0].labels == 0


def test_names_cannot_write_html(tmp_path: Path):
    (tmp_path / "d").mkdir()
    Image.fromarray(np.zeros((70, 70, 3), np.uint8)).save(tmp_path / "d" / "<b onload=x>.png")
    page = doctor([tmp_path / "d"], out=tmp_path / "page.html", quiet=True).page
    assert "<b onload" not in page.read_text(encoding="utf-8")


def test_other_files_are_not_overwritten(tmp_path: Path):
    root = good(tmp_path / "good", 1)
    (tmp_path / "thesis.html").write_text("years of work")
    with pytest.raises(RunError, match=r"thesis\.html exists already and is not a page of the doctor"):
        doctor([root], out=tmp_path / "thesis.html", quiet=True)
    assert (tmp_path / "thesis.html").read_text() == "years of work"
    doctor([root], out=tmp_path / "thesis.html", overwrite=True, quiet=True)
    doctor([root], out=tmp_path / "thesis.html", quiet=True)
    with pytest.raises(RunError, match="is a folder: give a file name"):
        doctor([root], out=tmp_path, quiet=True)


@pytest.mark.parametrize("place", ["good", "good/fixed", "good/images", "."])
def test_nothing_is_fixed_in_place(tmp_path: Path, place: str):
    root = good(tmp_path / "good", 1)
    before = sorted(root.rglob("*"))
    with pytest.raises(RunError, match="--fix"):
        doctor([root], out=tmp_path / "page.html", fix=tmp_path / place, quiet=True)
    assert sorted(root.rglob("*")) == before


def test_only_an_earlier_copy_is_replaced(tmp_path: Path):
    root, fixed = good(tmp_path / "good", 1), tmp_path / "fixed"
    doctor([root], out=tmp_path / "page.html", fix=fixed, quiet=True)
    with pytest.raises(RunError, match="exists already"):
        doctor([root], out=tmp_path / "page.html", fix=fixed, quiet=True)
    doctor([root], out=tmp_path / "page.html", fix=fixed, overwrite=True, quiet=True)
    (fixed / ".stylebridge.json").unlink()
    with pytest.raises(RunError, match="exists already"):
        doctor([root], out=tmp_path / "page.html", fix=fixed, overwrite=True, quiet=True)


def test_paths_that_are_wrong_are_named(tmp_path: Path):
    with pytest.raises(DataError, match="nowhere does not exist"):
        doctor([tmp_path / "nowhere"], out=tmp_path / "page.html", quiet=True)
    with pytest.raises(DataError, match="No data to check"):
        doctor([], out=tmp_path / "page.html", quiet=True)


@pytest.mark.slow
def test_the_command_tells_by_its_exit_code(tmp_path: Path, sick: Sick, stylebridge):  # noqa: F811
    root, page = good(tmp_path / "good"), tmp_path / "page.html"
    done = stylebridge("data", "doctor", root, "--out", page)
    assert (done.code, "Nothing found." in done.out) == (0, True)
    done = stylebridge("data", "doctor", sick.train, "--evaluation", sick.evaluation, "--out", page)
    assert done.code == 1
    assert "stop training" in done.out
    assert stylebridge("data", "doctor", root, "--out", page, "--quiet").out == ""
