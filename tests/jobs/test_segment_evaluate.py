"""Using a run: label maps of photos, and scores."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylebridge.errors import DataError, RunError
from stylebridge.jobs.apply.models.inference import predict_files, predict_labels
from stylebridge.jobs.apply.models.segmenter import load_adapted
from stylebridge.jobs.apply.segment import segment
from stylebridge.jobs.evaluate.segmenter import evaluate
from stylebridge.jobs.recipe.adapt import InferenceConfig
from stylebridge.jobs.runs.outputs import MARKER
from stylebridge.networks.segmenters.build import Segmenter
from support import folders
from support.folders import COLOURS, NAMES, SIZE, CommandLine, World, write_domain
from support.mini import mini_segmenter

own_cache, world, finished = folders.own_cache, folders.world, folders.finished
stylebridge = folders.stylebridge

CPU = torch.device("cpu")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photos of different sizes and kinds, one of them in a folder below; and a file that is not an image."""
    folder = tmp_path / "photos"
    (folder / "evening").mkdir(parents=True)
    rng = np.random.default_rng(4)
    for name, (width, height) in {"a.jpg": (64, 48), "b.2.png": (50, 37), "evening/a.jpg": (90, 31)}.items():
        pixels = rng.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((width, height)).save(folder / name)
    (folder / "notes.txt").write_text("not a photo")
    return folder


def labels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "P"
        palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        assert palette[:3].tolist() == [list(colour) for colour in COLOURS]
        return np.array(image)


# --- segment ------------------------------------------------------------------------------------------------


def test_segment_one_photo(finished: Path, photos: Path, tmp_path: Path) -> None:
    assert segment(finished, photos / "b.2.png", tmp_path / "out", device="cpu", quiet=True) == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [MARKER, "b.2.png"]
    labels = labels_of(tmp_path / "out" / "b.2.png")
    assert labels.shape == (37, 50)
    # At the run's size, logits brought to the photo's, then the largest.
    model = load_adapted(finished)
    assert model.inference.size == SIZE
    pixels = np.array(Image.open(photos / "b.2.png").convert("RGB").resize(SIZE, Image.Resampling.BICUBIC))
    with torch.no_grad():
        logits = model.segmenter(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255)
    logits = torch.nn.functional.interpolate(logits, size=(37, 50), mode="bilinear", align_corners=True)
    assert (labels == logits.argmax(1)[0].numpy()).mean() > 0.999


