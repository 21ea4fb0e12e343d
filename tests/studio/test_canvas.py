"""Label maps on their way to the page and back."""

import base64
import io
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from stylebridge.data.label_space import LabelSpace
from stylebridge.errors import DataError
from stylebridge.studio.canvas import fitted, label_url, pack, shares, unpack

MAPS = arrays(
    np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 1, 4, 255])
)


@given(MAPS)
def test_a_map_comes_back_as_it_was(labels: np.ndarray) -> None:
    packed = pack(labels)
    assert (packed["height"], packed["width"]) == labels.shape
    np.testing.assert_array_equal(unpack(packed, classes=5, longest=9), labels)


def deflated(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content)).decode()


@pytest.mark.parametrize(
    "packed",
    [
        None,
        "map",
        {},
        {"width": 2, "height": 2, "data": 7},
        {"width": 2, "height": 2, "data": "not base64!"},
        {"width": 2, "height": 2, "data": base64.b64encode(b"not deflated").decode()},
        {"width": 2, "height": 2, "data": deflated(bytes(3))},
        {"width": 2, "height": 2, "data": deflated(bytes(5))},
        {"width": 2, "height": 2, "data": deflated(bytes(2**26))},
        {"width": True, "height": 2, "data": deflated(bytes(2))},
        {"width": 2.0, "height": 2, "data": deflated(bytes(4))},
        {"width": 0, "height": 2, "data": deflated(b"")},
        {"width": 65, "height": 1, "data": deflated(bytes(65))},
        {"width": 2, "height": 1, "data": deflated(bytes([0, 3]))},
        {"width": 2, "height": 1, "data": deflated(bytes([0, 254]))},
    ],
)
def test_what_is_not_a_map_is_refused_in_a_sentence(packed: object) -> None:
    with pytest.raises(DataError, match=r"^[A-Z].*\.$"):
        unpack(packed, classes=3, longest=64)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 2000))
def test_a_fitted_size_keeps_the_shape(width: int, height: int, longest: int) -> None:
    new = fitted((width, height), longest)
    assert max(new) == min(longest, max(width, height))
    scale = max(new) / max(width, height)
    assert abs(min(new) - max(1, scale * min(width, height))) <= 0.5 + 1e-9
    assert (new[0] >= new[1]) == (width >= height) or new[0] == new[1]


def test_a_saved_map_holds_indices_and_the_colours_of_the_space() -> None:
    space = LabelSpace("two", ("a", "b"), ((1, 2, 3), (9, 8, 7)), {0: 0, 1: 1})
    image = Image.open(
        io.BytesIO(base64.b64decode(label_url(np.array([[0, 1, 255]], np.uint8), space).split(",")[1]))
    )
    assert image.mode == "P"
    np.testing.assert_array_equal(np.array(image), [[0, 1, 255]])
    np.testing.assert_array_equal(np.array(image.convert("RGB")), [[(1, 2, 3), (9, 8, 7), (0, 0, 0)]])


def test_shares_are_of_all_pixels() -> None:
    assert shares(np.array([[0, 0, 2, 255]], np.uint8), 3) == [0.5, 0, 0.25]
