import multiprocessing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylebridge.data.augment import Augmentation, Jitter
from stylebridge.data.dataset import DomainDataset
from stylebridge.data.domain import Domain, open_domain
from stylebridge.data.images import read_label
from stylebridge.data.loader import Loader, evaluation_loader
from stylebridge.data.sampling import UniformSampler
from stylebridge.errors import DataError

AUGMENTATION = Augmentation(resize=(10, 8), crop=(7, 6), flip=0.5, jitter=Jitter(brightness=0.5))


@pytest.fixture
def domain(make_domain, space) -> Domain:
    return open_domain(make_domain(7), "source", True, space)


def batches(domain: Domain, count: int, size: int = 4, **settings) -> list[dict[str, torch.Tensor]]:
    loader = iter(Loader(DomainDataset(domain, AUGMENTATION, 5), UniformSampler(7, 5), size, **settings))
    try:
        return list(islice(loader, count))
    finally:
        loader.close()  # type: ignore[attr-defined]


def joined(parts: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert set(one) == set(other)
    for key in one:
        assert torch.equal(one[key], other[key]), key


def test_a_batch_is_as_agreed(domain: Domain):
    batch = batches(domain, 1)[0]
    assert {k: (v.dtype, tuple(v.shape)) for k, v in batch.items()} == {
        "image": (torch.uint8, (4, 3, 6, 7)),
        "label": (torch.uint8, (4, 6, 7)),
        "index": (torch.int64, (4,)),
        "position": (torch.int64, (4,)),
    }
    dataset, sampler = DomainDataset(domain, AUGMENTATION, 5), UniformSampler(7, 5)
    for row in range(4):
        sample = dataset[row, sampler.index(row)]
        assert torch.equal(batch["image"][row], sample["image"])
        assert torch.equal(batch["label"][row], sample["label"])
        assert batch["index"][row] == sampler.index(row)
    assert "label" not in batches(replace(domain, labels=None), 1)[0]


def test_processes_share_the_draws_of_one(domain: Domain):
    whole = joined(batches(domain, 6, size=4))
    shares = [batches(domain, 6, size=2, process_index=r, process_count=2) for r in range(2)]
    assert_same(whole, joined([shares[r][step] for step in range(6) for r in range(2)]))
    assert whole["position"].tolist() == list(range(24))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(domain: Domain, workers: int):
    assert_same(joined(batches(domain, 6)), joined(batches(domain, 6, workers=workers)))


def test_a_continued_run_continues_with_the_next_draw(domain: Domain):
    whole = batches(domain, 6)
    assert_same(joined(whole[4:]), joined(batches(domain, 2, start_position=16)))
    other = batches(domain, 2, size=2, start_position=16, process_index=1, process_count=2, workers=1)
    assert [b["position"].tolist() for b in other] == [[18, 19], [22, 23]]
    assert torch.equal(other[0]["image"], whole[4]["image"][2:])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_file_is_reported_in_the_same_words(domain: Domain, workers: int):
    domain.images[3].write_bytes(b"no image")
    message = r"^\S+003\.png cannot be read as an image \(not an image, [\w ]+\): replace it or [\w ]+\.$"
    with pytest.raises(DataError, match=message):
        batches(domain, 4, workers=workers)
    assert multiprocessing.active_children() == []


def test_workers_end_when_the_iterator_is_closed_or_dropped(domain: Domain):
    loader = iter(Loader(DomainDataset(domain, AUGMENTATION, 5), UniformSampler(7, 5), 2, workers=2))
    next(loader)
    assert len(multiprocessing.active_children()) == 2
    loader.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []
    loader = iter(Loader(DomainDataset(domain, AUGMENTATION, 5), UniformSampler(7, 5), 2, workers=1))
    next(loader)
    del loader
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_leaves_the_global_random_numbers_alone(domain: Domain, workers: int):
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - the global one is meant
    expected = torch.rand(3), np.random.rand(3)  # noqa: NPY002
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    batches(domain, 2, workers=workers)
    assert torch.equal(torch.rand(3), expected[0])
    np.testing.assert_array_equal(np.random.rand(3), expected[1])  # noqa: NPY002


def test_images_of_different_sizes_need_a_resize_or_crop(domain: Domain):
    big_labels = domain.labels
    assert big_labels is not None
    Image.new("RGB", (20, 20)).save(domain.images[0])
    Image.new("L", (20, 20)).save(big_labels[0])
    loader = Loader(DomainDataset(domain, Augmentation(), 0), UniformSampler(7, 0), 7)
    with pytest.raises(
        DataError, match=r"gives \d+×\d+ and .*png gives \d+×\d+, .*: set resize or crop in the source"
    ):
        next(iter(loader))


# --- evaluation ---------------------------------------------------------------------------------------------


def test_evaluation_gives_every_image_once_with_its_label_as_it_is(domain: Domain):
    seen = list(evaluation_loader(domain, (8, 6), batch_size=3))
    assert [tuple(b["image"].shape) for b in seen] == [(3, 3, 6, 8), (3, 3, 6, 8), (1, 3, 6, 8)]
    assert torch.cat([b["index"] for b in seen]).tolist() == list(range(7))
    labels = [label for b in seen for label in b["labels"]]
    assert domain.labels is not None
    for label, path in zip(labels, domain.labels, strict=True):
        np.testing.assert_array_equal(label, read_label(path))
    plain = next(iter(evaluation_loader(domain)))["image"][2].permute(1, 2, 0)
    np.testing.assert_array_equal(plain, np.asarray(Image.open(domain.images[2])))
    assert "labels" not in next(iter(evaluation_loader(replace(domain, labels=None))))


def test_evaluation_groups_images_of_one_size(tmp_path: Path):
    (tmp_path / "images").mkdir()
    for i, width in enumerate([4, 4, 4, 6, 4, 4]):
        Image.new("RGB", (width, 5), (i, 0, 0)).save(tmp_path / "images" / f"{i}.png")
    domain = open_domain(tmp_path, "target", labelled=False)
    assert [b["index"].tolist() for b in evaluation_loader(domain, batch_size=2)] == [
        [0, 1],
        [2],
        [3],
        [4, 5],
    ]
    assert [len(b["index"]) for b in evaluation_loader(domain, (3, 3), batch_size=4)] == [4, 2]


def test_evaluation_tells_of_a_bad_file(domain: Domain):
    domain.images[5].write_bytes(b"")
    with pytest.raises(DataError, match=r"005\.png cannot be read as an image \(the file is empty\)"):
        list(evaluation_loader(domain))
