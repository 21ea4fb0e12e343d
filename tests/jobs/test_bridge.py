"""A Bridge run: stages pass their networks on, and the results can be used."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylebridge.data.domain import open_domain
from stylebridge.data.label_space import LabelSpace
from stylebridge.engine import checkpoint as ckpt
from stylebridge.errors import DataError, RunError, WeightsError
from stylebridge.interop.onnx import OnnxSegmenter
from stylebridge.jobs.apply.models.bridge import BridgeRun
from stylebridge.jobs.apply.models.model import open_model
from stylebridge.jobs.apply.translate import translate
from stylebridge.jobs.tasks.adaptation import report as adapt_report
from stylebridge.jobs.tasks.adaptation.label_free import SCORES
from stylebridge.networks.segmenters.build import load_segmenter
from support import folders
from support.folders import CommandLine, World, assert_same, tiny_adapt, weights

pytestmark = pytest.mark.slow

own_cache, world, stylebridge, finished = (
    folders.own_cache,
    folders.world,
    folders.stylebridge,
    folders.finished,
)
#: With learnt painters: everything that a Bridge run can hold.
RECIPE = str(Path(__file__).parents[2] / "benchmarks" / "bridge" / "bridge-painters.yaml")
TINY = [
    *(
        f"stages.{i}.options.networks={{channels: 4, blocks: 1, style_channels: 4, hidden: 4}}"
        for i in (1, 2, 3)
    ),
    *(f"stages.{i}.label_free={{images: 3, choose: agreement, keep: true}}" for i in (1, 3)),
    *(f"stages.{i}.trainer.sample_every=1" for i in (1, 2, 3)),
]


@pytest.fixture(scope="module")
def done(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bridge") / "run"
    tiny_adapt(world, out, RECIPE, overrides=TINY, evaluate_on=world.held_out)
    return out


def stage_file(run: Path, stage: str, network: str) -> dict[str, torch.Tensor]:
    return ckpt.load_file(run / "stages" / stage / "networks" / f"{network}.safetensors")


def learnt(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without the running means of a domain, which every stage follows."""
    return {key: value for key, value in state.items() if not key.endswith((".means", ".known"))}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_stages_hand_on_what_they_trained(done: Path) -> None:
    """Painters are trained only in their own stage, and unchanged at the end."""
    for network in ("critics", "painters"):
        before, trained, after = (
            learnt(stage_file(done, s, network)) for s in ("2-alignment", "3-translators", "4-self-training")
        )
        assert not same(before, trained)
        assert same(trained, after)


def test_checkpoints_are_scored_and_the_best_is_handed_on(done: Path) -> None:
    lines = [json.loads(line) for line in (done / SCORES).read_text().splitlines()]
    assert [(line["stage"], line["step"]) for line in lines] == [
        ("2-alignment", 1), ("2-alignment", 2), ("4-self-training", 1), ("4-self-training", 2)
    ]  # fmt: skip
    last = [line for line in lines if line["stage"] == "4-self-training"]
    best = max(last, key=lambda line: (line["agreement"], line["step"]))["step"]
    chosen = ckpt.load_file(done / "snapshots" / f"4-self-training-{best:06d}.safetensors")
    handed_on = load_segmenter(done / "stages" / "4-self-training" / "segmenter")
    assert same(chosen, dict(handed_on.state_dict()))


def test_target_labels_do_not_touch_scores_or_weights(world: World, done: Path, tmp_path: Path) -> None:
    blind = tmp_path / "run"
    tiny_adapt(world, blind, RECIPE, overrides=TINY)
    assert (blind / SCORES).read_text() == (done / SCORES).read_text()
    assert_same(weights(blind), weights(done))


def test_pictures_show_translations_and_the_report_too(done: Path) -> None:
    names = sorted(path.name for path in (done / "samples").iterdir())
    assert "3-translators-000002.png" in names
    assert "translated: " in (done / "report.html").read_text()


