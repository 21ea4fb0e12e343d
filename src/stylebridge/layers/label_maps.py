"""Label maps for the layers of SPADE and SEAN: 3×3 convolutions as sums of table rows, at every size.

A label map has one of K + 1 values at a pixel (K classes, or none). A 3×3 convolution of its one-hot form is the sum of
nine rows of a table with one row for each tap and class: no multiplication by zero, and the cost does not depend on K.
The row indices depend only on the labels, so :class:`LabelMaps` computes them once for each size, for all layers of
that size.

A channel of instance edges beside the K classes gives 2·K + 1 kinds of pixels: each class with and without an edge, and
an edge without a class.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from stylebridge.data.label_space import IGNORE
from stylebridge.errors import DataError

#: Taps of a 3×3 convolution, and the middle one, which is never outside the image.
TAPS, MIDDLE = 9, 4
#: Least ratio of pixels to distinct neighbourhoods for computing γ and β once per neighbourhood.
PATTERNS_PAY = 2


class RowSums:
    """A linear map: each row of the result is a sum of rows of a table.

    Args:
        index: int64 [N], rows of the table, grouped by result.
        starts: int64 [M], start of each result's rows in ``index``; ascending.
        rows: number of rows of the table.
    """

    def __init__(self, index: Tensor, starts: Tensor, rows: int) -> None:
        self.index, self.starts, self.rows = index, starts, rows

    @cached_property
    def transposed(self) -> RowSums:
        """The transposed map, for gradients; as fast as this one."""
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
    """The start of each value 0…kinds − 1 among the sorted values: int64 [kinds]."""
    counts = torch.bincount(values, minlength=kinds)
    return counts.cumsum(0) - counts


def rows_at(index: Tensor, rows: int) -> RowSums:
    """The map that selects one row of a table for each index in [N]."""
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
    """Label maps at one size.

    Args:
        labels: int64 [B, h, w], 0…K − 1, or K = no class.
        classes: K. With edges, the number of kinds of pixels: classes, classes with an edge, an edge without a class.
        edges: whether there are edges.
    """

    def __init__(self, labels: Tensor, classes: int, edges: bool = False) -> None:
        self.labels, self.classes, self.edges = labels, classes, edges

    def table(self, weight: Tensor, bias: Tensor) -> Tensor:
        """The table for :attr:`taps` that gives a convolution of weight [D, K, 3, 3] and bias [D]; with edges, the last
        of the weight's K + 1 channels is for edges."""
        if self.edges:
            classes, edge = weight[:, :-1], weight[:, -1:]
            weight = torch.cat((classes, classes + edge, edge), 1)
        return label_table(weight, bias)

    @cached_property
    def taps(self) -> RowSums:
        """From a table [(K + 1)·9, D], row ``class·9 + tap``, to maps [B·h·w, D]: a 3×3 convolution.

        Pixels outside the image have no class.
        """
        return taps_of(self.labels, self.classes)

    @cached_property
    def regions(self) -> tuple[Tensor, RowSums]:
        """The regions at this size, ``image·K + class`` [R], ascending; and :attr:`taps` with a row for each region and
        tap instead of class and tap: a table [(R + 1)·9, D], in which row group R means no class."""
        offsets = torch.arange(len(self.labels), device=self.labels.device)[:, None, None] * self.classes
        void = self.labels == self.classes
        none = len(self.labels) * self.classes
        present, ids = torch.unique((self.labels + offsets).masked_fill(void, none), return_inverse=True)
        # Pixels without a class get the last number; there may be none.
        regions = present[present < none]
        return regions, taps_of(ids, len(regions))

    @cached_property
    def patterns(self) -> Patterns | None:
        """The distinct 5×5 neighbourhoods (the field of SPADE's convolutions). None if they save no time."""
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
        """[B·h·w, D] as [B, D, h, w], channels last in memory, without a copy."""
        return rows.view(*self.labels.shape, -1).permute(0, 3, 1, 2)

    def as_rows(self, maps: Tensor) -> Tensor:
        """[B, D, h, w] as [B·h·w, D]."""
        return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


class Patterns(NamedTuple):
    """The distinct 5×5 neighbourhoods of label maps. Most pixels are inside regions and share one neighbourhood.

    ``hidden``: like :attr:`LabelGrid.taps`, but to the N₃ distinct 3×3 neighbourhoods. ``windows``: from these and one
    additional row, for pixels outside the image, to the nine members of each of the N₅ distinct 5×5 neighbourhoods,
    [9·N₅]. ``pixels``: from these to pixels.
    """

    hidden: RowSums
    windows: RowSums
    pixels: RowSums


class Neighbourhoods(NamedTuple):
    """``ids``: [B, h, w], of each pixel's 3×3 neighbourhood. ``members``: [N, 9], the values in each."""

    ids: Tensor
    members: Tensor


def neighbourhoods(ids: Tensor, none: int) -> Neighbourhoods:
    """Number the 3×3 neighbourhoods in maps [B, h, w] of 0…none (``none`` = outside), exactly, without hashes."""
    rows, of_row = distinct_triples(F.pad(ids, (1, 1, 1, 1), value=none), none + 1)
    whole, found = distinct_triples(of_row.transpose(1, 2), len(rows))
    return Neighbourhoods(found.transpose(1, 2), rows[whole].flatten(1))


