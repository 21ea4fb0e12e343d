"""One object for any run: what it can do, what it refuses, and the names of its domains."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import stylebridge
from stylebridge.data.label_space import LabelSpace
from stylebridge.errors import DataError, RunError, UserError
from stylebridge.jobs.apply.models.domains import Domains
from stylebridge.jobs.apply.models.model import CAPABILITIES, Model, capabilities_of, open_model
from stylebridge.jobs.apply.models.styles import Styled, StyleRequest, sampled
from stylebridge.jobs.apply.models.synthesizer import SPADESynthesizer
from stylebridge.jobs.apply.models.translator import save_networks
from stylebridge.jobs.apply.synthesize import synthesize
from stylebridge.networks.cyclegan import CycleGANConfig, CycleGANNetworks
from stylebridge.networks.spade import SPADEConfig, SPADENetworks
from support.mixing import patches, tiny_mixer, tiny_run

OLD = Path(__file__).parents[1] / "old_runs"
TASKS = {"adapt": "segment", "translate": "translate", "synthesize": "synthesize", "mix": "mix"}

PARTS = {"adapt": "segmenter", "translate": "translator", "synthesize": "synthesizer", "mix": "mixer"}


def run_of(folder: Path, task: str, **facts: Any) -> Path:
    """A run folder without weights."""
    folder.mkdir(parents=True)
    (folder / "run.yaml").write_text(yaml.safe_dump({"kind": task, **facts}), encoding="utf-8")
    (folder / "recipe.yaml").write_text("name: tiny\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("task", TASKS)
def test_a_run_says_what_it_can_do_and_refuses_the_rest(tmp_path: Path, task: str) -> None:
    model = open_model(run_of(tmp_path / "run", task))
    assert model.capabilities == capabilities_of(tmp_path / "run") == (TASKS[task],)
    for capability in CAPABILITIES:
        assert model.can(capability) == (capability == TASKS[task])
        if not model.can(capability):
            said = rf"run \({task}, recipe tiny\) can {TASKS[task]}, not {capability}: give a run of `stylebridge"
            with pytest.raises(RunError, match=said):
                open_model(tmp_path / "run", "cpu", capability)
    with pytest.raises(UserError):  # no weights are there: they are read at the first use
        getattr(model, PARTS[task])


@pytest.mark.parametrize("task", ["translate", "synthesize"])
def test_old_runs_are_opened(task: str) -> None:
    assert capabilities_of(OLD / task) == (task,)


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match="does not exist: give the --out folder of an earlier training or import"
    ):
        stylebridge.load(tmp_path / "none")
    with pytest.raises(RunError, match="unknown task 'dream'"):
        open_model(run_of(tmp_path / "dream", "dream"))
    assert capabilities_of(tmp_path) == ()
    with pytest.raises(RunError, match="earlier `stylebridge synthesize train`"):
        open_model(tmp_path, capability="synthesize")


def test_a_mixer_mixes_arrays_pictures_and_files(tmp_path: Path) -> None:
    mixer = tiny_mixer()
    model = stylebridge.load(tiny_run(tmp_path / "run", mixer), "cpu")
    photos = patches(4)
    Image.fromarray(photos[1]).save(tmp_path / "1.png")
    made = model.mix(photos[0], tmp_path / "1.png", Image.fromarray(photos[2]), photos[3])
    assert (made.shape, made.dtype) == ((64, 64, 3), np.uint8)
    assert np.array_equal(made, model.mix(*photos[:3], photos[3]))
    with pytest.raises(RunError, match="needs a photo that gives the pose"):
        model.mix(*photos[:3])
    assert model.mix(*photos[:3], mode="feature").shape == made.shape


def test_a_translator_knows_the_names_of_its_domains(tmp_path: Path) -> None:
    torch.manual_seed(0)
    run = run_of(tmp_path / "run", "translate", a=str(tmp_path / "day"), b=str(tmp_path / "dusk" / "images"))
    (run / "recipe.yaml").write_text(
        (OLD / "translate" / "recipe.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    save_networks(CycleGANNetworks(CycleGANConfig(image_size=32, channels=4, blocks=1, layers=1)), run)
    model = stylebridge.load(run, "cpu")
    image = np.random.default_rng(0).integers(0, 256, (32, 40, 3), np.uint8)
    to_b = model.translate(image)
    assert to_b.shape == image.shape
    for name in ("b", "target", "dusk", "dusk/images"):
        assert np.array_equal(model.translate(image, name), to_b)
    assert not np.array_equal(model.translate(image, "day"), to_b)
    with pytest.raises(DataError, match=r"'dsk'.*choose day \(a\) or dusk/images \(b\)"):
        model.translate(image, "dsk")
    with pytest.raises(RunError, match=r"--style does not go with .*no styles \(grade none\)"):
        model.translate(image, style=image)
    with pytest.raises(DataError, match="give uint8"):
        model.translate(image[..., 0])


@pytest.mark.parametrize(
    ("facts", "wanted", "number"),
    [
        ({"source": "x/a/train", "target": "x/b/train"}, "a", 0),
        ({"source": "x/sim", "target": "x/cam"}, "cam", 1),
        ({"a": "x/b", "b": "x/c"}, "b", 1),  # an alias is never another domain's name
        ({"a": None, "b": None}, "source", 0),
        ({"a": "x/day", "b": "x/day"}, "b", 1),
        ({"a": "x/day", "b": "x/dusk"}, None, 1),
    ],
)
def test_names_and_aliases(facts: dict[str, str | None], wanted: str | None, number: int) -> None:
    assert Domains.of(facts).find(wanted) == number


def test_options_need_a_grade() -> None:
    model = Styled()
    for grade, options in (
        ("none", ("style", "style_labels", "region_styles", "mixes", "samples")),
        ("image", ("style_labels", "region_styles", "mixes", "samples")),
        ("region", ("samples",)),
    ):
        model.styles = grade  # type: ignore[assignment]
        for option in options:
            values = {"region_styles": ["a=b"], "mixes": ["a=b:c:1"], "samples": 2}
            with pytest.raises(
                RunError, match=rf"^--\S+ does not go with .*\(grade {grade}\).*: leave it out"
            ):
                StyleRequest(**{option: values.get(option, "x.png")}).check(model)
    StyleRequest("x.png", "y.png", ["a=b"], ["c=d:e:1"]).check(model)


def test_random_styles_are_drawn_and_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    config = SPADEConfig(classes=3, image_size=(256, 256), channels=2, hidden=4, vae=True)
    drawing = SPADESynthesizer(SPADENetworks(config), LabelSpace.generic(3), (256, 256), torch.device("cpu"))
    model = Model(tmp_path, "synthesize", {"synthesize": lambda _: drawing})
    monkeypatch.setattr("stylebridge.jobs.apply.synthesize.open_model", lambda *_: model)
    labels = np.zeros((256, 256), np.uint8)
    Image.fromarray(labels).save(tmp_path / "map.png")
    count = synthesize(tmp_path, tmp_path / "map.png", tmp_path / "out.png", samples=2, seed=5, quiet=True)
    made = [np.array(Image.open(path)) for path in sampled(tmp_path / "out.png", 2)]
    assert count == 2
    assert not (tmp_path / "out.png").exists()
    assert not np.array_equal(*made)
    for number, picture in enumerate(made):
        assert np.array_equal(picture, model.synthesize(labels, seed=5 + number))
    with pytest.raises(DataError, match="holds 3"):
        model.synthesize(labels + 3)
