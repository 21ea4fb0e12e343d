"""Shards at a URL: what is downloaded, when and how often, and errors."""

import functools
import http.server
import io
import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch

from stylebridge.data.augment import Augmentation
from stylebridge.data.dataset import DomainDataset, read_pair
from stylebridge.data.domain import Domain, check_domain, open_domain
from stylebridge.data.label_space import LabelSpace
from stylebridge.data.loader import Loader
from stylebridge.data.sampling import ShardSampler
from stylebridge.data.shards import ShardSequence, download, remote
from stylebridge.data.shards.writer import write_shards
from stylebridge.errors import DataError
from stylebridge.jobs.tasks.adaptation.streams import make_sampler

ADDRESS = "memory://bucket/set"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits between attempts."""
    monkeypatch.setattr(download, "RETRY_WAITS", (0.0, 0.0))


@pytest.fixture
def bucket(shards: Path) -> Iterator[Any]:
    """The memory file system, holding the shards at ADDRESS."""
    system = fsspec.filesystem("memory")
    system.put(str(shards), "/bucket/set", recursive=True)
    yield system
    system.rm("/bucket", recursive=True)


@pytest.fixture
def fetched(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of downloaded files, in order."""
    names: list[str] = []
    original = type(bucket).open

    def open_(self, path, *more, **options):
        if not path.endswith("index.json"):
            names.append(path.rsplit("/", 1)[-1])
        return original(self, path, *more, **options)

    monkeypatch.setattr(type(bucket), "open", open_)
    return names


def cached(own_cache: Path) -> list[str]:
    return sorted(path.name for path in own_cache.glob("stylebridge/shards/*/*/*.tar"))


def read_all(domain: Domain) -> list[bytes]:
    return [image.read_bytes() for image in domain.images]


# --- what is fetched ----------------------------------------------------------------------------------------


def test_samples_are_the_files(bucket: Any, folder: Domain):
    domain = open_domain(ADDRESS, "source", labelled=True)
    for index in range(7):
        for ours, theirs in zip(read_pair(domain, index), read_pair(folder, index), strict=True):
            np.testing.assert_array_equal(ours, theirs)  # type: ignore[arg-type]
    np.testing.assert_array_equal(check_domain(domain).pixel_counts, check_domain(folder).pixel_counts)
    assert (str(domain.root), domain.spec) == (ADDRESS, f"shards:{ADDRESS}")
    assert str(domain.images[0]) == f"{ADDRESS}/000000.tar!00000000-000.png"
    again = open_domain(domain.spec, "source", labelled=True)
    assert again.images[3] == domain.images[3]


def test_a_shard_is_fetched_when_it_is_needed_and_once(fetched: list[str]):
    domain = open_domain(ADDRESS, "source", labelled=True)
    tables = ["ignored_counts.npy", "pixel_counts.npy", "samples.npy", "sizes.npy"]
    assert sorted(fetched) == tables
    check_domain(domain)
    read_pair(domain, 4)
    read_pair(domain, 5)
    assert fetched[4:] == ["000001.tar"]
    read_all(open_domain(ADDRESS, "source", labelled=True))  # another run: all else is there already
    assert sorted(fetched[5:]) == ["000000.tar", "000002.tar"]


def test_threads_fetch_a_shard_once_and_all_read_it_whole(
    fetched: list[str], bucket: Any, shards: Path, own_cache: Path
):
    domain = open_domain(ADDRESS, "source", labelled=True)
    expected = read_all(open_domain(shards, "source", labelled=True))
    gate = threading.Barrier(8)

    def read(number: int) -> bool:
        gate.wait()
        return read_all(domain) == expected

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))
    assert sorted(fetched[4:]) == ["000000.tar", "000001.tar", "000002.tar"]
    assert not list(own_cache.rglob("*.partial"))


def read_in_process(address: str, results: Any) -> None:
    results.put(read_all(open_domain(address, "source", labelled=True)))


def test_processes_share_the_copies(bucket: Any, shards: Path, own_cache: Path):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    readers = [context.Process(target=read_in_process, args=(ADDRESS, results)) for _ in range(4)]
    for reader in readers:
        reader.start()
    expected = read_all(open_domain(shards, "source", labelled=True))
    assert all(results.get(timeout=60) == expected for _ in readers)
    for reader in readers:
        reader.join()
    assert cached(own_cache) == ["000000.tar", "000001.tar", "000002.tar"]
    assert not list(own_cache.rglob("*.partial"))


