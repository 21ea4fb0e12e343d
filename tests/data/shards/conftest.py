"""A small labelled folder, and its shards."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stylebridge.data.domain import Domain, open_domain
from stylebridge.data.label_space import LabelSpace
from stylebridge.data.shards.writer import write_shards


@pytest.fixture
def folder(make_domain: Callable[..., Path], space: LabelSpace) -> Domain:
    """Seven random pairs of 16×12 as files; ids 0, 1, 2 and 255."""
    return open_domain(make_domain(7), "source", labelled=True, space=space)


@pytest.fixture
def shards(folder: Domain, tmp_path: Path) -> Path:
    """The same in shards of three samples, the last of one."""
    place = tmp_path / "shards"
    place.mkdir()
    write_shards(folder, place, shard_bytes=10_240)
    return place
