"""Class mixing, colour jitter and blur against brute force in float64."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from stylebridge.methods.mixing import blur, class_mask, jitter_colour

LUMA = (0.299, 0.587, 0.114)


def random_images(images: int = 3, size: tuple[int, int] = (6, 9), seed: int = 0) -> Tensor:
    return torch.rand(images, 3, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- class mask ---------------------------------------------------------------------------------------------


def chosen_by_hand(label: np.ndarray, priorities: np.ndarray) -> set[int]:
    """The ⌈n/2⌉ classes of lowest priority among the n that occur."""
    present = sorted(set(label.ravel().tolist()) - {255}, key=lambda c: priorities[c])
    return set(present[: math.ceil(len(present) / 2)])


@pytest.mark.parametrize("classes", [1, 2, 5, 19])
def test_class_mask_takes_exactly_the_pixels_of_half_of_the_classes(classes: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    for _ in range(20):
        few = int(torch.randint(1, classes + 1, (), generator=generator))
        label = torch.randint(0, few, (4, 6, 7), generator=generator)
        label[torch.rand(label.shape, generator=generator) < 0.2] = 255
        priorities = torch.rand(4, classes, generator=generator)
        mask = class_mask(label, priorities)
        assert mask.dtype == torch.bool
        for image, chosen, numbers in zip(label.numpy(), mask.numpy(), priorities.numpy(), strict=True):
            expected = np.isin(image, list(chosen_by_hand(image, numbers)))
            np.testing.assert_array_equal(chosen, expected)


def test_ignored_pixels_are_never_chosen() -> None:
    label = torch.full((2, 3, 4), 255)
    label[1, 0, 0] = 2
    mask = class_mask(label, torch.rand(2, 3))
    assert not mask[0].any()
    assert mask[1].nonzero().tolist() == [[0, 0]]


def test_classes_that_do_not_occur_take_no_place() -> None:
    """Low priorities of absent classes must not use up the half that is chosen."""
    label = torch.tensor([[[3, 3, 4, 255]]])
    mask = class_mask(label, torch.tensor([[0.0, 0.1, 0.2, 0.9, 0.8]]))
    assert mask.tolist() == [[[False, False, True, False]]]


def test_each_class_is_chosen_equally_often() -> None:
    label = torch.arange(4).view(1, 1, 4).expand(4000, 1, 4)
    mask = class_mask(label, torch.rand(4000, 4, generator=torch.Generator().manual_seed(0)))
    assert (mask.sum(-1) == 2).all()
    share = mask.double().mean((0, 1))
    torch.testing.assert_close(share, torch.full_like(share, 0.5), rtol=0, atol=0.04)  # five deviations


# --- colour jitter ------------------------------------------------------------------------------------------


def jitter_by_hand(image: np.ndarray, numbers: np.ndarray, strength: float) -> np.ndarray:
    """Brightness, contrast about the mean grey, saturation about the pixel's grey, hue; float64 [3, H, W]."""
    brightness, contrast, saturation = (1 + strength * (2 * u - 1) for u in numbers[:3])
    angle = (2 * numbers[3] - 1) * strength * math.pi / 2
    image = image * brightness
    mean = np.tensordot(LUMA, image, 1).mean()
    image = mean + (image - mean) * contrast
    grey = np.tensordot(LUMA, image, 1)
    image = grey + (image - grey) * saturation
    to_yiq = np.array([LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)])
    y, i, q = np.tensordot(to_yiq, image, 1)
    turned = np.stack(
        [y, math.cos(angle) * i - math.sin(angle) * q, math.sin(angle) * i + math.cos(angle) * q]
    )
    return np.clip(np.tensordot(np.linalg.inv(to_yiq), turned, 1), 0, 1)


@pytest.mark.parametrize("strength", [0.2, 1.0])
def test_jitter_is_the_formula_of_each_image(strength: float) -> None:
    image = random_images(4)
    numbers = torch.rand(4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    changed = jitter_colour(image, numbers, strength, probability=1.0)
    for ours, before, row in zip(changed, image, numbers, strict=True):
        expected = jitter_by_hand(before.numpy(), row.numpy(), strength)
        np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9, atol=1e-12)


def test_jitter_of_strength_0_is_the_identity() -> None:
    image = random_images()
    changed = jitter_colour(image, torch.rand(3, 5, dtype=torch.float64), strength=0.0, probability=1.0)
    torch.testing.assert_close(changed, image, rtol=0, atol=1e-12)


def test_jitter_of_probability_0_is_the_identity_to_the_bit() -> None:
    image = random_images().float()
    assert torch.equal(jitter_colour(image, torch.zeros(3, 5), strength=1.0, probability=0.0), image)


