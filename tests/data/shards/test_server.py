"""Shards from a server that interrupts, sends wrong data, claims too much or is slow: over HTTP on this machine's
loopback."""

import hashlib
import http.server
import json
import os
import shutil
import threading
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stylebridge.data.domain import Domain, open_domain
from stylebridge.data.shards import download, index, remote
from stylebridge.data.shards.place import UrlPath
from stylebridge.errors import DataError

pytest.importorskip("aiohttp", reason="http addresses need aiohttp")
SHARD = "000001.tar"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "RETRY_WAITS", (0.0, 0.0))


class Server:
    """Serves a folder, knows ranges, and remembers what was asked and how many bytes it sent of each file.

    Attributes:
        ranges: whether Range is understood.
        cut: bytes after which an answer breaks off, by file name; each is used once.
        bodies: what is sent in place of a file.
        headers: further ones of every answer.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.ranges = folder, True
        self.cut: dict[str, list[int]] = {}
        self.bodies: dict[str, bytes] = {}
        self.headers: dict[str, str] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.sent: dict[str, int] = {}

    def of(self, name: str) -> list[str | None]:
        return [wanted for asked, wanted in self.asked if asked == name]

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        name, wanted = handler.path.rsplit("/", 1)[-1], handler.headers.get("Range")
        self.asked.append((name, wanted))
        if name not in self.bodies and not (self.folder / name).is_file():
            handler.send_error(404)
            return
        body = self.bodies[name] if name in self.bodies else (self.folder / name).read_bytes()
        begin = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.ranges else 0
        if begin >= len(body) and begin:
            handler.send_error(416)
            return
        handler.send_response(206 if wanted and self.ranges else 200)
        if wanted and self.ranges:
            handler.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        for key, value in self.headers.items():
            handler.send_header(key, value)
        handler.send_header("Content-Length", str(len(body) - begin))
        handler.end_headers()
        part = body[begin:]
        if self.cut.get(name):
            part = part[: self.cut[name].pop(0)]
        try:
            for at in range(0, len(part), 1 << 16):
                # Counted first: the other end may be done before this thread goes on.
                self.sent[name] = self.sent.get(name, 0) + len(part[at : at + (1 << 16)])
                handler.wfile.write(part[at : at + (1 << 16)])
        except OSError:
            pass  # the other end has had enough
        handler.close_connection = True


@pytest.fixture
def server(shards: Path) -> Iterator[tuple[Server, str]]:
    state = Server(shards)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        served.handle_error = lambda *_: None  # type: ignore[method-assign]
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield state, f"http://127.0.0.1:{served.server_address[1]}/"
        served.shutdown()
        thread.join()


def cached(own_cache: Path, pattern: str = "*.tar") -> list[str]:
    return sorted(path.name for path in own_cache.glob(f"stylebridge/shards/*/*/{pattern}"))


def second(domain: Domain) -> bytes:
    """A sample of the second shard."""
    return domain.images[4].read_bytes()


def wanted(shards: Path) -> bytes:
    return second(open_domain(shards, "source", labelled=True))


# --- broken off ----------------------------------------------------------------------------------------------


def test_a_download_continues_where_it_broke_off(server: tuple[Server, str], shards: Path):
    state, address = server
    domain = open_domain(address, "source", labelled=True)
    state.cut[SHARD] = [4000, 3000]
    assert second(domain) == wanted(shards)
    assert state.of(SHARD) == [None, "bytes=4000-", "bytes=7000-"]
    assert state.sent[SHARD] == (shards / SHARD).stat().st_size


def test_a_server_without_ranges_sends_all_of_it_again(server: tuple[Server, str], shards: Path):
    state, address = server
    state.ranges = False
    domain = open_domain(address, "source", labelled=True)
    state.cut[SHARD] = [4000]
    assert second(domain) == wanted(shards)
    assert state.of(SHARD) == [None, "bytes=4000-"]


def test_what_a_killed_download_left_is_continued(server: tuple[Server, str], shards: Path, own_cache: Path):
    state, address = server
    domain = open_domain(address, "source", labelled=True)
    state.cut[SHARD] = [4000, 1, 1]
    with pytest.raises(DataError, match=r"000001\.tar cannot be downloaded"):
        second(domain)
    assert cached(own_cache, ".*.partial") == [f".{SHARD}.partial"]
    state.asked.clear()
    assert second(open_domain(address, "source", labelled=True)) == wanted(shards)
    assert state.of(SHARD) == ["bytes=4002-"]
    assert cached(own_cache, ".*.partial") == []


@pytest.mark.parametrize("left", [b"x" * 4000, b"x" * 10_240, b"x" * 20_000])
def test_a_part_of_another_file_is_dropped(
    server: tuple[Server, str], shards: Path, own_cache: Path, left: bytes
):
    """The server's file was replaced, or the part is damaged: the checksum detects it."""
    _, address = server
    domain = open_domain(address, "source", labelled=True)
    folder = next(own_cache.glob("stylebridge/shards/*/*"))
    (folder / f".{SHARD}.partial").write_bytes(left)
    assert second(domain) == wanted(shards)
    assert cached(own_cache, ".*.partial") == []


