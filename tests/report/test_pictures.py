import base64
import io

import numpy as np
import pytest
from PIL import Image

from stylebridge.report import overlay, sample_grid
from stylebridge.report.pictures import map_uri, mask_uri, photo_uri, shrink


def decode(uri: str) -> Image.Image:
    head, body = uri.split(",")
    assert head in ("data:image/png;base64", "data:image/webp;base64")
    return Image.open(io.BytesIO(base64.b64decode(body)))


def photo(height: int, width: int, value: int = 0) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_overlay_mixes_by_the_formula_and_leaves_ignored_pixels(space):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)
    labels = rng.choice(np.array([0, 1, 2, 3, 255], np.uint8), (9, 7))
    got = overlay(image, labels, space, alpha=0.3)
    for y in range(9):
        for x in range(7):
            colour = np.array(image[y, x] if labels[y, x] == 255 else space.colours[labels[y, x]], float)
            assert np.abs(got[y, x] - (0.7 * image[y, x] + 0.3 * colour)).max() <= 0.501
    assert got.dtype == np.uint8
    assert np.array_equal(got[labels == 255], image[labels == 255])


@pytest.mark.parametrize(("alpha", "what"), [(0.0, "photo"), (1.0, "colours")])
def test_overlay_at_its_ends(space, alpha, what):
    image, labels = photo(4, 4, 77), np.full((4, 4), 1, np.uint8)
    expected = image if what == "photo" else space.colourise(labels)
    assert np.array_equal(overlay(image, labels, space, alpha), expected)


def test_overlay_refuses_other_sizes_and_types(space):
    with pytest.raises(ValueError, match=r"labels is \[4, 5\], but its image is \[4, 4\]"):
        overlay(photo(4, 4), np.zeros((4, 5), np.uint8), space)
    with pytest.raises(ValueError, match="uint8"):
        overlay(np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8), space)


def test_grid_holds_each_picture_unchanged_at_its_place():
    cells = [[photo(200, 300, 10), photo(200, 300, 90)], [photo(200, 300, 170), photo(200, 300, 250)]]
    grid = sample_grid(cells)
    for value in (10, 90, 170):
        ys, xs = np.nonzero((grid == value).all(axis=2))
        assert len(ys) == 200 * 300
        assert (np.ptp(ys), np.ptp(xs)) == (199, 299)
    centres = {v: np.argwhere((grid == v).all(axis=2)).mean(axis=0) for v in (10, 90, 170)}
    assert centres[90][1] > centres[10][1]
    assert centres[170][0] > centres[10][0]


def test_small_pictures_are_enlarged_by_a_whole_factor_without_new_colours():
    rng = np.random.default_rng(1)
    image = rng.integers(0, 200, (32, 50, 3), dtype=np.uint8)
    grid = sample_grid([[image]])
    zoom = 4
    top, left = 6, 6
    assert np.array_equal(grid[top : top + 32 * zoom : zoom, left : left + 50 * zoom : zoom], image)


def test_grid_takes_ragged_rows_and_mixed_sizes():
    grid = sample_grid([[photo(200, 300, 1)], [photo(100, 300, 2), photo(200, 150, 3)]])
    for value, area in ((1, 60000), (2, 30000), (3, 30000)):
        assert (grid == value).all(axis=2).sum() == area


def test_captions_are_drawn_above_their_column_and_stay_inside_it():
    pictures = [photo(200, 300, 255)] * 2
    plain = sample_grid([pictures], ["", "x"])
    captioned = sample_grid(
        [pictures], ["a caption far too long to fit over its picture, by any measure", "x"]
    )
    ys, xs = np.nonzero((plain != captioned).any(axis=2))
    assert len(ys) > 50
    assert ys.max() < captioned.shape[0] - 200
    assert xs.max() < 6 + 300


def test_grid_refuses_nothing_and_label_maps():
    with pytest.raises(ValueError, match="at least one"):
        sample_grid([[]])
    with pytest.raises(ValueError, match="uint8"):
        sample_grid([[np.zeros((4, 4), np.uint8)]])


def test_map_uri_decodes_to_the_class_colours_with_ignore_transparent(space):
    labels = np.random.default_rng(2).choice(np.array([0, 1, 2, 3, 255], np.uint8), (13, 17))
    rgba = np.array(decode(map_uri(labels, space)).convert("RGBA"))
    known = labels != 255
    assert np.array_equal(rgba[..., 3], np.where(known, 255, 0))
    assert np.array_equal(rgba[known][:, :3], space.colourise(labels)[known])


def test_map_uri_names_labels_outside_the_classes(space):
    with pytest.raises(ValueError, match=r"\[7\], outside the classes 0\.\.3"):
        map_uri(np.array([[0, 7]], np.uint8), space)


def test_mask_uri_is_colour_where_true_and_transparent_elsewhere():
    mask = np.array([[True, False, True]])
    rgba = np.array(decode(mask_uri(mask, (255, 1, 2))).convert("RGBA"))
    assert rgba[0, 0].tolist() == rgba[0, 2].tolist() == [255, 1, 2, 255]
    assert rgba[0, 1, 3] == 0


def test_photo_uri_keeps_size_and_nearly_the_colours():
    y, x = np.mgrid[:60, :80]
    image = np.stack([x * 3, y * 4, (x + y)], axis=2).astype(np.uint8)
    decoded = np.array(decode(photo_uri(image)).convert("RGB"))
    assert decoded.shape == image.shape
    assert np.abs(decoded.astype(int) - image).mean() < 4


def test_shrink_keeps_small_pictures_and_never_mixes_labels():
    labels = np.random.default_rng(3).choice(np.array([0, 3, 255], np.uint8), (100, 200))
    assert shrink(labels, 200) is labels
    small = shrink(labels, 50)
    assert small.shape == (25, 50)
    assert set(np.unique(small)) <= {0, 3, 255}
    assert shrink(photo(100, 200), 50).shape == (25, 50, 3)
