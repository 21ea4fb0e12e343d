"""Draws and batch norm of a part of the batch are the rows of one process's draw for the whole batch."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from timm.layers.drop import drop_path
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.engine.global_draws import one_of
from stylebridge.layers.global_batch import Part

DRAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "randn_like": torch.randn_like,
    "rand_like": torch.rand_like,
    "randn of a size": lambda x: torch.randn(x.shape),
    "rand of numbers": lambda x: torch.rand(*x.shape),
    "normal_": lambda x: torch.empty_like(x).normal_(1, 2),
    "uniform_": lambda x: x.clone().uniform_(-1, 1),
    "exponential_": lambda x: x.clone().exponential_(),
    "dropout": lambda x: F.dropout(x, 0.4),
    "dropout in place": lambda x: F.dropout(x.clone(), 0.4, inplace=True),
    "module": nn.Dropout(0.3),
    "timm": lambda x: drop_path(x, 0.5, training=True),
}
OF_MAPS = {
    "dropout1d": (3, lambda x: F.dropout1d(x, 0.4)),
    "dropout2d": (4, nn.Dropout2d(0.4)),
    "dropout3d": (5, lambda x: F.dropout3d(x, 0.4)),
}


def layouts(x: Tensor, order: tuple[int, ...]) -> Tensor:
    """The same values with the axes in another order in memory."""
    places = [order.index(axis) for axis in range(x.dim())]
    return x.permute(order).contiguous().permute(places)


def parts(draw: Callable[[Tensor], Tensor], x: Tensor, processes: int) -> Tensor:
    """The draws of several processes, concatenated."""
    images = len(x) // processes
    rows = []
    for index, own in enumerate(x.chunk(processes)):
        # A process's own batch has the layout of the whole one, not the strides of a view into it.
        own = torch.empty_like(own).copy_(own)
        torch.manual_seed(3)
        with one_of(Part(index, processes, images)):
            rows.append(draw(own))
    return torch.cat(rows)


@given(
    st.sampled_from(sorted(DRAWS)),
    st.permutations(range(4)),
    st.integers(1, 3),
    st.integers(2, 3),
    st.sampled_from([torch.float32, torch.float64]),
)
@settings(max_examples=60, deadline=None)
def test_parts_are_the_whole(name, order, images, processes, dtype):
    assume(
        images > 1 or order[0] == 0
    )  # of one image it cannot be seen where in memory the next one would be
    x = layouts(torch.rand(images * processes, 3, 4, 5, dtype=dtype), tuple(order))
    torch.manual_seed(3)
    whole = DRAWS[name](x)
    assert torch.equal(parts(DRAWS[name], x, processes), whole)


@pytest.mark.parametrize("name", OF_MAPS)
def test_whole_channels_drop_equally(name):
    dims, draw = OF_MAPS[name]
    x = torch.rand(4, 6, *[3] * (dims - 2)) + 1
    torch.manual_seed(3)
    whole = draw(x)
    assert torch.equal(parts(draw, x, 2), whole)


def test_what_belongs_to_no_image_is_equal_in_all_processes():
    """A number for the whole batch, and rows that are not a multiple of the images."""
    for draw in (lambda _: torch.rand(()), lambda _: torch.rand(5)):
        one, other = parts(lambda x, d=draw: d(x)[None], torch.rand(4, 1), 2)
        assert torch.equal(one, other)


def test_a_generator_of_ones_own_and_one_process_are_left_alone():
    def draw(x: Tensor) -> Tensor:
        return torch.randn(x.shape, generator=torch.Generator().manual_seed(1))

    one, other = parts(draw, torch.rand(4, 2), 2).chunk(2)
    assert torch.equal(one, other)
    x = torch.rand(4, 2)
    torch.manual_seed(3)
    expected = F.dropout(x)
    torch.manual_seed(3)
    with one_of(Part(0, 1, 4)):
        assert torch.equal(F.dropout(x), expected)


def test_dropouts_gradient_has_its_mask():
    x = torch.rand(4, 6, requires_grad=True)
    with one_of(Part(1, 2, 4)):
        y = F.dropout(x, 0.5)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad != 0, y != 0)
    assert 0 < int((y != 0).sum()) < y.numel()
