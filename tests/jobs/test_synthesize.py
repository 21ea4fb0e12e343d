"""Pictures from label maps, end to end: trained, resumed, imported, styled by region."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from rich.console import Console

from stylebridge.data.domain import open_domain
from stylebridge.data.label_space import LabelSpace
from stylebridge.engine import open_accelerator
from stylebridge.errors import DataError, RunError, WeightsError
from stylebridge.jobs.apply.models.model import open_model
from stylebridge.jobs.apply.models.style_photos import labels_beside
from stylebridge.jobs.apply.models.styles import parse_region_styles
from stylebridge.jobs.apply.models.synthesizer import SEANSynthesizer, save_synthesizer
from stylebridge.jobs.apply.synthesize import synthesize
from stylebridge.jobs.exchange.import_weights import import_weights
from stylebridge.jobs.recipe.reading import load_recipe
from stylebridge.jobs.tasks.synthesize import gather_mean_styles
from stylebridge.jobs.train import train_synthesizer
from stylebridge.networks import sean, spade
from support import folders
from support.folders import CommandLine
from support.published_sean import published_output, published_state

pytestmark = pytest.mark.slow

own_cache, stylebridge = folders.own_cache, folders.stylebridge
TINY = ["size=[32, 32]", "load=null", "options.perceptual=none", "trainer.batch=2", "trainer.checkpoint_every=1",
        "trainer.sample_every=2", "trainer.log_every=1"]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures of three classes in distinct colours, the third absent from some; a few void pixels."""
    root = tmp_path_factory.mktemp("labelled")
    (root / "images").mkdir()
    (root / "labels").mkdir()
    rng = np.random.default_rng(0)
    for i in range(6):
        labels = np.zeros((36, 40), np.uint8)
        labels[18:] = 1
        labels[10:20, 5 + i : 25] = 2 if i % 2 else 1
        labels[:2] = 255
        colours = rng.integers(0, 255, (256, 3))
        image = np.clip(colours[labels] + rng.integers(-9, 9, (36, 40, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(image).save(root / "images" / f"{i}.png")
        Image.fromarray(labels).save(root / "labels" / f"{i}.png")
    return root


@pytest.fixture(scope="module", autouse=True)
def tiny_presets() -> Iterator[None]:
    """Tiny networks."""
    with pytest.MonkeyPatch.context() as patch:
        size = {"channels": 2, "hidden": 8, "discriminator_channels": 4}
        patch.setitem(sean.PRESETS, "sean-tiny", {**size, "style_channels": 32})
        patch.setitem(spade.PRESETS, "spade-tiny", size)
        yield


def train(data: Path, out: Path, recipe: str = "sean-small", steps: int = 2, **settings) -> Path:
    overrides = [*TINY, f"trainer.steps={steps}", f"preset={recipe.replace('small', 'tiny')}"]
    return train_synthesizer(data, out, recipe, overrides=overrides, device="cpu", quiet=True, **settings)


def sean_of(run: Path) -> SEANSynthesizer:
    opened = open_model(run, "cpu").synthesizer
    assert isinstance(opened, SEANSynthesizer)
    return opened


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SEAN run of two steps: its pictures are still grey."""
    return train(data, tmp_path_factory.mktemp("runs") / "sean")


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SEAN run whose random weights respond to styles, with mean styles of the data."""
    folder = tmp_path_factory.mktemp("runs")
    torch.save(published_state(classes=3), folder / "latest_net_G.pth")
    run = import_weights("sean", folder / "latest_net_G.pth", folder / "run")
    networks = sean_of(run).networks
    assert isinstance(networks, sean.SEANNetworks)
    domain = open_domain(data, "data", labelled=True, space=LabelSpace.generic(3))
    recipe = load_recipe(run / "recipe.yaml", ["size=[32, 32]"], task="synthesize")
    gather_mean_styles(networks, domain, recipe, open_accelerator("cpu"), Console(quiet=True))
    save_synthesizer(networks, None, run)
    return run


# --- training -----------------------------------------------------------------------------------------------


def test_a_run_has_pictures_its_discriminator_and_a_report(trained: Path) -> None:
    assert (trained / "samples" / "000002.png").stat().st_size > 1000
    assert (trained / "networks" / "discriminator.safetensors").is_file()
    page = (trained / "report.html").read_text(encoding="utf-8")
    assert "After 2 steps" in page
    assert "label map, drawn, photo" in page


def test_mean_styles_are_those_of_the_images_that_have_the_class(trained: Path, data: Path) -> None:
    """By the definition, in float64, for one image and class at a time."""
    synthesizer = sean_of(trained)
    assert synthesizer.means is not None
    totals, counts = np.zeros((3, 32)), np.zeros(3)
    for i in range(6):
        size = (32, 32)
        image = np.array(Image.open(data / "images" / f"{i}.png").resize(size, Image.Resampling.BICUBIC))
        labels = np.array(Image.open(data / "labels" / f"{i}.png").resize(size, Image.Resampling.NEAREST))
        style = synthesizer.encode(image, labels)
        for k in range(3):
            if (labels == k).any():
                totals[k] += style.codes[k].double().numpy()
                counts[k] += 1
    assert counts.tolist() == [6, 6, 3]
    np.testing.assert_allclose(synthesizer.means.codes, totals / counts[:, None], atol=5e-3)
    assert synthesizer.means.present.all()


# --- use ----------------------------------------------------------------------------------------------------


def picture(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def draw(run: Path, data: Path, out: Path, **wishes) -> np.ndarray:
    synthesize(run, data / "labels" / "1.png", out, device="cpu", quiet=True, **wishes)
    return picture(out)


def test_styles_reach_their_regions(run: Path, data: Path, tmp_path: Path) -> None:
    """Where a class's style is another, the picture changes there most; mixtures of share 0 and 1 are their ends."""
    photos = [data / "images" / f"{i}.png" for i in range(4)]
    base = draw(run, data, tmp_path / "base.png", style=photos[1])
    assert base.shape == (36, 40, 3)
    assert np.array_equal(base, draw(run, data, tmp_path / "again.png", style=photos[1]))
    swapped = draw(run, data, tmp_path / "swap.png", style=photos[1], region_styles=[f"class 2={photos[3]}"])
    assert not np.array_equal(swapped, base)
    for share, wanted in (("0", f"class 2={photos[1]}"), ("1", f"class 2={photos[3]}")):
        ours = draw(
            run,
            data,
            tmp_path / f"mix{share}.png",
            style=photos[1],
            mixes=[f"class 2={photos[1]}:{photos[3]}:{share}"],
        )
        assert np.array_equal(
            ours, draw(run, data, tmp_path / f"end{share}.png", style=photos[1], region_styles=[wanted])
        )
    means = draw(run, data, tmp_path / "means.png")
    named = [f"class {k}=mean" for k in range(3)]
    assert np.array_equal(means, draw(run, data, tmp_path / "named.png", region_styles=named))


def test_a_class_that_the_photo_lacks_takes_its_mean(run: Path, data: Path) -> None:
    synthesizer = sean_of(run)
    labels = picture(data / "labels" / "0.png")
    style = synthesizer.encode(picture(data / "images" / "0.png"), labels)
    assert style.present.tolist() == [True, True, False]
    codes = synthesizer.complete(style)
    assert synthesizer.means is not None
    assert torch.equal(codes[2], synthesizer.means.codes[2])
    assert torch.equal(codes[:2], style.codes[:2])


def test_a_size_that_fits_is_drawn_as_it_is_and_others_are_padded(run: Path, data: Path) -> None:
    synthesizer = sean_of(run)
    labels = picture(data / "labels" / "1.png")
    drawn = synthesizer.render(labels)
    padded = np.full((64, 64), 255, np.uint8)
    padded[:36, :40] = labels
    assert np.array_equal(drawn, synthesizer.render(padded)[:36, :40])


def test_a_folder_of_maps(stylebridge: CommandLine, run: Path, data: Path, tmp_path: Path) -> None:
    done = stylebridge(
        "synthesize", "apply", run, "--labels", data / "labels", "--out", tmp_path / "out", "--quiet"
    )
    assert done.code == 0, done.err
    assert "6 picture(s)" in done.out
    assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == [f"{i}.png" for i in range(6)]


def test_an_imported_sean_draws_what_the_published_networks_give(
    stylebridge: CommandLine, data: Path, tmp_path: Path
) -> None:
    """Through the two commands, against the spec sheet written out: another map than the photo's, with void pixels and
    a class that the photo lacks."""
    state = published_state(classes=5)
    torch.save(state, tmp_path / "latest_net_G.pth")
    done = stylebridge("import", "sean", tmp_path / "latest_net_G.pth", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    rng = np.random.default_rng(3)
    maps = {}
    for name, classes in (("map", [0, 1, 2, 3, 255]), ("photo_map", [0, 1, 2, 4])):
        maps[name] = np.kron(rng.choice(classes, (4, 6)), np.ones((16, 16))).astype(np.uint8)
        Image.fromarray(maps[name]).save(tmp_path / f"{name}.png")
    photo = rng.integers(0, 256, (64, 96, 3), np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    done = stylebridge(
        "synthesize", "apply", tmp_path / "run", "--labels", tmp_path / "map.png", "--style", tmp_path / "photo.png",
        "--style-labels", tmp_path / "photo_map.png", "--out", tmp_path / "out.png", "--quiet",
    )  # fmt: skip
    assert done.code == 0, done.err
    labels, image_labels = (torch.from_numpy(maps[name]) for name in ("map", "photo_map"))
    image = torch.from_numpy(photo).permute(2, 0, 1).float() / 127.5 - 1
    wanted = published_output(state, labels, image, image_labels) * 0.5 + 0.5
    assert float(wanted.std()) > 0.05  # not a flat picture that anything would match
    ours = picture(tmp_path / "out.png").astype(float) / 255
    np.testing.assert_allclose(ours, wanted.permute(1, 2, 0).numpy(), atol=0.5 / 255 + 1e-4)
    stylebridge("synthesize", "train", "--resume", "--out", tmp_path / "run").refused("imported")
    # It has no mean styles: without a photo nothing can be drawn, not even a map without a class.
    for value in (1, 255):
        Image.fromarray(np.full((64, 96), value, np.uint8)).save(tmp_path / "plain.png")
        stylebridge(
            "synthesize", "apply", tmp_path / "run", "--labels", tmp_path / "plain.png",
            "--out", tmp_path / "no.png", "--quiet",
        ).refused("--style")  # fmt: skip


def test_spade_takes_no_styles(data: Path, tmp_path: Path) -> None:
    run = train(data, tmp_path / "spade", "spade-small")
    assert draw(run, data, tmp_path / "a.png").shape == (36, 40, 3)
    with pytest.raises(
        RunError, match=r"--style does not go with .*spade.*no styles \(grade none\): leave it out"
    ):
        draw(run, data, tmp_path / "b.png", style=data / "images" / "1.png")


# --- what users get wrong -----------------------------------------------------------------------------------


def test_style_options_that_do_not_fit_are_named(run: Path, data: Path, tmp_path: Path) -> None:
    photo = data / "images" / "0.png"
    for wishes, named in (
        ({"region_styles": [f"class 2={photo}"]}, "shows no 'class 2'"),
        ({"region_styles": ["door=x.png"]}, "no class 'door'"),
        ({"region_styles": ["class 1"]}, "CLASS=PHOTO"),
        ({"mixes": [f"class 1={photo}:{photo}:2"]}, "from 0 to 1"),
        ({"mixes": [f"class 1={photo}:0.5"]}, "CLASS=PHOTO:PHOTO:SHARE"),
        ({"region_styles": [f"class 1={photo}"], "mixes": [f"class 1={photo}:{photo}:0.5"]}, "two styles"),
        ({"style_labels": data / "labels" / "0.png"}, "give both"),
    ):
        with pytest.raises(DataError, match=named):
            draw(run, data, tmp_path / "x.png", **wishes)
    shutil.copy(photo, tmp_path / "alone.png")
    with pytest.raises(DataError, match=r"alone\.png has no label map"):
        draw(run, data, tmp_path / "x.png", style=tmp_path / "alone.png")
    (tmp_path / "there.png").write_bytes(b"")
    with pytest.raises(RunError, match="exists already"):
        draw(run, data, tmp_path / "there.png")


def test_label_maps_are_found_beside_photos(data: Path, tmp_path: Path) -> None:
    assert labels_beside(data / "images" / "0.png") == data / "labels" / "0.png"
    (tmp_path / "a_labels.png").write_bytes(b"")
    assert labels_beside(tmp_path / "a.jpg") == tmp_path / "a_labels.png"
    assert labels_beside(tmp_path / "b.jpg") is None


def test_photos_by_their_bare_names(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the folder that they are in, as one types them."""
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for folder, name in (("images", "1.png"), ("labels", "1.png")):
        shutil.copy(data / folder / name, tmp_path / folder / name)
    shutil.copy(data / "images" / "3.png", tmp_path / "images" / "a.png")
    shutil.copy(data / "labels" / "3.png", tmp_path / "images" / "a_labels.png")
    shutil.copy(data / "images" / "0.png", tmp_path / "images" / "alone.png")
    monkeypatch.chdir(tmp_path / "images")
    here = draw(run, data, Path("x.png"), style="1.png", region_styles=["class 2=a.png"])
    there = draw(
        run,
        data,
        Path("y.png"),
        style=data / "images" / "1.png",
        region_styles=[f"class 2={data / 'images' / '3.png'}"],
    )
    assert np.array_equal(here, there)
    with pytest.raises(DataError, match=r"alone\.png has no label map"):
        draw(run, data, Path("z.png"), style="alone.png")
    # A picture in a folder "labels" is not its own label map.
    monkeypatch.chdir(tmp_path / "labels")
    assert labels_beside(Path("1.png")) is None


def test_a_style_map_may_be_of_another_size_but_not_of_another_shape(
    run: Path, data: Path, tmp_path: Path
) -> None:
    photo, labels = data / "images" / "1.png", Image.open(data / "labels" / "1.png")
    wanted = draw(run, data, tmp_path / "a.png", style=photo)
    for size, fits in (
        ((80, 72), True),
        ((120, 108), True),
        ((27, 24), True),
        ((36, 40), False),
        ((40, 33), False),
    ):
        labels.resize(size, Image.Resampling.NEAREST).save(tmp_path / "map.png")
        wishes = {"style": photo, "style_labels": tmp_path / "map.png", "overwrite": True}
        if fits:
            ours = draw(run, data, tmp_path / "b.png", **wishes)
            assert size[0] % 40 or np.abs(ours.astype(int) - wanted).mean() < 12
        else:
            with pytest.raises(
                DataError, match=rf"{size[0]}×{size[1]} and .*1\.png 40×36: give the label map"
            ):
                draw(run, data, tmp_path / "b.png", **wishes)


def test_messages_name_no_option_that_the_command_lacks(run: Path, data: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    photo = data / "images" / "1.png"
    for pixels, named in (
        (np.full((36, 40), 77, np.uint8), "has the id 77, which .* does not have: correct the file"),
        (rng.integers(0, 255, (36, 40, 3), np.uint8), "colours.* instead of class ids"),
    ):
        Image.fromarray(pixels).save(tmp_path / "map.png")
        for wishes in (
            {"labels": tmp_path / "map.png"},
            {"style": photo, "style_labels": tmp_path / "map.png"},
        ):
            given = {"labels": data / "labels" / "1.png", **wishes}
            with pytest.raises(DataError, match=named) as found:
                synthesize(run, out=tmp_path / "x.png", device="cpu", quiet=True, **given)
            assert "--label-space" not in str(found.value)
            assert str(found.value).endswith(".")
    with pytest.raises(DataError, match=r"There is no label map .*absent\.png"):
        synthesize(run, tmp_path / "absent.png", tmp_path / "x.png", device="cpu", quiet=True)


def test_a_photo_of_a_single_pixel_is_refused(run: Path, data: Path, tmp_path: Path) -> None:
    Image.new("RGB", (1, 9)).save(tmp_path / "photo.png")
    Image.new("L", (1, 9)).save(tmp_path / "photo_labels.png")
    with pytest.raises(DataError, match="1×9 is too small"):
        draw(run, data, tmp_path / "x.png", style=tmp_path / "photo.png")


def test_a_refused_perceptual_loss_leaves_no_run(data: Path, tmp_path: Path) -> None:
    options = ["options.perceptual=vgg19", f"options.perceptual_weights={tmp_path / 'absent.pth'}"]
    with pytest.raises(WeightsError, match=r"absent\.pth cannot be read"):
        train_synthesizer(
            data,
            tmp_path / "run",
            "sean-small",
            overrides=[*TINY, "preset=sean-tiny", *options],
            device="cpu",
            quiet=True,
        )
    assert not (tmp_path / "run").exists()


def test_paths_with_colons_are_read(data: Path) -> None:
    (wish,) = parse_region_styles([], ["class 1=C:/a.jpg:b.jpg:0.25"], LabelSpace.generic(3))
    assert (wish.index, wish.first, wish.second, wish.share) == (1, "C:/a.jpg", "b.jpg", 0.25)


def test_a_run_of_another_kind_or_unfinished_is_named(run: Path, tmp_path: Path) -> None:
    broken = tmp_path / "run"
    shutil.copytree(run, broken)
    (broken / "networks" / "generator.safetensors").write_bytes(b"x")
    with pytest.raises(RunError, match="is damaged"):
        assert open_model(broken, "cpu").synthesizer
    shutil.rmtree(broken / "networks")
    with pytest.raises(RunError, match="no finished synthesizer"):
        assert open_model(broken, "cpu").synthesizer
    facts = yaml.safe_load((broken / "run.yaml").read_text(encoding="utf-8"))
    (broken / "run.yaml").write_text(yaml.safe_dump({**facts, "kind": "translate"}), encoding="utf-8")
    with pytest.raises(RunError, match="can translate, not synthesize"):
        assert open_model(broken, "cpu").synthesizer
