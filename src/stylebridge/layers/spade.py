"""Spatially-adaptive normalisation (SPADE; Park et al., CVPR 2019, arXiv 1903.07291), and what it needs of label maps.

A label map takes one of K + 1 values at a pixel (K classes, or none). A 3×3 convolution of its one-hot form is the sum
of nine rows of a table, one row for each tap and class: no product is taken with a zero, and the cost does not depend
on K. Which rows those are depends on the labels alone, so :class:`LabelMaps` finds it once for each size, for all
layers that work at that size.

Example::

    norm = SPADE(channels=64, classes=19)
    y = norm(x, labels)  # x [B, 64, h, w], labels [B, H, W] with 255 where there is no class

    maps = LabelMaps(labels, 19)  # several norms: the label maps are prepared once
    y = second(torch.relu(first(x, maps)), maps)
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.data.label_space import IGNORE
from stylebridge.errors import DataError
from stylebridge.layers.products import rows_product

#: Taps of a 3×3 convolution, and the middle one, which never lies outside the image.
TAPS, MIDDLE = 9, 4
#: γ and β are computed once for each kind of surroundings where there are so many times more pixels.
PATTERNS_PAY = 2


class RowSums:
    """A linear map: each row of the result is the sum of some rows of a table.

    Args:
        index: int64 [N], rows of the table, those of the first result first.
        starts: int64 [M], where each result's rows begin in ``index``; ascending.
        rows: of the table.
    """

    def __init__(self, index: Tensor, starts: Tensor, rows: int) -> None:
        self.index, self.starts, self.rows = index, starts, rows

    @cached_property
    def transposed(self) -> RowSums:
        """The transposed map, which carries gradients back: as fast as this one."""
        lengths = torch.diff(self.starts, append=self.starts.new_tensor([len(self.index)]))
        results = torch.arange(len(self.starts), device=self.index.device)
        results = results.repeat_interleave(lengths, output_size=len(self.index))
        order = torch.sort(self.index, stable=True).indices
        back = RowSums(results[order], first_of_each(self.index, self.rows), len(self.starts))
        back.__dict__["transposed"] = self
        return back

    def __call__(self, table: Tensor) -> Tensor:
        """Table [rows, D] to sums [M, D], in the table's type."""
        return _SumRows.apply(table, self)  # type: ignore[no-any-return]


def first_of_each(values: Tensor, kinds: int) -> Tensor:
    """Where each of the values 0…kinds − 1 begins among the sorted values: int64 [kinds]."""
    counts = torch.bincount(values, minlength=kinds)
    return counts.cumsum(0) - counts


def rows_at(index: Tensor, rows: int) -> RowSums:
    """The map that takes one row of a table for each index of [N]."""
    return RowSums(index, torch.arange(len(index), device=index.device), rows)


class _SumRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, sums: RowSums) -> Tensor:
        ctx.sums = sums
        return F.embedding_bag(sums.index, table.detach().contiguous(), sums.starts, mode="sum")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.sums.transposed(grad_outputs[0]), None


