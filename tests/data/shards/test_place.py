"""What a user's --source names."""

import pickle
from pathlib import Path

import pytest

from stylebridge.data.domain import DomainSpec, open_domain
from stylebridge.data.shards.place import UrlPath, shard_place
from stylebridge.errors import DataError


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("https://host/a/b/", "https://host/a/b"),
        ("https://host/a/b/index.json", "https://host/a/b"),
        ("s3://bucket/key", "s3://bucket/key"),
        ("shards:memory://x/y", "memory://x/y"),
    ],
)
def test_addresses_stay_addresses(given: str, address: str):
    spec = DomainSpec.parse(given)
    assert (str(spec.path), spec.layout) == (address, "shards")
    assert str(spec.path / "000000.tar") == f"{address}/000000.tar"
    assert spec.path.resolve() == spec.path
    assert not spec.path.is_dir()
    again = pickle.loads(pickle.dumps(spec.path))
    assert (again, str(again), type(again)) == (spec.path, address, UrlPath)
    # What a run folder keeps opens the same.
    assert DomainSpec.parse(f"shards:{spec.path}") == spec


def test_folders_are_known_by_their_index(shards: Path, tmp_path: Path):
    assert shard_place(shards) == shard_place(str(shards / "index.json")) == shards
    assert shard_place(f"shards:{shards}") == shard_place(f"file://{shards}") == shards
    (tmp_path / "other").mkdir()
    assert shard_place(tmp_path / "other") is None
    (tmp_path / "other" / "index.json").write_text('{"images": []}')
    assert shard_place(tmp_path / "other") is None
    assert shard_place("gta5:/data") is None
    domain = open_domain(shards, "source", labelled=True)
    assert (domain.layout, domain.spec, domain.root) == ("shards", f"shards:{shards}", shards)


def test_a_folder_that_was_never_packed_is_reported(tmp_path: Path):
    with pytest.raises(DataError, match=r"has no index\.json of shards .*`stylebridge data pack` wrote\.$"):
        open_domain(f"shards:{tmp_path}", "source", labelled=True)