def test_parts_that_nobody_continues_are_removed(server: tuple[Server, str], own_cache: Path):
    _, address = server
    domain = open_domain(address, "source", labelled=True)
    folder = next(own_cache.glob("stylebridge/shards/*/*"))
    for name in (
        ".000000.tar.77.88.partial",
        ".000002.tar.partial",
    ):  # the first: as older versions called them
        (folder / name).write_bytes(b"x" * 100)
        os.utime(folder / name, (1e9, 1e9))
    (folder / ".000009.tar.partial").write_bytes(b"x")
    second(domain)
    assert cached(own_cache, ".*.partial") == [".000009.tar.partial"]


# --- lies ----------------------------------------------------------------------------------------------------


def test_a_body_longer_than_the_index_says_is_not_taken(server: tuple[Server, str], own_cache: Path):
    state, address = server
    domain = open_domain(address, "source", labelled=True)
    state.bodies[SHARD] = bytes(200 << 20)
    with pytest.raises(DataError, match=r"more bytes received than the 10,240 in the index"):
        second(domain)
    assert state.sent[SHARD] < 60 << 20  # in three attempts: what the sockets hold, not 600 MB
    assert cached(own_cache) == []
    assert cached(own_cache, ".*.partial") == []


def test_a_packed_body_is_not_unpacked(server: tuple[Server, str]):
    state, address = server
    state.headers["Content-Encoding"] = "gzip"
    with pytest.raises(
        DataError, match=r"index\.json cannot be downloaded \(the server compresses it \(gzip\)\)"
    ):
        open_domain(address, "source", labelled=True)


def test_a_long_index_is_not_taken(server: tuple[Server, str], monkeypatch: pytest.MonkeyPatch, shards: Path):
    state, address = server
    length = (shards / "index.json").stat().st_size
    for limit, fits in ((length, True), (length - 1, False)):
        for module in (remote, index):
            monkeypatch.setattr(module, "MAX_INDEX_BYTES", limit)
        if fits:
            open_domain(address, "source", labelled=True)
            continue
        with pytest.raises(DataError, match=rf"index\.json cannot be downloaded \(more than {limit:,} bytes"):
            open_domain(address, "source", labelled=True)
    monkeypatch.undo()
    state.bodies["index.json"] = b"[" * (40 << 20)
    with pytest.raises(DataError, match=r"more than 33,554,432 bytes"):
        open_domain(address, "source", labelled=True)
    assert len(state.of("index.json")) == 3


def changed(shards: Path, change: Callable[[dict[str, Any]], object]) -> bytes:
    data = json.loads((shards / "index.json").read_text())
    change(data)
    return json.dumps(data).encode()


