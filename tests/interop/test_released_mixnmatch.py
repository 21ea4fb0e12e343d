"""Released-form MixNMatch through the command line, against the published networks written out; and older runs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

from stylebridge.engine import checkpoint as ckpt
from stylebridge.engine.trainer import Trainer
from stylebridge.errors import RunError
from stylebridge.jobs.apply.models.mixer import load_mixer
from stylebridge.jobs.train import train_mixer
from support import published_mixnmatch as published
from support import released
from support.mixers import TINY, codes_of, tiny_mix, write_boxed

pytestmark = pytest.mark.slow

SIZES = {"shapes": 3, "textures": 7, "pose": 5}
PHOTOS = ("pose", "background", "shape", "texture")
JOINT = "parent_stage.jointConv.0.weight"


def levels(picture: Tensor) -> np.ndarray:
    return ((picture[0] + 1) * 127.5).permute(1, 2, 0).numpy()


def test_both_modes_paint_what_the_published_networks_paint(tmp_path: Path) -> None:
    g, e, x = (
        published.generator_state(8, **SIZES),
        published.encoder_state(4, **SIZES),
        published.extractor_state(4),
    )
    files = [published.save(s, tmp_path / n) for s, n in ((g, "G.pth"), (e, "E.pth"), (x, "EX.pth"))]
    photos = {name: released.write_photo(tmp_path / f"{name}.png", seed=i) for i, name in enumerate(PHOTOS)}
    made = tmp_path / "run"
    options = zip(("--generator", "--encoder", "--feature-extractor"), files, strict=True)
    released.run("import", "mixnmatch", *(part for pair in options for part in pair), "--out", made)
    given = [part for name in PHOTOS for part in (f"--{name}", photos[name])]
    released.run("mix", "apply", made, *given, "--out", tmp_path / "code.png", "--device", "cpu")
    feature = ["--mode", "feature", "--out", tmp_path / "feature.png", "--device", "cpu"]
    released.run("mix", "apply", made, *given[2:], *feature)

    g, e, x = (published.doubled(s) for s in (g, e, x))
    seen = {name: published.photo(path) for name, path in photos.items()}
    behind = published.encode(e, "z", seen["background"]), published.encode(e, "b", seen["background"])
    texture = published.encode(e, "c", seen["texture"])
    shape = published.encode(e, "p", seen["shape"])
    features = published.parent_features(g, published.encode(e, "z", seen["pose"]), shape)
    for name, p in (("code", features), ("feature", published.extract(x, seen["shape"]))):
        released.assert_within_one_level(
            tmp_path / f"{name}.png", levels(published.generate(g, *behind, p, texture))
        )


# --- runs of the order before, made here from a run of today ------------------------------------------------------


def code_before_features(weight: Tensor) -> Tensor:
    """The order that older versions kept: the shape code's channels, then the 16 features'."""
    return torch.cat((weight[:, 16:], weight[:, :16]), 1).contiguous()


def made_older(run: Path) -> Path:
    """Weights, averages and moments in the old order, and no number anywhere."""
    for path in run.rglob("*.safetensors"):
        tensors = load_file(path)
        parameter = 0
        if path.name == "optimizer.generator.safetensors":
            names = [name for name, _ in load_mixer_like().named_parameters()]
            parameter = names.index(JOINT)
        wanted = {JOINT, f"{parameter}.exp_avg", f"{parameter}.exp_avg_sq"} if parameter else {JOINT}
        for key in wanted & tensors.keys():
            tensors[key] = code_before_features(tensors[key])
        save_file(tensors, path)
    for path in (*run.rglob("config.json"), *run.rglob("state.json")):
        kept = json.loads(path.read_text())
        assert kept.pop("layout") == 2
        path.write_text(json.dumps(kept))
    for path in run.rglob("files.json"):  # hashes, which older versions did not keep
        path.unlink()
    return run


def load_mixer_like() -> torch.nn.Module:
    from stylebridge.networks.mixnmatch import Generator

    with torch.device("meta"):
        return Generator(TINY)


class Stopped(Exception):
    """The exception with which a test stops training."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run, and two that were stopped in the middle of a stage, by name."""
    root = tmp_path_factory.mktemp("runs")
    data = write_boxed(root / "data")
    settings = {"overrides": tiny_mix(steps=3), "device": "cpu", "quiet": True}
    train_mixer(data, root / "whole", **settings)
    save = Trainer.save
    for stage in ("1-code", "2-feature"):

        def saving(trainer: Trainer, *args, stage: str = stage) -> None:
            save(trainer, *args)
            if (trainer.stage, trainer.step) == (stage, 2):
                raise Stopped

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Trainer, "save", saving)
            with pytest.raises(Stopped):
                train_mixer(data, root / stage, **settings)
    return {name: root / name for name in ("whole", "1-code", "2-feature")}


def weights(run: Path) -> dict[str, Tensor]:
    return {
        f"{n}.{k}": v for n, part in load_mixer(run).named_children() for k, v in part.state_dict().items()
    }


def test_a_finished_run_of_the_older_order_paints_as_before(whole: dict[str, Path], tmp_path: Path) -> None:
    older = made_older(shutil.copytree(whole["whole"], tmp_path / "older"))
    ours, theirs = weights(whole["whole"]), weights(older)
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    codes = codes_of(TINY)
    pictures = [load_mixer(run).double().generator(codes).image for run in (whole["whole"], older)]
    assert torch.equal(*pictures)
    kept = load_file(older / "networks" / "generator.safetensors")[JOINT]
    assert not torch.equal(kept, theirs[f"generator.{JOINT}"])  # the file was in the old order


@pytest.mark.parametrize("stage", ["1-code", "2-feature"])
def test_an_older_run_resumes_to_the_same_weights(whole: dict[str, Path], tmp_path: Path, stage: str) -> None:
    """Weights, the generator's average and Adam's moments: a wrong order in any of them changes the end."""
    older = made_older(shutil.copytree(whole[stage], tmp_path / "older"))
    assert ckpt.find_checkpoints(older / "trainer_state")[-1].stage == stage
    train_mixer(None, older, resume=True, device="cpu", quiet=True)
    ours, theirs = weights(whole["whole"]), weights(older)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


def test_an_import_of_an_older_version_needs_no_conversion(whole: dict[str, Path], tmp_path: Path) -> None:
    """Its file has always been in the published order."""
    run = shutil.copytree(whole["whole"], tmp_path / "imported")
    config = run / "networks" / "config.json"
    kept = json.loads(config.read_text())
    del kept["layout"]
    config.write_text(json.dumps(kept))
    facts = yaml.safe_load((run / "run.yaml").read_text())
    (run / "run.yaml").write_text(yaml.safe_dump(facts | {"imported": {"generator": {"file": "G.pth"}}}))
    ours, theirs = weights(whole["whole"]), weights(run)
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


def test_a_newer_layout_is_refused(whole: dict[str, Path], tmp_path: Path) -> None:
    run = shutil.copytree(whole["whole"], tmp_path / "newer")
    config = run / "networks" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"layout": 99}))
    with pytest.raises(RunError, match="newer stylebridge"):
        load_mixer(run)
