"""Patterns, zip files, videos and sliding windows."""

import zipfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from stylebridge.errors import DataError
from stylebridge.jobs.apply.files.inputs import collect_inputs
from stylebridge.jobs.apply.files.video import Video, VideoWriter
from stylebridge.jobs.apply.models.inference import predict_labels, slide
from stylebridge.jobs.apply.segment import segment
from stylebridge.jobs.recipe.adapt import InferenceConfig
from support import folders
from support.folders import CommandLine, World
from support.mini import mini_segmenter

own_cache, world, finished, stylebridge = (
    folders.own_cache,
    folders.world,
    folders.finished,
    folders.stylebridge,
)


def write_video(path: Path, frames: int = 7, size: tuple[int, int] = (64, 48)) -> Path:
    """Grey frames, each brighter than the one before."""
    with VideoWriter(path, Fraction(10)) as film:
        for number in range(frames):
            film.write(np.full((size[1], size[0], 3), (20 + 30 * number) % 256, np.uint8))
    return path


# --- inputs -------------------------------------------------------------------------------------------------


def test_patterns_folders_and_zip_files(world: World, finished: Path, tmp_path: Path) -> None:
    images = world.target / "images"
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in images.iterdir():
            archive.write(path, f"inside/{path.name}")
    plain = tmp_path / "plain"
    assert segment(finished, images, plain, device="cpu", quiet=True) == 4
    assert segment(finished, str(images / "00[12].*"), tmp_path / "glob", device="cpu", quiet=True) == 2
    assert (
        segment(finished, str(world.target / "**" / "*.jpg"), tmp_path / "deep", device="cpu", quiet=True)
        == 4
    )
    assert segment(finished, tmp_path / "photos.zip", tmp_path / "zip", device="cpu", quiet=True) == 4
    for name in ("001", "002"):
        wanted = np.array(Image.open(plain / f"{name}.png"))
        for other in (tmp_path / "glob" / f"{name}.png", tmp_path / "zip" / "inside" / f"{name}.png"):
            np.testing.assert_array_equal(np.array(Image.open(other)), wanted)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("none.jpg", r"none\.jpg does not exist: give images, videos"),
        ("*.xyz", r"No image or video matches .*\*\.xyz"),
        ("empty", r"empty has no images: give a folder"),
    ],
)
def test_what_is_not_there_is_named(tmp_path: Path, given: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        collect_inputs([tmp_path / given])


def test_only_what_is_asked_for_is_written(world: World, finished: Path, tmp_path: Path) -> None:
    segment(finished, world.target, tmp_path / "o", write="overlay", device="cpu", quiet=True)
    assert {p.suffix for p in (tmp_path / "o").rglob("[!.]*") if p.is_file()} == {".jpg"}
    segment(finished, world.target, tmp_path / "b", write="both", device="cpu", quiet=True)
    assert len([p for p in (tmp_path / "b").rglob("[!.]*") if p.is_file()]) == 8


# --- videos -------------------------------------------------------------------------------------------------


def test_a_video_is_read_frame_by_frame(tmp_path: Path) -> None:
    video = Video(write_video(tmp_path / "a.mp4"))
    frames = list(video)
    assert (video.frames, len(frames), video.rate) == (7, 7, 10)
    assert all(frame.shape == (48, 64, 3) and frame.dtype == np.uint8 for frame in frames)
    np.testing.assert_allclose([frame.mean() for frame in frames], [20 + 30 * i for i in range(7)], atol=6)


def test_a_video_is_labelled_and_laid_over(stylebridge: CommandLine, finished: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "drive.mp4")
    done = stylebridge(
        "segment",
        finished,
        tmp_path / "drive.mp4",
        "--out",
        tmp_path / "out",
        "--write",
        "both",
        "--device",
        "cpu",
    )
    assert done.code == 0, done.err
    assert "7 label map(s)" in done.out
    maps = sorted((tmp_path / "out" / "drive").iterdir())
    assert [path.name for path in maps] == [f"{i:06}.png" for i in range(7)]
    frames = list(Video(tmp_path / "drive.mp4"))
    Image.fromarray(frames[3]).save(tmp_path / "frame.png")
    segment(finished, tmp_path / "frame.png", tmp_path / "alone", device="cpu", quiet=True)
    wanted = np.array(Image.open(tmp_path / "alone" / "frame.png"))
    np.testing.assert_array_equal(np.array(Image.open(maps[3])), wanted)
    laid = Video(tmp_path / "out" / "overlays" / "drive.mp4")
    assert len(list(laid)) == 7
    assert stylebridge("segment", finished, tmp_path / "drive.mp4", "--out", tmp_path / "out").code == 2


def test_odd_sides_lose_a_row_in_the_overlay_alone(tmp_path: Path) -> None:
    frames = list(Video(write_video(tmp_path / "odd.mp4", 3, (65, 49))))
    assert frames[0].shape == (48, 64, 3)


@pytest.mark.parametrize("how", ["empty", "text", "cut", "sound"])
def test_a_broken_video_is_named(stylebridge: CommandLine, finished: Path, tmp_path: Path, how: str) -> None:
    path = write_video(tmp_path / "bad.mp4", 30)
    data = path.read_bytes()
    if how == "sound":
        with av.open(str(path), "w", format="mp4") as container:
            stream = container.add_stream("aac", rate=16000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 16000
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
    else:
        path.write_bytes({"empty": b"", "text": b"no video", "cut": data[: len(data) // 2]}[how])
    stylebridge("segment", finished, path, "--out", tmp_path / "out", "--device", "cpu", "--quiet").refused(
        "bad.mp4"
    )


def test_a_film_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AttributeError):
        _write_badly(tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


def _write_badly(path: Path) -> None:
    with VideoWriter(path, Fraction(10)) as film:
        film.write(np.zeros((8, 8, 3), np.uint8))
        film.write(None)  # type: ignore[arg-type]


# --- sliding windows ----------------------------------------------------------------------------------------


def slow_slide(
    network, image: Tensor, window: tuple[int, int], starts: tuple[list[int], list[int]]
) -> Tensor:
    """Pixel by pixel: the mean over all windows that hold it."""
    sums, counts = {}, {}
    for y in starts[0]:
        for x in starts[1]:
            logits = network(image[:, :, y : y + window[1], x : x + window[0]])
            for i in range(logits.shape[2]):
                for j in range(logits.shape[3]):
                    sums[y + i, x + j] = sums.get((y + i, x + j), 0) + logits[..., i, j]
                    counts[y + i, x + j] = counts.get((y + i, x + j), 0) + 1
    out = torch.zeros(*network(image).shape, dtype=torch.float64)
    for (i, j), value in sums.items():
        out[..., i, j] = value / counts[i, j]
    return out


@torch.no_grad()
def test_a_window_slides_as_written_out() -> None:
    network = mini_segmenter().eval()
    image = torch.rand(2, 3, 14, 21, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours = slide(network, image, (10, 8), 0.25, batch=3)
    # 14 rows by windows of 8: 2 of them; 21 columns by windows of 10 that overlap by at least 2.5: 3.
    wanted = slow_slide(network, image, (10, 8), ([0, 6], [0, 6, 11]))
    torch.testing.assert_close(ours.double(), wanted, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_a_window_as_large_as_the_image_is_the_plain_pass() -> None:
    network = mini_segmenter().eval()
    image = torch.rand(1, 3, 12, 16, dtype=torch.float64)
    torch.testing.assert_close(
        slide(network, image, (16, 12), 0.5, 4).double(), network(image), atol=1e-6, rtol=1e-6
    )
    wide = InferenceConfig(window=(100, 100))
    plain = predict_labels(network, image, (12, 16), InferenceConfig())
    assert torch.equal(predict_labels(network, image, (12, 16), wide), plain)


@torch.no_grad()
def test_windows_cover_every_pixel_with_few_of_them() -> None:
    for side, window, overlap in ((100, 30, 0.0), (101, 30, 0.25), (31, 30, 0.9), (1000, 7, 0.5)):
        seen = torch.zeros(1, 1, 1, side)
        ones = slide(lambda x: torch.ones_like(x[:, :1]), torch.rand(1, 3, 1, side), (window, 1), overlap, 8)
        assert torch.equal(ones, torch.ones_like(seen))


def test_a_window_and_a_mirror_on_the_command_line(
    stylebridge: CommandLine, finished: Path, world: World, tmp_path: Path
) -> None:
    photo = next((world.target / "images").iterdir())
    base = ("segment", finished, photo, "--device", "cpu", "--quiet", "--out")
    for name, more in (("plain", ()), ("window", ("--window", 40, 32)), ("flip", ("--flip",))):
        assert stylebridge(*base, tmp_path / name, *more).code == 0
    maps = {n: np.array(Image.open(tmp_path / n / f"{photo.stem}.png")) for n in ("plain", "window", "flip")}
    assert {m.shape for m in maps.values()} == {(48, 64)}
    for name in ("window", "flip"):  # the same picture, seen a little otherwise
        assert (maps[name] == maps["plain"]).mean() > 0.7
    stylebridge(*base, tmp_path / "x", "--window", 0, 5).refused("--window", "0 5")
