"""The doctor's findings about boxes, and boxes in corrected copies."""

import csv
from pathlib import Path

import pytest
from PIL import Image

from stylebridge.data.box_files import Box, read_boxes
from stylebridge.data.doctor import (
    Examined,
    Finding,
    Severity,
    examine,
    examine_boxes,
    fix_set,
    list_set,
    read_facts,
)
from support.sick import scene

STOPS, MISLEADS, KNOW = Severity

#: name, row, in images of 96×72.
ROWS = {
    "inside": "10,10,50,40",
    "rounded": "-1,0,97.5,72",  # over by less than 2 pixels
    "left": "-20,10,60,40",
    "corner": "60,50,80,90",
    "outside": "96,0,20,20",
    "above": "0,-30,20,25",
    "flat": "10,10,0,40",
    "word": "10,ten,5,5",
}


def boxed(root: Path, rows: dict[str, str] = ROWS, more: str = "") -> Path:
    (root / "images").mkdir(parents=True)
    for i, name in enumerate(rows):
        Image.fromarray(scene(i)[0]).save(root / "images" / f"{name}.png")
    lines = "".join(f"{name}.png,{row}\n" for name, row in rows.items() if row)
    (root / "boxes.csv").write_text("image,x,y,width,height\n" + lines + more, encoding="utf-8")
    return root


def look(root: Path | str, boxes: str | None = None) -> tuple[Examined, dict[str, Finding]]:
    listed = list_set(root, "set")
    examined = examine(listed, read_facts(listed.pairs, 2), None)
    findings = examine_boxes(examined, boxes)[1]
    assert len({f.kind for f in findings}) == len(findings)
    return examined, {f.kind: f for f in findings}


def fixed_boxes(root: Path, out: Path) -> dict[str, tuple[float, ...]]:
    examined, _ = look(root)
    out.mkdir()
    done = fix_set(examined, out, boxes=examine_boxes(examined, None)[0])
    assert {f.name for f in (out / "images").iterdir()} == set(read_boxes(out / "boxes.csv").by_name)
    assert done.copied + len(done.left_out) == len(examined.listed.pairs)
    with (out / "boxes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    return {row[0]: tuple(map(float, row[1:])) for row in rows}


def test_each_kind_of_bad_box_is_listed_at_once(tmp_path: Path):
    _, findings = look(boxed(tmp_path / "set", more="stranger.png,1,1,5,5\n"))
    expected = {
        "box-rows": (
            STOPS,
            ["boxes.csv, line 8: the box 10, 10, 0, 40 has no area", "boxes.csv, line 9: 10, ten"],
        ),
        "no-box": (STOPS, ["images/flat.png", "images/word.png"]),
        "box-beyond": (
            STOPS,
            [
                "images/corner.png: line 5: 60, 50, 80, 90 in 96×72, clipped to 60, 50, 36, 22",
                "images/left.png: line 4: -20, 10, 60, 40 in 96×72, clipped to 0, 10, 40, 40",
            ],
        ),
        "box-outside": (
            STOPS,
            ["images/above.png: line 7: 0, -30, 20, 25 in", "images/outside.png: line 6: 96"],
        ),
        "spare-boxes": (KNOW, ["stranger.png: line 10"]),
    }
    assert findings.keys() == expected.keys()
    for kind, (severity, lines) in expected.items():
        assert (findings[kind].severity, findings[kind].count) == (severity, len(lines)), kind
        for line, start in zip(findings[kind].examples, lines, strict=True):
            assert line.startswith(start), kind
    assert findings["box-beyond"].files == (("set", "images/corner.png"), ("set", "images/left.png"))


def test_the_copy_holds_boxes_cut_to_their_images_and_no_others(tmp_path: Path):
    root = boxed(tmp_path / "set")
    before = (root / "boxes.csv").read_bytes()
    assert fixed_boxes(root, tmp_path / "out") == {
        "inside.png": (10, 10, 50, 40),
        "rounded.png": (0, 0, 96, 72),
        "left.png": (0, 10, 40, 40),
        "corner.png": (60, 50, 36, 22),
    }
    assert (root / "boxes.csv").read_bytes() == before
    assert look(tmp_path / "out")[1] == {}


def test_corners_are_recognised_and_not_cut(tmp_path: Path):
    root = boxed(tmp_path / "set", {"a": "10,10,60,50", "b": "50,40,90,70"})
    _, findings = look(root)
    [finding] = findings.values()
    assert (finding.kind, finding.count, finding.fixable) == ("box-corners", 1, False)
    assert finding.what == "1 box extends beyond its image; read as corners, all boxes fit."
    assert fixed_boxes(root, tmp_path / "out") == {"a.png": (10, 10, 60, 50)}


def test_images_in_folders_and_a_file_that_is_named(tmp_path: Path):
    root = boxed(tmp_path / "set", {"x": "1,1,5,5"})
    for folder in ("one", "two"):
        (root / "images" / folder).mkdir()
        (root / "images" / folder / "b.png").write_bytes((root / "images" / "x.png").read_bytes())
    (root / "mine.csv").write_text("image,x,y,width,height\nx.png,1,1,5,5\nb.png,1,1,5,5\n", encoding="utf-8")
    _, findings = look(root, "mine.csv")
    assert findings["shared-box"].examples == (
        "images/two/b.png: line 3: b.png may mean images/one/b.png or images/two/b.png",
    )
    assert look(root)[1]["no-box"].count == 2


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path):
    root = boxed(tmp_path / "set", {"x": "1,1,5,5"})
    (root / "boxes.csv").write_text("name,x\n", encoding="utf-8")
    assert "the column image is missing" in look(root)[1]["boxes-file"].what
    (root / "boxes.csv").unlink()
    assert look(root)[1] == {}


@pytest.mark.parametrize("box", [Box(0, 0, 10, 10), Box(-5, -5, 8, 8), Box(7, 2, 50, 3)])
def test_the_cut_box_is_the_common_part(box: Box):
    """Against a count of pixels."""
    import numpy as np

    canvas = np.zeros((40, 40), bool)
    left, top, right, bottom = (int(edge) + 10 for edge in box.corners)
    canvas[max(0, top) : bottom, max(0, left) : right] = True
    rows, columns = np.nonzero(canvas[10:30, 10:22])
    cut = box.clipped(12, 20)
    assert cut is not None
    assert cut.corners == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
