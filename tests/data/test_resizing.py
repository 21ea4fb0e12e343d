"""Resizing arrays, and choosing some of many."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from stylebridge.data.resizing import Resample, resized
from stylebridge.data.spread import evenly_spaced


@pytest.mark.parametrize("how", ["bicubic", "bilinear"])
def test_an_image_is_resized_by_its_filter_and_left_alone_where_it_fits(how: Resample) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    assert resized(pixels, None) is pixels
    assert resized(pixels, (16, 12)) is pixels
    expected = np.array(Image.fromarray(pixels).resize((7, 9), Image.Resampling[how.upper()]))
    np.testing.assert_array_equal(resized(pixels, (7, 9), how), expected)


@pytest.mark.parametrize("kind", [np.uint8, np.int32])
def test_resizing_a_map_makes_no_new_class(kind: type) -> None:
    labels = np.repeat(np.repeat(np.array([[0, 7], [255, 3]], kind), 8, 0), 8, 1)
    np.testing.assert_array_equal(resized(labels, (2, 2)), [[0, 7], [255, 3]])
    assert set(np.unique(resized(labels, (5, 7)))) == {0, 3, 7, 255}


def test_evenly_spaced_numbers() -> None:
    assert evenly_spaced(0, 4) == []
    assert evenly_spaced(1, 4) == [0]
    assert evenly_spaced(3, 8) == [0, 1, 2]
    assert evenly_spaced(10, 4) == [0, 3, 6, 9]
    assert evenly_spaced(11, 4) == [0, 3, 6, 10]
    assert evenly_spaced(11, 4, rounded=True) == [0, 3, 7, 10]
    for wanted in (1, 2, 6, 40):
        chosen = evenly_spaced(23, wanted)
        assert len(set(chosen)) == min(wanted, 23)
        assert chosen == sorted(chosen)
        assert chosen[0] == 0
        assert wanted == 1 or chosen[-1] == 22
