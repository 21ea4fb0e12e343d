"""Checkpoints in the layout of SPADE's and SEAN's authors: written here from the specification, and read."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from stylebridge.errors import WeightsError
from stylebridge.interop.sean import load_discriminator, load_sean, load_spade
from stylebridge.networks.label_gan import MultiScaleDiscriminator
from stylebridge.networks.sean import SEANConfig, SEANNetworks
from stylebridge.networks.spade import SPADEConfig, SPADENetworks
from support.published_label_gan import BLOCKS, blocks_of_labels, generate, published, shaken, style_matrix

SEAN = SEANConfig(classes=4, channels=2, hidden=3, style_channels=16, discriminator_channels=4)
SPADE = SPADEConfig(classes=3, channels=2, hidden=4, discriminator_channels=4)
#: A generator file does not tell the discriminator.
UNTOLD = {"discriminator_channels": 64}
NORMAL = ["G_middle_0", "up_0", "up_1", "up_2", "up_3"]


def checkpoint(config: SEANConfig | SPADEConfig, seed: int = 0) -> dict[str, Tensor]:
    """A generator file's content in float32, under the published names."""
    torch.manual_seed(seed)
    networks = SEANNetworks(config) if isinstance(config, SEANConfig) else SPADENetworks(config)
    state = published(shaken(networks, seed))
    return {
        k: v.detach().clone().to(torch.float32 if v.is_floating_point() else v.dtype)
        for k, v in state.items()
    }


def write(state: object, folder: Path, name: str = "latest_net_G.pth") -> Path:
    torch.save(state, folder / name)
    return folder / name


# --- keys of the specification, section 7 -------------------------------------------------------------------------


def keys(classes: int, sean: bool) -> set[str]:
    both, batch = ("weight", "bias"), ("running_mean", "running_var", "num_batches_tracked")
    found = {f"{part}.{kind}" for part in ("fc", "conv_img") for kind in both}
    if sean:
        found |= {f"Zencoder.model.{n}.{kind}" for n in (1, 4, 7, 10, 14) for kind in both}
    for block in BLOCKS[:7]:
        norms = ("0", "1", "s") if block.startswith("up") else ("0", "1")
        for n in norms:
            found |= {f"{block}.conv_{n}.{kind}" for kind in ("weight_orig", "weight_u", "weight_v")}
            found |= {f"{block}.conv_{n}.bias"} if n != "s" else set()
            layer = f"{block}.ace_{n}" if sean else f"{block}.norm_{n}"
            mask = f"{layer}.Spade" if sean else layer
            found |= {
                f"{mask}.{part}.{kind}" for part in ("mlp_shared.0", "mlp_gamma", "mlp_beta") for kind in both
            }
            found |= {f"{where}.param_free_norm.{kind}" for where in {layer, mask} for kind in batch}
            if sean:
                found |= {f"{layer}.{name}" for name in ("blending_gamma", "blending_beta", "noise_var")}
            if sean and block != "up_3":
                found |= {f"{layer}.fc_mu{k}.{kind}" for k in range(classes) for kind in both}
                found |= {f"{layer}.conv_{name}.{kind}" for name in ("gamma", "beta") for kind in both}
    return found


def test_the_layout_is_the_specifications() -> None:
    assert len(keys(19, sean=True)) == 982
    assert checkpoint(SEAN).keys() == keys(4, sean=True)
    assert checkpoint(SPADE).keys() == keys(3, sean=False)
    shapes = {k: tuple(v.shape) for k, v in checkpoint(SEAN).items()}
    assert shapes["Zencoder.model.10.weight"] == (4, 8, 3, 3)  # the transposed one
    assert shapes["head_0.ace_0.blending_gamma"] == (1,)
    assert shapes["head_0.ace_0.conv_gamma.weight"] == (32, 16, 3, 3)
    assert shapes["up_0.conv_0.weight_v"] == (32 * 9,)


