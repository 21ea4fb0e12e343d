"""MixNMatch through its two commands: import the authors' files, mix four photos."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylebridge.interop.mixnmatch import save_mixnmatch
from stylebridge.networks.mixnmatch import Encoders, FeatureExtractor, Generator, Mixer, MixNMatchConfig
from support import folders
from support.folders import CommandLine

pytestmark = pytest.mark.slow

stylebridge = folders.stylebridge
SIDE = 64
CONFIG = MixNMatchConfig(
    image_size=SIDE, shapes=3, textures=6, pose=5, generator_channels=8, discriminator_channels=4,
    encoder_channels=4, pair_channels=4, extractor_channels=4,
)  # fmt: skip
FACTORS = ("pose", "background", "shape", "texture")


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mixer]:
    """Random networks in the authors' layout, with random statistics."""
    torch.manual_seed(0)
    mixer = Mixer(Generator(CONFIG), Encoders(CONFIG), FeatureExtractor(CONFIG))
    for name, buffer in mixer.named_buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5) if "var" in name else buffer.normal_()
    folder = tmp_path_factory.mktemp("released")
    save_mixnmatch(mixer, folder)
    return folder, mixer


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    paths = {name: folder / f"{name}.png" for name in FACTORS}
    for path in paths.values():
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(path)
    return paths


@pytest.fixture
def run(stylebridge: CommandLine, released: tuple[Path, Mixer], tmp_path: Path) -> Path:
    files = released[0]
    done = stylebridge(
        "import", "mixnmatch", "--generator", files / "G.pth", "--encoder", files / "E.pth",
        "--feature-extractor", files / "EX.pth", "--out", tmp_path / "run",
    )  # fmt: skip
    assert done.code == 0, done.err
    return tmp_path / "run"


def arguments(photos: dict[str, Path], names: tuple[str, ...] = FACTORS) -> list:
    return [part for name in names for part in (f"--{name}", photos[name])]


def tensor(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("mode", ["code", "feature"])
def test_the_commands_give_the_networks_output(
    stylebridge: CommandLine, released: tuple[Path, Mixer], photos: dict[str, Path], run: Path, mode: str
) -> None:
    mixer, out = released[1], run.parent / "out.png"
    names = FACTORS if mode == "code" else FACTORS[1:]
    done = stylebridge("mix", "apply", run, *arguments(photos, names), "--mode", mode, "--out", out)
    assert done.code == 0, done.err
    images = {name: tensor(path) for name, path in photos.items()}
    if mode == "code":
        made = mixer.mix(**images)
    else:
        made = mixer.mix_features(images["shape"], images["background"], images["texture"])
    wanted = made.image[0].permute(1, 2, 0) * 0.5 + 0.5
    assert float(wanted.std()) > 0.02
    np.testing.assert_allclose(
        np.array(Image.open(out)).astype(float) / 255, wanted.clamp(0, 1).numpy(), atol=0.5 / 255 + 1e-4
    )


def test_feature_mode_takes_the_pose_from_the_shape_photo_and_reports_it(
    stylebridge: CommandLine, photos: dict[str, Path], run: Path
) -> None:
    """The published program also needs the pose photo, which is then the shape photo."""
    pictures, notes = [], []
    for name, files in (
        ("a.png", arguments(photos, FACTORS[1:])),
        ("b.png", arguments({**photos, "pose": photos["shape"]})),
        ("c.png", arguments(photos)),
    ):
        out = run.parent / name
        done = stylebridge("mix", "apply", run, *files, "--mode", "feature", "--out", out)
        assert done.code == 0, done.err
        pictures.append(out.read_bytes())
        notes.append("--pose is not used" in " ".join(done.err.split()))
    assert pictures[0] == pictures[1] == pictures[2]
    assert notes == [False, False, True]


def test_masks_are_written_beside(
    stylebridge: CommandLine, released: tuple[Path, Mixer], photos: dict[str, Path], run: Path
) -> None:
    out = run.parent / "bird.png"
    done = stylebridge("mix", "apply", run, *arguments(photos), "--out", out, "--masks")
    assert done.code == 0, done.err
    made = released[1].mix(**{name: tensor(path) for name, path in photos.items()})
    for name, mask in (("shape", made.parent_mask), ("texture", made.child_mask)):
        found = np.array(Image.open(run.parent / f"bird-{name}-mask.png")).astype(float) / 255
        wanted = mask[0].permute(1, 2, 0).expand(-1, -1, 3).numpy()
        np.testing.assert_allclose(found, wanted, atol=0.5 / 255 + 1e-4)
    stylebridge("mix", "apply", run, *arguments(photos), "--out", run.parent / "bird.png").refused("exists")


def test_sketches_and_cartoons_are_taken_whatever_their_kind_and_size(
    stylebridge: CommandLine, released: tuple[Path, Mixer], run: Path, tmp_path: Path
) -> None:
    """A grey sketch, a cartoon of few colours, a picture with transparency, and one of a single pixel."""
    rng = np.random.default_rng(1)
    drawn = {
        "pose": Image.fromarray(rng.integers(0, 2, (90, 40), np.uint8) * 255),
        "background": Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).quantize(8),
        "shape": Image.fromarray(rng.integers(0, 256, (31, 77, 4), np.uint8)),
        "texture": Image.fromarray(np.full((1, 1, 3), 200, np.uint8)),
    }
    paths = {name: tmp_path / f"{name}.png" for name in drawn}
    for name, picture in drawn.items():
        picture.save(paths[name])
    out = tmp_path / "out.png"
    done = stylebridge("mix", "apply", run, *arguments(paths), "--out", out)
    assert done.code == 0, done.err
    images = {
        name: torch.from_numpy(
            np.array(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))
        )
        for name, picture in drawn.items()
    }
    made = released[1].mix(**{name: image.permute(2, 0, 1)[None] / 255 for name, image in images.items()})
    wanted = made.image[0].permute(1, 2, 0) * 0.5 + 0.5
    np.testing.assert_allclose(
        np.array(Image.open(out)) / 255, wanted.clamp(0, 1).numpy(), atol=0.5 / 255 + 1e-4
    )