class LabelGrid:
    """Label maps at one size. ``labels``: int64 [B, h, w], 0…K − 1, or K where there is no class."""

    def __init__(self, labels: Tensor, classes: int) -> None:
        self.labels, self.classes = labels, classes

    @cached_property
    def taps(self) -> RowSums:
        """From a table [(K + 1)·9, D], row ``class·9 + tap``, to maps [B·h·w, D]: what a 3×3 convolution adds up.

        Outside the image there is no class.
        """
        return taps_of(self.labels, self.classes)

    @cached_property
    def regions(self) -> tuple[Tensor, RowSums]:
        """The regions there are at this size, ``image·K + class`` [R], ascending; and :attr:`taps` with one row for
        each region and tap in place of class and tap: a table [(R + 1)·9, D], where region R is no class."""
        offsets = torch.arange(len(self.labels), device=self.labels.device)[:, None, None] * self.classes
        void = self.labels == self.classes
        none = len(self.labels) * self.classes
        present, ids = torch.unique((self.labels + offsets).masked_fill(void, none), return_inverse=True)
        # A pixel without a class is put last by its number; there may be none.
        regions = present[present < none]
        return regions, taps_of(ids, len(regions))

    @cached_property
    def patterns(self) -> Patterns | None:
        """What SPADE's three convolutions can tell apart: 5×5 surroundings. None where it does not pay to look."""
        if self.labels.device.type != "cpu":
            return None
        inner = neighbourhoods(self.labels, self.classes)
        outer = neighbourhoods(inner.ids, len(inner.members))
        if len(outer.members) * PATTERNS_PAY > self.labels.numel():
            return None
        taps = inner.members.mul(TAPS).add_(torch.arange(TAPS)).flatten()
        return Patterns(
            hidden=RowSums(taps, torch.arange(0, len(taps), TAPS), (self.classes + 1) * TAPS),
            windows=rows_at(outer.members.flatten(), len(inner.members) + 1),
            pixels=rows_at(outer.ids.flatten(), len(outer.members)),
        )

    def as_map(self, rows: Tensor) -> Tensor:
        """[B·h·w, D] as [B, D, h, w], channels last in memory; nothing is copied."""
        return rows.view(*self.labels.shape, -1).permute(0, 3, 1, 2)

    def as_rows(self, maps: Tensor) -> Tensor:
        """[B, D, h, w] as [B·h·w, D]."""
        return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


class Patterns(NamedTuple):
    """Label maps' 5×5 surroundings, each kind once. Most pixels lie within regions, where one is like the other.

    ``hidden``: as :attr:`LabelGrid.taps`, but to the N₃ kinds of 3×3 surroundings. ``windows``: from those and one more
    row, for what is outside the image, to the nine of each of the N₅ kinds of 5×5 surroundings, [9·N₅]. ``pixels``:
    from these kinds to pixels.
    """

    hidden: RowSums
    windows: RowSums
    pixels: RowSums


class Neighbourhoods(NamedTuple):
    """``ids``: [B, h, w], of each pixel's 3×3 surroundings. ``members``: [N, 9], what each of them consists of."""

    ids: Tensor
    members: Tensor


def neighbourhoods(ids: Tensor, none: int) -> Neighbourhoods:
    """Number the 3×3 surroundings in maps [B, h, w] of 0…none, where ``none`` is outside: exact, nothing is hashed."""
    rows, of_row = distinct_triples(F.pad(ids, (1, 1, 1, 1), value=none), none + 1)
    whole, found = distinct_triples(of_row.transpose(1, 2), len(rows))
    return Neighbourhoods(found.transpose(1, 2), rows[whole].flatten(1))


