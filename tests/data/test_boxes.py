"""Box files, and crops by boxes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylebridge.data.boxes import (
    Box,
    BoxedImages,
    ViewDraw,
    background_view,
    boxed_batches,
    draw_view,
    object_view,
    object_window,
    read_boxes,
)
from stylebridge.data.sampling import UniformSampler
from stylebridge.errors import DataError

HEADER = "image,x,y,width,height\n"


def csv_file(folder: Path, rows: str, header: str = HEADER) -> Path:
    path = folder / "boxes.csv"
    path.write_text(header + rows, encoding="utf-8")
    return path


# --- files ----------------------------------------------------------------------------------------------------


def test_csv(tmp_path: Path) -> None:
    boxes = read_boxes(csv_file(tmp_path, "a/one.jpg,1.5,2,30,40\n\nb/two.jpg, 0 ,0,5,6.25\n"))
    assert boxes.by_name == {"a/one.jpg": Box(1.5, 2, 30, 40), "b/two.jpg": Box(0, 0, 5, 6.25)}
    assert boxes.lines == {"a/one.jpg": 2, "b/two.jpg": 4}
    assert boxes.of("a/one.jpg").corners == (1.5, 2, 31.5, 42)
    assert boxes.of("images/a/one.jpg") == boxes.of("a/one.jpg")


def test_columns_in_another_order_and_more_of_them(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "3,4,1,2,bird,x.png\n", "Width,Height,X,Y,class,image\n")
    assert read_boxes(path).of("x.png") == Box(1, 2, 3, 4)


def test_names_with_commas_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text(HEADER + '"a, b.jpg",1,2,3,4\n', encoding="utf-8-sig")
    assert read_boxes(path).of("a, b.jpg") == Box(1, 2, 3, 4)


def test_cub(tmp_path: Path) -> None:
    (tmp_path / "images.txt").write_text("1 001.A/x y.jpg\n2 002.B/z.jpg\n", encoding="utf-8")
    path = tmp_path / "bounding_boxes.txt"
    path.write_text("1 60.0 27.0 325.0 304.0\n2 1 2 3 4\n", encoding="utf-8")
    boxes = read_boxes(path)
    assert boxes.of("001.A/x y.jpg") == Box(60, 27, 325, 304)
    assert len(boxes) == 2
    path.write_text("1 60 27 325 304\n\n7 1 2 3 4\n", encoding="utf-8")
    with pytest.raises(
        DataError, match=r"bounding_boxes\.txt, line 3: .*images\.txt has no image of number 7"
    ):
        read_boxes(path)
    path.write_text("1 60 27 325\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 1: 60, 27, 325 is not x, y, width, height"):
        read_boxes(path)
    (tmp_path / "images.txt").unlink()
    with pytest.raises(DataError, match=r"needs images\.txt beside it"):
        read_boxes(path)


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ("a.jpg,1,2,3\n", HEADER, "line 2: there are 4 cells, not 5"),
        ("a.jpg,1,2,3,4\nb.jpg,1,two,3,4\n", HEADER, "line 3: 1, two, 3, 4 is not x, y, width, height"),
        ("a.jpg,1,2,nan,4\n", HEADER, "line 2: .* is not x"),
        ("a.jpg,1,2,0,4\n", HEADER, "line 2: the box 1, 2, 0, 4 has no area"),
        ("a.jpg,1,2,3,4\na.jpg,1,2,3,4\n", HEADER, "line 3: the image a.jpg already has a box, in line 2"),
        ("a.jpg,1,2,3,4\n", "image,x,y,w,h\n", "line 1: the column width is missing"),
        ("", HEADER, "has no box:"),
        ('a.jpg,1,2,3,4\n"b.jpg,1,2,3,4\nc.jpg,1,2,3,4\n', HEADER, "line 3: .* quotation mark"),
        ('"a.jpg,1,2,3,4\n' + "b.jpg,1,2,3,4\n" * 10_000, HEADER, "line 2: .* quotation mark"),
        ('\n"a\nb.jpg",1,2,3\n', HEADER, "line 3: there are 4 cells"),
        ("", "", "the column image is missing"),
    ],
)
def test_malformed_rows_are_named_with_file_and_line(
    tmp_path: Path, rows: str, header: str, message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_boxes(csv_file(tmp_path, rows, header))
    assert "boxes.csv" in str(caught.value)
    assert str(caught.value).endswith(".")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no box file"):
        read_boxes(tmp_path / "none.csv")
    (tmp_path / "boxes.csv").write_bytes(b"\xff\xfe\x00image")
    with pytest.raises(DataError, match="UTF-8"):
        read_boxes(tmp_path / "boxes.csv")


def test_all_rows_that_are_wrong_are_listed_in_one_message(tmp_path: Path) -> None:
    rows = "a.jpg,1,2,0,4\nb.jpg,1,two,3,4\nok.jpg,1,2,3,4\nc.jpg,1,2\nok.jpg,1,2,3,4\n"
    with pytest.raises(DataError) as caught:
        read_boxes(csv_file(tmp_path, rows))
    text = str(caught.value)
    assert "boxes.csv has 4 problems" in text
    for part in (
        "line 2: the box 1, 2, 0, 4 has no area",
        "line 3: 1, two, 3, 4 is",
        "line 5: there are 3 cells",
    ):
        assert part in text
    assert "line 6: the image ok.jpg already has a box, in line 4" in text
    assert "stylebridge data doctor DATA --boxes" in text
    assert "\n" not in text
    with pytest.raises(DataError, match=r"300 problems: .*; and 290 more\. Correct"):
        read_boxes(csv_file(tmp_path, "x.jpg,1,2,0,4\n" * 300))


def test_an_image_without_a_box(tmp_path: Path) -> None:
    boxes = read_boxes(csv_file(tmp_path, "a.jpg,1,2,3,4\n"))
    boxes.check(["a.jpg"])
    with pytest.raises(DataError, match=r"boxes\.csv has no box for the image sub/b\.jpg"):
        boxes.check(["a.jpg", "sub/b.jpg"])
    with pytest.raises(DataError, match=r"b\.jpg"):
        boxes.of("b.jpg")


def test_boxes_outside_their_image(tmp_path: Path) -> None:
    boxes = read_boxes(csv_file(tmp_path, "a.jpg,-0.5,2,20.9,10\nb.jpg,0,0,23,5\nc.jpg,5,-3,5,5\n"))
    assert boxes.inside("a.jpg", 20, 30) == Box(0, 2, 20, 10)  # rounding is forgiven, and cut
    assert boxes.inside("b.jpg", 150, 30) == Box(0, 0, 23, 5)
    with pytest.raises(
        DataError, match=r"line 3: the box 0, 0, 23, 5 extends beyond its image b\.jpg of 20×30"
    ):
        boxes.inside("b.jpg", 20, 30)
    with pytest.raises(DataError, match="line 4: the box 5, -3, 5, 5 extends beyond"):
        boxes.inside("c.jpg", 20, 30)


@pytest.mark.parametrize("row", ["20,0,2,5", "0,30,5,1", "-2,0,2,5", "0,-1.5,5,1"])
def test_a_box_that_shows_nothing_of_its_image_is_refused_however_near_it_is(
    tmp_path: Path, row: str
) -> None:
    with pytest.raises(DataError, match=r"line 2: the box .* extends beyond its image a\.jpg of 20×30"):
        read_boxes(csv_file(tmp_path, f"a.jpg,{row}\n")).inside("a.jpg", 20, 30)


def test_one_box_is_not_given_to_two_images(tmp_path: Path) -> None:
    boxes = read_boxes(csv_file(tmp_path, "0.jpg,1,2,3,4\na.jpg,1,2,3,4\nx/b.jpg,1,2,3,4\ny/b.jpg,5,6,7,8\n"))
    boxes.check(["x/a.jpg", "x/b.jpg", "y/b.jpg"])
    with pytest.raises(DataError, match=r"boxes\.csv, line 3: a\.jpg may mean x/a\.jpg or y/a\.jpg: .* row"):
        boxes.check(["x/a.jpg", "y/a.jpg"])


# --- views ----------------------------------------------------------------------------------------------------


def test_object_window() -> None:
    # Half side int(40·0.75) = 30 about (50, 60).
    assert object_window(Box(30, 50, 40, 20), 200, 200) == (20, 30, 80, 90)
    assert object_window(Box(0, 0, 40, 20), 100, 35) == (0, 0, 50, 35)  # cut at the border
    left, top, right, bottom = object_window(Box(9.8, 9.8, 0.2, 0.2), 10, 10)
    assert right > left
    assert bottom > top


def test_object_view_shows_the_window() -> None:
    """Coordinates as colours: the view's corners are where the sheet's numbers put them."""
    y, x = np.mgrid[:160, :160]
    image = np.stack((x, y, np.zeros_like(x)), 2).astype(np.uint8)
    box = Box(60, 60, 40, 40)  # window 50 … 110 (half side 30 about 80)
    view = object_view(image, box, 64, ViewDraw(0.0, 0.999, False))
    assert view.shape == (64, 64, 3)
    # 60 pixels become int(128·76/64) = 152, of which 128 are shown in 64.
    step = 60 / 152 * 2
    red, green = view[:, :, 0].astype(float), view[:, :, 1].astype(float)
    assert red[30, 1:-1] == pytest.approx(50 + step * (np.arange(1, 63) + 0.5) - 0.5, abs=1.01)
    assert green[1:-1, 30] == pytest.approx(
        50 + 24 * 60 / 152 + step * (np.arange(1, 63) + 0.5) - 0.5, abs=1.01
    )
    mirrored = object_view(image, box, 64, ViewDraw(0.0, 0.999, True))
    assert abs(mirrored.astype(int) - view[:, ::-1].astype(int)).max() <= 1


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("width", "height"), [(200, 100), (90, 240), (126, 126)])
def test_the_box_goes_with_the_background_view(width: int, height: int, mirrored: bool) -> None:
    """A white rectangle in the box stays inside the transformed box."""
    image = np.zeros((height, width, 3), np.uint8)
    box = Box(width * 0.3, height * 0.4, width * 0.3, height * 0.2)
    x0, y0, x1, y1 = (round(edge) for edge in box.corners)
    image[y0:y1, x0:x1] = 255
    box = Box(x0, y0, x1 - x0, y1 - y0)
    view, corners = background_view(image, box, 126, ViewDraw(0.4, 0.7, mirrored))
    assert view.shape == (126, 126, 3)
    rows, columns = np.nonzero(view[:, :, 0] > 127)
    found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert corners == pytest.approx(found, abs=1.5)


def test_background_views_are_of_the_published_scale() -> None:
    """The short side becomes int(126·76/64) = 149, so a full box is 149 wide and cut to 126."""
    y, x = np.mgrid[:100, :100]
    image = np.stack((x, y, x), 2).astype(np.uint8)
    view, corners = background_view(image, Box(10, 20, 10, 30), 126, ViewDraw(0.0, 0.0, False))
    assert corners == pytest.approx((14.9, 29.8, 29.8, 74.5))
    assert view[60, 1:-1, 0] == pytest.approx((np.arange(1, 125) + 0.5) * 100 / 149 - 0.5, abs=1.01)


def test_a_box_that_the_view_does_not_show_has_no_area() -> None:
    image = np.zeros((100, 400, 3), np.uint8)
    _, (left, top, right, bottom) = background_view(image, Box(0, 0, 20, 20), 126, ViewDraw(0.99, 0.5, False))
    assert left == right == 0
    assert bottom >= top


def test_places_are_drawn_evenly() -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([draw_view(rng) for _ in range(2000)], float)
    assert drawn.mean(0) == pytest.approx([0.5] * 3, abs=0.05)
    assert (drawn[:, :2] < 1).all()


# --- batches --------------------------------------------------------------------------------------------------


def boxed(folder: Path, images: int = 3) -> BoxedImages:
    rng = np.random.default_rng(0)
    names = [f"{n}.png" for n in range(images)]
    for name in names:
        Image.fromarray(rng.integers(0, 255, (50, 60, 3), np.uint8)).save(folder / name)
    boxes = read_boxes(csv_file(folder, "".join(f"{name},5,10,20,30\n" for name in names)))
    return BoxedImages([folder / name for name in names], names, boxes, side=64, seed=1)


def test_batches(tmp_path: Path) -> None:
    images = boxed(tmp_path)
    stream = boxed_batches(images, UniformSampler(3, seed=0), batch_size=2)
    batch = next(stream)
    assert {k: (tuple(v.shape), v.dtype) for k, v in batch.items()} == {
        "image": ((2, 3, 64, 64), torch.uint8),
        "background": ((2, 3, 62, 62), torch.uint8),
        "box": ((2, 4), torch.float32),
        "index": ((2,), torch.int64),
        "position": ((2,), torch.int64),
    }
    stream.close()  # type: ignore[attr-defined]


def test_batches_depend_on_their_position_alone(tmp_path: Path) -> None:
    """A resumed run, and two processes, get the same data as one uninterrupted process."""
    images = boxed(tmp_path)
    one = boxed_batches(images, UniformSampler(3, seed=0), batch_size=4)
    whole = [next(one) for _ in range(2)]
    later = next(boxed_batches(images, UniformSampler(3, seed=0), batch_size=4, start_position=4, threads=1))
    second = next(
        boxed_batches(images, UniformSampler(3, seed=0), 2, process_index=1, process_count=2, threads=3)
    )
    for key, value in later.items():
        assert torch.equal(value, whole[1][key])
    for key, value in second.items():
        assert torch.equal(value, whole[0][key][2:])
    assert not torch.equal(whole[0]["image"], whole[1]["image"])


def test_what_is_wrong_with_an_image_is_reported(tmp_path: Path) -> None:
    images = boxed(tmp_path)
    Image.new("RGB", (20, 20)).save(tmp_path / "1.png")
    with pytest.raises(
        DataError, match=r"boxes\.csv, line 3: the box 5, 10, 20, 30 extends beyond its image 1\.png of 20×20"
    ):
        images.batch([(0, 1)])
    with pytest.raises(DataError, match="no box"):
        BoxedImages([tmp_path / "x.png"], ["x.png"], images.boxes, side=64, seed=0)