def test_what_users_get_wrong_is_named(
    stylebridge: CommandLine, released: tuple[Path, Mixer], photos: dict[str, Path], run: Path, tmp_path: Path
) -> None:
    files, out = released[0], tmp_path / "x.png"
    stylebridge("mix", "apply", run, *arguments(photos, FACTORS[1:]), "--out", out).refused("--pose")
    nowhere, folder = tmp_path / "none.jpg", photos["pose"].parent
    for factor in FACTORS:
        refused = stylebridge("mix", "apply", run, *arguments({**photos, factor: nowhere}), "--out", out)
        refused.refused(f"--{factor}", "none.jpg", "does not exist: give a photo")
    refused = stylebridge("mix", "apply", run, *arguments({**photos, "texture": folder}), "--out", out)
    refused.refused("--texture", "is a folder", "--vary texture=")
    stylebridge("mix", "apply", run, *arguments(photos), "--mode", "both", "--out", out).refused(
        "code or feature"
    )
    stylebridge("mix", "apply", run, *arguments(photos), "--out", tmp_path / "x.jpg").refused("x.jpg")
    stylebridge("import", "mixnmatch", "--out", tmp_path / "y").refused("--generator")
    stylebridge("import", "fada", "--out", tmp_path / "y").refused("FILE")
    swapped = ["--generator", files / "E.pth", "--encoder", files / "G.pth"]
    stylebridge("import", "mixnmatch", *swapped, "--out", tmp_path / "y").refused("E.pth", "encoder")
    stylebridge("segment", run, photos["pose"], "--out", tmp_path / "m").refused("mix")
    stylebridge("mix", "apply", run, *arguments(photos)).refused("--out")
    stylebridge(
        "mix", "apply", run, *arguments(photos), "--out", tmp_path / "no.png", "--video", "x"
    ).refused(".mp4")
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "run.yaml").write_text("kind: mix\n", encoding="utf-8")
    stylebridge("mix", "apply", begun, *arguments(photos), "--out", out).refused("--resume")
    (run / "networks" / "generator.safetensors").write_bytes(b"x")
    stylebridge("mix", "apply", run, *arguments(photos), "--out", out).refused("damaged")
