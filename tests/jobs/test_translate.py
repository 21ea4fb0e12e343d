"""Translators from end to end: trained, resumed, imported, used."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from rich.console import Console

from stylebridge.interop.nice_gan import save_nice_gan
from stylebridge.jobs.apply.models.translator import load_networks
from stylebridge.jobs.apply.translate import translate
from stylebridge.jobs.train import train_translator
from stylebridge.networks.nice_gan import NiceGanConfig, NiceGanNetworks
from support import folders
from support.folders import CommandLine

own_cache, stylebridge = folders.own_cache, folders.stylebridge
SMALL = ["nice-gan-small", "cyclegan-small"]


@pytest.fixture
def looks(tmp_path: Path) -> tuple[Path, Path]:
    """Two looks: red noise and blue noise; grey, alpha and odd sizes among them."""
    rng = np.random.default_rng(0)
    for name, channel in (("a", 0), ("b", 2)):
        (tmp_path / name).mkdir()
        for i in range(4):
            image = rng.integers(0, 90, (70, 81, 3), np.uint8)
            image[..., channel] += 150
            Image.fromarray(image).save(tmp_path / name / f"{i}.png")
        Image.fromarray(rng.integers(0, 255, (66, 64), np.uint8)).save(tmp_path / name / "grey.png")
        Image.fromarray(rng.integers(0, 255, (64, 64, 4), np.uint8)).save(tmp_path / name / "alpha.png")
    return tmp_path / "a", tmp_path / "b"


def few(steps: int, every: int = 1) -> list[str]:
    return [
        f"trainer.steps={steps}",
        f"trainer.checkpoint_every={every}",
        "trainer.sample_every=2",
        "trainer.log_every=1",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", SMALL)
def test_a_translator_is_trained_and_used(
    stylebridge: CommandLine, looks: tuple[Path, Path], tmp_path: Path, recipe: str
) -> None:
    sets = [part for change in few(2) for part in ("--set", change)]
    run = tmp_path / "run"
    trained = stylebridge(
        "translate", "train", "--a", looks[0], "--b", looks[1], "--recipe", recipe, "--out", run, "--device", "cpu",
        "--quiet", *sets,
    )  # fmt: skip
    assert trained.code == 0, trained.err
    assert (run / "samples" / "000002.png").stat().st_size > 1000
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "After 2 steps" in page
    assert "translate apply" in page
    assert yaml.safe_load((run / "run.yaml").read_text(encoding="utf-8"))["kind"] == "translate"
    for to, look in (("b", looks[0]), ("a", looks[1])):
        done = stylebridge(
            "translate", "apply", run, look, "--to", to, "--out", tmp_path / f"to-{to}", "--quiet"
        )
        assert done.code == 0, done.err
        assert "6 image(s)" in done.out
        for source in look.iterdir():  # sides that do not fit the stride come back as they were
            assert Image.open(tmp_path / f"to-{to}" / source.name).size == Image.open(source).size
    stylebridge("segment", run, looks[0], "--out", tmp_path / "m").refused("translate", str(run))


def test_an_imported_checkpoint_gives_its_networks_output(
    stylebridge: CommandLine, looks: tuple[Path, Path], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    networks = NiceGanNetworks(NiceGanConfig(image_size=96, channels=8, blocks=2)).eval()
    save_nice_gan(networks, tmp_path / "model.pt")
    done = stylebridge(
        "import", "nice-gan", tmp_path / "model.pt", "--out", tmp_path / "run", "--image-size", 96
    )
    assert done.code == 0, done.err
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (96, 128, 3), np.uint8)).save(photo)
    for to in ("a", "b"):
        translate(tmp_path / "run", photo, tmp_path / f"to-{to}", to=to, device="cpu", quiet=True)
        image = torch.from_numpy(np.array(Image.open(photo))).permute(2, 0, 1)[None].float() / 255
        other = {"a": "b", "b": "a"}[to]
        with torch.no_grad():
            code = networks.discriminators[other].encode(image * 2 - 1).code  # type: ignore[operator]
            wanted = networks.generators[to](code) * 0.5 + 0.5
        ours = np.array(Image.open(tmp_path / f"to-{to}" / "photo.png")).astype(float) / 255
        np.testing.assert_allclose(
            ours, wanted[0].permute(1, 2, 0).clamp(0, 1).numpy(), atol=0.5 / 255 + 1e-4
        )
    stylebridge("translate", "train", "--resume", "--out", tmp_path / "run").refused("imported")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("preset=big", ["preset 'big'", "nice-gan-small"]),
        ("method=gan", ["method: 'gan'", "cyclegan", "nice-gan"]),
        ("options.weight=3", ["options", "weight"]),
        ("load=10", ["load is 10", "64"]),
        ("trainer.stepz=3", ["trainer.stepz", "not a known key"]),
        ("trainer.steps", ["KEY=VALUE"]),
    ],
)
def test_a_wrong_recipe_is_named(
    stylebridge: CommandLine, looks: tuple[Path, Path], tmp_path: Path, change: str, named: list[str]
) -> None:
    stylebridge(
        "translate",
        "train",
        "--a",
        looks[0],
        "--b",
        looks[1],
        "--out",
        tmp_path / "run",
        "--set",
        change,
        "--quiet",
    ).refused(*named)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_wrong_data_and_runs_are_named(
    stylebridge: CommandLine, looks: tuple[Path, Path], tmp_path: Path
) -> None:
    stylebridge("translate", "train", "--a", looks[0], "--out", tmp_path / "r").refused("--b")
    stylebridge(
        "translate", "train", "--a", looks[0], "--b", tmp_path / "x", "--out", tmp_path / "r"
    ).refused("x")
    stylebridge("translate", "apply", tmp_path / "none", looks[0], "--out", tmp_path / "o").refused("none")
    (tmp_path / "one").mkdir()
    shutil.copy(looks[0] / "0.png", tmp_path / "one")
    told = Console(file=io.StringIO(), width=200)
    run = train_translator(
        tmp_path / "one", looks[1], tmp_path / "run", overrides=few(1), device="cpu", quiet=True, console=told
    )
    assert "one) has one image" in told.file.getvalue()  # type: ignore[attr-defined]
    stylebridge("translate", "apply", run, looks[0], "--to", "c", "--out", tmp_path / "o").refused("'c'")
    shutil.rmtree(run / "networks")
    stylebridge("translate", "apply", run, looks[0], "--out", tmp_path / "o").refused(
        "no finished translator"
    )
    with pytest.raises(Exception, match="no finished translator"):
        load_networks(run)
