"""Files in the layout of MixNMatch's authors: written here by hand, read, and written back."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from stylebridge.errors import WeightsError
from stylebridge.interop.mixnmatch import infer_config, load_mixnmatch, read_network, save_mixnmatch
from stylebridge.networks.mixnmatch import Encoders, FeatureExtractor, Generator, Mixer, MixNMatchConfig

torch.set_num_threads(1)

TINY = MixNMatchConfig(
    image_size=128,
    shapes=2,
    textures=5,
    pose=4,
    generator_channels=2,
    encoder_channels=2,
    extractor_channels=2,
)
NAMES = ("G.pth", "E.pth", "EX.pth")


def states(config: MixNMatchConfig = TINY, seed: int = 0) -> dict[str, dict[str, Tensor]]:
    """What the authors' code saves: state dicts of data-parallel wrappers."""
    torch.manual_seed(seed)
    networks: list[nn.Module] = [Generator(config), Encoders(config), FeatureExtractor(config)]
    for network in networks:
        for name, buffer in network.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.add_(torch.rand_like(buffer))
    return {
        name: {f"module.{key}": value for key, value in network.state_dict().items()}
        for name, network in zip(NAMES, networks, strict=True)
    }


def write(made: dict[str, dict[str, Tensor]], folder: Path) -> tuple[Path, Path, Path]:
    for name, state in made.items():
        torch.save(state, folder / name)
    return folder / "G.pth", folder / "E.pth", folder / "EX.pth"


@pytest.mark.slow
@pytest.mark.parametrize("side", [64, 128])
def test_weights_and_settings_come_in(tmp_path: Path, side: int) -> None:
    config = TINY.model_copy(update={"image_size": side})
    made = states(config)
    mixer = load_mixnmatch(*write(made, tmp_path))
    assert mixer.config == config
    assert mixer.extractor is not None
    for name, network in zip(NAMES, (mixer.generator, mixer.encoders, mixer.extractor), strict=True):
        own = network.state_dict()
        assert {f"module.{key}" for key in own} == made[name].keys()
        assert all(torch.equal(value, made[name][f"module.{key}"]) for key, value in own.items())
    assert all(t.device.type == "cpu" for t in (*mixer.parameters(), *mixer.buffers()))
    assert not mixer.training
    images = torch.rand(4, 1, 3, side, side)
    assert mixer.mix(*images).image.shape == (1, 3, side, side)
    assert mixer.mix_features(*images[:3]).image.shape == (1, 3, side, side)


def test_category_counts_are_those_of_the_published_shapes(tmp_path: Path) -> None:
    config = MixNMatchConfig(shapes=12, textures=120)
    with torch.device("meta"):
        state = Generator(config).state_dict()
    assert infer_config((tmp_path / "G.pth", state)) == config


def test_code_mode_needs_two_files(tmp_path: Path) -> None:
    generator, encoder, _ = write(states(), tmp_path)
    mixer = load_mixnmatch(generator, encoder)
    assert mixer.extractor is None
    assert mixer.config.shapes == 2


def test_files_without_prefix_without_batch_counts_and_in_half_precision(tmp_path: Path) -> None:
    made = states()
    changed = {
        name: {
            key.removeprefix("module."): value.half()
            for key, value in state.items()
            if not key.endswith("num_batches_tracked")
        }
        for name, state in made.items()
    }
    mixer = load_mixnmatch(*write(changed, tmp_path))
    assert {p.dtype for p in mixer.parameters()} == {torch.float32}
    assert all(not b.is_meta for b in mixer.buffers())
    key = "child_image.img.0.weight"
    torch.testing.assert_close(
        mixer.generator.state_dict()[key], made["G.pth"][f"module.{key}"], atol=1e-3, rtol=1e-3
    )