def test_jitter_happens_with_its_probability_image_by_image() -> None:
    image, numbers = random_images(4), torch.full((4, 5), 0.9, dtype=torch.float64)
    numbers[:, 4] = torch.tensor([0.0, 0.79, 0.8, 0.99])
    changed = jitter_colour(image, numbers, strength=0.5, probability=0.8)
    same = [torch.equal(a, b) for a, b in zip(changed, image, strict=True)]
    assert same == [False, False, True, True]


def test_jitter_keeps_the_range_and_stays_with_its_image() -> None:
    image = random_images(3)
    numbers = torch.rand(3, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    changed = jitter_colour(image, numbers, strength=1.0, probability=1.0)
    assert changed.min() >= 0
    assert changed.max() <= 1
    numbers[1, :4] = 1 - numbers[1, :4]
    other = jitter_colour(image, numbers, strength=1.0, probability=1.0)
    same = [torch.equal(a, b) for a, b in zip(changed, other, strict=True)]
    assert same == [True, False, True]


@pytest.mark.parametrize("u", [0.0, 0.3, 0.9])
def test_a_turn_of_hue_keeps_the_luma_and_the_greys(u: float) -> None:
    image = 0.45 + 0.1 * random_images()  # pale colours: nothing is clipped
    image[0] = image[0, :1]
    numbers = torch.tensor([[0.5, 0.5, 0.5, u, 0.0]], dtype=torch.float64).expand(3, 5)
    changed = jitter_colour(image, numbers, strength=1.0, probability=1.0)
    weights = torch.tensor(LUMA, dtype=torch.float64).view(1, 3, 1, 1)
    torch.testing.assert_close((changed * weights).sum(1), (image * weights).sum(1), rtol=1e-9, atol=0)
    # The published YIQ matrix has three digits: its rows of colour sum to 0, so greys stay grey.
    torch.testing.assert_close(changed[0], image[0], rtol=1e-9, atol=0)
    assert not torch.allclose(changed[1:], image[1:], atol=1e-3)


# --- blur ---------------------------------------------------------------------------------------------------


def blur_by_hand(image: np.ndarray, sigma: float, radius: int) -> np.ndarray:
    """Direct two-dimensional convolution of [3, H, W] with mirrored edges (the edge pixel not repeated)."""
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    padded = np.pad(image, ((0, 0), (radius, radius), (radius, radius)), mode="reflect")
    result = np.zeros_like(image)
    for y in range(image.shape[1]):
        for x in range(image.shape[2]):
            window = padded[:, y : y + 2 * radius + 1, x : x + 2 * radius + 1]
            result[:, y, x] = (window * kernel).sum((1, 2))
    return result


def test_blur_equals_a_direct_convolution_with_each_images_sigma() -> None:
    image = random_images(3, (7, 6))
    numbers = torch.tensor([[0.0, 0.0], [0.4, 0.2], [1.0, 0.4]], dtype=torch.float64)
    blurred = blur(image, numbers, probability=0.5)
    for ours, before, (u, _) in zip(blurred, image, numbers.tolist(), strict=True):
        expected = blur_by_hand(before.numpy(), 0.15 + u * (1.15 - 0.15), radius=3)
        np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9)


def test_blur_preserves_constants_and_the_sum_inside() -> None:
    numbers = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    flat = torch.full((1, 3, 8, 8), 0.37, dtype=torch.float64)
    torch.testing.assert_close(blur(flat, numbers, 1.0), flat, rtol=1e-12, atol=0)
    point = torch.zeros(1, 3, 15, 15, dtype=torch.float64)
    point[..., 7, 7] = 1
    spread = blur(point, numbers, 1.0)
    torch.testing.assert_close(spread.sum((2, 3)), torch.ones(1, 3, dtype=torch.float64))
    torch.testing.assert_close(spread, spread.flip(-1))
    torch.testing.assert_close(spread, spread.mT)


def test_blur_of_probability_0_is_the_identity_to_the_bit() -> None:
    image = random_images().float()
    assert torch.equal(blur(image, torch.zeros(3, 2), probability=0.0), image)


def test_blur_happens_image_by_image_and_to_all_channels_equally() -> None:
    image = random_images(3)
    image[0] = image[0, :1]
    blurred = blur(
        image, torch.tensor([[0.8, 0.1], [0.8, 0.7], [0.8, 0.1]], dtype=torch.float64), probability=0.5
    )
    same = [torch.equal(a, b) for a, b in zip(blurred, image, strict=True)]
    assert same == [False, True, False]
    assert torch.equal(blurred[0, 0], blurred[0, 2])


def test_memory_layout_does_not_matter() -> None:
    """The trainer passes channels-last images."""
    image, numbers = random_images(2, (8, 10)), torch.rand(2, 5, dtype=torch.float64)
    last = image.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(blur(last, numbers[:, :2], 1.0), blur(image, numbers[:, :2], 1.0))
    torch.testing.assert_close(
        jitter_colour(last, numbers, 0.5, 1.0), jitter_colour(image, numbers, 0.5, 1.0)
    )
