import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from torchvision.transforms.v2 import functional as tv

from stylebridge.data.augment import Augmentation, Blur, Jitter, apply, draw, jitter_image
from stylebridge.data.label_space import IGNORE

WIDTH, HEIGHT = 120, 90


def coded() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image whose red is the column and green the row, and two label maps with the same values."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.uint8)
    return np.stack([x, y, np.full_like(x, 7)], axis=2), x, y


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_nothing_asked_changes_nothing():
    image, label, _ = coded()
    out, classes = apply(Augmentation(), image, label, rng())
    assert (out.dtype, out.shape) == (torch.uint8, (3, HEIGHT, WIDTH))
    np.testing.assert_array_equal(out.permute(1, 2, 0), image)
    np.testing.assert_array_equal(classes, label)
    out.zero_()
    assert image.any()  # what comes back is a copy, the input may be a cache


def test_resize_is_centred_bicubic_for_images_and_nearest_for_labels():
    image, label, _ = coded()
    out, classes = apply(Augmentation(resize=(40, 30)), image, label, rng())
    expected = np.asarray(Image.fromarray(image).resize((40, 30), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(out.permute(1, 2, 0), expected)
    # Every third pixel, the middle one of its block: no shift against the image.
    np.testing.assert_array_equal(classes, label[1::3, 1::3])
    assert np.abs(out[0].numpy()[:, 2:-2].astype(int) - label[1::3, 1::3][:, 2:-2]).max() <= 1


def test_a_sure_flip_mirrors_both():
    image, label, _ = coded()
    out, classes = apply(Augmentation(flip=1), image, label, rng())
    np.testing.assert_array_equal(out.permute(1, 2, 0), image[:, ::-1])
    np.testing.assert_array_equal(classes, label[:, ::-1])


@given(
    st.integers(0, 2**32),
    st.sampled_from([None, (80, 60), (150, 70)]),
    st.sampled_from([None, (0.5, 1.5), (0.7, 0.7)]),
    st.sampled_from([None, (50, 40), (200, 100)]),
)
@settings(max_examples=60, deadline=None)
def test_image_and_label_move_together(seed, resize, scale, crop):
    image, columns, rows = coded()
    augmentation = Augmentation(resize=resize, scale=scale, crop=crop, flip=0.5)
    out, x = apply(augmentation, image, columns, rng(seed))
    _, y = apply(augmentation, image, rows, rng(seed))
    assert x is not None
    assert y is not None
    inside = (x != IGNORE).numpy()
    for channel, label in ((0, x), (1, y)):
        apart = np.abs(out[channel].numpy().astype(int) - label.numpy().astype(int))[inside]
        # Half a source pixel for the nearest label, up to two at the border where the filter is cut.
        assert apart.max() <= 2
    assert not out[:, ~inside].any()  # padding is black
    if crop is not None:
        assert tuple(out.shape[1:]) == (crop[1], crop[0])


@given(st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_nearest_labels_never_invent_ids(seed: int):
    label = rng(seed).choice(np.array([0, 3, 17, 255], np.uint8), (31, 47))
    image = np.zeros((31, 47, 3), np.uint8)
    augmentation = Augmentation(resize=(40, 40), scale=(0.5, 2), crop=(30, 90), flip=0.5)
    _, classes = apply(augmentation, image, label, rng(seed))
    assert classes is not None
    assert set(classes.unique().tolist()) <= {0, 3, 17, 255}


def test_scale_is_of_the_resized_size_and_uniform():
    image, label, _ = coded()
    augmentation = Augmentation(resize=(100, 50), scale=(0.5, 1.5))
    shapes = [tuple(apply(augmentation, image, label, rng(i))[0].shape[1:]) for i in range(300)]
    factors = np.array([w / 100 for _, w in shapes])
    assert all(
        h == round(f * 50) or abs(h - f * 50) <= 0.51 for (h, _), f in zip(shapes, factors, strict=True)
    )
    assert 0.5 <= factors.min() < 0.52
    assert 1.48 < factors.max() <= 1.5
    assert abs(factors.mean() - 1) < 4 * 1 / np.sqrt(12 * 300)


def test_every_place_of_the_crop_is_equally_likely():
    image, label, _ = coded()
    augmentation = Augmentation(crop=(WIDTH - 4, HEIGHT))
    lefts = [int(apply(augmentation, image, label, rng(i))[0][0, 0, 0]) for i in range(1000)]
    counts = np.bincount(lefts, minlength=5)
    assert len(counts) == 5
    assert ((counts - 200) ** 2 / 200).sum() < 18.5  # chi-square, 4 degrees, p = 0.001


def test_a_crop_beyond_the_image_is_padded_at_right_and_bottom():
    image, label, _ = coded()
    out, classes = apply(Augmentation(crop=(WIDTH + 3, HEIGHT + 2)), image, label, rng())
    assert classes is not None
    np.testing.assert_array_equal(out[:, :HEIGHT, :WIDTH].permute(1, 2, 0), image)
    np.testing.assert_array_equal(classes[:HEIGHT, :WIDTH], label)
    assert (classes[HEIGHT:] == IGNORE).all()
    assert (classes[:, WIDTH:] == IGNORE).all()
    assert not out[:, HEIGHT:].any()
    assert not out[:, :, WIDTH:].any()


STRONG = Jitter(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.2)


@pytest.mark.parametrize("seed", range(8))
def test_jitter_is_torchvisions(seed: int):
    image = rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    drawn = draw(Augmentation(jitter=STRONG), rng(seed))
    expected = Image.fromarray(image)
    changes = {
        0: lambda p: tv.adjust_brightness(p, drawn.brightness),
        1: lambda p: tv.adjust_contrast(p, drawn.contrast),
        2: lambda p: tv.adjust_saturation(p, drawn.saturation),
        3: lambda p: tv.adjust_hue(p, drawn.hue),
    }
    for change in drawn.order:
        expected = changes[change](expected)
    np.testing.assert_array_equal(jitter_image(image, STRONG, drawn), np.asarray(expected))


def test_the_law_of_the_factors():
    augmentation = Augmentation(
        jitter=Jitter(brightness=0.5, contrast=2.0, saturation=0.2, hue=0.1), blur=Blur(probability=0.25)
    )
    draws = [draw(augmentation, rng(i)) for i in range(2000)]
    for name, low, high in (
        ("brightness", 0.5, 1.5), ("contrast", 0.0, 3.0), ("saturation", 0.8, 1.2), ("hue", -0.1, 0.1),
    ):  # fmt: skip
        values = np.array([getattr(d, name) for d in draws])
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
        assert abs(values.mean() - (low + high) / 2) < 4 * (high - low) / np.sqrt(12 * 2000)
    assert len({d.order for d in draws}) == 24
    assert abs(np.mean([d.blur is not None for d in draws]) - 0.25) < 0.04
    assert abs(np.mean([d.flip for d in draws])) == 0


def test_jitter_leaves_labels_and_a_zero_strength_leaves_images():
    image, label, _ = coded()
    out, classes = apply(Augmentation(jitter=STRONG), image, label, rng(3))
    assert (out.permute(1, 2, 0).numpy() != image).any()
    np.testing.assert_array_equal(classes, label)
    out, _ = apply(Augmentation(jitter=Jitter()), image, None, rng(3))
    np.testing.assert_array_equal(out.permute(1, 2, 0), image)


def test_blur_smooths_the_image_only():
    noisy = rng(2).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    label = noisy[..., 0] // 64
    out, classes = apply(Augmentation(blur=Blur(probability=1, sigma=(2, 2))), noisy, label, rng())
    assert out.float().std() < 0.5 * noisy.std()
    np.testing.assert_array_equal(classes, label)


def test_the_same_generator_gives_the_same_sample():
    image, label, _ = coded()
    augmentation = Augmentation(
        resize=(90, 60), scale=(0.5, 1.5), crop=(40, 40), flip=0.5, jitter=STRONG, blur=Blur()
    )
    one, two, other = (apply(augmentation, image, label, rng(s)) for s in (5, 5, 6))
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])  # type: ignore[arg-type]
    assert not torch.equal(one[0], other[0])


@pytest.mark.parametrize(
    ("jitter", "scale", "size"), [(None, None, (8, 6)), (STRONG, None, None), (None, (0.5, 1.0), None)]
)
def test_only_a_resize_that_comes_first_is_kept_in_the_cache(jitter, scale, size):
    assert Augmentation(resize=(8, 6), crop=(4, 4), jitter=jitter, scale=scale).first_size == size


@pytest.mark.parametrize(
    "wrong",
    [
        {"rotate": 3}, {"resize": [0, 5]}, {"flip": 1.5}, {"scale": [1.5, 0.5]}, {"scale": [0, 1]},
        {"jitter": {"hue": 0.6}}, {"jitter": {"gamma": 1}}, {"blur": {"sigma": [2, 1]}}, {"crop": [3]},
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        Augmentation.model_validate(wrong)


def test_settings_survive_yaml():
    augmentation = Augmentation(
        resize=(90, 60), scale=(0.5, 1.5), crop=(4, 4), flip=0.5, jitter=STRONG, blur=Blur()
    )
    assert Augmentation.model_validate(augmentation.model_dump(mode="json")) == augmentation
