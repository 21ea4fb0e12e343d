"""The output of packing: shards that any WebDataset reader reads, and an index that fits them."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from stylebridge.data.domain import Domain, open_domain
from stylebridge.data.label_space import LabelSpace
from stylebridge.data.shards import writer
from stylebridge.data.shards.index import ROW
from stylebridge.data.shards.writer import write_shards
from stylebridge.errors import DataError


def tars(place: Path) -> list[Path]:
    return sorted(place.glob("*.tar"))


def test_webdataset_reads_the_files_bytes_and_the_train_ids(folder: Domain, shards: Path, space: LabelSpace):
    read = list(webdataset.WebDataset([str(p) for p in tars(shards)], shardshuffle=False))
    assert len(tars(shards)) > 1
    assert [sample["__key__"] for sample in read] == [f"{i:08d}-{i:03d}" for i in range(7)]
    assert folder.labels is not None
    for sample, image, label in zip(read, folder.images, folder.labels, strict=True):
        assert isinstance(image, Path)
        assert sample["png"] == image.read_bytes()
        written = Image.open(io.BytesIO(sample["label.png"]))
        assert written.mode == "P"
        np.testing.assert_array_equal(np.array(written), space.read(label))
        assert (written.getpalette() or [])[:9] == [value for colour in space.colours for value in colour]


def test_ids_are_translated_to_train_ids(folder: Domain, space: LabelSpace, tmp_path: Path):
    moved = replace(space, raw_ids={0: 2, 1: 255, 2: 0, 255: 1})
    (tmp_path / "moved").mkdir()
    write_shards(replace(folder, space=moved), tmp_path / "moved", 10**6)
    sample = next(iter(webdataset.WebDataset([str(p) for p in tars(tmp_path / "moved")], shardshuffle=False)))
    assert folder.labels is not None
    raw = space.read(folder.labels[0])
    expected = np.select([raw == 0, raw == 1, raw == 2], [2, 255, 0], 1)
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(sample["label.png"]))), expected)


def test_the_index_tells_where_everything_is(folder: Domain, shards: Path, space: LabelSpace):
    index = json.loads((shards / "index.json").read_text())
    rows = np.load(shards / "samples.npy")
    assert rows.dtype == ROW
    assert [entry["name"] for entry in index["shards"]] == [path.name for path in tars(shards)]
    for number, (entry, path) in enumerate(zip(index["shards"], tars(shards), strict=True)):
        assert entry["size"] == path.stat().st_size
        assert entry["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        mine = rows[rows["shard"] == number]
        assert len(mine) == entry["samples"]
        with tarfile.open(path) as tar:
            members = {member.name: (member.offset_data, member.size) for member in tar}
        for row in mine:
            key = row["key"].decode()
            assert members.pop(f"{key}.png") == (row["image_offset"], row["image_size"])
            assert members.pop(f"{key}.label.png") == (row["label_offset"], row["label_size"])
        assert members == {}
    for name, entry in index["tables"].items():
        assert entry["size"] == (shards / name).stat().st_size
        assert entry["sha256"] == hashlib.sha256((shards / name).read_bytes()).hexdigest()
    assert folder.labels is not None
    ids = np.stack([space.read(label) for label in folder.labels])
    counts = np.stack([(ids == k).sum((1, 2)) for k in (0, 1, 2)], 1)
    np.testing.assert_array_equal(np.load(shards / "pixel_counts.npy"), counts)
    np.testing.assert_array_equal(np.load(shards / "ignored_counts.npy"), (ids == 255).sum((1, 2)))
    np.testing.assert_array_equal(np.load(shards / "sizes.npy"), [[16, 12]] * 7)


@pytest.mark.parametrize("workers", [1, 3])
def test_packing_again_gives_the_same_bytes(folder: Domain, shards: Path, tmp_path: Path, workers: int):
    (tmp_path / "again").mkdir()
    write_shards(folder, tmp_path / "again", shard_bytes=10_240, workers=workers)
    first, second = (
        {path.name: path.read_bytes() for path in place.iterdir()} for place in (shards, tmp_path / "again")
    )
    assert first == second


@pytest.mark.parametrize("limit", [10_240, 20_480, 10**6])
def test_no_shard_outgrows_the_limit(folder: Domain, tmp_path: Path, limit: int):
    (tmp_path / "out").mkdir()
    index = write_shards(folder, tmp_path / "out", limit)
    sizes = [entry["size"] for entry in index["shards"]]
    assert max(sizes) <= limit
    # Nor does it end before its time: another sample would not have gone in.
    assert len(sizes) == {10_240: 3, 20_480: 2, 10**6: 1}[limit] or max(sizes) > limit // 2


def test_a_sample_larger_than_the_limit_gets_its_own_shard(folder: Domain, tmp_path: Path):
    (tmp_path / "out").mkdir()
    index = write_shards(folder, tmp_path / "out", shard_bytes=1)
    assert [entry["samples"] for entry in index["shards"]] == [1] * 7


def test_keys_are_safe_whatever_files_are_called(tmp_path: Path):
    (tmp_path / "data" / "deep").mkdir(parents=True)
    names = ["a.b.c.JPG", "deep/ü ñ.jpeg", "deep/x!y.png", "z" * 150 + ".png"]
    for name in names:
        Image.new("RGB", (4, 4)).save(tmp_path / "data" / name)
    domain = replace(
        open_domain(tmp_path / "data", "target", labelled=False),
        images=[tmp_path / "data" / n for n in names],
    )
    (tmp_path / "out").mkdir()
    write_shards(domain, tmp_path / "out", 10**6)
    with tarfile.open(tmp_path / "out" / "000000.tar") as tar:
        assert tar.getnames() == [
            "00000000-a_b_c.jpg",
            "00000001-___.jpeg",
            "00000002-x_y.png",
            "00000003-" + "z" * 44 + ".png",
        ]
    reopened = open_domain(tmp_path / "out", "target", labelled=False)
    assert reopened.images[0].name == "00000000-a_b_c.jpg"
    assert open_domain(tmp_path / "out", "target", labelled=False).labels is None


def test_threads_are_only_a_few_samples_ahead(make_domain: Callable[..., Path], tmp_path: Path):
    """Memory does not grow with the domain: images are read shortly before they are written."""
    asked: list[int] = []

    class Listening(list):
        def __getitem__(self, index):
            asked.append(index)
            return super().__getitem__(index)

    domain = open_domain(make_domain(60, labels=False), "target", labelled=False)
    ahead: list[int] = []
    (tmp_path / "out").mkdir()
    write_shards(
        replace(domain, images=Listening(domain.images)),
        tmp_path / "out",
        10**6,
        workers=2,
        progress=lambda done, total: ahead.append(len(asked) - done),
    )
    assert len(asked) == 60
    assert max(ahead) <= 8


def test_the_tar_writer_keeps_no_headers(folder: Domain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """tarfile remembers every member it wrote: 0.4 kB each, until the shard ends."""
    made: list[webdataset.TarWriter] = []
    original = writer._tar_writer
    monkeypatch.setattr(writer, "_tar_writer", lambda file: made.append(original(file)) or made[-1])  # type: ignore[arg-type]
    kept: list[int] = []
    (tmp_path / "out").mkdir()
    write_shards(
        folder, tmp_path / "out", 10**6, progress=lambda *_: kept.append(len(made[0].tarstream.members))
    )
    assert kept == [0] * 7


def test_the_first_bad_file_is_named(folder: Domain, tmp_path: Path):
    for number in (5, 3):
        image = folder.images[number]
        assert isinstance(image, Path)
        image.write_bytes(image.read_bytes()[:60])
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=r"003\.png cannot be read as an image"):
        write_shards(folder, tmp_path / "out", 10**6, workers=2)
    assert not (tmp_path / "out" / "index.json").exists()


def test_a_label_of_another_size_is_named(folder: Domain, tmp_path: Path):
    assert folder.labels is not None
    Image.new("L", (9, 9)).save(folder.labels[2])  # type: ignore[arg-type]
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=r"labels/002\.png is 9×9 but its image \S+002\.png is 16×12"):
        write_shards(folder, tmp_path / "out", 10**6)
