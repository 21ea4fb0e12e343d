"""Shards give the same data as their source files, or a clear error."""

import json
import multiprocessing
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stylebridge.data.augment import Augmentation
from stylebridge.data.class_map import propose
from stylebridge.data.dataset import DomainDataset, read_pair
from stylebridge.data.domain import Domain, check_domain, open_domain
from stylebridge.data.files import fingerprint
from stylebridge.data.label_space import LabelSpace
from stylebridge.data.loader import Loader, evaluation_loader
from stylebridge.data.sampling import ClassBalancedSampler, RareClassSampler, ShardSampler, UniformSampler
from stylebridge.data.shards import ShardMember, ShardSequence
from stylebridge.data.shards.writer import write_shards
from stylebridge.errors import DataError

AUGMENTATION = Augmentation(crop=(8, 6), flip=0.5)


@pytest.fixture
def domain(shards: Path) -> Domain:
    return open_domain(shards, "source", labelled=True)


def batches(domain: Domain, count: int, size: int = 2, sampler: Any = None, **options: Any) -> list[dict]:
    loader = iter(
        Loader(DomainDataset(domain, AUGMENTATION, 5), sampler or UniformSampler(7, 5), size, **options)
    )
    made = [next(loader) for _ in range(count)]
    loader.close()  # type: ignore[attr-defined]
    return made


def joined(made: list[dict]) -> dict[str, torch.Tensor]:
    return {key: torch.cat([batch[key] for batch in made]) for key in made[0]}


def assert_same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        assert torch.equal(value, theirs[key]), key


# --- the same as the files ----------------------------------------------------------------------------------


def test_pixels_and_labels_are_the_files(folder: Domain, domain: Domain):
    assert len(domain.images) == len(folder.images) == 7
    for index in range(7):
        for ours, theirs in zip(read_pair(domain, index), read_pair(folder, index), strict=True):
            np.testing.assert_array_equal(ours, theirs)  # type: ignore[arg-type]


def test_training_and_evaluation_batches_are_the_files(folder: Domain, domain: Domain):
    assert_same(joined(batches(domain, 8)), joined(batches(folder, 8)))
    for ours, theirs in zip(evaluation_loader(domain), evaluation_loader(folder), strict=True):
        assert torch.equal(ours["image"], theirs["image"])
        assert all(map(torch.equal, ours["labels"], theirs["labels"]))


def test_statistics_are_the_files_without_reading_them(
    folder: Domain, domain: Domain, shards: Path, touched_paths: Callable
):
    with touched_paths() as touched:
        ours = check_domain(domain)
    assert not [path for path in touched if path.endswith(".tar")]
    theirs = check_domain(folder)
    for field in ("image_sizes", "pixel_counts", "ignored_counts"):
        np.testing.assert_array_equal(getattr(ours, field), getattr(theirs, field))
    assert (ours.sizes, ours.ignored_pixels) == (theirs.sizes, theirs.ignored_pixels)
    np.testing.assert_allclose(ours.class_shares, theirs.class_shares, rtol=1e-15)
    for sampler in (RareClassSampler, ClassBalancedSampler):
        one, other = (sampler(summary.pixel_counts, 3) for summary in (ours, theirs))
        assert [one.index(i) for i in range(50)] == [other.index(i) for i in range(50)]


def test_statistics_are_maps_of_the_files(domain: Domain):
    summary = check_domain(domain)
    for values in (summary.image_sizes, summary.pixel_counts, summary.ignored_counts):
        assert not values.flags.owndata
        assert not values.flags.writeable


def test_unlabelled_shards(make_domain: Callable[..., Path], tmp_path: Path):
    files = open_domain(make_domain(3, name="bare", labels=False), "target", labelled=False)
    (tmp_path / "out").mkdir()
    write_shards(files, tmp_path / "out", 10**6)
    opened = open_domain(tmp_path / "out", "target", labelled=False)
    assert (opened.labels, opened.space) == (None, None)
    np.testing.assert_array_equal(read_pair(opened, 1)[0], read_pair(files, 1)[0])
    summary = check_domain(opened)
    assert summary.pixel_counts.shape == (3, 0)
    assert summary.ignored_pixels == 0
    with pytest.raises(DataError, match="were packed without labels, which are needed"):
        open_domain(tmp_path / "out", "source", labelled=True)


