"""CamVid beside the project: opened, understood, counted and loaded."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from stylebridge.data import (
    Augmentation,
    ClassBalancedSampler,
    Domain,
    DomainDataset,
    Loader,
    RareClassSampler,
    UniformSampler,
    check_domain,
    infer_label_space,
    open_domain,
)

CAMVID = Path(__file__).parents[3] / "shared" / "data" / "camvid"

_touched: list[str] | None = None


def _hear(event: str, args: tuple) -> None:
    if (
        _touched is not None
        and event in ("open", "os.listdir", "os.scandir")
        and args
        and args[0] is not None
    ):
        _touched.append(os.fspath(args[0]) if not isinstance(args[0], int) else "")


sys.addaudithook(_hear)


@pytest.fixture(scope="module")
def day() -> Domain:
    if not CAMVID.is_dir():
        pytest.skip("shared/data/camvid is not beside the project")
    domain = open_domain(CAMVID / "day", "source", labelled=True)
    assert domain.labels is not None
    space, told = infer_label_space(domain.labels)
    assert "camvid-11" in told
    return Domain(domain.name, domain.root, domain.images, domain.labels, space)


def test_day_is_understood_and_its_counts_are_those_of_street_scenes(day: Domain):
    assert day.space is not None
    assert day.space.name == "camvid-11"
    assert len(day.images) == 406
    summary = check_domain(day, cache=False)
    assert summary.sizes == {(480, 360): 406}
    assert summary.pixel_counts.sum() + summary.ignored_pixels == 406 * 480 * 360
    share = dict(zip(day.space.classes, summary.class_shares.tolist(), strict=True))
    assert sorted(share, key=lambda name: -share[name])[:3] == ["road", "building", "sky"]
    assert 0.25 < share["road"] < 0.45
    assert 0.1 < share["sky"] < 0.25
    assert all(0.002 < s < 0.5 for s in share.values())
    # A street has the sky above and the road below: images and labels are not turned.
    dataset = DomainDataset(day, Augmentation(resize=(240, 180)), 0)
    labels = np.stack([dataset.arrays(0, i)[1] for i in range(0, 406, 29)])  # type: ignore[arg-type]
    assert (labels[:, :60] == 0).sum() > 10 * (labels[:, 120:] == 0).sum()
    assert (labels[:, 120:] == 3).sum() > 10 * (labels[:, :60] == 3).sum()


def test_class_aware_samplers_raise_the_rare_classes(day: Domain):
    counts = check_domain(day, cache=False).pixel_counts
    uniform, balanced, rare = (
        (counts[[sampler.index(p) for p in range(2000)]] > 0).mean(axis=0)
        for sampler in (
            UniformSampler(406, 0),
            ClassBalancedSampler(counts > 0, 0),
            RareClassSampler(counts, 0),
        )
    )
    fence_and_bicyclist = [7, 10]
    assert (balanced > uniform + 0.02)[fence_and_bicyclist].all()
    assert (rare > uniform + 0.02)[fence_and_bicyclist].all()


def test_dusk_as_a_target_is_read_without_its_labels(day: Domain):
    global _touched
    _touched = []
    try:
        dusk = open_domain(CAMVID / "dusk", "target", labelled=False)
        check_domain(dusk, cache=False)
        batch = next(iter(Loader(DomainDataset(dusk, Augmentation(flip=0.5), 0), UniformSampler(62, 0), 4)))
    finally:
        touched, _touched = _touched, None
    assert len(dusk.images) == 62
    assert dusk.labels is None
    assert sorted(batch) == ["image", "index", "position"]
    assert batch["image"].shape == (4, 3, 360, 480)
    assert sum("dusk/images" in path for path in touched) > 62
    assert not [path for path in touched if "labels" in path]
    assert batch["image"].float().mean() < 0.8 * _mean_of(day)  # it is dusk


def _mean_of(domain: Domain) -> torch.Tensor:
    batch = next(iter(Loader(DomainDataset(domain, Augmentation(), 0), UniformSampler(406, 0), 16)))
    return batch["image"].float().mean()
