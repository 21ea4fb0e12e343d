import multiprocessing
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from stylebridge.data import dataset as dataset_module
from stylebridge.data.augment import Augmentation, Jitter
from stylebridge.data.dataset import DomainDataset
from stylebridge.data.domain import Domain, open_domain
from stylebridge.data.image_cache import ImageCache
from stylebridge.data.images import read_image, read_label
from stylebridge.errors import DataError


@pytest.fixture
def domain(make_domain, space) -> Domain:
    return open_domain(make_domain(), "source", True, space)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list:
    seen: list = []

    def counting(path):
        seen.append(path)
        return read_image(path)

    monkeypatch.setattr(dataset_module, "read_image", counting)
    return seen


def test_a_sample_is_the_file_and_its_train_ids(domain: Domain):
    sample = DomainDataset(domain, Augmentation(), seed=0)[17, 4]
    assert domain.labels is not None
    assert (sample["index"], sample["position"]) == (4, 17)
    np.testing.assert_array_equal(sample["image"].permute(1, 2, 0), read_image(domain.images[4]))
    np.testing.assert_array_equal(sample["label"], read_label(domain.labels[4]))


def test_a_sample_depends_on_seed_and_position_alone(domain: Domain):
    augmentation = Augmentation(crop=(9, 7), flip=0.5, jitter=Jitter(brightness=0.5))
    one, two = (DomainDataset(domain, augmentation, seed=3) for _ in range(2))
    for position in range(5):
        two[position + 100, 1]  # other draws in between
        assert torch.equal(one[position, 2]["image"], two[position, 2]["image"])
    views = [one[position, 2]["image"] for position in range(5)]
    assert any(not torch.equal(views[0], view) for view in views[1:])
    other = DomainDataset(domain, augmentation, seed=4)
    assert any(not torch.equal(other[p, 2]["image"], views[p]) for p in range(5))


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(resize=(8, 6), crop=(5, 4), flip=0.5),
        Augmentation(resize=(8, 6), jitter=Jitter(contrast=0.5)),
        Augmentation(scale=(0.5, 1.5), crop=(6, 6)),
    ],
)
def test_the_cache_changes_nothing_but_the_reading(domain: Domain, reads: list, augmentation: Augmentation):
    cached, plain = (DomainDataset(domain, augmentation, 1, cache_bytes=room) for room in (10**6, 0))
    for turn in range(3):
        for index in range(len(domain.images)):
            draw = (turn * 10 + index, index)
            one, two = cached[draw], plain[draw]
            assert torch.equal(one["image"], two["image"])
            assert torch.equal(one["label"], two["label"])
            one["image"].zero_()  # a sample may be written without harm to what is kept
            one["label"].zero_()
    assert len(reads) == 6 + 18


def test_what_finds_no_room_is_read_each_time(domain: Domain, reads: list):
    # Each image with its label takes 16·12·4 bytes: there is room for two and a half.
    dataset = DomainDataset(domain, Augmentation(), 0, cache_bytes=16 * 12 * 10)
    for _ in range(3):
        for index in range(6):
            sample = dataset[0, index]
            np.testing.assert_array_equal(sample["image"].permute(1, 2, 0), read_image(domain.images[index]))
    assert len(reads) == 2 + 3 * 4


def test_an_unlabelled_domain_gives_no_label(make_domain):
    dataset = DomainDataset(open_domain(make_domain(), "target", False), Augmentation(resize=(8, 6)), 0)
    assert set(dataset[0, 0]) == {"image", "index", "position"}
    assert set(dataset[1, 0]) == {"image", "index", "position"}


def test_a_label_of_another_size_is_named(domain: Domain):
    assert domain.labels is not None
    Image.new("L", (5, 5)).save(domain.labels[1])
    with pytest.raises(DataError, match=r"001\.png is 5×5 but its image .*001\.png is 16×12"):
        DomainDataset(domain, Augmentation(resize=(8, 6)), 0)[0, 1]


def test_labels_need_a_space(make_domain):
    with pytest.raises(DataError, match="have no label space"):
        DomainDataset(open_domain(make_domain(), "source", True), Augmentation(), 0)


def test_a_dataset_can_be_sent_to_another_process(domain: Domain):
    dataset = DomainDataset(domain, Augmentation(flip=0.5), 0)
    before = dataset[3, 1]["image"]
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[3, 1]["image"], before)


def test_forked_processes_share_the_cache():
    cache = ImageCache(3, 1000)
    image, label = np.full((2, 3, 3), 7, np.uint8), np.full((2, 3), 9, np.uint8)
    child = multiprocessing.get_context("fork").Process(target=cache.put, args=(1, image, label))
    child.start()
    child.join()
    kept = cache.get(1)
    assert kept is not None
    np.testing.assert_array_equal(kept[0], image)
    np.testing.assert_array_equal(kept[1], label)  # type: ignore[arg-type]
    assert cache.get(0) is None
