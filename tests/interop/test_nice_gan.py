"""Checkpoints in the authors' layout: written here by hand, read, and written back."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from stylebridge.errors import WeightsError
from stylebridge.interop.nice_gan import load_nice_gan, read_checkpoint, save_nice_gan
from stylebridge.networks.nice_gan import NiceGanConfig, NiceGanNetworks

LIGHT = NiceGanConfig(image_size=256, channels=3, blocks=2)
FULL = NiceGanConfig(image_size=96, channels=2, blocks=1, light=False)


def checkpoint(config: NiceGanConfig, seed: int = 0) -> dict:
    """A dictionary as the authors' code saves it, with random weights and entries of an operation counter."""
    torch.manual_seed(seed)
    networks = NiceGanNetworks(config)
    made: dict = {
        "gen2B": networks.generators["b"].state_dict(),
        "gen2A": networks.generators["a"].state_dict(),
        "disA": networks.discriminators["a"].state_dict(),
        "disB": networks.discriminators["b"].state_dict(),
        "D_optimizer": torch.optim.Adam(networks.discriminators.parameters()).state_dict(),
        "G_optimizer": torch.optim.Adam(networks.generators.parameters()).state_dict(),
        "start_iter": 7,
    }
    made["disA"]["total_ops"] = torch.zeros(1)
    made["gen2B"]["UpBlock0.1.total_params"] = torch.zeros(1)
    return made


def write(made: dict, folder: Path) -> Path:
    path = folder / "cat2dog_params_latest.pt"
    torch.save(made, path)
    return path


@pytest.mark.parametrize("config", [LIGHT, FULL])
def test_weights_and_settings_come_in(tmp_path: Path, config: NiceGanConfig) -> None:
    made = checkpoint(config)
    networks = load_nice_gan(write(made, tmp_path))
    assert networks.config == config
    parts = {
        "gen2B": networks.generators["b"],
        "gen2A": networks.generators["a"],
        "disA": networks.discriminators["a"],
        "disB": networks.discriminators["b"],
    }
    for part, network in parts.items():
        own = network.state_dict()
        assert own.keys() == {k for k in made[part] if "total_" not in k}
        assert all(torch.equal(value, made[part][key]) for key, value in own.items())
    assert all(p.requires_grad and p.device.type == "cpu" for p in networks.parameters())
    image = torch.rand(1, 3, 96, 96)
    assert networks.translator("b")(image).shape == image.shape


def test_layers_with_torchs_hook_compute_the_same(tmp_path: Path) -> None:
    """The layout is that of torch's own hook: its layer takes a checkpoint's tensors and gives our layer's output."""
    networks = load_nice_gan(write(checkpoint(LIGHT), tmp_path)).eval()
    layer = networks.discriminators["a"].model[1]
    theirs = spectral_norm(nn.Conv2d(3, 3, 4, 2)).eval()
    theirs.load_state_dict(layer.state_dict())
    x = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(layer(x), theirs(x))


def test_there_and_back(tmp_path: Path) -> None:
    made = checkpoint(LIGHT)
    path = tmp_path / "back.pt"
    save_nice_gan(load_nice_gan(write(made, tmp_path)), path, iteration=100)
    again = torch.load(path, weights_only=True)
    assert again.keys() == made.keys()
    assert again["start_iter"] == 100
    assert {p.name for p in tmp_path.iterdir()} == {"cat2dog_params_latest.pt", "back.pt"}
    plain = read_checkpoint(write(made, tmp_path))
    for part, state in plain.items():
        assert again[part].keys() == state.keys()
        assert all(torch.equal(value, state[key]) for key, value in again[part].items())
    for name, parts in (("D_optimizer", ("disA", "disB")), ("G_optimizer", ("gen2B", "gen2A"))):
        number = sum(not k.endswith(("weight_u", "weight_v")) for part in parts for k in plain[part])
        assert len(again[name]["param_groups"][0]["params"]) == number


def test_a_light_model_does_not_tell_its_image_size(tmp_path: Path) -> None:
    path = write(checkpoint(LIGHT), tmp_path)
    assert load_nice_gan(path, image_size=128).config.image_size == 128


def test_half_precision_files_are_read(tmp_path: Path) -> None:
    made = checkpoint(LIGHT)
    made["gen2B"] = {key: value.half() for key, value in made["gen2B"].items()}
    assert {p.dtype for p in load_nice_gan(write(made, tmp_path)).parameters()} == {torch.float32}


# --- errors ---------------------------------------------------------------------------------------------------


def drop(part: str, key: str):
    return lambda made: made[part].pop(key)


def put(part: str, key: str, value: Tensor):
    return lambda made: made[part].update({key: value})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda made: made.pop("disB"), "has no disB"),
        (drop("disB", "conv1.weight_u"), r"disB does not fit.*missing: conv1\.weight_u"),
        (drop("gen2A", "UpBlock2.9.weight"), r"gen2A does not fit.*missing: UpBlock2\.9\.weight"),
        (drop("gen2B", "FC.0.weight"), r"gen2B has no tensor FC\.0\.weight"),
        (put("gen2A", "noise.weight", torch.zeros(1)), r"gen2A does not fit.*surplus: noise\.weight"),
        (
            put("disA", "Dis1_0.1.bias", torch.zeros(5)),
            r"disA does not fit.*Dis1_0\.1\.bias \[5\] instead of \[24\]",
        ),
        (put("gen2B", "FC.0.weight", torch.zeros(12, 100)), r"FC\.0\.weight is \[12, 100\]"),
        (drop("disA", "Dis0_0.1.weight_orig"), r"Dis0_0"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, damage, message: str) -> None:
    made = checkpoint(LIGHT)
    damage(made)
    with pytest.raises(WeightsError, match=message) as caught:
        load_nice_gan(write(made, tmp_path))
    assert "cat2dog_params_latest.pt" in str(caught.value)
    assert str(caught.value).endswith(".")


def test_a_full_model_of_another_size(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="full model for images of 96 pixels, not 128"):
        load_nice_gan(write(checkpoint(FULL), tmp_path), image_size=128)


def test_files_that_are_not_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no file"):
        load_nice_gan(tmp_path / "none.pt")
    for name, content in (("text.pt", b"hello"), ("empty.pt", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=f"{name} is not a readable file"):
            load_nice_gan(tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(WeightsError, match="has no gen2A, gen2B, disA, disB"):
        load_nice_gan(tmp_path / "list.pt")


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    made = checkpoint(LIGHT)
    made["args"] = Path  # any object that is no tensor
    with pytest.raises(WeightsError, match="plain tensors"):
        load_nice_gan(write(made, tmp_path))