def test_segment_a_folder_keeps_the_places_and_the_sizes(
    finished: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert segment(finished, photos, out, device="cpu", quiet=True) == 3
    found = {path.relative_to(out).as_posix(): labels_of(path) for path in out.rglob("*.png")}
    assert {name: labels.shape for name, labels in found.items()} == {
        "a.png": (48, 64),
        "b.2.png": (37, 50),
        "evening/a.png": (31, 90),
    }
    for labels in found.values():
        assert set(np.unique(labels)) <= {0, 1, 2}


def test_segment_takes_several_photos_and_folders(finished: Path, photos: Path, tmp_path: Path) -> None:
    assert segment(finished, [photos / "b.2.png", photos / "evening"], tmp_path / "out", device="cpu") == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [MARKER, "a.png", "b.2.png"]


def test_two_photos_of_one_name_are_refused(finished: Path, photos: Path, tmp_path: Path) -> None:
    both = [photos / "a.jpg", photos / "evening" / "a.jpg"]
    with pytest.raises(DataError, match=r"a\.jpg and .*a\.jpg would both be written to a\.png"):
        segment(finished, both, tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_overlays(finished: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    segment(finished, photos, out, overlay=True, device="cpu", quiet=True)
    for name, size in {"a.jpg": (64, 48), "b.2.jpg": (50, 37), "evening/a.jpg": (90, 31)}.items():
        with Image.open(out / "overlays" / name) as picture:
            assert picture.size == size
            assert picture.mode == "RGB"
    shown = np.array(Image.open(out / "overlays" / "a.jpg")).astype(float)
    photo = np.array(Image.open(photos / "a.jpg")).astype(float)
    colours = np.array(COLOURS)[labels_of(out / "a.png")]
    # Something of the photo and something of the colours (but for the JPEG's own errors).
    parts = np.stack([photo.ravel(), colours.ravel(), np.ones(photo.size)], 1)
    (of_photo, of_colours, _), *_ = np.linalg.lstsq(parts, shown.ravel(), rcond=None)
    assert 0.2 < of_photo < 0.8
    assert 0.2 < of_colours < 0.8
    assert of_photo + of_colours == pytest.approx(1, abs=0.1)


def test_segment_does_not_write_over_files(finished: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "evening").mkdir(parents=True)
    (out / "evening" / "a.png").write_text("mine")
    with pytest.raises(RunError, match=r"evening/a\.png exists already.*--overwrite"):
        segment(finished, photos, out, device="cpu")
    assert (out / "evening" / "a.png").read_text() == "mine"
    assert not (out / "a.png").exists()  # nothing was begun
    with pytest.raises(RunError, match=r"evening/a\.png exists already and was not written by this command"):
        segment(finished, photos, out, device="cpu", overwrite=True, quiet=True)
    assert (out / "evening" / "a.png").read_text() == "mine"
    (out / "evening" / "a.png").unlink()
    for overwrite in (False, True):
        segment(finished, photos, out, device="cpu", overwrite=overwrite, quiet=True)
    assert labels_of(out / "evening" / "a.png").shape == (31, 90)


def test_segment_does_not_write_over_overlays(finished: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "overlays").mkdir(parents=True)
    (out / "overlays" / "a.jpg").write_text("mine")
    with pytest.raises(RunError, match=r"overlays/a\.jpg"):
        segment(finished, photos / "a.jpg", out, overlay=True, device="cpu", quiet=True)
    assert (out / "overlays" / "a.jpg").read_text() == "mine"


def test_segment_does_not_replace_the_photos(finished: Path, photos: Path) -> None:
    """Label maps written beside the photos: a PNG would be its own label map."""
    before = (photos / "b.2.png").read_bytes()
    for overwrite in (False, True):
        with pytest.raises(RunError, match="photos is the input"):
            segment(finished, photos, photos, device="cpu", overwrite=overwrite)
    assert (photos / "b.2.png").read_bytes() == before


def test_the_segmenter_folder_is_enough(finished: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "segmenter", tmp_path / "model")
    segment(tmp_path / "model", photos / "a.jpg", tmp_path / "one", device="cpu", quiet=True)
    segment(finished, photos / "a.jpg", tmp_path / "two", device="cpu", quiet=True)
    assert (tmp_path / "one" / "a.png").read_bytes() == (tmp_path / "two" / "a.png").read_bytes()


def test_the_command_line_says_how_many(
    stylebridge: CommandLine, finished: Path, photos: Path, tmp_path: Path
) -> None:
    arguments = ["--out", tmp_path / "out", "--overlay", "--device", "cpu", "--quiet"]
    outcome = stylebridge("segment", finished, photos, *arguments)
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    assert "3 label map(s)" in outcome.out
    assert (tmp_path / "out" / "overlays" / "evening" / "a.jpg").is_file()


# --- evaluate -----------------------------------------------------------------------------------------------


def confusion_by_hand(predicted: Path, data: Path) -> np.ndarray:
    """Counts from segment's files and the label files; rows = truth."""
    counts = np.zeros((3, 3), np.int64)
    for path in sorted((data / "labels").iterdir()):
        truth, guess = np.array(Image.open(path)), np.array(Image.open(predicted / path.name))
        for t, p in zip(truth[truth != 255].tolist(), guess[truth != 255].tolist(), strict=True):
            counts[t, p] += 1
    return counts


def test_evaluate_counts_what_segment_writes(finished: Path, world: World, tmp_path: Path) -> None:
    segment(finished, world.held_out / "images", tmp_path / "out", device="cpu", quiet=True)
    counts = confusion_by_hand(tmp_path / "out", world.held_out)
    written = tmp_path / "new" / "scores.json"
    scores = evaluate(finished, world.held_out, device="cpu", quiet=True, out=written)
    np.testing.assert_array_equal(scores.confusion, counts)
    hits, truth, guess = counts.diagonal(), counts.sum(1), counts.sum(0)
    assert (truth > 0).all()
    iou = hits / (truth + guess - hits)
    assert scores.classes == NAMES
    assert scores.iou == pytest.approx(iou.tolist(), rel=1e-12)
    assert scores.miou_present == scores.miou_all == pytest.approx(iou.mean(), rel=1e-12)
    assert scores.pixel_accuracy == pytest.approx(hits.sum() / counts.sum(), rel=1e-12)
    assert scores.pixels == counts.sum()
    assert json.loads(written.read_text()) == json.loads(json.dumps(scores.as_dict()))
    assert [path.name for path in written.parent.iterdir()] == ["scores.json"]


def test_evaluate_brings_predictions_to_the_labels_size(finished: Path, tmp_path: Path) -> None:
    data = write_domain(tmp_path / "data", 2, (101, 77), dark=True, seed=8)
    segment(finished, data / "images", tmp_path / "out", device="cpu", quiet=True)
    scores = evaluate(finished, data, device="cpu", quiet=True)
    np.testing.assert_array_equal(scores.confusion, confusion_by_hand(tmp_path / "out", data))
    assert scores.pixels == 2 * (101 * 77 - 16)


def test_evaluate_takes_a_space_of_the_same_classes_with_other_ids(
    finished: Path, world: World, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(world.held_out, data)
    for path in (data / "labels").iterdir():
        label = np.array(Image.open(path))
        Image.fromarray(np.where(label == 255, 0, label + 10).astype(np.uint8)).save(path)
    space = tmp_path / "tens.yaml"
    entries = "".join(f"  - {{name: {name}, raw: [{10 + i}]}}\n" for i, name in enumerate(NAMES))
    space.write_text(f"name: tens\nignore_raw: [0]\nclasses:\n{entries}")
    ours = evaluate(finished, data, label_space=space, device="cpu", quiet=True)
    assert ours == evaluate(finished, world.held_out, device="cpu", quiet=True)


def test_evaluate_reads_no_pixel_that_is_ignored(finished: Path, world: World, tmp_path: Path) -> None:
    """A class that is nowhere in the truth: its IoU counts for the mean over all classes only."""
    data = tmp_path / "data"
    shutil.copytree(world.held_out, data)
    for path in (data / "labels").iterdir():
        label = np.array(Image.open(path))
        Image.fromarray(np.where(label == 2, 255, label).astype(np.uint8)).save(path)
    scores = evaluate(finished, data, device="cpu", quiet=True)
    assert sum(scores.confusion[2]) == 0
    known = [value or 0.0 for value in scores.iou]
    assert scores.miou_present == pytest.approx(np.mean(known[:2]))
    assert scores.miou_all == pytest.approx(np.mean(known))


def test_the_command_line_prints_and_writes_the_scores(
    stylebridge: CommandLine, finished: Path, world: World, tmp_path: Path
) -> None:
    arguments = ["--data", world.held_out, "--out", tmp_path / "s.json", "--device", "cpu", "--quiet"]
    outcome = stylebridge("evaluate", finished, *arguments)
    assert outcome.code == 0, outcome.err
    scores = json.loads((tmp_path / "s.json").read_text())
    for name, iou in zip(scores["classes"], scores["iou"], strict=True):
        assert re.search(rf"\b{name}\W+{100 * iou:.1f}\b", outcome.out), outcome.out
    assert f"{100 * scores['miou_present']:.1f}" in outcome.out


# --- how an image is predicted ------------------------------------------------------------------------------


@pytest.fixture
def segmenter() -> Segmenter:
    return mini_segmenter().float().eval()


def image(height: int = 21, width: int = 30, images: int = 2) -> torch.Tensor:
    return torch.rand(images, 3, height, width, generator=torch.Generator().manual_seed(0))


def by_hand(
    segmenter: Segmenter, picture: torch.Tensor, size: tuple[int, int], scales: tuple[float, ...], flip: bool
) -> torch.Tensor:
    """The mean softmax over resized and mirrored copies (specification, section 6)."""
    maps = []
    for scale in scales:
        shape = [int(side * scale) for side in picture.shape[-2:]]  # as the published test program rounds
        copy = torch.nn.functional.interpolate(picture, size=shape, mode="bilinear", align_corners=True)
        for mirrored in (False, True) if flip else (False,):
            with torch.no_grad():
                logits = segmenter(copy.flip(-1) if mirrored else copy)
            logits = logits.flip(-1) if mirrored else logits
            logits = torch.nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=True)
            maps.append(logits.softmax(1))
    return torch.stack(maps).mean(0)


@pytest.mark.parametrize("size", [(21, 30), (40, 33)])
@pytest.mark.parametrize(
    ("scales", "flip"), [((1.0,), False), ((1.0,), True), ((0.7, 1.0, 1.3), False), ((0.7, 1.0, 1.3), True)]
)
def test_scales_and_mirroring_average_the_softmax(
    segmenter: Segmenter, size: tuple[int, int], scales: tuple[float, ...], flip: bool
) -> None:
    labels = predict_labels(segmenter, image(), size, InferenceConfig(scales=scales, flip=flip))
    assert labels.dtype == torch.uint8
    assert labels.shape == (2, *size)
    expected = by_hand(segmenter, image(), size, scales, flip)
    top = expected.topk(2, 1).values
    sure = top[:, 0] - top[:, 1] > 1e-4  # rounding may decide a tie otherwise
    assert sure.double().mean() > 0.95
    assert torch.equal(labels[sure].long(), expected.argmax(1)[sure])


def test_the_options_change_the_outcome(segmenter: Segmenter) -> None:
    """Otherwise the comparison above would prove nothing."""
    plain = predict_labels(segmenter, image(), (21, 30), InferenceConfig())
    for config in (InferenceConfig(flip=True), InferenceConfig(scales=(0.7, 1.0, 1.3))):
        assert not torch.equal(predict_labels(segmenter, image(), (21, 30), config), plain)


@pytest.mark.parametrize("scales", [(1.0,), (0.7, 1.0, 1.3)])
def test_with_mirroring_a_mirrored_image_gives_the_mirrored_labels(
    finished: Path, world: World, scales: tuple[float, ...]
) -> None:
    """Of the run's own network, on a size that it has to pad."""
    model = load_adapted(finished).segmenter
    pixels = np.array(Image.open(world.held_out / "images" / "000.jpg").resize((61, 45)))
    picture = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255

    def agreement(config: InferenceConfig) -> float:
        labels = predict_labels(model, picture, (45, 61), config)
        assert len(labels.unique()) > 1
        mirrored = predict_labels(model, picture.flip(-1), (45, 61), config)
        return (mirrored == labels.flip(-1)).double().mean().item()

    assert agreement(InferenceConfig(scales=scales, flip=True)) > 0.999
    assert agreement(InferenceConfig(scales=scales)) < 0.999


@pytest.mark.parametrize("size", [None, (40, 28)])
def test_files_are_predicted_in_order_equally_alone_and_in_batches(
    segmenter: Segmenter, photos: Path, world: World, size: tuple[int, int] | None
) -> None:
    paths = [*sorted((world.target / "images").iterdir()), *sorted(photos.rglob("*.*g")), photos / "a.jpg"]
    assert len(paths) == 8
    seen: list[int] = []
    config = InferenceConfig(size=size, batch=3)
    together = list(predict_files(segmenter, paths, config, CPU, seen.append))
    assert [path for path, _, _ in together] == paths
    assert sum(seen) == 8
    for path, pixels, labels in together:
        with Image.open(path) as photo:
            assert pixels.shape == (photo.height, photo.width, 3)
        assert labels.shape == pixels.shape[:2]
        assert labels.dtype == np.uint8
        ((_, _, alone),) = predict_files(segmenter, [path], config, CPU)
        assert (alone == labels).mean() > 0.999


def test_predicting_puts_a_training_network_into_use(photos: Path) -> None:
    """Dropout and batch norm: two predictions of one image are the same, and the statistics stay."""
    model = mini_segmenter(dropout=0.5, batch_norm=True).float().train()
    before = model.encoder[1].running_mean.clone()
    paths = [photos / "a.jpg", photos / "a.jpg"]
    (_, _, one), (_, _, two) = predict_files(model, paths, InferenceConfig(batch=1), CPU)
    assert (one == two).all()
    assert torch.equal(model.encoder[1].running_mean, before)
