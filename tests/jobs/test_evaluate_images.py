"""Scoring images against real ones: files read, output, and scores computed in another way."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor, nn
from torchmetrics.image.fid import _compute_fid

from stylebridge.errors import DataError, RecipeError, RunError, WeightsError
from stylebridge.jobs.evaluate.images import evaluate_images, print_image_scores
from stylebridge.metrics.image_sets import ImageScores
from stylebridge.networks import image_features
from stylebridge.networks.fid_inception import FidInception
from stylebridge.networks.image_features import Lite0Features

torch.set_num_threads(1)


def draw(seed: int, size: tuple[int, int] = (40, 32)) -> np.ndarray:
    """Smooth colours, uint8 [H, W, 3] of (width, height)."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BILINEAR))


def write(folder: Path, count: int, seed: int = 0, size: tuple[int, int] = (40, 32)) -> Path:
    folder.mkdir(parents=True)
    for n in range(count):
        Image.fromarray(draw(seed + n, size)).save(folder / f"{n:02}.png")
    return folder


def lite0(real: Path, fake: Path, **options):
    return evaluate_images(real, fake, features="lite0", device="cpu", quiet=True, **options)


def values(scores) -> list[float]:
    return [score.value for score in scores.scores]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("sets") / "real", 5)


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("sets") / "fake", 4, seed=100, size=(52, 60))


@pytest.fixture(scope="module")
def base(real: Path, fake: Path) -> ImageScores:
    return lite0(real, fake, batch=3)


# --- the numbers ----------------------------------------------------------------------------------------------


def features_of(folder: Path) -> tuple[Tensor, Tensor]:
    network = Lite0Features()
    images = [network.prepare(np.array(Image.open(path))) for path in sorted(folder.iterdir())]
    with torch.no_grad():
        pooled, logits = network(torch.stack(images))
    return pooled.double(), logits.double()