def test_loader_workers_fetch_for_themselves(bucket: Any):
    domain = open_domain(ADDRESS, "source", labelled=True)
    assert isinstance(domain.images, ShardSequence)
    sampler = ShardSampler(domain.images.shards.counts, 1, window=2)
    made = []
    for workers in (2, 0):
        dataset = DomainDataset(domain, Augmentation(crop=(8, 6)), 1)
        loader = iter(Loader(dataset, sampler, 2, workers=workers))
        made.append([next(loader) for _ in range(7)])
        loader.close()  # type: ignore[attr-defined]
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(*made, strict=True))
    assert sorted(int(i) for batch in made[0] for i in batch["index"]) == sorted(2 * list(range(7)))


def test_only_shards_at_an_address_are_drawn_in_windows(bucket: Any, shards: Path):
    far, near = (open_domain(place, "source", labelled=True) for place in (ADDRESS, shards))
    augmentation = Augmentation()
    kinds = [type(make_sampler("uniform", d, check_domain(d), augmentation, 0)).__name__ for d in (far, near)]
    assert kinds == ["ShardSampler", "UniformSampler"]
    ours, theirs = (make_sampler("rare-class", d, check_domain(d), augmentation, 0) for d in (far, near))
    assert [ours.index(i) for i in range(20)] == [theirs.index(i) for i in range(20)]


# --- the cache ----------------------------------------------------------------------------------------------


