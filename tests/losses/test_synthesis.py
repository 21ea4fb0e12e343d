"""Losses of image synthesis: their formulas written out, and the perceptual losses' networks."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from stylebridge.errors import RecipeError, WeightsError
from stylebridge.losses.synthesis import (
    feature_matching,
    hinge_of_discriminator,
    hinge_of_generator,
    normal_divergence,
    perceptual_distance,
)
from stylebridge.networks.image_features import lite0_weights
from stylebridge.networks.label_gan import open_perceptual_loss, perceptual
from stylebridge.networks.label_gan.perceptual import Lite0Loss, VGG19Loss


def judgement(seed: int) -> list[list[Tensor]]:
    """Two scales of three outputs: float64, with gradients."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ([(2, 3, 5, 4), (2, 4, 3, 3), (2, 1, 4, 4)], [(2, 3, 3, 2), (2, 4, 2, 2), (2, 1, 3, 3)])
    return [
        [torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_() for shape in scale]
        for scale in shapes
    ]


def test_hinge() -> None:
    real, fake = judgement(0), judgement(1)
    expected = 0.0
    for of_real, of_fake in zip(real, fake, strict=True):
        expected += sum(max(0.0, 1 - s) for s in of_real[-1].flatten().tolist()) / of_real[-1].numel() / 2
        expected += sum(max(0.0, 1 + s) for s in of_fake[-1].flatten().tolist()) / of_fake[-1].numel() / 2
    assert hinge_of_discriminator(real, fake).item() == pytest.approx(expected, abs=1e-12)
    wanted = -(fake[0][-1].mean() + fake[1][-1].mean()) / 2
    torch.testing.assert_close(hinge_of_generator(fake), wanted)


def test_scores_that_are_right_by_one_cost_nothing() -> None:
    right, wrong = (
        [[torch.full((2, 1, 3, 3), v)] for v in (1.5, -1.5)],
        [[torch.full((2, 1, 3, 3), -1.0)]] * 2,
    )
    assert hinge_of_discriminator(right[:1], wrong[:1]) == 0


def test_feature_matching_sums_layers_and_averages_scales() -> None:
    fake, real = judgement(0), judgement(1)
    expected = sum((fake[s][n] - real[s][n]).abs().mean() for s in range(2) for n in range(2)) / 2
    loss = feature_matching(fake, real)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert all(y.grad is None for scale in real for y in scale)
    assert all(scale[0].grad is not None and scale[-1].grad is None for scale in fake)


def test_perceptual_distance() -> None:
    fake = [torch.rand(2, c, 4, 4, dtype=torch.float64, requires_grad=True) for c in range(1, 6)]
    real = [torch.rand_like(y).requires_grad_() for y in fake]
    loss = perceptual_distance(fake, real)
    means = [(x - y).abs().mean() for x, y in zip(fake, real, strict=True)]
    torch.testing.assert_close(loss, means[0] / 32 + means[1] / 16 + means[2] / 8 + means[3] / 4 + means[4])
    loss.backward()
    assert all(y.grad is None for y in real)


