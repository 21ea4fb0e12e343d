"""Released-form SPADE and SEAN through the command line, against the published networks written out."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from stylebridge.data.label_space import LabelSpace
from stylebridge.errors import DataError
from stylebridge.interop.label_channels import LabelChannels, channels_of
from support import published_sean, published_spade, released
from support.published_label_gan import NORMAL
from support.published_spade import MORE

pytestmark = pytest.mark.slow

CPU = ("--device", "cpu", "--quiet")


def blocks(height: int, width: int, values: list[int], seed: int = 0, side: int = 7) -> np.ndarray:
    """A map of patches of the values, uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.choice(values, (-(-height // side), -(-width // side)))
    return coarse.repeat(side, 0).repeat(side, 1)[:height, :width].astype(np.uint8)


def instances_of(labels: np.ndarray) -> np.ndarray:
    """Instances as Cityscapes has them, 16 bit: regions that cut through the classes' regions."""
    columns = np.arange(labels.shape[1])[None] // 11
    return (labels.astype(np.int32) * 1000 + columns).astype(np.uint16)


def save(array: np.ndarray, path: Path) -> Path:
    Image.fromarray(array).save(path)
    return path


def weights(state: dict[str, torch.Tensor], path: Path) -> Path:
    torch.save(state, path)
    return path


def test_cityscapes_35_classes_and_instance_edges(tmp_path: Path) -> None:
    """36 channels: the raw ids, edges last; 'more' doublings, as the published Cityscapes options have it."""
    state = published_spade.generator_state(36)
    file = weights(state, tmp_path / "latest_net_G.pth")
    labels = blocks(64, 128, list(range(35)))
    instances = instances_of(labels)
    paths = save(labels, tmp_path / "a_labelIds.png"), save(instances, tmp_path / "a_instanceIds.png")
    printed = released.run("import", "spade", file, "--out", tmp_path / "run").output
    for part in ("35 classes and instance edges", "cityscapes-35", "0 to 34", "512×256", "upsampling more"):
        assert part in printed
    apply = ("synthesize", "apply", tmp_path / "run", "--labels", paths[0], *CPU)
    released.run(*apply, "--instances", paths[1], "--out", tmp_path / "a.png")
    m = published_spade.semantics(labels, 36, None, instances)
    released.assert_within_one_level(tmp_path / "a.png", published_spade.paint(state, m, MORE))

    assert "give the instance map of each label map with --instances" in released.refused(
        *apply, "--out", tmp_path / "b.png"
    )
    small = save(instances[:32], tmp_path / "small.png")
    assert "same size" in released.refused(*apply, "--instances", small, "--out", tmp_path / "b.png")
    assert not (tmp_path / "b.png").exists()


def test_folders_of_cityscapes_are_paired_by_name(tmp_path: Path) -> None:
    """Label ids, instance ids and colours are in one folder there."""
    state = published_spade.generator_state(36)
    file = weights(state, tmp_path / "latest_net_G.pth")
    folder = tmp_path / "gtFine"
    folder.mkdir()
    expected = {}
    for seed in range(2):
        labels = blocks(64, 64, list(range(35)), seed)
        name = f"x_{seed}_gtFine"
        save(labels, folder / f"{name}_labelIds.png")
        save(instances_of(labels), folder / f"{name}_instanceIds.png")
        save(np.stack([labels] * 3, 2)[..., ::-1] * 3, folder / f"{name}_color.png")
        m = published_spade.semantics(labels, 36, None, instances_of(labels))
        expected[f"{name}_labelIds.png"] = published_spade.paint(state, m, MORE)
    released.run("import", "spade", file, "--out", tmp_path / "run")
    given = ("--labels", folder, "--instances", folder, "--out", tmp_path / "out")
    released.run("synthesize", "apply", tmp_path / "run", *given, *CPU)
    assert {p.name for p in (tmp_path / "out").glob("*.png")} == set(expected)
    for name, picture in expected.items():
        released.assert_within_one_level(tmp_path / "out" / name, picture)


def test_coco_has_182_classes_a_channel_for_none_and_edges(tmp_path: Path) -> None:
    state = published_spade.generator_state(184)
    file = weights(state, tmp_path / "latest_net_G.pth")
    labels = blocks(64, 64, [0, 5, 90, 91, 180, 181, 255, 182])
    instances = blocks(64, 64, list(range(40)), 3, side=9)  # 8 bit, as COCO's
    printed = released.run("import", "spade", file, "--out", tmp_path / "run").output
    assert "182 classes, pixels without a class and instance edges" in printed
    paths = save(labels, tmp_path / "7.png"), save(instances, tmp_path / "inst.png")
    given = ("--labels", paths[0], "--instances", paths[1], "--out", tmp_path / "out.png")
    released.run("synthesize", "apply", tmp_path / "run", *given, *CPU)
    m = published_spade.semantics(np.where(labels == 182, 255, labels), 184, 182, instances)
    released.assert_within_one_level(tmp_path / "out.png", published_spade.paint(state, m, NORMAL))


@pytest.mark.parametrize("ids", ["ade", "plain"])
def test_ade_has_a_channel_for_pixels_without_a_class(tmp_path: Path, ids: str) -> None:
    """ADE20K's files hold 1 to 150, where 0 is none; the network sees 0 to 149, and 150 where there is none."""
    state = published_spade.generator_state(151, seed=2)
    file = weights(state, tmp_path / "latest_net_G.pth")
    raw = blocks(32, 64, [0, 1, 2, 77, 150])
    seen = np.where(raw == 0, 255, raw - 1)
    extra: list[object] = []
    if ids == "plain":  # the same network read with numbers for classes
        raw = seen.astype(np.uint8)
        lines = "\n".join(f"  - {{name: c{i}}}" for i in range(150))
        (tmp_path / "plain.yaml").write_text(f"classes:\n{lines}\n")
        extra = ["--label-space", tmp_path / "plain.yaml"]
    released.run("import", "spade", file, "--out", tmp_path / "run", *extra)
    path = save(raw, tmp_path / "a.png")
    apply = ("synthesize", "apply", tmp_path / "run", "--labels", path, "--out", tmp_path / "out.png", *CPU)
    released.run(*apply)
    m = published_spade.semantics(seen, 151, 150, None)
    released.assert_within_one_level(tmp_path / "out.png", published_spade.paint(state, m, NORMAL))
    assert "takes no instance edges" in released.refused(*apply, "--overwrite", "--instances", path)


def test_channels_that_the_number_does_not_tell_are_stated(tmp_path: Path) -> None:
    state = published_spade.generator_state(6)
    file = weights(state, tmp_path / "latest_net_G.pth")
    labels = blocks(32, 32, [0, 1, 2, 3, 255])
    instances = blocks(32, 32, list(range(9)), 4, side=5)
    paths = save(labels, tmp_path / "a.png"), save(instances, tmp_path / "i.png")
    released.run("import", "spade", file, "--out", tmp_path / "run", "--channels", "4+void+edges")
    given = ("--labels", paths[0], "--instances", paths[1], "--out", tmp_path / "out.png")
    released.run("synthesize", "apply", tmp_path / "run", *given, *CPU)
    m = published_spade.semantics(labels, 6, 4, instances)
    released.assert_within_one_level(tmp_path / "out.png", published_spade.paint(state, m, NORMAL))
    again = ("import", "spade", file, "--out", tmp_path / "other")
    assert "has 6 label channels, but --channels 4+void means 5" in released.refused(
        *again, "--channels", "4+void"
    )
    assert "not of the form" in released.refused(*again, "--channels", "edges")
    printed = released.run(*again).output
    assert "6 classes" in printed
    assert "--channels" in printed  # what it may be instead


def test_a_label_space_tells_the_channels() -> None:
    five, thirty_six = LabelSpace.generic(5), LabelSpace.generic(36)
    assert channels_of(5, None, five, "G") == LabelChannels(5)
    assert channels_of(7, None, five, "G") == LabelChannels(5, True, True)
    assert channels_of(36, None, thirty_six, "G") == LabelChannels(36)  # a set of its own, not Cityscapes
    assert channels_of(36, None, LabelSpace.generic(35), "G") == LabelChannels(35, False, True)
    with pytest.raises(DataError, match=r"one more than label space plain-5: .*5\+void .*5\+edges"):
        channels_of(6, None, five, "G")
    with pytest.raises(DataError, match="plain-5 has 5 classes"):
        channels_of(9, None, five, "G")


def test_an_import_of_an_earlier_version_is_refused(tmp_path: Path) -> None:
    """It took 151 channels for 151 classes, and painted wrong pictures where a pixel has no class."""
    file = weights(published_spade.generator_state(151), tmp_path / "latest_net_G.pth")
    run = tmp_path / "run"
    released.run("import", "spade", file, "--out", run, "--channels", "151")
    path = save(blocks(32, 32, [0, 1]), tmp_path / "a.png")
    apply = ("synthesize", "apply", run, "--labels", path, "--out", tmp_path / "out.png", *CPU)
    released.run(*apply)  # 151 classes, as stated
    facts = yaml.safe_load((run / "run.yaml").read_text())
    del facts["imported"]["channels"]
    (run / "run.yaml").write_text(yaml.safe_dump(facts))
    assert "import it again" in released.refused(*apply, "--overwrite")


def test_maps_are_resized_to_the_size_of_training_as_published(tmp_path: Path) -> None:
    """By nearest neighbour, and edges are computed afterwards."""
    state = published_spade.generator_state(36)
    file = weights(state, tmp_path / "latest_net_G.pth")
    labels = blocks(150, 333, list(range(35)), side=31)
    instances = instances_of(labels)
    paths = save(labels, tmp_path / "a.png"), save(instances, tmp_path / "i.png")
    released.run("import", "spade", file, "--out", tmp_path / "run")
    given = ("--labels", paths[0], "--instances", paths[1], "--out", tmp_path / "out.png", *CPU)
    released.run("synthesize", "apply", tmp_path / "run", *given, "--size", "128x64")
    small = [
        np.array(Image.fromarray(m.astype(np.int32)).resize((128, 64), Image.Resampling.NEAREST))
        for m in (labels, instances)
    ]
    m = published_spade.semantics(small[0], 36, None, small[1])
    released.assert_within_one_level(tmp_path / "out.png", published_spade.paint(state, m, MORE))
    wrong = released.refused(
        "synthesize", "apply", tmp_path / "run", *given, "--overwrite", "--size", "99999"
    )
    assert "larger than" in wrong


def vae_files(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], Path, Path]:
    """A VAE of 3 classes for pictures of 64×32: a grid of 2×1 cells."""
    generator, encoder = published_spade.generator_state(3, code=(9, 2)), published_spade.encoder_state(4, 9)
    return (
        generator,
        encoder,
        weights(generator, folder / "latest_net_G.pth"),
        weights(encoder, folder / "latest_net_E.pth"),
    )


def test_a_vae_takes_the_look_of_a_photo(tmp_path: Path) -> None:
    generator, encoder, *files = vae_files(tmp_path)
    photo = released.write_photo(tmp_path / "photo.png", (90, 70))
    labels = blocks(32, 64, [0, 1, 2])
    path = save(labels, tmp_path / "a.png")
    released.run(
        "import", "spade", files[0], "--encoder", files[1], "--image-size", "64x32", "--out", tmp_path / "run"
    )
    apply = ("synthesize", "apply", tmp_path / "run", "--labels", path, *CPU)
    mean, logvar = published_spade.posterior(encoder, photo, (64, 32))
    m = published_spade.semantics(labels, 3, None, None)
    painted = []
    for seed in (0, 3):
        released.run(*apply, "--style", photo, "--seed", seed, "--out", tmp_path / f"{seed}.png")
        noise = torch.randn(1, 9, generator=torch.Generator().manual_seed(seed)).double()
        code = mean + noise * (0.5 * logvar).exp()
        painted.append(published_spade.paint(generator, m, NORMAL, code))
        released.assert_within_one_level(tmp_path / f"{seed}.png", painted[-1])
    assert np.abs(painted[0] - painted[1]).max() > 8
    wrong = released.refused(*apply, "--region-style", "class 0=x.png", "--out", tmp_path / "b.png")
    assert "style for the whole image" in wrong
    square = save(blocks(64, 64, [0, 1]), tmp_path / "square.png")
    given = ("synthesize", "apply", tmp_path / "run", "--labels", square, "--out", tmp_path / "b.png", *CPU)
    assert "only generates images of 64×32" in released.refused(*given)


def test_a_vae_without_its_encoder_reports_it(tmp_path: Path) -> None:
    generator, _, *files = vae_files(tmp_path)
    importing = ("import", "spade", files[0], "--out", tmp_path / "run")
    assert "2 cells of 32×32" in released.refused(*importing)  # no square has two cells
    assert "2 cells of 32×32" in released.refused(*importing, "--image-size", "64")
    printed = released.run(*importing, "--image-size", "64x32").output
    assert "import it with --encoder latest_net_E.pth" in printed
    photo = released.write_photo(tmp_path / "photo.png")
    labels = blocks(32, 64, [0, 1, 2])
    path = save(labels, tmp_path / "a.png")
    apply = ("synthesize", "apply", tmp_path / "run", "--labels", path, "--out", tmp_path / "out.png", *CPU)
    assert "imported without the encoder of its VAE" in released.refused(*apply, "--style", photo)
    released.run(*apply, "--seed", 4)
    code = torch.randn(1, 9, generator=torch.Generator().manual_seed(4)).double()
    m = published_spade.semantics(labels, 3, None, None)
    released.assert_within_one_level(tmp_path / "out.png", published_spade.paint(generator, m, NORMAL, code))


def test_encoders_that_do_not_belong(tmp_path: Path) -> None:
    _, _, generator, encoder = vae_files(tmp_path)
    plain = weights(published_spade.generator_state(3), tmp_path / "plain.pth")
    out = ("--out", tmp_path / "run", "--image-size", "64x32")
    assert "without a VAE" in released.refused("import", "spade", plain, "--encoder", encoder, *out)
    wrong = released.refused("import", "spade", generator, "--encoder", plain, *out)
    assert "is not the encoder of a SPADE VAE" in wrong
    other = weights(published_spade.encoder_state(4, 8), tmp_path / "other.pth")
    assert "does not fit the generator" in released.refused(
        "import", "spade", generator, "--encoder", other, *out
    )
    assert "not an option of sean" in released.refused(
        "import", "sean", generator, "--encoder", encoder, *out
    )
    assert not (tmp_path / "run").exists()


# --- SEAN ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", ["4", "3+void"])
def test_sean_in_the_style_of_a_photo(tmp_path: Path, channels: str) -> None:
    """Also with a last channel for pixels without a class, which then has its own style."""
    state = published_sean.published_state(4)
    file = weights(state, tmp_path / "latest_net_G.pth")
    void = channels != "4"
    values = [0, 1, 2, 255] if void else [0, 1, 2, 3]
    labels, of_photo = blocks(64, 64, values), blocks(64, 64, values, 5, side=13)
    photo = released.write_photo(tmp_path / "photo.png", (100, 80))
    shown = Image.fromarray(of_photo).resize((100, 80), Image.Resampling.NEAREST)
    of_photo = np.array(shown.resize((64, 64), Image.Resampling.NEAREST))
    paths = save(labels, tmp_path / "a.png"), save(np.array(shown), tmp_path / "photo_labels.png")
    released.run("import", "sean", file, "--out", tmp_path / "run", "--channels", channels)
    style = ("--style", photo, "--style-labels", paths[1], "--size", 64)
    given = ("--labels", paths[0], "--out", tmp_path / "out.png", *style, *CPU)
    released.run("synthesize", "apply", tmp_path / "run", *given)
    resized = np.array(Image.open(photo).resize((64, 64), Image.Resampling.BICUBIC)).astype(int)
    image = torch.from_numpy(resized).permute(2, 0, 1).double() / 127.5 - 1
    seen = (torch.from_numpy(np.where(m == 255, 3, m) if void else m) for m in (labels, of_photo))
    target, source = seen
    picture = published_sean.published_output(state, target, image, source)
    expected = ((picture + 1) * 127.5).permute(1, 2, 0).numpy()
    released.assert_within_one_level(tmp_path / "out.png", expected)


def test_sean_with_edges_is_refused(tmp_path: Path) -> None:
    file = weights(published_sean.published_state(4), tmp_path / "latest_net_G.pth")
    wrong = released.refused("import", "sean", file, "--out", tmp_path / "run", "--channels", "3+edges")
    assert "SEAN with instance edges is not supported" in wrong