def test_scores_equal_torchmetrics_on_the_same_features(real: Path, fake: Path, base: ImageScores) -> None:
    scores = base
    (x, _), (y, logits) = features_of(real), features_of(fake)
    expected = _compute_fid(x.mean(0), torch.cov(x.T), y.mean(0), torch.cov(y.T)).item()
    assert scores["FD-lite0"].value == pytest.approx(expected, rel=1e-4)
    # Subsets of 2 out of 5 and 4: over all of them the mean is the unbiased distance of the whole sets.
    kernel = scores["KD-lite0"]
    assert kernel.deviation is not None
    xx, yy, xy = ((a @ b.T / 1280 + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    whole = (xx.sum() - xx.trace()) / 20 + (yy.sum() - yy.trace()) / 12 - 2 * xy.mean()
    assert abs(kernel.value - whole.item()) < 4 * kernel.deviation / 10
    # Four images are four splits of one image each, of which the score is 1.
    assert scores["IS-lite0"].value == pytest.approx(1)
    assert logits.shape == (4, 1000)


def test_notes_beside_the_numbers(base: ImageScores) -> None:
    scores = base
    assert [s.name for s in scores.scores] == ["FD-lite0", "KD-lite0", "IS-lite0"]
    assert (scores.real_images, scores.fake_images) == (5, 4)
    assert "1280" in scores.features
    assert "224×224" in scores.resize
    assert "antialiasing" in scores.resize
    assert (scores.subsets, scores.subset_size, scores.splits) == (100, 2, 4)
    assert any("fewer than the 1,281" in note for note in scores.notes)
    console = Console(record=True, width=200, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    print_image_scores(scores, console)
    shown = console.export_text()
    for part in ("FD-lite0", "KD-lite0", "5 real, 4 fake", scores.features, scores.resize, *scores.notes):
        assert part in shown


def test_a_set_against_itself(real: Path) -> None:
    scores = lite0(real, real)
    features, _ = features_of(real)
    assert scores["FD-lite0"].value <= 1e-6 * features.var(0).sum()


@pytest.mark.slow
def test_batches_do_not_matter_and_seeds_decide_the_subsets_only(
    real: Path, fake: Path, base: ImageScores
) -> None:
    assert values(lite0(real, fake, batch=1)) == pytest.approx(values(base), rel=1e-4)
    other = lite0(real, fake, batch=3, seed=2)
    assert other["FD-lite0"] == base["FD-lite0"]
    assert other["KD-lite0"] != base["KD-lite0"]
    assert (base.seed, other.seed) == (0, 2)


@pytest.mark.slow
def test_inception_weights_from_a_file(real: Path, fake: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = FidInception()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    for folder, source in (("r", real), ("f", fake)):
        (tmp_path / folder).mkdir()
        for name in ("00.png", "01.png"):
            (tmp_path / folder / name).write_bytes((source / name).read_bytes())
    scores = evaluate_images(
        tmp_path / "r", tmp_path / "f", weights=tmp_path / "weights.pth", device="cpu", quiet=True
    )
    assert [s.name for s in scores.scores] == ["FID", "KID", "IS"]
    assert "2048" in scores.features
    assert "299×299" in scores.resize
    assert "no antialiasing" in scores.resize
    assert scores["FID"].value > 0
    assert any("fewer than the 2,049" in note for note in scores.notes)


def test_without_inception_weights_the_names_are_others(
    real: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(image_features, "reachable", lambda *_: False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    scores = evaluate_images(real, real, device="cpu", quiet=True)
    assert scores.scores[0].name == "FD-lite0"
    assert "not comparable with FID" in scores.notes[0]
    with pytest.raises(WeightsError, match="not available"):
        evaluate_images(real, real, features="inception", device="cpu", quiet=True)


# --- what is read ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_images_of_all_kinds(tmp_path: Path) -> None:
    """Grey, transparent, palette, 16 bit and turned by EXIF: the same as their plain RGB forms."""
    kinds, plain = tmp_path / "kinds", tmp_path / "plain"
    kinds.mkdir()
    plain.mkdir()
    pictures = [Image.fromarray(draw(n, (30 + 10 * n, 50))) for n in range(5)]
    grey, palette = pictures[0].convert("L"), pictures[2].quantize(16)
    grey.save(kinds / "0.png")
    grey.convert("RGB").save(plain / "0.png")
    clear = pictures[1].copy()
    clear.putalpha(Image.fromarray(draw(9, clear.size)[..., 0]))
    clear.save(kinds / "1.png")
    pictures[1].save(plain / "1.png")
    palette.save(kinds / "2.png")
    palette.convert("RGB").save(plain / "2.png")
    deep = draw(3, (33, 20))[..., 0]
    Image.fromarray(deep.astype(np.uint16) * 257).save(kinds / "3.png")
    Image.fromarray(deep).convert("RGB").save(plain / "3.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter
    pictures[4].save(kinds / "4.png", exif=exif)
    pictures[4].transpose(Image.Transpose.ROTATE_270).save(plain / "4.png")
    against = write(tmp_path / "against", 2, seed=50)
    found = values(lite0(kinds, against))
    assert found == values(lite0(plain, against))
    for name in "01234":  # each of them is in the numbers
        assert (kinds / f"{name}.png").read_bytes() != (plain / f"{name}.png").read_bytes()


@pytest.mark.slow
def test_folders_below_and_archives(real: Path, fake: Path, base: ImageScores, tmp_path: Path) -> None:
    nested = tmp_path / "nested"
    for n, path in enumerate(sorted(real.iterdir())):
        place = nested / f"class {n // 3}" / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted(real.iterdir()):
            archive.write(path, f"wrapped/images/{path.name}")
        archive.write(next(fake.iterdir()), "wrapped/labels/00.png")  # a label map is no image of the set
    assert values(lite0(nested, fake, batch=3)) == pytest.approx(values(base), rel=1e-9)
    assert values(lite0(tmp_path / "set.zip", fake, batch=3)) == pytest.approx(values(base), rel=1e-9)


# --- what is written ------------------------------------------------------------------------------------------


def test_scores_are_written_whole(real: Path, fake: Path, tmp_path: Path) -> None:
    scores = lite0(real, fake, out=tmp_path / "deep" / "scores.json")
    written = json.loads((tmp_path / "deep" / "scores.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(scores.as_dict()))
    assert [s["name"] for s in written["scores"]] == ["FD-lite0", "KD-lite0", "IS-lite0"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["scores.json"]


# --- mistakes -------------------------------------------------------------------------------------------------


def test_sets_that_cannot_be_compared(real: Path, tmp_path: Path) -> None:
    empty, one = tmp_path / "empty", write(tmp_path / "one", 1)
    empty.mkdir()
    with pytest.raises(DataError, match=r"The fake set .*empty has no images"):
        lite0(real, empty)
    with pytest.raises(DataError, match=r"The real set .*one has one image"):
        lite0(one, real)
    with pytest.raises(DataError, match=r"The fake folder .*nowhere does not exist"):
        lite0(real, tmp_path / "nowhere")
    with pytest.raises(DataError, match="give the folder"):
        lite0(real, next(real.iterdir()))


def test_a_damaged_image_is_named(real: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "set", 5)
    (folder / "03.png").write_bytes((folder / "03.png").read_bytes()[:200])
    with pytest.raises(DataError, match=r"03\.png"):
        lite0(real, folder, out=tmp_path / "scores.json")
    assert not (tmp_path / "scores.json").exists()


def test_wrong_options(real: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is a folder"):
        lite0(real, real, out=tmp_path)
    with pytest.raises(RecipeError, match="batch is 0"):
        lite0(real, real, batch=0)
    with pytest.raises(RecipeError, match="'clip'"):
        evaluate_images(real, real, features="clip", quiet=True)  # type: ignore[arg-type]