def test_there_and_back(tmp_path: Path) -> None:
    made = states()
    paths = write(made, tmp_path)
    folder = tmp_path / "back"
    folder.mkdir()
    save_mixnmatch(load_mixnmatch(*paths), folder)
    assert {p.name for p in folder.iterdir()} == set(NAMES)
    for name, state in made.items():
        again = torch.load(folder / name, weights_only=True)
        assert again.keys() == state.keys()
        assert all(torch.equal(value, state[key]) for key, value in again.items())
    code_mode = Mixer(Generator(TINY), Encoders(TINY))
    only = tmp_path / "code"
    only.mkdir()
    save_mixnmatch(code_mode, only)
    assert {p.name for p in only.iterdir()} == {"G.pth", "E.pth"}


# --- errors ---------------------------------------------------------------------------------------------------


def drop(name: str, key: str):
    return lambda made: made[name].pop(f"module.{key}")


def put(name: str, key: str, value: Tensor):
    return lambda made: made[name].update({f"module.{key}": value})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "file", "message"),
    [
        (drop("G.pth", "parent_mask.img.0.weight"), "G.pth", r"missing: parent_mask\.img\.0\.weight"),
        (drop("E.pth", "model_b.4.bias"), "E.pth", r"missing: model_b\.4\.bias"),
        (drop("EX.pth", "up3.0.weight"), "EX.pth", r"missing: up3\.0\.weight"),
        (
            drop("G.pth", "child_stage.jointConv.0.weight"),
            "G.pth",
            r"no tensor child_stage\.jointConv\.0\.weight",
        ),
        (
            drop("G.pth", "background_stage.fc.0.weight"),
            "G.pth",
            r"no tensor background_stage\.fc\.0\.weight",
        ),
        (put("E.pth", "noise", torch.zeros(1)), "E.pth", "surplus: noise"),
        (put("E.pth", "model_p.4.bias", torch.zeros(3)), "E.pth", r"model_p\.4\.bias \[3\] instead of \[2\]"),
        (
            put("G.pth", "background_stage.upsample6.1.weight", torch.zeros(1)),
            "G.pth",
            "does not match|are not a valid",
        ),
        (
            put("G.pth", "child_stage.jointConv.0.weight", torch.zeros(64, 17, 3, 3)),
            "G.pth",
            "textures 1 are fewer",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, damage, file: str, message: str) -> None:
    made = states()
    damage(made)
    with pytest.raises(WeightsError, match=message) as caught:
        load_mixnmatch(*write(made, tmp_path))
    assert str(tmp_path / file) in str(caught.value)
    assert str(caught.value).endswith(".")


def test_files_of_different_trainings(tmp_path: Path) -> None:
    generator, _, _ = write(states(), tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    _, encoder, _ = write(states(TINY.model_copy(update={"textures": 7})), other)
    with pytest.raises(WeightsError, match=r"2 shapes, 5 textures .*model_b\.4.*\[7"):
        load_mixnmatch(generator, encoder)


def test_files_that_were_swapped(tmp_path: Path) -> None:
    generator, encoder, extractor = write(states(), tmp_path)
    with pytest.raises(WeightsError, match="is the encoder, not MixNMatch's generator"):
        load_mixnmatch(encoder, generator)
    with pytest.raises(WeightsError, match="is the generator, not MixNMatch's feature extractor"):
        load_mixnmatch(generator, encoder, generator)
    with pytest.raises(WeightsError, match="is the feature extractor, not MixNMatch's encoder"):
        load_mixnmatch(generator, extractor)


def test_files_that_are_not_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no file .*none\.pth"):
        read_network(tmp_path / "none.pth", "generator")
    for name, content in (("text.pth", b"hello"), ("empty.pth", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=f"{name} is not a readable file"):
            read_network(tmp_path / name, "encoder")
    for name, content in (("list.pth", [1, 2]), ("number.pth", {"epoch": 3})):
        torch.save(content, tmp_path / name)
        with pytest.raises(WeightsError, match="not a dictionary of tensors"):
            read_network(tmp_path / name, "generator")


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    torch.save({"module.background_stage.fc.0.weight": Path}, tmp_path / "G.pth")
    with pytest.raises(WeightsError, match="plain tensors"):
        read_network(tmp_path / "G.pth", "generator")
