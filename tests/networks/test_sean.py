"""SEAN's networks: the specification's counts, and encoder and generator written out with style maps."""

import pytest
import torch
from torch import Tensor, nn

from stylebridge.errors import DataError
from stylebridge.networks.sean import PRESETS, SEANConfig, SEANGenerator, SEANNetworks, SEANStyleEncoder
from support.published_label_gan import NORMAL, blocks_of_labels, generate, published, shaken, style_matrix

K = 3
TINY = SEANConfig(classes=K, channels=2, hidden=4, style_channels=16)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def networks_on_meta(**settings: object) -> SEANNetworks:
    with torch.device("meta"):
        return SEANNetworks(SEANConfig.model_validate({"classes": 19} | settings))


def test_parameters() -> None:
    networks = networks_on_meta()
    assert count(networks) == 266_907_367
    assert count(networks.encoder) == 1_568_576
    parts = ("fc", "head_0", "G_middle_0", "G_middle_1", "up_0", "up_1", "up_2", "up_3", "conv_img")
    assert [count(getattr(networks.generator, part)) for part in parts] == [
        176_128,
        52_504_580,
        52_504_580,
        52_504_580,
        52_144_646,
        31_690_502,
        22_888_838,
        923_206,
        1_731,
    ]
    assert count(networks_on_meta(upsampling="more")) == 266_907_367
    styled = [m for m in networks.modules() if hasattr(m, "code_weight")]
    assert len(styled) == 15
    assert sum(m.code_weight.numel() + m.code_bias.numel() for m in styled) == 74_856_960


def test_any_number_of_classes() -> None:
    # Each class more: 15 layers of 512·512 + 512, 18 norms of 128·9, and the start layer's 1024·9.
    assert count(networks_on_meta(classes=150)) == 266_907_367 + 131 * (15 * 262_656 + 18 * 1152 + 9216)


def drawing(seed: int):
    """The noise of the specification: column by column, in the order of the layers."""
    generator = torch.Generator().manual_seed(seed)

    def draw(x: Tensor) -> Tensor:
        noise = torch.randn(len(x), x.shape[3], x.shape[2], generator=generator)
        return noise.transpose(1, 2)[:, None].double()

    return draw


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("upsampling", "doublings"), [("normal", NORMAL), ("more", [*NORMAL, "G_middle_1"])])
def test_encoder_and_generator_equal_the_specification(
    upsampling: str, doublings: list[str], training: bool
) -> None:
    networks = shaken(SEANNetworks(TINY.model_copy(update={"upsampling": upsampling}))).eval()
    for module in networks.modules():  # spectral norms stay as they are: their iteration has its own tests
        if isinstance(module, nn.BatchNorm2d):
            module.train(training)
    stride = 2 ** len(doublings)
    labels = blocks_of_labels(2, stride, 2 * stride, K)
    labels[1][labels[1] == 2] = 0  # a class that is absent from one image
    image = torch.rand(2, 3, stride, 2 * stride, dtype=torch.float64, requires_grad=True)
    state = published(networks)
    styles = style_matrix(state, image * 2 - 1, labels, K)
    expected = generate(state, labels, K, doublings, styles, drawing(4), training)
    codes, present = networks.encoder(image, labels)
    torch.testing.assert_close(codes, styles, rtol=0, atol=1e-11)
    assert present.tolist() == [[True] * 3, [True, True, False]]
    ours = networks(labels, image, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-9)
    if upsampling == "normal":
        leaves = [image, *networks.parameters()]
        g = torch.randn_like(expected)
        found = torch.autograd.grad(ours, leaves, g, allow_unused=True)
        for one, other in zip(
            found, torch.autograd.grad(expected, leaves, g, allow_unused=True), strict=True
        ):
            assert (one is None) == (other is None)
            if one is not None:
                torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_prepared_styles_of_other_images_and_rows() -> None:
    networks = shaken(SEANNetworks(TINY)).eval()
    labels = blocks_of_labels(2, 32, 32, K)
    codes = torch.randn(2, K, 16, dtype=torch.float64)
    mixed = codes.clone()
    mixed[0, 1] = 0.3 * codes[0, 1] + 0.7 * codes[1, 1]
    out = networks.generator(labels, mixed, generator=torch.Generator().manual_seed(1))
    expected = generate(published(networks), labels, K, NORMAL, mixed, drawing(1), training=False)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-9)
    assert out.min() >= 0
    assert out.max() <= 1