def test_divergence() -> None:
    mean, logvar = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    ours = torch.distributions.Normal(mean, (logvar / 2).exp())
    standard = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    expected = torch.distributions.kl_divergence(ours, standard).sum()
    torch.testing.assert_close(normal_divergence(mean, logvar), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    scores = [[torch.full((1, 2, 2, 2), 0.1, dtype=dtype), torch.full((1, 1, 300, 300), 0.1, dtype=dtype)]]
    other = [[torch.zeros(1, 2, 2, 2, dtype=dtype), scores[0][1]]]
    for loss in (
        hinge_of_generator(scores),
        hinge_of_discriminator(scores, scores),
        feature_matching(scores, other),
    ):
        assert loss.dtype == torch.float32
    assert hinge_of_generator(scores).item() == pytest.approx(-scores[0][1][0, 0, 0, 0].item(), rel=1e-5)


# --- perceptual losses ----------------------------------------------------------------------------------------


def vgg_weights(seed: int = 0) -> dict[str, Tensor]:
    """torchvision's keys of vgg19 up to relu5_1, and one of its classifier's."""
    generator = torch.Generator().manual_seed(seed)
    state = {"classifier.0.bias": torch.zeros(3)}
    inputs = 3
    convs = {
        0: 64,
        2: 64,
        5: 128,
        7: 128,
        10: 256,
        12: 256,
        14: 256,
        16: 256,
        19: 512,
        21: 512,
        23: 512,
        25: 512,
        28: 512,
    }
    for number, outputs in convs.items():
        weight = torch.randn(outputs, inputs, 3, 3, generator=generator) * (2 / (9 * inputs)) ** 0.5
        state |= {f"features.{number}.weight": weight, f"features.{number}.bias": torch.zeros(outputs)}
        inputs = outputs
    return state


def test_vgg_layers_are_the_first_of_each_size() -> None:
    state = vgg_weights()
    image = torch.rand(1, 3, 32, 32)
    x, expected = image * 2 - 1, []
    for stage in ((0, 2), (5, 7), (10, 12, 14, 16), (19, 21, 23, 25), (28,)):
        for number in stage:
            x = F.conv2d(
                x, state[f"features.{number}.weight"], state[f"features.{number}.bias"], padding=1
            ).relu()
            if number == stage[0]:
                expected.append(x)
        x = F.max_pool2d(x, 2)
    loss = VGG19Loss(state)
    for ours, theirs in zip(loss.features(image), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_vgg_keys_are_torchvisions() -> None:
    from torchvision.models import vgg19

    with torch.device("meta"):
        theirs = vgg19().features.state_dict()
    ours = {k: v for k, v in vgg_weights().items() if k.startswith("features")}
    shapes = {f"features.{key}": value.shape for key, value in theirs.items()}
    assert all(shapes[key] == value.shape for key, value in ours.items())


def test_the_loss_is_frozen_and_gives_gradients_to_the_fake_only(tmp_path: Path) -> None:
    path = tmp_path / "vgg.pth"
    torch.save(vgg_weights(), path)
    loss, why = open_perceptual_loss("auto", path)
    assert isinstance(loss, VGG19Loss)
    assert why is None
    assert not any(p.requires_grad for p in loss.parameters())
    assert not any(module.training for module in loss.train().modules())
    fake, real = torch.rand(1, 3, 32, 32, requires_grad=True), torch.rand(1, 3, 32, 32, requires_grad=True)
    value = loss(fake, real)
    value.backward()
    assert value > 0
    assert fake.grad is not None
    assert fake.grad.any()
    assert real.grad is None
    assert loss(real, real) == 0


def test_lite0_takes_its_place_under_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(url: str, what: str) -> dict[str, Tensor]:
        raise WeightsError(f"The {what} ({url}) are not available (no answer): give the file.")

    try:
        lite0_weights()
    except WeightsError:
        pytest.skip("the package with EfficientNet-Lite0's weights is not installed")
    monkeypatch.setattr(perceptual, "hub_weights", unreachable)
    loss, why = open_perceptual_loss()
    assert isinstance(loss, Lite0Loss)
    assert loss.name == "lite0_perceptual"
    assert why is not None
    assert "VGG-19" in why
    assert "lite0_perceptual replaces" in why
    image, other = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
    assert [tuple(f.shape[1:]) for f in loss.features(image)] == [
        (16, 32, 32),
        (24, 16, 16),
        (40, 8, 8),
        (112, 4, 4),
        (320, 2, 2),
    ]
    assert loss(image, image) == 0
    assert loss(image, other) > 0
    with pytest.raises(WeightsError, match=r"choose perceptual lite0 or none\.$"):
        open_perceptual_loss("vgg19")


def test_no_perceptual_loss_and_the_run_can_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_perceptual_loss("none") == (None, None)

    def missing(*_: object) -> dict[str, Tensor]:
        raise WeightsError("The weights are not available: give a file.")

    monkeypatch.setattr(perceptual, "hub_weights", missing)
    monkeypatch.setattr(perceptual, "Lite0Loss", missing)
    loss, why = open_perceptual_loss()
    assert loss is None
    assert why is not None
    assert "no perceptual loss" in why


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="perceptual is 'alexnet'"):
        open_perceptual_loss("alexnet")  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="choose vgg19"):
        open_perceptual_loss("lite0", tmp_path / "vgg.pth")
    with pytest.raises(WeightsError, match=r"absent\.pth cannot be read"):
        open_perceptual_loss("vgg19", tmp_path / "absent.pth")
    state = vgg_weights()
    del state["features.28.weight"]
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(
        WeightsError, match=r"other\.pth does not contain VGG-19's weights.*features\.28\.weight"
    ):
        open_perceptual_loss("vgg19", tmp_path / "other.pth")