def test_labels_of_labelled_shards_are_not_touched_when_not_wanted(shards: Path):
    opened = open_domain(shards, "target", labelled=False)
    assert opened.labels is None
    assert check_domain(opened).pixel_counts.shape == (7, 0)


# --- processes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", [UniformSampler(7, 5), ShardSampler([3, 3, 1], 5, 2)])
def test_two_processes_share_an_epoch(domain: Domain, sampler: Any):
    """Seven samples in batches of one: together both processes get each once per epoch."""
    shares = [batches(domain, 7, 1, sampler, process_index=r, process_count=2) for r in range(2)]
    first, second = (joined(share)["index"].tolist() for share in shares)
    in_turn = [index for pair in zip(first, second, strict=True) for index in pair]
    assert sorted(in_turn[:7]) == sorted(in_turn[7:]) == list(range(7))
    assert_same(
        joined([b for pair in zip(*shares, strict=True) for b in pair]),
        joined(batches(domain, 14, 1, sampler)),
    )


@pytest.mark.parametrize("sampler", [UniformSampler(7, 5), ShardSampler([3, 3, 1], 5, 2)])
def test_a_run_continued_in_the_middle_of_an_epoch(domain: Domain, sampler: Any):
    whole = batches(domain, 8, sampler=sampler)
    assert_same(joined(whole[2:]), joined(batches(domain, 6, sampler=sampler, start_position=4)))


def test_worker_processes_change_nothing(domain: Domain):
    expected = joined(batches(domain, 8))  # the parent has the shards open when it forks
    assert_same(expected, joined(batches(domain, 8, workers=2)))
    assert multiprocessing.active_children() == []


def test_threads_read_their_own_places(domain: Domain):
    expected = [image.read_bytes() for image in domain.images]
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda i: domain.images[i % 7].read_bytes(), range(2000)))  # type: ignore[union-attr]
    assert read == [expected[i % 7] for i in range(2000)]


def test_domains_can_be_sent_to_other_processes(domain: Domain):
    sent = pickle.loads(pickle.dumps(domain))
    assert sent.images[6] == domain.images[6]
    assert sent.images[6].read_bytes() == domain.images[6].read_bytes()  # type: ignore[union-attr]
    assert len(pickle.dumps(domain)) < 10_000


# --- members ------------------------------------------------------------------------------------------------


def test_members_are_like_files(domain: Domain, shards: Path):
    images, labels = domain.images, domain.labels
    assert labels is not None
    first = images[0]
    assert isinstance(first, ShardMember)
    assert str(first) == f"{shards}/000000.tar!00000000-000.png"
    assert (first.name, first.stem, first.suffix) == ("00000000-000.png", "00000000-000", ".png")
    assert labels[-1].name == "00000006-006.label.png"
    assert len({*images, *labels}) == 14  # type: ignore[misc]
    assert images[np.int64(3)] == images[3] == images[-4]  # type: ignore[call-overload]
    assert images[2:5] == [images[2], images[3], images[4]]
    assert len({fingerprint(image) for image in images}) == 7
    for wrong in (7, -8):
        with pytest.raises(IndexError):
            images[wrong]


def test_nothing_is_cached_of_shards_unless_asked(folder: Domain, domain: Domain):
    assert DomainDataset(domain, AUGMENTATION, 0).cache_bytes == 0
    assert DomainDataset(domain, AUGMENTATION, 0, cache_bytes=100).cache_bytes == 100
    assert DomainDataset(folder, AUGMENTATION, 0).cache_bytes > 10**9