# --- what comes in ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["", "module."])
def test_sean(tmp_path: Path, prefix: str) -> None:
    state = checkpoint(SEAN)
    config, ours = load_sean(write({prefix + k: v for k, v in state.items()}, tmp_path))
    assert config == SEAN.model_copy(update=UNTOLD)
    networks = SEANNetworks(config)
    networks.load_state_dict(ours)
    again = published(networks)
    unused = {k for k in state if ".Spade.param_free_norm." in k}
    assert all(torch.equal(again[k], v) for k, v in state.items() if k not in unused)
    # The file's tensors, by the published formulas, give our network's image.
    labels, image = blocks_of_labels(1, 32, 64, 4), torch.rand(1, 3, 32, 64, dtype=torch.float64)
    state = {k: v.double() for k, v in state.items()}

    def draw(x: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :1])

    styles = style_matrix(state, image * 2 - 1, labels, 4)
    expected = generate(state, labels, 4, NORMAL, styles, draw, training=False)
    networks = networks.double().eval()
    with torch.no_grad():
        for name, parameter in networks.named_parameters():
            if name.endswith("noise_scale"):
                parameter.zero_()
    torch.testing.assert_close(networks(labels, image), expected, rtol=0, atol=1e-9)


@pytest.mark.slow
def test_fewer_classes_than_the_published_code_has_layers_for(tmp_path: Path) -> None:
    """It builds ``fc_mu0`` to ``fc_mu18`` for any number of classes; the extra ones are never run."""
    state = checkpoint(SEAN)
    extra = {
        key.replace("fc_mu0", f"fc_mu{n}"): torch.randn_like(value)
        for n in range(4, 19)
        for key, value in state.items()
        if ".fc_mu0." in key
    }
    config, ours = load_sean(write(state | extra, tmp_path))
    assert config.classes == 4
    wanted = load_sean(write(state, tmp_path, "plain.pth"))[1]
    assert ours.keys() == wanted.keys()
    assert all(torch.equal(value, wanted[key]) for key, value in ours.items())


