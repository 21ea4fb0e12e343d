"""WebDataset shards with an index: a domain in a few large files, on the disk or at an address.

A folder of shards holds

- ``000000.tar``, ``000001.tar``, …: plain WebDataset shards. A sample is ``KEY.jpg`` (or ``.png``, …; the source
  file's own bytes) and, if labelled, ``KEY.label.png`` (8-bit train ids, 255 = ignore, the label space's palette);
- ``samples.npy`` [N]: where in which shard each sample lies (:data:`~stylebridge.data.shards.index.ROW`);
- ``sizes.npy`` int32 [N, 2], (width, height) of each image; ``pixel_counts.npy`` uint32 [N, K] and
  ``ignored_counts.npy`` uint32 [N] of labelled sets;
- ``index.json``: the format's version, the label space, and name, size and checksum of every file.

:mod:`~stylebridge.data.shards.writer` makes it, :mod:`~stylebridge.data.shards.reader` opens it. Reading takes one
row and one member at a time from the files, so memory does not grow with the number of samples.
"""

from stylebridge.data.shards.place import UrlPath, shard_place
from stylebridge.data.shards.reader import ShardFile, ShardMember, ShardSequence, ShardSet, open_shards

__all__ = [
    "ShardFile",
    "ShardMember",
    "ShardSequence",
    "ShardSet",
    "UrlPath",
    "open_shards",
    "shard_place",
]