# --- label spaces -------------------------------------------------------------------------------------------


def test_the_space_is_the_packed_one_in_train_ids(domain: Domain, space: LabelSpace):
    assert domain.space is not None
    assert (domain.space.classes, domain.space.colours) == (space.classes, space.colours)
    assert domain.space.raw_ids == {0: 0, 1: 1, 2: 2, 255: 255}


def test_a_named_space_of_the_same_classes_does_not_translate_twice(
    shards: Path, folder: Domain, space: LabelSpace
):
    """Label files held raw ids; the shards hold train ids, which raw ids must not be looked up in again."""
    turned = replace(space, raw_ids={0: 1, 1: 2, 2: 0, 255: 255})
    opened = open_domain(shards, "source", labelled=True, space=turned)
    np.testing.assert_array_equal(read_pair(opened, 0)[1], read_pair(folder, 0)[1])  # type: ignore[arg-type]


def test_a_mapped_space_moves_labels_and_counts(shards: Path, folder: Domain, domain: Domain):
    target = LabelSpace("two", ("c", "a"), ((1, 1, 1), (2, 2, 2)), {0: 0, 1: 1})
    assert domain.space is not None
    assert folder.space is not None
    ours = propose(domain.space, target).apply(domain.space, target)
    theirs = propose(folder.space, target).apply(folder.space, target)
    mapped = open_domain(shards, "source", labelled=True, space=ours)
    expected = check_domain(replace(folder, space=theirs))
    np.testing.assert_array_equal(check_domain(mapped).pixel_counts, expected.pixel_counts)
    np.testing.assert_array_equal(check_domain(mapped).ignored_counts, expected.ignored_counts)
    np.testing.assert_array_equal(read_pair(mapped, 2)[1], read_pair(replace(folder, space=theirs), 2)[1])  # type: ignore[arg-type]


def test_another_space_is_refused(shards: Path):
    with pytest.raises(DataError, match=r"are train ids of three, .* omit --label-space"):
        open_domain(shards, "source", labelled=True, space=LabelSpace.load("camvid-11"))


# --- damage -------------------------------------------------------------------------------------------------


def test_a_shard_that_is_cut_short_is_named(shards: Path):
    path = shards / "000001.tar"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(
        DataError, match=r"000001\.tar has 9,240 bytes instead of the 10,240 in the index: .*copy it again"
    ):
        open_domain(shards, "source", labelled=True)


def test_a_shard_that_is_missing_is_named(shards: Path):
    (shards / "000002.tar").unlink()
    with pytest.raises(DataError, match=r"000002\.tar is missing or cannot be read .*copy it again"):
        open_domain(shards, "source", labelled=True)


def test_a_shard_that_is_cut_while_it_is_read_is_named(domain: Domain, shards: Path):
    read_pair(domain, 0)
    with (shards / "000000.tar").open("r+b") as file:
        file.truncate(700)
    with pytest.raises(DataError, match=r"000000\.tar has 700 bytes instead of the 10,240 in the index"):
        read_pair(domain, 0)


@pytest.mark.parametrize("kind", ["image", "label"])
def test_a_flipped_byte_is_found(domain: Domain, shards: Path, kind: str):
    row = np.load(shards / "samples.npy")[1]
    with (shards / "000000.tar").open("r+b") as file:
        file.seek(int(row[f"{kind}_offset"]) + 20)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 4]))
    read_pair(domain, 0)
    with pytest.raises(DataError, match=r"!00000001-001\S*png does not have the packed content"):
        read_pair(domain, 1)


def change_row(shards: Path, number: int, **values: Any) -> None:
    rows = np.load(shards / "samples.npy")
    for key, value in values.items():
        rows[key][number] = value
    np.save(shards / "samples.npy", rows)


