"""WebDataset shards with an index: a domain in a few large files, on the disk or at a URL.

A shard folder holds

- ``000000.tar``, ``000001.tar``, …: plain WebDataset shards. A sample is ``KEY.jpg`` (or ``.png``, …; the source
  file's own bytes) and, if labelled, ``KEY.label.png`` (8-bit train ids, 255 = ignore, the label space's palette);
- ``samples.npy`` [N]: shard and offset of each sample (:data:`~stylebridge.data.shards.index.ROW`);
- ``sizes.npy`` int32 [N, 2], (width, height) of each image; ``pixel_counts.npy`` uint32 [N, K] and
  ``ignored_counts.npy`` uint32 [N] for labelled sets;
- ``index.json``: the format's version, the label space, and name, size and checksum of every file.

:mod:`~stylebridge.data.shards.writer` writes it, :mod:`~stylebridge.data.shards.reader` opens it. Reading loads one row
and one member at a time, so that memory does not grow with the number of samples.
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