def test_both_directions_at_any_size_and_styles_reach_their_region(world: World, done: Path) -> None:
    run = open_model(done, "cpu").translator
    assert isinstance(run, BridgeRun)
    image = np.array(Image.open(next((world.source / "images").iterdir())))
    for to in ("a", "b", "source", "target"):
        torch.manual_seed(0)
        assert run.translate(image, to).shape == image.shape
    labels = np.zeros(image.shape[:2], np.uint8)
    labels[:, : image.shape[1] // 2] = 1
    mean = run.mean_styles("b")
    looks = mean.looks.clone()
    looks[:, 1, :3] = 0.0
    made = []
    for wanted in (mean, mean._replace(looks=looks)):
        torch.manual_seed(0)
        made.append(run.translate(image, "b", wanted, labels=labels).astype(int))
    changed = np.abs(made[0] - made[1]).mean((0, 2))
    middle = image.shape[1] // 2
    assert changed[: middle - 8].mean() > 5 * changed[middle + 8 :].mean()


def test_a_labelled_set_comes_out_and_is_read_again(world: World, done: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    count = translate(done, [], out, labels="keep", device="cpu", quiet=True, seed=3)
    source = open_domain(world.source, "source", labelled=True, space=LabelSpace.load(world.space))
    made = open_domain(out, "made", labelled=True, space=LabelSpace.load(out / "label_space.yaml"))
    assert count == len(made.images) == len(source.images)
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    for i, line in enumerate(lines):
        assert (out / line["image"]).is_file()
        assert line["source"] == str(source.images[i])
        assert Path(line["style"]).parent == world.target / "images"
        image = Image.open(source.images[i])
        assert Image.open(out / line["image"]).size == image.size
        truth = source.space.read(source.labels[i], image.size)
        np.testing.assert_array_equal(np.array(Image.open(out / line["labels"])), truth)
        kept = made.space.read(made.labels[i], image.size)
        np.testing.assert_array_equal(kept, truth)
        assert sum(line["pixels"].values()) == int((truth != 255).sum())
    again = tmp_path / "again"
    translate(done, [], again, labels="keep", device="cpu", quiet=True, seed=3)
    assert (again / "manifest.jsonl").read_text() == (out / "manifest.jsonl").read_text()
    assert pictures(again / "images") == pictures(out / "images")


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: Image.open(path).tobytes() for path in folder.glob("*.png")}


def test_the_seed_decides_the_noise(world: World, done: Path, tmp_path: Path) -> None:
    """The recipe paints by adding noise; the generators of the caller are left alone."""
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        translate(done, world.source / "images", tmp_path / name, device="cpu", quiet=True, seed=seed)
    first = pictures(tmp_path / "first")
    assert len(first) == 6
    assert first == pictures(tmp_path / "again")
    assert first.keys() == pictures(tmp_path / "other").keys()
    assert first != pictures(tmp_path / "other")
    image = next((world.source / "images").iterdir())
    model = open_model(done, "cpu")
    made, state = model.translate(image), torch.get_rng_state()
    assert np.array_equal(model.translate(image), made)
    assert torch.equal(torch.get_rng_state(), state)


def test_commands(world: World, done: Path, tmp_path: Path, stylebridge: CommandLine) -> None:
    photo = next((world.target / "images").iterdir())
    first = LabelSpace.load(world.space).classes[0]
    told = stylebridge(
        "translate", "apply", done, world.source / "images", "--style", photo, "--region-style", f"{first}=mean",
        "--out", tmp_path / "out", "--device", "cpu", "--quiet",
    )  # fmt: skip
    assert told.code == 0, told.err
    assert "6 image(s) translated" in told.out
    told = stylebridge("translate", "apply", done, "--labels", "keep", "--out", tmp_path / "set", "--quiet")
    assert told.code == 0, told.err
    assert "with their labels" in " ".join(told.out.split())


def test_the_built_in_recipe_translates_in_closed_form(world: World, tmp_path: Path) -> None:
    """No network is built for it; the domain's mean styles are still known, in both directions."""
    out = tmp_path / "run"
    made = tiny_adapt(world, out, "bridge-small", overrides=["onnx=true"])
    assert made.onnx == out / "segmenter.onnx"
    exported = OnnxSegmenter(made.onnx)
    batch = torch.rand(1, 3, 48, 64)
    with torch.no_grad():
        torch.testing.assert_close(exported(batch), made.segmenter.cpu()(batch), rtol=1e-3, atol=1e-3)
    assert "segmenter.onnx computes what the segmenter does" in made.report.read_text(encoding="utf-8")
    run = open_model(out, "cpu").translator
    assert isinstance(run, BridgeRun)
    assert not list(run.critics.parameters())
    assert all(run.painters.heads[domain].known[-1] for domain in ("source", "target"))
    image = np.array(Image.open(next((world.source / "images").iterdir())))
    torch.manual_seed(0)
    dark, same = (run.translate(image, to).mean() for to in ("b", "a"))
    assert dark < 0.7 * same, "the target is darker"
    assert same > 0.7 * image.mean()


def test_a_run_ends_without_onnx_where_it_cannot_be_written(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise WeightsError("ONNX export needs a package that is not here.")

    monkeypatch.setattr(adapt_report, "export", missing)
    made = tiny_adapt(world, tmp_path / "run", overrides=["onnx=true"])
    assert made.onnx is None
    assert "not written as an ONNX file: ONNX export needs a package" in made.report.read_text(
        encoding="utf-8"
    )


def test_wrong_style_options_are_refused(
    world: World, done: Path, finished: Path, tmp_path: Path, stylebridge: CommandLine
) -> None:
    out, images = tmp_path / "out", world.source / "images"

    def refused(*arguments: object, named: tuple[str, ...]) -> None:
        stylebridge("translate", "apply", *arguments, "--out", out, "--device", "cpu").refused(*named)

    refused(finished, images, named=(f"{finished} (adapt, recipe", "can segment, not translate"))
    refused(done, named=("--labels keep",))
    labels = ("--labels", world.source / "labels", "--out", tmp_path / "p.png")
    stylebridge("synthesize", "apply", done, *labels).refused("can segment and translate, not synthesize")
    refused(done, images, "--labels", "drop", named=("drop",))
    refused(done, images, "--size", 64, named=("--size",))
    refused(done, images, "--to", "c", named=("'c'", f"{world.source.name} (a)", f"{world.target.name} (b)"))
    refused(done, images, "--samples", 3, named=("--samples", "grade region", "cannot draw"))
    refused(done, images, "--style-labels", images, named=("--style-labels", "give both"))
    refused(done, images, "--region-style", "nothing=mean", named=("nothing",))
    refused(done, images, images, "--labels", "keep", named=("one labelled set",))
    refused(done, "--labels", "keep", "--to", "a", named=("--to b",))
    assert not out.exists()
    with pytest.raises(DataError, match="no domain"):
        translate(done, [images], out, to="d", device="cpu")
    (out / "x").mkdir(parents=True)
    with pytest.raises(RunError, match="exists already"):
        translate(done, [], out, labels="keep", device="cpu")


def test_the_studio_translates_with_it(
    world: World, done: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stylebridge.studio import desk as desk_module
    from stylebridge.studio.desk import Desk
    from stylebridge.studio.runs import Runs

    monkeypatch.setattr(desk_module, "open_model", open_model)  # the studio's own tests replace it
    desk = Desk(Runs([done, finished], tmp_path), device="cpu")
    (name,) = desk.runs.listed()["translate"]
    assert set(desk.runs.listed()["segment"]) == set(desk.runs.given) == {name, desk.runs.name_of(finished)}
    image = np.array(Image.open(next((world.source / "images").iterdir())))
    torch.manual_seed(0)
    made = desk.translate(name, "a", image)
    torch.manual_seed(0)
    expected = open_model(done, "cpu").translate(image, "source")
    np.testing.assert_array_equal(made, expected)