def test_the_longest_unused_shard_makes_room(
    fetched: list[str], own_cache: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(remote.CACHE_LIMIT, str(2 * 10_240 / 1e9))
    domain = open_domain(ADDRESS, "source", labelled=True)
    read_pair(domain, 0)
    read_pair(domain, 3)
    first = next(own_cache.glob("stylebridge/shards/*/*/000000.tar"))
    os.utime(first, ns=(2**62, 2**62))  # used later than the second
    read_pair(domain, 6)
    assert cached(own_cache) == ["000000.tar", "000002.tar"]
    assert (
        open_domain(ADDRESS, "source", labelled=True).images[4].read_bytes()
    )  # still open, or fetched again
    assert len(fetched) == 4 + 3


def test_a_cache_smaller_than_a_shard_still_works(
    bucket: Any, folder: Domain, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(remote.CACHE_LIMIT, "1e-9")
    domain = open_domain(ADDRESS, "source", labelled=True)
    np.testing.assert_array_equal(read_pair(domain, 6)[0], read_pair(folder, 6)[0])


def test_samplers_that_jump_between_shards_need_room_for_all_shards(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(remote.CACHE_LIMIT, "1e-6")
    domain = open_domain(ADDRESS, "source", labelled=True)
    with pytest.raises(
        DataError, match=rf"rare-class draws from all shards .* increase {remote.CACHE_LIMIT}"
    ):
        make_sampler("rare-class", domain, check_domain(domain), Augmentation(), 0)
    make_sampler("uniform", domain, check_domain(domain), Augmentation(), 0)


@pytest.mark.parametrize("told", ["much", "0", "-3", "nan", "inf"])
def test_a_limit_that_is_not_a_number_is_reported(bucket: Any, monkeypatch: pytest.MonkeyPatch, told: str):
    monkeypatch.setenv(remote.CACHE_LIMIT, told)
    with pytest.raises(DataError, match=f"{remote.CACHE_LIMIT} is '{told}': set it to a number"):
        open_domain(ADDRESS, "source", labelled=True)


def test_a_set_that_was_packed_anew_is_not_mixed_with_the_old(
    bucket: Any, folder: Domain, tmp_path: Path, space: LabelSpace
):
    read_all(open_domain(ADDRESS, "source", labelled=True))
    (tmp_path / "new").mkdir()
    turned = Domain("new", folder.root, folder.images[::-1], (folder.labels or [])[::-1], space)
    write_shards(turned, tmp_path / "new", 10_240)
    bucket.put(f"{tmp_path / 'new'}/*", "/bucket/set/")
    domain = open_domain(ADDRESS, "source", labelled=True)
    for index in range(7):
        np.testing.assert_array_equal(read_pair(domain, index)[0], read_pair(folder, 6 - index)[0])


# --- what goes wrong ----------------------------------------------------------------------------------------


def test_an_address_without_shards_is_reported():
    with pytest.raises(DataError, match=r"The source URL memory://nowhere has no index\.json of shards"):
        open_domain("memory://nowhere/", "source", labelled=True)


def test_an_unknown_protocol_is_reported():
    with pytest.raises(DataError, match=r"nonsense://x/y is not a valid URL .*\.$"):
        open_domain("nonsense://x/y", "source", labelled=True)


@pytest.mark.parametrize("change", ["cut", "flip"])
def test_a_shard_that_is_not_the_index_s_is_refused(bucket: Any, own_cache: Path, change: str):
    domain = open_domain(ADDRESS, "source", labelled=True)
    content = bytearray(bucket.cat_file("/bucket/set/000001.tar"))
    content[2000] ^= 1
    bucket.pipe_file("/bucket/set/000001.tar", bytes(content[:9000] if change == "cut" else content))
    reason = (
        "9,000 bytes received instead of the 10,240 in the index"
        if change == "cut"
        else "its checksum does not match the index"
    )
    with pytest.raises(DataError, match=rf"{ADDRESS}/000001\.tar cannot be downloaded \({reason}\)"):
        read_pair(domain, 3)
    assert cached(own_cache) == []
    assert not list(own_cache.rglob("*.partial"))
    read_pair(domain, 0)


def test_a_missing_shard_is_reported(bucket: Any):
    domain = open_domain(ADDRESS, "source", labelled=True)
    bucket.rm("/bucket/set/000002.tar")
    with pytest.raises(DataError, match=r"set/000002\.tar does not exist: copy the whole shard folder"):
        read_pair(domain, 6)


def test_a_short_outage_is_outlived(bucket: Any, folder: Domain, monkeypatch: pytest.MonkeyPatch):
    domain = open_domain(ADDRESS, "source", labelled=True)
    original, failures = type(bucket).open, iter([TimeoutError("slow"), ConnectionResetError("gone")])
    places = []

    class Failing(io.BytesIO):
        """Gives 4 bytes, then fails."""

        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > places[-1]:
                raise next(failures)
            return super().read(4)

        def seek(self, offset: int, whence: int = 0) -> int:
            places[-1] = super().seek(offset, whence)
            return places[-1]

    def open_(self, path, *more, **options):
        opened = original(self, path, *more, **options)
        places.append(0)
        return Failing(opened.read()) if len(places) < 3 else opened

    monkeypatch.setattr(type(bucket), "open", open_)
    np.testing.assert_array_equal(read_pair(domain, 0)[0], read_pair(folder, 0)[0])
    assert places[:2] == [0, 4]  # the second attempt goes on where the first ended


def test_a_long_outage_is_reported(bucket: Any, monkeypatch: pytest.MonkeyPatch):
    domain = open_domain(ADDRESS, "source", labelled=True)

    def open_(*_, **__):
        raise TimeoutError("no answer")

    monkeypatch.setattr(type(bucket), "open", open_)
    with pytest.raises(DataError, match=r"000000\.tar cannot be downloaded \(no answer\): check the URL"):
        read_pair(domain, 0)


# --- a real server ------------------------------------------------------------------------------------------


@pytest.fixture
def served(shards: Path) -> Iterator[str]:
    """The shards' folder served over HTTP by this process."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(shards))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("workers", [0, 2])
def test_http(served: str, folder: Domain, workers: int):
    """fsspec's event loop runs in a thread, which forked workers do not have: they must start their own."""
    pytest.importorskip("aiohttp", reason="http addresses need aiohttp")
    domain = open_domain(served, "source", labelled=True)
    read_pair(domain, 0)
    dataset, plain = (DomainDataset(d, Augmentation(crop=(8, 6)), 1) for d in (domain, folder))
    sampler = ShardSampler([3, 3, 1], 1)
    ours, theirs = iter(Loader(dataset, sampler, 7, workers=workers)), iter(Loader(plain, sampler, 7))
    assert torch.equal(next(ours)["image"], next(theirs)["image"])
    ours.close()  # type: ignore[attr-defined]


def test_http_without_a_folder_there(served: str):
    pytest.importorskip("aiohttp", reason="http addresses need aiohttp")
    with pytest.raises(DataError, match=r"nothing has no index\.json of shards"):
        open_domain(f"{served}nothing/", "source", labelled=True)