@pytest.mark.slow
def test_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "latest_net_G.safetensors"
    save_file({f"module.{key}": value for key, value in checkpoint(SEAN).items()}, path)
    ours, wanted = load_sean(path)[1], load_sean(write(checkpoint(SEAN), tmp_path))[1]
    assert all(torch.equal(value, wanted[key]) for key, value in ours.items())
    path.write_bytes(b"x")
    with pytest.raises(WeightsError, match="not a readable file"):
        load_sean(path)
    with pytest.raises(WeightsError, match="There is no file"):
        load_sean(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("upsampling", ["normal", "more", "most"])
def test_spade(tmp_path: Path, upsampling: str) -> None:
    wanted = SPADE.model_copy(update={"upsampling": upsampling})
    state = checkpoint(wanted)
    path = write(state, tmp_path)
    config, ours = load_spade(path, "more") if upsampling == "more" else load_spade(path)
    assert config == wanted.model_copy(update=UNTOLD)
    networks = SPADENetworks(config)
    networks.load_state_dict(ours)
    again = published(networks)
    assert again.keys() == state.keys()
    assert all(torch.equal(again[k], v) for k, v in state.items() if "num_batches" not in k)


@pytest.mark.slow
def test_spade_with_a_vae(tmp_path: Path) -> None:
    wanted = SPADE.model_copy(update={"vae": True, "latent": 7, "image_size": (64, 32)})
    path = write(checkpoint(wanted), tmp_path)
    config, ours = load_spade(path, image_size=(64, 32))
    assert config == wanted.model_copy(update=UNTOLD)
    networks = SPADENetworks(config)
    missing = networks.load_state_dict(ours, strict=False)
    assert not missing.unexpected_keys
    assert all(key.startswith("encoder.") for key in missing.missing_keys)
    square = SPADE.model_copy(update={"vae": True, "latent": 7, "image_size": (64, 64)})
    assert load_spade(write(checkpoint(square), tmp_path))[0] == square.model_copy(update=UNTOLD)


def test_discriminators(tmp_path: Path) -> None:
    for config in (SEAN, SPADE):
        state = shaken(MultiScaleDiscriminator(config)).state_dict()
        layers, last = config.discriminator_layers, config.discriminator_layers - 1
        expected = {"model0.0.weight", "model0.0.bias", f"model{layers}.0.weight", f"model{layers}.0.bias"}
        expected |= {f"model{n}.0.0.weight_{x}" for n in range(1, last + 1) for x in ("orig", "u", "v")}
        assert state.keys() == {f"discriminator_{scale}.{key}" for scale in range(2) for key in expected}
        path = write(state, tmp_path, "latest_net_D.pth")
        loaded = load_discriminator(path, config)
        MultiScaleDiscriminator(config).load_state_dict(loaded)
        assert all(torch.equal(loaded[k], v.float()) for k, v in state.items())
        with pytest.raises(
            WeightsError, match=r"latest_net_D\.pth does not fit a discriminator of 9 classes"
        ):
            load_discriminator(path, config.model_copy(update={"classes": 9}))


def test_half_precision_and_shared_memory(tmp_path: Path) -> None:
    state = {k: v.half() if v.is_floating_point() else v for k, v in checkpoint(SEAN).items()}
    state["up_3.conv_0.weight_u"] = state["up_3.conv_1.weight_u"]
    _, ours = load_sean(write(state, tmp_path))
    assert {v.dtype for v in ours.values()} == {torch.float32, torch.int64}
    assert len({v.untyped_storage().data_ptr() for v in ours.values()}) == len(ours)
    assert all(v.is_contiguous() for v in ours.values())


# --- errors ---------------------------------------------------------------------------------------------------


def drop(key: str):
    return lambda state: state.pop(key)


def put(key: str, *shape: int):
    return lambda state: state.update({key: torch.zeros(shape)})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop("up_1.ace_s.fc_mu2.bias"), r"missing: up_1\.ace_s\.fc_mu2\.bias\)"),
        (drop("head_0.ace_0.Spade.mlp_beta.weight"), r"missing: head_0\.ace_0\.Spade\.mlp_beta\.weight"),
        (
            drop("up_3.ace_0.param_free_norm.running_var"),
            r"missing: up_3\.ace_0\.param_free_norm\.running_var",
        ),
        (put("head_0.ace_0.fc_mu4.weight", 16, 16), r"surplus: head_0\.ace_0\.fc_mu4\.weight"),
        (put("up_4.conv_0.bias", 1), r"surplus: up_4\.conv_0\.bias"),
        (
            put("up_2.ace_1.conv_gamma.weight", 4, 16, 1, 1),
            r"up_2\.ace_1\.conv_gamma\.weight \[4, 16, 1, 1\] instead of \[4, 16, 3, 3\]",
        ),
        (drop("fc.weight"), r"no tensor fc\.weight of 4 axes"),
        (drop("Zencoder.model.14.weight"), r"no tensor Zencoder\.model\.14\.weight"),
        (put("fc.weight", 8, 4, 3, 3), r"are not a valid SEAN \(channels"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, damage, message: str) -> None:
    state = checkpoint(SEAN)
    damage(state)
    with pytest.raises(WeightsError, match=message) as caught:
        load_sean(write(state, tmp_path))
    assert "latest_net_G.pth" in str(caught.value)
    assert str(caught.value).endswith(".")


def test_one_kind_is_not_read_as_the_other(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"head_0\.norm_0\.mlp_shared\.0\.weight.*SPADE"):
        load_spade(write(checkpoint(SEAN), tmp_path))
    with pytest.raises(WeightsError, match=r"head_0\.ace_0\.Spade\.mlp_shared\.0\.weight.*SEAN"):
        load_sean(write(checkpoint(SPADE), tmp_path))


def test_files_that_are_not_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no file"):
        load_sean(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_bytes(b"hello")
    with pytest.raises(WeightsError, match=r"text\.pth is not a readable file"):
        load_spade(tmp_path / "text.pth")
    with pytest.raises(WeightsError, match="not a state dict"):
        load_spade(write([1, 2], tmp_path))
    with pytest.raises(WeightsError, match="plain tensors"):  # code in a file is not run
        load_sean(write(checkpoint(SEAN) | {"options": Path}, tmp_path))
