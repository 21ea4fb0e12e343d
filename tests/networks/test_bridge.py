"""Bridge's networks: the closed-form parts against their definitions, the learned ones against the design."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stylebridge.errors import DataError, RecipeError
from stylebridge.layers.spade import LabelMaps
from stylebridge.networks.bridge import OTHER, BridgeConfig, BridgeTranslator, Painters, Styles, critics
from stylebridge.networks.bridge.recolour import EPS, apply_map, colour_map
from stylebridge.networks.bridge.styles import LOOKS, MEAN_DECAY, grain
from stylebridge.networks.bridge.trunk import Trunk
from stylebridge.networks.segmenters.build import SegmenterConfig, build_segmenter
from support.mini import MiniSegmenter

CLASSES = 3
SMALL = {"channels": 4, "blocks": 1, "style_channels": 5, "hidden": 6}


def scene(images: int = 2, height: int = 24, width: int = 32, seed: int = 0):
    """Random images, and label maps with two of three classes and some void."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(images, 3, height, width, generator=generator)
    labels = torch.zeros(images, height, width, dtype=torch.int64)
    labels[:, :, width // 2 :] = 1
    labels[:, :4, :4] = 255
    return image, labels


def networks(seed: int = 0, **changes):
    torch.manual_seed(seed)
    config = BridgeConfig(**{**SMALL, **changes})
    return critics(config, CLASSES, MiniSegmenter()), Painters(config, CLASSES)


def codes_of(both, domain, image):
    return both[domain].encode(image * 2 - 1).code


# --- colours ------------------------------------------------------------------------------------------------


def statistics(colours: torch.Tensor) -> torch.Tensor:
    """Mean and covariance of colours [N, 3] as [9]."""
    mean = colours.mean(0)
    c = torch.cov(colours.T, correction=0)
    return torch.cat((mean, c.diagonal(), torch.stack((c[0, 1], c[0, 2], c[1, 2]))))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_mapped_colours_have_the_wanted_mean_and_covariance(seed):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.eye(3, dtype=torch.float64) + 0.4 * torch.rand(3, 3, generator=generator, dtype=torch.float64)
    other = torch.eye(3, dtype=torch.float64) + 0.4 * torch.rand(
        3, 3, generator=generator, dtype=torch.float64
    )
    colours = torch.randn(4000, 3, generator=generator, dtype=torch.float64) @ mix
    wanted = torch.randn(4000, 3, generator=generator, dtype=torch.float64) @ other + 0.3
    change = colour_map(statistics(colours), statistics(wanted))
    image = colours.T.reshape(1, 3, 40, 100)
    got = statistics(apply_map(image, change[None])[0].flatten(1).T)
    torch.testing.assert_close(got, statistics(wanted), atol=5 * EPS, rtol=0)


def test_equal_statistics_change_nothing():
    own = statistics(torch.rand(500, 3, dtype=torch.float64))
    image = torch.rand(1, 3, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(apply_map(image, colour_map(own, own)[None]), image, atol=1e-9, rtol=0)


def test_a_grey_style_makes_grey():
    """What one factor a channel cannot do."""
    colours = torch.rand(5000, 3, dtype=torch.float64)
    grey = torch.rand(5000, 1, dtype=torch.float64).expand(-1, 3)
    change = colour_map(statistics(colours), statistics(grey))
    made = apply_map(colours.T.reshape(1, 3, 50, 100), change[None])[0].flatten(1).T
    assert (made - made.mean(1, keepdim=True)).std() < 0.45 * (colours - colours.mean(1, keepdim=True)).std()


@pytest.mark.parametrize("sigma", [0.02, 0.1])
def test_grain_is_the_deviation_of_noise_and_not_of_edges(sigma):
    torch.manual_seed(0)
    image = torch.zeros(2, 3, 120, 160)
    image[..., 60:, :] = 0.7
    image[..., 33:90] += 0.2
    torch.testing.assert_close(grain(image), torch.zeros(2, 3))
    noisy = image + sigma * torch.randn_like(image)
    torch.testing.assert_close(grain(noisy), torch.full((2, 3), sigma), rtol=0.05, atol=0)


# --- styles -------------------------------------------------------------------------------------------------


def test_looks_are_the_regions_own_and_absent_classes_take_the_running_mean():
    both, painters = networks()
    image, labels = scene()
    code = codes_of(both, "source", image)
    head = painters.heads["source"]
    styles = head(code, image, labels, follow=True)
    assert styles.codes.shape == (2, CLASSES, 5)
    assert styles.looks.shape == (2, CLASSES + 1, LOOKS)
    assert styles.present.tolist() == [[True, True, False]] * 2
    small = torch.nn.functional.adaptive_avg_pool2d(image, code.shape[-2:])
    rough = torch.nn.functional.interpolate(labels[:, None].float(), size=code.shape[-2:])[:, 0]
    region = small[0].flatten(1)[:, rough[0].flatten() == 1].T
    torch.testing.assert_close(styles.looks[0, 1, :9], statistics(region), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        styles.looks[0, 3, :9], statistics(small[0].flatten(1).T), atol=1e-5, rtol=1e-4
    )
    assert head.known.tolist() == [True, True, False, True]
    # Class 1 is absent from another image: its row is the running mean.
    other, void = scene(seed=1)
    again = head(codes_of(both, "source", other), other, torch.zeros_like(void))
    torch.testing.assert_close(again.looks[0, 1], head.mean_styles(1).looks[0, 1])
    assert not again.present[0, 1]
    # A class that was never seen takes the whole image's.
    torch.testing.assert_close(again.looks[:, 2], again.looks[:, 3])


def test_running_means_follow_what_is_shown():
    both, painters = networks()
    head = painters.heads["target"]
    first, labels = scene(seed=1)
    second, _ = scene(seed=2)
    with torch.no_grad():
        head(codes_of(both, "target", first), first, labels, follow=True)
        before = head.means.clone()
        head(codes_of(both, "target", second), second, labels)
        assert torch.equal(head.means, before), "only real images of training are followed"
        head(codes_of(both, "target", second), second, labels, follow=True)
        small = torch.nn.functional.adaptive_avg_pool2d(second, (6, 8))
    mean = MEAN_DECAY * before[-1, 8:11] + (1 - MEAN_DECAY) * small.mean((0, 2, 3))
    torch.testing.assert_close(head.means[-1, 8:11], mean)


def test_one_global_style_is_the_same_for_all_classes():
    both, painters = networks(region_styles=False)
    image, labels = scene()
    styles = painters.styles("source", codes_of(both, "source", image), image, labels)
    for k in range(CLASSES):
        torch.testing.assert_close(styles.looks[:, k], styles.looks[:, -1])


# --- painting -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["image", "colour", "region-colour"])
def test_before_training_the_residual_generator_gives_its_base(base):
    both, painters = networks(base=base, grain=False)
    image, labels = scene()
    translator = BridgeTranslator(both, painters, "target")
    own = translator.styles_of(image, labels)
    if base == "image":
        torch.testing.assert_close(translator(image, labels, own), image)
    wanted = Styles(own.codes, own.looks + torch.tensor([0.05] * 3 + [0.0] * 9), own.present)
    made = painters.paint("target", codes_of(both, "source", image), image, labels, own, wanted)
    expected = image if base == "image" else (image + 0.05).clamp(0, 1)
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=0)


def test_a_region_takes_its_own_colours():
    both, painters = networks(base="region-colour", region_share=1.0, grain=False)
    image, labels = scene()
    own = painters.styles("source", codes_of(both, "source", image), image, labels)
    looks = own.looks.clone()
    looks[:, 1, 0] += 0.1
    made = painters.paint(
        "target", codes_of(both, "source", image), image, labels, own, Styles(own.codes, looks, own.present)
    )
    change = made - image
    assert change[:, 1:].abs().max() < 1e-5
    assert change[:, 0][labels == 0].abs().max() < 1e-5
    unclipped = (labels == 1) & (image[:, 0] < 0.89)
    torch.testing.assert_close(
        change[:, 0][unclipped], torch.full_like(change[:, 0][unclipped], 0.1), atol=1e-5, rtol=0
    )


def test_the_grain_that_is_missing_is_added():
    both, painters = networks(base="image")
    image = torch.full((2, 3, 80, 96), 0.5)
    labels = torch.zeros(2, 80, 96, dtype=torch.int64)
    code = codes_of(both, "source", image)
    own = painters.styles("source", code, image, labels)
    looks = own.looks.clone()
    looks[..., 9:] = 0.05
    made = painters.paint("target", code, image, labels, own, Styles(own.codes, looks, own.present))
    torch.testing.assert_close(grain(made), torch.full((2, 3), 0.05), rtol=0.1, atol=0)


@pytest.mark.parametrize("output", ["residual", "image"])
@pytest.mark.parametrize("size", [(24, 32), (21, 30), (6, 9)])
def test_any_size_is_painted(output, size):
    both, painters = networks(output=output)
    image, labels = scene(3, *size)
    for to in OTHER:
        translator = BridgeTranslator(both, painters, to).eval()
        made = translator(image, labels)
        assert made.shape == image.shape
        assert made.min() >= 0
        assert made.max() <= 1
        assert torch.isfinite(translator(image, labels, translator.styles_of(image[:1], labels[:1]))).all()


def test_gradients_reach_every_weight_of_a_trained_direction():
    both, painters = networks(grain=False)
    torch.nn.init.normal_(painters.generators["target"].paint.weight)
    image, labels = scene()
    own = painters.styles("source", codes_of(both, "source", image), image, labels)
    wanted = painters.styles("target", codes_of(both, "target", image.flip(0)), image.flip(0), labels)
    made = painters.paint(
        "target", codes_of(both, "source", image), image, LabelMaps(labels, CLASSES), own, wanted
    )
    made.square().sum().backward()
    untouched = [n for n, p in painters.generators["target"].named_parameters() if p.grad is None]
    assert not untouched
    assert painters.heads["target"].weight.grad is not None


@pytest.mark.parametrize(("class_critics", "outputs"), [(True, 2 * CLASSES), (False, 1)])
def test_patch_heads_have_two_outputs_a_class_or_one(class_critics, outputs):
    both, _ = networks(class_critics=class_critics)
    image, _ = scene(height=32)
    near, far = both["target"].judge(codes_of(both, "target", image))
    assert near.shape[:2] == far.shape[:2] == (2, outputs)
    assert near.shape[-1] > far.shape[-1]


def test_there_are_two_domains():
    both, painters = networks()
    with pytest.raises(DataError, match="no domain 'b'"):
        BridgeTranslator(both, painters, "b")


# --- a segmenter's first layers as the encoder --------------------------------------------------------------


def smp_segmenter(encoder: str = "tu-tf_efficientnet_lite0", arch: str = "fpn"):
    torch.manual_seed(0)
    return build_segmenter(SegmenterConfig(arch=arch, encoder=encoder, weights=None), CLASSES)


@pytest.mark.parametrize("encoder", ["tu-tf_efficientnet_lite0", "resnet18", "mit_b0"])
def test_the_trunk_is_the_segmenters_first_layers_as_in_use(encoder):
    segmenter = smp_segmenter(encoder, "segformer" if encoder == "mit_b0" else "fpn")
    for module in segmenter.modules():  # statistics that differ from those of the batch
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
    image = torch.rand(2, 3, 64, 96)
    trunk = Trunk(segmenter).train()
    with torch.no_grad():
        wanted = segmenter.eval().model.encoder(segmenter.normalise(image))[2]
        found = trunk(image * 2 - 1)
    torch.testing.assert_close(found, wanted)
    assert found.shape == (2, trunk.channels, 16, 24)
    assert not any(p.requires_grad for p in trunk.parameters())


@pytest.mark.parametrize("encoder", ["tu-tf_efficientnet_lite0", "resnet18", "mit_b0"])
def test_layers_behind_the_trunk_are_not_kept(encoder):
    segmenter = smp_segmenter(encoder, "segformer" if encoder == "mit_b0" else "fpn")
    assert len(Trunk(segmenter).encoder.state_dict()) < len(segmenter.model.encoder.state_dict()) / 3


def test_the_trunk_stays_as_it_was_while_the_segmenter_learns():
    segmenter = smp_segmenter()
    image = torch.rand(1, 3, 32, 32)
    trunk = Trunk(segmenter)
    before = trunk(image)
    with torch.no_grad():
        for parameter in segmenter.parameters():
            parameter.mul_(1.5)
    assert torch.equal(trunk(image), before)


def test_critics_on_a_trunk_train_their_own_layers_and_pass_gradients_to_the_image():
    config = BridgeConfig(**SMALL, trunk="segmenter")
    both = critics(config, CLASSES, smp_segmenter())
    image = torch.rand(2, 3, 64, 64, requires_grad=True)
    encoding = both["target"].encode(image * 2 - 1)
    assert encoding.code.shape == (2, 8, 16, 16)
    sum(score.sum() for score in both["target"].judge(encoding.code)).backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
    trained = {n for n, p in both["target"].named_parameters() if p.grad is not None}
    assert any(name.startswith("model.1.") for name in trained)
    assert not any(name.startswith("model.0.") for name in trained)


def test_a_segmenter_without_such_layers_is_refused():
    config = BridgeConfig(**SMALL, trunk="segmenter")
    with pytest.raises(RecipeError, match=r"networks\.trunk is segmenter.*choose another segmenter, or own"):
        critics(config, CLASSES, MiniSegmenter())
    # A vision transformer's tokens stand for 16 × 16 pixels each.
    with pytest.raises(RecipeError, match="quarter"):
        critics(config, CLASSES, smp_segmenter("tu-vit_tiny_patch16_224", "dpt"))
