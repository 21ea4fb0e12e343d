"""Videos of mixes: one frame for each frame, which gives the moving factor."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylebridge.jobs.apply.files.video import Video, VideoWriter
from stylebridge.jobs.apply.mixing.video import mix_video
from stylebridge.jobs.apply.models.mixer import pixels, squared
from stylebridge.networks.mixnmatch import Mixer
from support import folders
from support.folders import CommandLine
from support.mixing import SIDE, as_unit, patches, save_photos, tiny_mixer, tiny_run

stylebridge = folders.stylebridge
FRAMES = 19  # more than a batch


@pytest.fixture(scope="module")
def mixer() -> Mixer:
    return tiny_mixer()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, mixer: Mixer) -> Path:
    return tiny_run(tmp_path_factory.mktemp("mix") / "run", mixer)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return save_photos(tmp_path_factory.mktemp("photos"), patches(3, seed=2))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Patches, wider than high, at a rate that is not an integer."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with VideoWriter(path, Fraction(25, 2)) as film:
        for frame in patches(FRAMES, seed=3):
            film.write(np.array(Image.fromarray(frame).resize((96, 64))))
    return path


def units(paths: list[Path]) -> torch.Tensor:
    return as_unit(np.stack([np.array(Image.open(path)) for path in paths]))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["code", "feature"])
def test_each_frame_gives_the_pose_of_its_mix(
    run: Path, mixer: Mixer, photos: list[Path], clip: Path, tmp_path: Path, mode: str
) -> None:
    behind, shape, texture = photos
    given = {"background": behind, "texture": texture} | ({"shape": shape} if mode == "code" else {})
    mix_video(run, clip, tmp_path / "out.mp4", **given, mode=mode, masks=True, quiet=True)  # type: ignore[arg-type]
    seen = np.stack([squared(frame, SIDE) for frame in Video(clip)])
    assert len(seen) == FRAMES
    rest = {name: units([path] * FRAMES) for name, path in given.items()}
    mix = mixer.mix if mode == "code" else mixer.mix_features
    made = mix(**rest, **{"pose" if mode == "code" else "shape": as_unit(seen)})
    kinds = {
        "out": made.image * 0.5 + 0.5,
        "out-shape-mask": made.parent_mask,
        "out-texture-mask": made.child_mask,
    }
    for name, kind in kinds.items():
        film = Video(tmp_path / f"{name}.mp4")
        assert film.rate == Fraction(25, 2)
        # Coding keeps brightness well, colours in blocks; of all frames each is nearest to its own.
        got, wanted = (
            frames @ np.array([0.299, 0.587, 0.114]) for frames in (np.stack(list(film)), pixels(kind))
        )
        assert got.shape == wanted.shape
        apart = abs(got[:, None] - wanted[None]).mean((2, 3))
        np.testing.assert_array_equal(apart.argmin(1), np.arange(FRAMES))
        assert apart.diagonal().max() < 12


def test_what_users_get_wrong_is_named(
    stylebridge: CommandLine, run: Path, photos: list[Path], clip: Path, tmp_path: Path
) -> None:
    behind, shape, texture = photos
    rest, out = ["--background", behind, "--texture", texture], ["--out", tmp_path / "o.mp4"]
    film = ("mix", "apply", run, "--video", clip)
    stylebridge(*film, *rest, "--shape", shape, "--pose", shape, *out).refused("--video", "leave out --pose")
    stylebridge(*film, *rest, *out).refused("--shape")
    stylebridge(*film, *rest, "--shape", shape, "--mode", "feature", *out).refused("leave out --shape")
    stylebridge(*film, *rest, "--shape", shape).refused("--out")
    stylebridge(*film, *rest, "--shape", shape, "--out", tmp_path / "o.png").refused(".mp4")
    still = ("mix", "apply", run, "--video", shape, *rest, "--shape", shape)
    missing = ("mix", "apply", run, "--video", tmp_path / "no.mp4", *rest, "--shape", shape)
    stylebridge(*missing, *out).refused("no.mp4", "does not exist")
    (tmp_path / "text.mp4").write_text("no video", encoding="utf-8")
    broken = ("mix", "apply", run, "--video", tmp_path / "text.mp4", *rest, "--shape", shape)
    stylebridge(*broken, *out).refused("text.mp4", "video")
    done = stylebridge(*still, *out)  # a picture is a video of one frame
    assert done.code == 0, done.err
    stylebridge(*still, *out).refused("--overwrite")


def test_a_video_that_breaks_off_leaves_nothing_half_done(
    stylebridge: CommandLine, run: Path, photos: list[Path], clip: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clip.read_bytes()[:600])
    done = stylebridge(
        "mix", "apply", run, "--video", cut, "--background", photos[0], "--shape", photos[1], "--texture", photos[2],
        "--out", tmp_path / "out.mp4", "--masks",
    )  # fmt: skip
    done.refused("cut.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["cut.mp4"]
