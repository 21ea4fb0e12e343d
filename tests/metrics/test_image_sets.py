"""Accumulating sets, notes about small ones, and the scores of two sets."""

import json

import pytest
import torch
from torch import Tensor

from stylebridge.metrics.frechet import GaussianStatistics, frechet_distance
from stylebridge.metrics.image_sets import (
    MOST_KEPT,
    FeatureKind,
    ImageScores,
    Score,
    SetFeatures,
    compare_sets,
    limits,
    splits_for,
    subset_size_for,
)
from stylebridge.metrics.kernel import kernel_distance

torch.set_num_threads(1)

KIND = FeatureKind(("FD-x", "KD-x", "IS-x"), "a network", "a resizing", dims=6, classes=4)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gather(
    features: Tensor, logits: Tensor | None = None, splits: int = 0, batch: int = 4, **options
) -> SetFeatures:
    gathered = SetFeatures(len(features), KIND, splits, **options)
    for start in range(0, len(features), batch):
        rows = slice(start, start + batch)
        gathered.update(features[rows], None if logits is None else logits[rows])
    return gathered


def test_small_sets_are_kept_whole_and_in_order() -> None:
    features = draw(11, 6)
    gathered = gather(features)
    assert gathered.count == 11
    assert torch.equal(gathered.kept(), features)


@pytest.mark.parametrize("batch", [1, 4, 30])
def test_of_large_sets_a_random_choice_is_kept(batch: int) -> None:
    features = torch.arange(30.0)[:, None].expand(30, 6)
    kept = gather(features, batch=batch, most_kept=8, seed=1).kept()
    assert kept.shape == (8, 6)
    places = kept[:, 0].long().tolist()
    assert sorted(set(places)) == places
    assert places == gather(features, batch=7, most_kept=8, seed=1).kept()[:, 0].long().tolist()
    assert places != gather(features, batch=7, most_kept=8, seed=2).kept()[:, 0].long().tolist()
    assert places != list(range(8))


def test_the_covariance_is_of_all_images() -> None:
    features = draw(30, 6)
    whole = GaussianStatistics(6)
    whole.update(features)
    torch.testing.assert_close(gather(features, most_kept=5).gaussian.covariance(), whole.covariance())


def test_more_images_than_announced_are_an_error() -> None:
    gathered = gather(draw(4, 6))
    with pytest.raises(ValueError, match="got 5 images, expected 4"):
        gathered.update(draw(1, 6))


def test_scores_are_those_of_the_parts() -> None:
    real, fake = draw(40, 6), draw(30, 6, seed=1) + 0.5
    logits = draw(30, 4, seed=2)
    first, second = gather(real), gather(fake, logits, splits=3, seed=5)
    scores = compare_sets(first, second, KIND, seed=7)
    assert [s.name for s in scores] == ["FD-x", "KD-x", "IS-x"]
    assert [s.better for s in scores] == ["lower", "lower", "higher"]
    assert scores[0].value == frechet_distance(first.gaussian, second.gaussian)
    assert scores[0].deviation is None
    expected = kernel_distance(real, fake, subsets=100, size=15, seed=7)
    assert (scores[1].value, scores[1].deviation) == expected
    assert second.entropies is not None
    assert (scores[2].value, scores[2].deviation) == second.entropies.score()
    assert 1 < scores[2].value < 4


def test_equal_sets() -> None:
    """The kernel distance is unbiased for sets drawn apart; of the same images it is below 0."""
    features = draw(40, 6)
    frechet, kernel = compare_sets(gather(features), gather(features), KIND)
    assert frechet.value <= 1e-6 * features.var(0).sum()
    assert kernel.value < 0


@pytest.mark.parametrize(
    ("real", "fake", "size"), [(5000, 1001, 1000), (1000, 5000, 500), (100, 80, 40), (3, 9, 2), (2, 2, 2)]
)
def test_subset_size(real: int, fake: int, size: int) -> None:
    assert subset_size_for(real, fake) == size == subset_size_for(fake, real)


def test_splits() -> None:
    assert [splits_for(n) for n in (2, 9, 10, 50_000)] == [2, 9, 10, 10]


def test_small_sets_are_reported() -> None:
    said = limits(100, 80, KIND.__class__(KIND.names, "", "", dims=100, classes=4))
    assert [s.split(" has ")[0] for s in said[:2]] == ["The real set", "The fake set"]
    assert "100 images, fewer than the 101 that a covariance of 100 features needs: FD-x" in said[0]
    assert said[2].startswith("KD-x uses 100 subsets of 40 images instead of 1,000")
    assert said[3].startswith("IS-x uses 10 splits of about 8 images instead of 5,000")
    assert all(s.endswith(".") and s.count(". ") == 0 for s in said)
    # One image more than features: the covariance can have full rank.
    assert not any("covariance" in s for s in limits(101, 101, FeatureKind(KIND.names, "", "", 100, 4)))


def test_of_large_sets_only_the_choice_is_reported() -> None:
    assert limits(MOST_KEPT, 50_000, KIND) == [
        "KD-x draws its subsets from 10,000 random images of the 50,000 in the fake set."
    ]


def test_scores_as_json_and_by_name() -> None:
    scores = ImageScores(
        real="r", fake="f", real_images=3, fake_images=4, features="a", resize="b",
        scores=(Score("FD-x", 1.5, None, "lower"), Score("KD-x", 0.2, 0.1, "lower")),
        subsets=100, subset_size=2, splits=0, seed=0, notes=("A sentence.",),
    )  # fmt: skip
    assert scores["KD-x"].deviation == 0.1
    with pytest.raises(KeyError):
        scores["FID"]
    read = json.loads(json.dumps(scores.as_dict()))
    assert read["scores"][0] == {"name": "FD-x", "value": 1.5, "deviation": None, "better": "lower"}
    assert read["notes"] == ["A sentence."]
    assert (read["real_images"], read["fake_images"], read["features"], read["resize"]) == (3, 4, "a", "b")