def distinct_triples(ids: Tensor, kinds: int) -> tuple[Tensor, Tensor]:
    """The distinct triples of neighbours [N, 3] along the last axis of ids [B, h, w], 0…kinds − 1; and the triple's
    number at each position, [B, h, w − 2]. Numbers fit in 64 bits for 2 million kinds."""
    numbers = (ids[..., :-2] * kinds + ids[..., 1:-1]) * kinds + ids[..., 2:]
    distinct, which = torch.unique(numbers, return_inverse=True)
    return torch.stack((distinct // kinds**2, distinct // kinds % kinds, distinct % kinds), 1), which


def taps_of(ids: Tensor, none: int) -> RowSums:
    """The sums of nine rows of a 3×3 convolution with padding 1, for ids [B, h, w] of 0…none."""
    height, width = ids.shape[-2:]
    padded = F.pad(ids, (1, 1, 1, 1), value=none)
    shifted = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    index = torch.stack(shifted, -1).mul_(TAPS).add_(torch.arange(TAPS, device=ids.device)).flatten()
    starts = torch.arange(0, len(index), TAPS, device=ids.device)
    return RowSums(index, starts, (none + 1) * TAPS)


def instance_edges(instances: Tensor) -> Tensor:
    """Edges of an instance map [B, H, W], where a neighbour above, below, left or right differs: bool [B, H, W]. Both
    pixels of a differing pair are edges (SPADE)."""
    across = instances[:, :, 1:] != instances[:, :, :-1]
    down = instances[:, 1:] != instances[:, :-1]
    horizontal = F.pad(across, (1, 0)) | F.pad(across, (0, 1))
    return horizontal | F.pad(down, (0, 0, 1, 0)) | F.pad(down, (0, 0, 0, 1))


class LabelMaps:
    """A batch of label maps at the sizes of the layers; each size is computed once.

    Args:
        labels: integers [B, H, W], classes 0…K − 1, 255 = no class.
        classes: K, at most 255.
        void_class: whether the last class stands for pixels without a class (255); else these are zero in all channels.
        edges: bool [B, H, W], the instance edges (:func:`instance_edges`); None: no such channel.

    Raises:
        DataError: a label is neither below K nor 255, or a shape is wrong.
    """

    def __init__(
        self, labels: Tensor, classes: int, *, void_class: bool = False, edges: Tensor | None = None
    ) -> None:
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
        if edges is not None and edges.shape != labels.shape:
            raise DataError(
                f"Instance edges {list(edges.shape)} do not fit label maps {list(labels.shape)}: give both at the "
                f"same size."
            )
        self.labels, self.classes = labels.masked_fill(void, classes - 1 if void_class else classes), classes
        self.edges = edges
        self._kinds, self._ids = classes, self.labels
        if edges is not None:
            self._kinds = 2 * classes + 1
            without = self.labels.masked_fill(self.labels == classes, self._kinds)
            self._ids = torch.where(edges, classes + self.labels, without)
        self._grids: dict[tuple[int, int], LabelGrid] = {}

    @classmethod
    def of(
        cls, labels: Tensor | LabelMaps, classes: int, *, void_class: bool = False, edges: bool = False
    ) -> LabelMaps:
        """Prepare label maps [B, H, W] unless they are prepared; ``edges``: whether the network takes edges."""
        if isinstance(labels, Tensor):
            labels = cls(labels, classes, void_class=void_class)
        if edges != (labels.edges is not None):
            raise DataError(
                "This network also takes instance edges: give an instance map with each label map."
                if edges
                else "This network takes no instance edges: leave out the instance maps."
            )
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
        """The maps resized to a size by nearest neighbour (as in ``F.interpolate``)."""
        if (height, width) not in self._grids:
            ids = self._ids
            if (height, width) != self.size:
                # Up to 511 kinds: exact in float32.
                ids = F.interpolate(ids[:, None].float(), size=(height, width))[:, 0].long()
            self._grids[height, width] = LabelGrid(ids, self._kinds, self.edges is not None)
        return self._grids[height, width]


def label_convolution(grid: LabelGrid, weight: Tensor, bias: Tensor) -> Tensor:
    """A 3×3 convolution with padding 1 of one-hot label maps.

    Args:
        grid: label maps of K classes; a pixel without a class is zero in all channels.
        weight: [D, K, 3, 3], with edges [D, K + 1, 3, 3].
        bias: [D].

    Returns:
        [B, D, h, w], channels last in memory.
    """
    return grid.as_map(grid.taps(grid.table(weight, bias)))


def label_table(weight: Tensor, bias: Tensor) -> Tensor:
    """The table [(K + 1)·9, D] of :attr:`LabelGrid.taps` for a convolution of weight [D, K, 3, 3] and bias [D]."""
    table = F.pad(weight.permute(1, 2, 3, 0).flatten(1, 2), (0, 0, 0, 0, 0, 1))  # [K + 1, 9, D]
    # Every pixel has one middle tap: the bias goes there.
    return (table + F.pad(bias[None], (0, 0, MIDDLE, TAPS - 1 - MIDDLE))).flatten(0, 1)
