"""Evaluation of a mixer: checks against the same measures pair by pair, distances by features of known values."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from stylebridge.data.boxes import ViewDraw, object_view, read_boxes
from stylebridge.jobs.apply.mixing.checks import CHECKS, check_of, compare, draw_groups
from stylebridge.jobs.apply.models.mixer import Mixed
from stylebridge.jobs.evaluate import mixing as job
from stylebridge.metrics.frechet import GaussianStatistics, frechet_distance
from stylebridge.metrics.image_sets import FeatureKind
from stylebridge.networks.image_features import ImageFeatures
from stylebridge.networks.mixnmatch import Generated, Mixer
from support import folders
from support.folders import CommandLine
from support.mixing import as_unit, patches, save_photos, tiny_mixer, tiny_run

pytestmark = pytest.mark.slow

stylebridge = folders.stylebridge
PHOTOS, PAIRS = 18, 17


class Means(torch.nn.Module):
    """Features are mean colours, logits their multiples."""

    kind = FeatureKind(("FD-mean", "KD-mean", "IS-mean"), "means", "none", dims=3, classes=3)

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def prepare(self, image: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(image).permute(2, 0, 1).float() / 255

    def forward(self, batch: torch.Tensor) -> ImageFeatures:
        pooled = batch.mean((2, 3))
        return ImageFeatures(pooled, 9 * pooled)


@pytest.fixture(scope="module")
def mixer() -> Mixer:
    return tiny_mixer()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, mixer: Mixer) -> Path:
    return tiny_run(tmp_path_factory.mktemp("mix") / "run", mixer)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    save_photos(folder, patches(PHOTOS, seed=2))
    return folder


@pytest.fixture(autouse=True)
def means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "open_features", lambda kind, weights: (Means(), None))


# --- one pair at a time, with NumPy ---------------------------------------------------------------------------


def outline(made: Generated) -> np.ndarray:
    kept = (1 - made.parent_mask.numpy().astype(float)) * (1 - made.child_mask.numpy().astype(float))
    return 1 - kept[0, 0]


def colours(one: Generated, other: Generated) -> float:
    histograms = []
    for made in (one, other):
        unit = (made.image[0].numpy() * np.float32(0.5) + np.float32(0.5)).clip(0, 1)
        cells = np.minimum((unit * 8).astype(int), 7).reshape(3, -1).T
        weighted, _ = np.histogramdd(cells, bins=[np.arange(9)] * 3, weights=outline(made).ravel())
        histograms.append(weighted / weighted.sum())
    return 1 - np.minimum(*histograms).sum()


def overlap(one: Generated, other: Generated) -> float:
    a, b = outline(one) > 0.5, outline(other) > 0.5
    return (a & b).sum() / (a | b).sum()


def behind(one: Generated, other: Generated) -> float:
    free = (outline(one) <= 0.5) & (outline(other) <= 0.5)
    return abs(one.image - other.image).numpy()[0][:, free].mean() / 2


@pytest.mark.parametrize("mode", ["code", "feature"])
def test_checks_are_the_measures_of_all_pairs(mixer: Mixer, run: Path, data: Path, mode: str) -> None:
    scores = job.evaluate_mixing(run, data, pairs=PAIRS, seed=3, mode=mode, device="cpu", quiet=True)  # type: ignore[arg-type]
    photos = as_unit(patches(PHOTOS, seed=2))

    def paint(pose: int, background: int, shape: int, texture: int) -> Generated:
        places = (pose, background, shape, texture)
        if mode == "code":
            return mixer.mix(*(photos[[place]] for place in places))
        return mixer.mix_features(photos[[shape]], photos[[background]], photos[[texture]])

    rows = []
    for a, b, *_ in draw_groups(PHOTOS, PAIRS, 3):
        own, other = paint(a, a, a, a), paint(b, b, b, b)
        moved = paint(b, a, a, a) if mode == "code" else paint(b, a, b, a)
        textured, placed = paint(a, a, a, b), paint(b, a, b, b)
        rows.append([
            (colours(moved, own), colours(own, other)), (overlap(textured, own), overlap(own, other)),
            (behind(placed, own), behind(own, other)), (overlap(moved, other), overlap(own, other)),
            (colours(textured, other), colours(own, other)),
        ])  # fmt: skip
    wanted = np.array(rows)
    assert len(scores.checks) == wanted.shape[1]
    for check, (mixes, baseline) in zip(scores.checks, wanted.transpose(1, 2, 0), strict=True):
        assert check.counted == PAIRS
        # A value on the border of a bin may fall to either side.
        found = (check.mean, check.deviation, check.baseline_mean, check.baseline_deviation)
        np.testing.assert_allclose(
            found, (mixes.mean(), mixes.std(), baseline.mean(), baseline.std()), atol=2e-3
        )
        assert baseline.std() > 0.01
        better = mixes < baseline if check.better == "lower" else mixes > baseline
        assert check.ahead == pytest.approx(better.mean(), abs=1.5 / PAIRS)


def test_distances_are_those_of_the_pictures(mixer: Mixer, run: Path, data: Path) -> None:
    scores = job.evaluate_mixing(run, data, pairs=PAIRS, seed=1, device="cpu", quiet=True)
    photos, groups = as_unit(patches(PHOTOS, seed=2)), draw_groups(PHOTOS, PAIRS, 1)

    def gathered(pictures: torch.Tensor) -> GaussianStatistics:
        statistics = GaussianStatistics(3)
        statistics.update(((pictures * 255).round() / 255).mean((2, 3)))
        return statistics

    mixes = mixer.mix(*(photos[groups[:, place]] for place in range(4))).image * 0.5 + 0.5
    own = mixer.mix(*[photos[groups[:, 0]]] * 4).image * 0.5 + 0.5
    assert [score.name for score in scores.mixes] == ["FD-mean", "KD-mean", "IS-mean"]
    for found, pictures in ((scores.mixes, mixes), (scores.unmixed, own)):
        wanted = frechet_distance(gathered(photos), gathered(pictures))
        assert found[0].value == pytest.approx(wanted, rel=1e-3)
    assert scores.mixes[0].value != pytest.approx(scores.unmixed[0].value, rel=0.01)


def test_photos_are_cut_to_their_boxes(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = patches(6, seed=5)
    folder = tmp_path / "images"
    save_photos(folder, photos)
    rows = [f"{number:02}.png,{4 + number},6,30,20" for number in range(6)]
    (tmp_path / "boxes.csv").write_text("image,x,y,width,height\n" + "\n".join(rows), encoding="utf-8")
    seen: list[np.ndarray] = []
    monkeypatch.setattr(Means, "prepare", lambda self, image: (seen.append(image), torch.rand(3, 4, 4))[1])
    job.evaluate_mixing(run, tmp_path, boxes=tmp_path / "boxes.csv", pairs=2, device="cpu", quiet=True)
    table = read_boxes(tmp_path / "boxes.csv")
    for number, photo in enumerate(photos):
        cut = object_view(photo, table.of(f"{number:02}.png"), 64, ViewDraw(0.5, 0.5, False))
        assert any(np.array_equal(cut, each) for each in seen[:6])


def test_groups_hold_different_photos_and_use_all_equally() -> None:
    for photos, count in ((4, 9), (18, 40), (1000, 30)):
        groups = draw_groups(photos, count, 0)
        assert groups.shape == (count, 4)
        assert all(len(set(group)) == 4 for group in groups.tolist())
        used = np.bincount(groups.ravel(), minlength=photos)
        # A round leaves out what does not fill a group.
        assert used.max() <= -(-count // (photos // 4))
    np.testing.assert_array_equal(draw_groups(18, 40, 0), draw_groups(18, 40, 0))
    assert (draw_groups(18, 40, 0) != draw_groups(18, 40, 1)).any()


def test_pairs_without_a_measure_do_not_count() -> None:
    def made(mask: float) -> Mixed:
        return Mixed(torch.full((1, 3, 4, 4), 0.5), torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), mask))

    covered = compare({name: made(1.0) for name in ("first", "second", "pose", "texture", "object")})
    assert bool(covered["background kept"][0].isnan())
    check = check_of("code", "background kept", *covered["background kept"])
    assert (check.counted, check.mean, check.ahead) == (0, None, None)
    nothing = compare({name: made(0.0) for name in ("first", "second", "pose", "texture", "object")})
    some = torch.cat([covered["shape kept"][0], nothing["shape kept"][0]])
    check = check_of("code", "shape kept", some, some)
    assert (check.counted, check.mean, check.ahead) == (1, 1.0, 0.0)
    assert set(covered) == set(CHECKS)


def test_the_command_prints_and_writes_the_same(
    stylebridge: CommandLine, run: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scores.json"
    done = stylebridge("mix", "evaluate", run, "--data", data, "--pairs", 6, "--json", out, "--device", "cpu")
    assert done.code == 0, done.err
    scores = json.loads(out.read_text(encoding="utf-8"))
    assert (scores["pairs"], scores["photos"], len(scores["checks"])) == (6, PHOTOS, 5)
    for check in scores["checks"]:
        assert check["name"] in done.out
        assert f"{check['mean']:.3f} ± {check['deviation']:.3f}" in done.out
    assert "No mixing" in done.out
    again = job.evaluate_mixing(run, data, pairs=6, device="cpu", quiet=True)
    assert json.loads(json.dumps(again.as_dict())) == scores


def test_what_users_get_wrong_is_named(
    stylebridge: CommandLine, run: Path, data: Path, tmp_path: Path
) -> None:
    command = ("mix", "evaluate", run)
    few = tmp_path / "few"
    save_photos(few, patches(3))
    stylebridge(*command, "--data", few).refused("3 photos")
    stylebridge(*command, "--data", tmp_path / "no").refused("no", "exist")
    stylebridge(*command, "--data", data, "--boxes", tmp_path / "no.csv").refused("no.csv")
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("image,x,y,width,height\n00.png,1,1,5,5\n", encoding="utf-8")
    stylebridge(*command, "--data", data, "--boxes", boxes).refused("01.png")
    boxes.write_text(
        "image,x,y,width,height\n" + "".join(f"{n:02}.png,1,1,500,5\n" for n in range(PHOTOS)),
        encoding="utf-8",
    )
    stylebridge(*command, "--data", data, "--boxes", boxes).refused("line 2", "extends beyond its image")
    stylebridge(*command, "--data", data, "--mode", "both").refused("code or feature")
    stylebridge(*command, "--data", data, "--json", tmp_path).refused("folder")
    plain = tiny_run(tmp_path / "plain", tiny_mixer(extractor=False))
    stylebridge("mix", "evaluate", plain, "--data", data, "--mode", "feature").refused("feature extractor")
