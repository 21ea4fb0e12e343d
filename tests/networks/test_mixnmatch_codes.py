"""MixNMatch's codes, encoders, pair discriminators and the mixer in use, against the specification."""

import copy

import pytest
import torch
from torch.nn import functional as F

from stylebridge.errors import DataError, RunError
from stylebridge.networks.mixnmatch import (
    PRESETS,
    Categories,
    Codes,
    Encoders,
    FeatureExtractor,
    Generator,
    Mixer,
    MixNMatchNetworks,
    one_hot,
    parent_of,
    to_unit,
)
from support.mixers import TINY, codes_of

torch.set_num_threads(1)


# --- codes ----------------------------------------------------------------------------------------------------


def test_textures_are_tied_to_shapes() -> None:
    cub = PRESETS["mixnmatch"]
    assert parent_of(torch.tensor([0, 9, 10, 199]), cub).tolist() == [0, 0, 1, 19]
    cars = PRESETS["mixnmatch-cars"]
    c = torch.arange(196)
    assert parent_of(c, cars).tolist() == [int(n * 20 / 196 + 1e-9) for n in range(196)]
    assert parent_of(c, cars).unique().numel() == 20


def test_one_hot() -> None:
    numbers = Categories(torch.tensor([3, 0]), torch.tensor([1, 0]), torch.tensor([2, 3]))
    codes = one_hot(torch.zeros(2, TINY.pose), numbers, TINY)
    assert codes.background.tolist() == [[0, 0, 0, 1, 0], [1, 0, 0, 0, 0]]
    assert codes.shape.tolist() == [[0, 1], [1, 0]]
    assert codes.texture.tolist() == [[0, 0, 1, 0, 0], [0, 0, 0, 1, 0]]


def test_encoded_codes() -> None:
    torch.manual_seed(0)
    encoders = Encoders(TINY).eval()
    image = torch.rand(2, 3, 64, 64) * 2 - 1
    read = encoders(image)
    torch.testing.assert_close(read.pose, 4 * torch.tanh(encoders.model_z(image)))
    codes = read.codes()
    assert torch.equal(codes.pose, read.pose)
    for factor in ("background", "shape", "texture"):
        torch.testing.assert_close(getattr(codes, factor), getattr(read, factor).softmax(1))


def test_several_batches_in_one_pass() -> None:
    """Values, gradients and running statistics are those of one pass after the other."""
    torch.manual_seed(0)
    m = MixNMatchNetworks(TINY).double()
    one, two = torch.randn(2, 3, 3, 64, 64, dtype=torch.float64)
    for network, run in (
        (m.encoders.model_b, lambda net, *args: net(*args)),
        (m.child_discriminator, lambda net, *args: net.judge(*args)),
    ):
        other = copy.deepcopy(network)
        found, expected = (
            run(network, torch.cat((one, two)), 2),
            torch.cat((run(other, one), run(other, two))),
        )
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
        found.square().sum().backward()
        expected.square().sum().backward()
        for (name, mine), theirs in zip(network.named_parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-7, atol=1e-9, msg=name)
        for (name, mine), theirs in zip(network.named_buffers(), other.buffers(), strict=True):
            torch.testing.assert_close(mine, theirs, msg=name)


# --- pair discriminators --------------------------------------------------------------------------------------


def test_pair_discriminator_written_out() -> None:
    torch.manual_seed(0)
    m = MixNMatchNetworks(TINY).double()
    bd = m.pair_discriminators.quiet().BD_p
    image, code = torch.rand(2, 3, 64, 64).double(), torch.rand(2, 2).double()
    state = bd.state_dict()
    x, y = image, code
    for n in range(5):
        w, b = state[f"image_layer.{n}.model.0.weight"], state[f"image_layer.{n}.model.0.bias"]
        x = F.leaky_relu(F.conv2d(x, w, b, *((2, 1) if n < 4 else (1, 0))), 0.2)
    for n in range(3):
        y = F.leaky_relu(
            y @ state[f"code_layer.{n}.model.0.weight"].t() + state[f"code_layer.{n}.model.0.bias"], 0.2
        )
    both = torch.cat((x.flatten(1), y), 1)
    both = F.leaky_relu(both @ state["joint.0.model.0.weight"].t() + state["joint.0.model.0.bias"], 0.2)
    expected = (both @ state["joint.1.model.0.weight"].t() + state["joint.1.model.0.bias"])[:, 0]
    torch.testing.assert_close(bd(image, code), expected)


def test_noise_stays_on_in_evaluation_until_it_is_turned_off() -> None:
    torch.manual_seed(0)
    m = MixNMatchNetworks(TINY).eval()
    image, codes = torch.rand(2, 3, 64, 64), Codes(*(c.float() for c in codes_of(TINY)))
    assert not torch.equal(m.pair_discriminators(image, codes), m.pair_discriminators(image, codes))
    layers = [m.pair_discriminators.BD_b.code_layer[n] for n in range(3)]
    for layer, deviation in zip(layers, (0.5, 0.3, 0.3), strict=True):
        x = torch.zeros(4000, layer.model[0].in_features)
        assert layer(x).std(0).mean().item() == pytest.approx(deviation, rel=0.02)
    m.pair_discriminators.quiet()
    assert torch.equal(m.pair_discriminators(image, codes), m.pair_discriminators(image, codes))


# --- in use ---------------------------------------------------------------------------------------------------


def mixer(extractor: bool = True) -> Mixer:
    torch.manual_seed(0)
    return Mixer(Generator(TINY), Encoders(TINY), FeatureExtractor(TINY) if extractor else None).double()


def test_each_factor_comes_from_its_image() -> None:
    m, images = mixer(), torch.rand(4, 1, 3, 64, 64).double()
    pose, background, shape, texture = images
    e = {name: m.encode(x) for name, x in zip("pbst", images, strict=True)}
    codes = Codes(e["p"].pose, e["b"].background, e["s"].shape, e["t"].texture)
    expected = m.generator(codes, background_pose=e["b"].pose)
    made = m.mix(pose=pose, background=background, shape=shape, texture=texture)
    torch.testing.assert_close(made.image, expected.image)
    assert not made.image.requires_grad
    codes = Codes(e["b"].pose, e["b"].background, torch.zeros_like(e["s"].shape), e["t"].texture)
    expected = m.generator(codes, features=m.extractor(shape * 2 - 1))  # type: ignore[misc]
    torch.testing.assert_close(m.mix_features(shape, background, texture).image, expected.image)
    assert not any(p.requires_grad for p in m.parameters())
    assert not any(module.training for module in m.modules())


def test_pictures_are_not_stretched() -> None:
    assert to_unit(torch.tensor([-1.0, 0.0, 0.5, 1.0])).tolist() == [0, 0.5, 0.75, 1]


def test_what_a_mixer_refuses() -> None:
    m, image = mixer(extractor=False), torch.rand(1, 3, 64, 64).double()
    with pytest.raises(RunError, match="feature extractor"):
        m.mix_features(image, image, image)
    with pytest.raises(DataError, match=r"64×64"):
        m.encode(torch.rand(1, 3, 128, 128).double())