@pytest.mark.parametrize(
    "values",
    [
        {"image_offset": 10**9},
        {"image_offset": 2**64 - 100},
        {"image_offset": 0},
        {"label_size": 2**32 - 1},
        {"label_size": 0},
        {"image_size": 10_000},
        {"shard": 3},
        {"shard": 99},
        {"key": b"../../x"},
        {"key": b"/etc/x"},
        {"key": b"a\0b"},
        {"key": b""},
        {"suffix": b"exe"},
        {"suffix": b""},
    ],
    ids=str,
)
def test_absurd_rows_are_refused(shards: Path, values: dict[str, Any]):
    change_row(shards, 1, **values)
    with pytest.raises(
        DataError, match=r"samples\.npy has an invalid position for sample 1: pack the data again"
    ):
        open_domain(shards, "source", labelled=True)


def edit(shards: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    index = json.loads((shards / "index.json").read_text())
    change(index)
    (shards / "index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    "name", ["../000000.tar", "/etc/passwd", "a/b.tar", "..", "C:x.tar", "a\\b.tar", "x.tar\n"]
)
def test_shards_do_not_lead_outside_their_folder(shards: Path, name: str):
    edit(shards, lambda index: index["shards"][0].update(name=name))
    with pytest.raises(DataError, match=r"is not an index of shards \(shards\.0\.name"):
        open_domain(shards, "source", labelled=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i: i.update(version=2), "version 2, but this program reads"),
        (lambda i: i.update(samples=8), "its shards do not add up to its 8 samples"),
        (lambda i: i["shards"][0].update(samples=2), "its shards do not add up to its 7 samples"),
        (lambda i: i["shards"][1].update(name="000000.tar"), "it lists a shard twice"),
        (lambda i: i["shards"].clear(), "is not an index of shards"),
        (lambda i: i["tables"].pop("sizes.npy"), "its tables are"),
        (lambda i: i["tables"].update({"../x": i["tables"]["sizes.npy"]}), "its tables are"),
        (lambda i: i["tables"]["sizes.npy"].update(size=9), "sizes.npy"),
        (lambda i: i["label_space"].pop("classes"), "no valid label_space"),
        (lambda i: i["label_space"].update(classes=["a"]), "no valid label_space"),
        (lambda i: i["label_space"].update(classes=[["a"], 1, 2]), "no valid label_space"),
        (lambda i: i["label_space"].update(raw_ids={"0": 1}), "no valid label_space"),
        (lambda i: i.update(surprise=1), r"is not an index of shards \(surprise"),
    ],
)
def test_a_wrong_index_is_reported(shards: Path, change: Callable, message: str):
    edit(shards, change)
    with pytest.raises(DataError, match=message):
        open_domain(shards, "source", labelled=True)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"no table at all" * 100])
def test_a_broken_table_is_reported(shards: Path, content: bytes):
    (shards / "sizes.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"sizes\.npy cannot be read"):
        open_domain(shards, "source", labelled=True)


@pytest.mark.parametrize("cut", [0, 30, 200])
def test_an_index_that_is_cut_short_is_reported(shards: Path, cut: int):
    path = shards / "index.json"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"is not an index of shards .*\.$"):
        open_domain(f"shards:{shards}", "source", labelled=True)


def test_object_arrays_are_not_unpickled(shards: Path):
    np.save(shards / "sizes.npy", np.array([{}] * 7, dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"sizes\.npy does not match"):
        open_domain(shards, "source", labelled=True)


def test_an_opened_set_holds_its_shards_and_not_its_samples(domain: Domain):
    assert isinstance(domain.images, ShardSequence)
    shards = domain.images.shards
    assert (shards.first.tolist(), len(shards.files)) == ([0, 3, 6, 7], 3)
    held = [value for table in shards.tables.values() for value in vars(table).values()]
    assert not any(isinstance(value, np.ndarray) for value in held)


@pytest.mark.parametrize("name", ["index.json", "000000.tar"])
def test_a_pipe_among_shards(shards: Path, name: str):
    (shards / name).unlink()
    os.mkfifo(shards / name)
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        open_domain(f"shards:{shards}", "source", labelled=True)
