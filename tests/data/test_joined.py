"""Sampling from two domains as one."""

from pathlib import Path

import numpy as np
import pytest

from stylebridge.data.augment import Augmentation
from stylebridge.data.dataset import DomainDataset
from stylebridge.data.domain import open_domain
from stylebridge.data.joined import JoinedDataset, JoinedSampler
from stylebridge.data.label_space import LabelSpace
from stylebridge.data.loader import Loader
from stylebridge.data.sampling import UniformSampler
from support.folders import write_domain, write_space


@pytest.fixture
def parts(tmp_path: Path) -> tuple[DomainDataset, DomainDataset]:
    space = LabelSpace.load(write_space(tmp_path / "three.yaml"))
    sets = []
    for name, count in (("first", 5), ("second", 2)):
        domain = open_domain(write_domain(tmp_path / name, count, seed=count), name, True, space)
        sets.append(DomainDataset(domain, Augmentation(), seed=count))
    return sets[0], sets[1]


@pytest.mark.parametrize("share", [0.5, 0.25, 0.4, 0.9])
def test_the_second_has_its_share_of_any_run_of_draws(share: float) -> None:
    sampler = JoinedSampler(UniformSampler(5, 1), UniformSampler(2, 2), 5, share)
    drawn = np.array([sampler.index(p) for p in range(400)])
    assert drawn.min() >= 0
    assert drawn.max() <= 6
    for start in (0, 7, 130):
        for length in (1, 10, 100):
            seconds = int((drawn[start : start + length] >= 5).sum())
            assert abs(seconds - length * share) <= 1


def test_each_part_is_drawn_as_if_it_were_alone() -> None:
    """Every image of each domain once per epoch of that domain."""
    sampler = JoinedSampler(UniformSampler(5, 1), UniformSampler(2, 2), 5, 0.5)
    drawn = [sampler.index(p) for p in range(40)]
    first, second = ([i for i in drawn if (i >= 5) == late] for late in (False, True))
    alone = UniformSampler(5, 1)
    assert first == [alone.index(p) for p in range(len(first))]
    assert all(sorted(second[i : i + 2]) == [5, 6] for i in range(0, len(second), 2))
    assert [sampler.index(p) for p in (31, 3)] == [drawn[31], drawn[3]]


def test_samples_are_those_of_the_parts(parts: tuple[DomainDataset, DomainDataset]) -> None:
    joined = JoinedDataset(*parts)
    assert len(joined) == 7
    for position, index, part, own in ((3, 4, 0, 4), (3, 5, 1, 0), (9, 6, 1, 1)):
        image, label = joined.arrays(position, index)
        wanted_image, wanted_label = parts[part].arrays(position, own)
        np.testing.assert_array_equal(image, wanted_image)
        assert label is not None
        assert wanted_label is not None
        np.testing.assert_array_equal(label, wanted_label)
    assert joined.domain.images[5] == parts[1].domain.images[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_draws_from_both(parts: tuple[DomainDataset, DomainDataset], workers: int) -> None:
    joined = JoinedDataset(*parts)
    sampler = JoinedSampler(UniformSampler(5, 1), UniformSampler(2, 2), 5, 0.5)
    batches = iter(Loader(joined, sampler, batch_size=4, workers=workers))
    seen = [next(batches) for _ in range(3)]
    batches.close()  # type: ignore[attr-defined]
    for batch in seen:
        assert batch["label"].shape == batch["image"].shape[:1] + batch["image"].shape[2:]
        assert int((batch["index"] >= 5).sum()) == 2


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0])
def test_a_share_lies_between_none_and_all(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        JoinedSampler(UniformSampler(5, 1), UniformSampler(2, 2), 5, share)