def test_a_claim_does_not_empty_the_cache(
    server: tuple[Server, str], shards: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
):
    """A second set claims a shard of nearly the disk's size: cached files stay, whatever the limit."""
    state, address = server
    for image in open_domain(address, "source", labelled=True).images:
        image.read_bytes()
    before = ["000000.tar", SHARD, "000002.tar"]
    assert cached(own_cache) == before
    monkeypatch.setenv(remote.CACHE_LIMIT, "5e-5")
    claim = shutil.disk_usage(own_cache).free // 2
    state.bodies["index.json"] = changed(shards, lambda i: i["shards"][1].update(size=claim))
    liar = open_domain(address, "source", labelled=True)
    with pytest.raises(DataError, match=r"10,240 bytes received instead of the"):
        second(liar)
    assert cached(own_cache) == before


def test_a_claim_beyond_the_disk_is_refused_before_anything_is_fetched(
    server: tuple[Server, str], shards: Path, own_cache: Path
):
    state, address = server
    state.bodies["index.json"] = changed(shards, lambda i: i["shards"][1].update(size=10**15 - 1))
    liar = open_domain(address, "source", labelled=True)
    state.asked.clear()
    with pytest.raises(DataError, match=r"000001\.tar has 1,000,000\.0 GB, but .* has room for"):
        second(liar)
    assert state.asked == []


def test_a_table_s_size_must_be_that_of_its_samples(server: tuple[Server, str], shards: Path):
    state, address = server
    state.bodies["index.json"] = changed(shards, lambda i: i["tables"]["samples.npy"].update(size=10**12))
    with pytest.raises(DataError, match=r"samples\.npy has .* bytes, but its samples need"):
        open_domain(address, "source", labelled=True)
    assert state.of("samples.npy") == []


def test_a_shard_larger_than_the_cache_leaves_other_sets(
    server: tuple[Server, str], shards: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    other = own_cache / "stylebridge" / "shards" / "a" / "b"
    other.mkdir(parents=True)
    (other / "000000.tar").write_bytes(b"x" * 500)
    monkeypatch.setenv(remote.CACHE_LIMIT, "6e-6")
    _, address = server
    for image in open_domain(address, "source", labelled=True).images:
        image.read_bytes()
    assert (other / "000000.tar").is_file()
    assert len(cached(own_cache)) == 2


def test_a_full_disk_makes_the_oldest_go(
    server: tuple[Server, str], shards: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
):
    """The disk is full twice; then there is room."""
    _, address = server
    domain = open_domain(address, "source", labelled=True)
    domain.images[0].read_bytes()
    real = download._Part

    class Full(real):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            inner: Any = self.file
            path = given[0]

            class File:
                def write(self, data: Any) -> int:
                    if cached(own_cache):
                        raise OSError(28, "No space left on device")
                    return inner.write(data)

                def __enter__(self) -> None:
                    pass

                def __exit__(self, *_: object) -> None:
                    inner.close()

            assert path.name.endswith(".partial")
            self.file = File()  # type: ignore[assignment]

    monkeypatch.setattr(download, "_Part", Full)
    assert second(domain) == wanted(shards)
    assert cached(own_cache) == [SHARD]


def test_a_full_disk_is_reported(server: tuple[Server, str], monkeypatch: pytest.MonkeyPatch):
    _, address = server
    domain = open_domain(address, "source", labelled=True)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(remote.shutil, "disk_usage", lambda _: usage(100, 90, 10))
    with pytest.raises(DataError, match=r"make room there, or set XDG_CACHE_HOME"):
        second(domain)


def test_what_is_fetched_is_what_the_address_holds(server: tuple[Server, str], tmp_path: Path):
    state, address = server
    state.bodies["any"] = os.urandom(3 << 20)
    digest = hashlib.sha256(state.bodies["any"]).hexdigest()
    place = UrlPath(address)
    got = remote.fetch(place, "any", tmp_path, 3 << 20, digest)
    assert got.read_bytes() == state.bodies["any"]