# --- mean styles ----------------------------------------------------------------------------------------------


def test_mean_styles_are_means_over_the_images_that_have_the_class() -> None:
    with torch.device("cpu"):
        generator = SEANGenerator(TINY).double()
    codes = torch.randn(7, K, 16, dtype=torch.float64)
    present = torch.rand(7, K) < 0.6
    present[:, 2] = False
    present[0, :2] = True
    for rows in (slice(0, 3), slice(3, 4), slice(4, 7)):
        generator.add_styles(codes[rows], present[rows])
    for k in range(2):
        torch.testing.assert_close(generator.mean_styles[k], codes[present[:, k], k].mean(0))
    assert generator.style_counts.tolist() == present.sum(0).tolist()
    filled = generator.complete(codes, present)
    assert torch.equal(filled[present], codes[present])
    for image, k in (~present).nonzero().tolist():
        # Class 2 has no mean: its row stays.
        assert torch.equal(filled[image, k], generator.mean_styles[k] if k < 2 else codes[image, 2])
    generator.forget_styles()
    assert torch.equal(generator.complete(codes, present), codes)


def test_a_class_without_code_is_painted_in_its_mean_style() -> None:
    networks = shaken(SEANNetworks(TINY)).eval()
    generator = networks.generator
    labels = blocks_of_labels(1, 32, 32, K)
    codes = torch.randn(1, K, 16, dtype=torch.float64)
    present = torch.tensor([[True, False, True]])
    generator.forget_styles()

    def paint(styles: Tensor, there: Tensor | None) -> Tensor:
        return generator(labels, styles, there, torch.Generator().manual_seed(0))

    torch.testing.assert_close(paint(codes, present), paint(codes, None))  # no mean yet: the row as it is
    mean = torch.randn(1, K, 16, dtype=torch.float64)
    generator.add_styles(mean, torch.ones(1, K, dtype=torch.bool))
    meant = codes.clone()
    meant[:, 1] = mean[:, 1]
    torch.testing.assert_close(paint(codes, present), paint(meant, None))
    assert not torch.allclose(paint(codes, present), paint(codes, None))


# --- limits -------------------------------------------------------------------------------------------------------


def test_errors() -> None:
    networks = SEANNetworks(TINY)
    with pytest.raises(DataError, match="32×33 does not fit"):
        networks(torch.zeros(1, 33, 32, dtype=torch.uint8), torch.rand(1, 3, 33, 32))
    with pytest.raises(DataError, match=r"\[1, 4, 16\] do not fit: give \[1, 3, 16\]"):
        networks.generator(torch.zeros(1, 32, 32, dtype=torch.uint8), torch.zeros(1, 4, 16))


@pytest.mark.parametrize("wrong", [{"upsampling": "most"}, {"style_channels": 20}, {"vae": True}])
def test_wrong_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SEANConfig(**{"classes": 3} | wrong)


def test_presets() -> None:
    for settings in PRESETS.values():
        assert SEANConfig(classes=7, **settings).discriminator_layers == 3
    with torch.device("meta"):
        small = SEANNetworks(SEANConfig(classes=12, **PRESETS["sean-small"]))
    assert count(small) < 30_000_000


def test_the_style_encoder_takes_sides_that_are_not_multiples_of_4() -> None:
    encoder = SEANStyleEncoder(TINY)
    codes, present = encoder(torch.rand(1, 3, 29, 34), torch.zeros(1, 29, 34, dtype=torch.uint8))
    assert codes.shape == (1, K, 16)
    assert present.tolist() == [[True, False, False]]
    for height, width in ((1, 8), (8, 1), (4, 4)):
        with pytest.raises(DataError, match=f"{width}×{height} is too small"):
            encoder(torch.rand(1, 3, height, width), torch.zeros(1, height, width, dtype=torch.uint8))
    assert encoder(torch.rand(1, 3, 5, 5), torch.zeros(1, 5, 5, dtype=torch.uint8)).codes.isfinite().all()