def distinct_triples(ids: Tensor, kinds: int) -> tuple[Tensor, Tensor]:
    """The different triples of neighbours [N, 3] along the last axis of ids [B, h, w], 0…kinds − 1; and which of them
    is where, [B, h, w − 2]. Numbers fit 64 bits for 2 million kinds."""
    numbers = (ids[..., :-2] * kinds + ids[..., 1:-1]) * kinds + ids[..., 2:]
    distinct, which = torch.unique(numbers, return_inverse=True)
    return torch.stack((distinct // kinds**2, distinct // kinds % kinds, distinct % kinds), 1), which


def taps_of(ids: Tensor, none: int) -> RowSums:
    """The nine rows that a 3×3 convolution with padding 1 adds up at each pixel of ids [B, h, w], 0…none."""
    height, width = ids.shape[-2:]
    padded = F.pad(ids, (1, 1, 1, 1), value=none)
    shifted = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    index = torch.stack(shifted, -1).mul_(TAPS).add_(torch.arange(TAPS, device=ids.device)).flatten()
    starts = torch.arange(0, len(index), TAPS, device=ids.device)
    return RowSums(index, starts, (none + 1) * TAPS)


class LabelMaps:
    """A batch of label maps, at every size that layers ask for; each size is made once.

    Args:
        labels: integers [B, H, W], classes 0…K − 1, 255 where there is none.
        classes: K, 255 at most.

    Raises:
        DataError: a label is neither below K nor 255, or the shape is another.
    """

    def __init__(self, labels: Tensor, classes: int) -> None:
        if labels.dim() != 3 or labels.is_floating_point():
            raise DataError(
                f"Label maps of shape {list(labels.shape)} and type {str(labels.dtype).removeprefix('torch.')} cannot "
                f"be used: give integers [B, H, W]."
            )
        labels = labels.long()
        void = labels == IGNORE
        wrong = ~void & ((labels >= classes) | (labels < 0))
        if wrong.any():
            raise DataError(
                f"A label map holds class {int(labels[wrong][0])}, but the network knows 0 to {classes - 1} and "
                f"{IGNORE} for none: map the labels to its classes first."
            )
        self.labels, self.classes = labels.masked_fill(void, classes), classes
        self._grids: dict[tuple[int, int], LabelGrid] = {}

    @classmethod
    def of(cls, labels: Tensor | LabelMaps, classes: int) -> LabelMaps:
        """Label maps [B, H, W], prepared unless they are already."""
        if isinstance(labels, Tensor):
            return cls(labels, classes)
        if labels.classes != classes:
            raise DataError(
                f"Label maps of {labels.classes} classes were given to a network of {classes}: prepare them for it."
            )
        return labels

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.labels.shape[1], self.labels.shape[2]

    def at(self, height: int, width: int) -> LabelGrid:
        """The maps resized to a size by nearest neighbour (as ``F.interpolate`` has it)."""
        if (height, width) not in self._grids:
            labels = self.labels
            if (height, width) != self.size:
                # Up to 255 classes: exact in float32.
                labels = F.interpolate(labels[:, None].float(), size=(height, width))[:, 0].long()
            self._grids[height, width] = LabelGrid(labels, self.classes)
        return self._grids[height, width]


def label_convolution(grid: LabelGrid, weight: Tensor, bias: Tensor) -> Tensor:
    """A 3×3 convolution with padding 1 of one-hot label maps.

    Args:
        grid: label maps of K classes; a pixel without class is zero in all channels.
        weight: [D, K, 3, 3].
        bias: [D].

    Returns:
        [B, D, h, w], channels last in memory.
    """
    return grid.as_map(grid.taps(label_table(weight, bias)))


def label_table(weight: Tensor, bias: Tensor) -> Tensor:
    """The table [(K + 1)·9, D] of :attr:`LabelGrid.taps` that makes a convolution of weight [D, K, 3, 3], bias [D]."""
    table = F.pad(weight.permute(1, 2, 3, 0).flatten(1, 2), (0, 0, 0, 0, 0, 1))  # [K + 1, 9, D]
    # Every pixel has one middle tap: the bias goes there.
    return (table + F.pad(bias[None], (0, 0, MIDDLE, TAPS - 1 - MIDDLE))).flatten(0, 1)


class _Modulate(torch.autograd.Function):
    """x·scale + shift, and LeakyReLU after it; autograd's own way keeps and passes through twice as many maps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, both: Tensor, slope: float) -> Tensor:
        scale, shift = both.chunk(2, 1)
        y = torch.addcmul(shift, x, scale)
        if slope != 1.0:
            F.leaky_relu_(y, slope)
        ctx.slope = slope
        ctx.save_for_backward(x, both, y if slope != 1.0 else None)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = grad_outputs
        x, both, y = ctx.saved_tensors
        channels = x.shape[1]
        grad_both = torch.empty_like(both)
        grad_scale, grad_shift = grad_both.chunk(2, 1)
        if y is None:
            grad_shift.copy_(g)
        else:  # the sign of y is that of what the LeakyReLU saw
            torch.ops.aten.leaky_relu_backward.grad_input(g, y, ctx.slope, True, grad_input=grad_shift)
        torch.mul(grad_shift, x, out=grad_scale)
        grad_x = grad_shift * both[:, :channels]
        return grad_x, grad_both, None


def modulate(x: Tensor, scale_and_shift: Tensor, slope: float = 1.0) -> Tensor:
    """``x·scale + shift``, followed by a LeakyReLU unless its slope is 1.

    Args:
        x: [B, C, h, w].
        scale_and_shift: [B, 2C, h, w], scales first.
    """
    return _Modulate.apply(x, scale_and_shift.to(x.dtype), slope)  # type: ignore[no-any-return]


class MaskModulation(nn.Module):
    """SPADE's three convolutions: label maps to what scales and shifts each pixel.

    ``a = ReLU(shared(m))``, ``[γ, β] = scale_shift(a)``. ``shared``: 3×3, K → hidden. ``scale_shift``: 3×3,
    hidden → 2C, the published ``mlp_gamma`` and ``mlp_beta`` one after the other.
    """

    def __init__(self, channels: int, classes: int, hidden: int = 128) -> None:
        super().__init__()
        self.shared = nn.Conv2d(classes, hidden, 3, padding=1)
        self.scale_shift = nn.Conv2d(hidden, 2 * channels, 3, padding=1)

    def forward(self, grid: LabelGrid, share: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """1 + γ and β of every pixel, [B, 2C, h, w]: what :func:`modulate` takes.

        Args:
            share: [2C], multiplies γ and β (SEAN's blending); None: 1.
            bias: [2C], added to them after that; None: 0.
        """
        assert self.shared.bias is not None
        assert self.scale_shift.bias is not None
        weight, total = self.scale_shift.weight, self.scale_shift.bias
        if share is not None:
            weight, total = weight * share[:, None, None, None], total * share
        if bias is not None:
            total = total + bias
        gamma, beta = total.chunk(2)
        total, table = torch.cat((gamma + 1, beta)), label_table(self.shared.weight, self.shared.bias)
        patterns = grid.patterns
        if patterns is None:
            a = F.relu(grid.as_map(grid.taps(table)), inplace=True)
            return F.conv2d(a, weight, total, padding=1)
        a = F.pad(F.relu(patterns.hidden(table)), (0, 0, 0, 1))
        windows = patterns.windows(a).view(-1, TAPS * a.shape[1])
        rows = rows_product(windows, weight.permute(0, 2, 3, 1).flatten(1), total)
        return grid.as_map(patterns.pixels(rows))

    @torch.no_grad()
    def initialise(self, gain: float) -> None:
        """Xavier normal weights and biases of 0; ``mlp_gamma`` and ``mlp_beta`` count as a convolution each."""
        for weight in (self.shared.weight, *self.scale_shift.weight.chunk(2)):
            nn.init.xavier_normal_(weight, gain)
        for conv in (self.shared, self.scale_shift):
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)


class SPADE(nn.Module):
    """Spatially-adaptive normalisation: ``y = x̂·(1 + γ(m)) + β(m)``, x̂ the batch norm of x without affine part.

    Args:
        channels: C of the maps that are normalised.
        classes: K of the label maps.
        hidden: channels between the two convolutions of the label map (published: 128).

    The batch norm becomes synchronised by ``nn.SyncBatchNorm.convert_sync_batchnorm``, as any other.
    """

    def __init__(self, channels: int, classes: int, hidden: int = 128) -> None:
        super().__init__()
        self.classes = classes
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.mask = MaskModulation(channels, classes, hidden)

    def forward(self, x: Tensor, labels: Tensor | LabelMaps, *, slope: float = 1.0) -> Tensor:
        """[B, C, h, w] to [B, C, h, w].

        Args:
            labels: label maps [B, H, W] of any size, 255 = no class; prepared ones where several norms share them.
            slope: of a LeakyReLU after it, at no cost; 1 = none.

        Raises:
            DataError: a label is no class.
        """
        grid = LabelMaps.of(labels, self.classes).at(*x.shape[-2:])
        return modulate(self.norm(x), self.mask(grid), slope)

    def initialise(self, gain: float) -> None:
        """Xavier normal weights and biases of 0."""
        self.mask.initialise(gain)
