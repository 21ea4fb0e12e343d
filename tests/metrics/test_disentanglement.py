"""Measures of disentanglement against loops and extremes."""

import math

import pytest
import torch

from stylebridge.metrics.disentanglement import (
    background_difference,
    colour_distance,
    colour_histograms,
    histogram_distance,
    mask_iou,
)


def random_pair(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.rand(3, 3, 5, 4, generator=g), torch.rand(3, 1, 5, 4, generator=g)


def test_histograms_count_pixels_by_their_mask() -> None:
    image, mask = random_pair()
    found = colour_histograms(image, mask, bins=3)
    assert found.shape == (3, 27)
    for b in range(3):
        expected = [0.0] * 27
        for y in range(5):
            for x in range(4):
                red, green, blue = (min(2, int(value * 3)) for value in image[b, :, y, x].tolist())
                expected[9 * red + 3 * green + blue] += mask[b, 0, y, x].item()
        total = sum(expected)
        assert found[b].tolist() == pytest.approx([value / total for value in expected])


def test_white_is_in_the_last_cell() -> None:
    assert colour_histograms(torch.ones(1, 3, 2, 2), torch.ones(1, 1, 2, 2), bins=8)[0, -1] == 1


def test_colour_distance_is_that_inside_the_masks() -> None:
    image, mask = random_pair()
    half = torch.zeros_like(mask)
    half[..., :2] = 1
    changed = image.clone()
    changed[..., 2:] = 0.5  # outside
    assert colour_distance(image, half, changed, half).tolist() == pytest.approx([0, 0, 0], abs=1e-12)
    assert (colour_distance(image, mask, image.flip(3), mask.flip(3)) < 1e-9).all()  # a moved object
    red, green = torch.zeros(2, 1, 3, 4, 4)
    red[:, 0], green[:, 1] = 1, 1
    whole = torch.ones(1, 1, 4, 4)
    assert colour_distance(red, whole, green, whole).item() == 1
    half_red = red.clone()
    half_red[..., :2] = green[..., :2]
    assert colour_distance(red, whole, half_red, whole).item() == pytest.approx(0.5)


def test_histogram_distance_is_symmetric_and_within_0_and_1() -> None:
    p, q = (torch.rand(5, 9, dtype=torch.float64).softmax(1) for _ in range(2))
    d = histogram_distance(p, q)
    torch.testing.assert_close(d, histogram_distance(q, p))
    torch.testing.assert_close(d, (p - q).abs().sum(1) / 2)


def test_mask_iou() -> None:
    one, other = torch.zeros(2, 4, 1, 4, 4)
    one[0, :, :2], other[0, :, 1:3] = 1, 1  # 8 and 8 pixels, 4 shared
    one[1] = other[1] = 0.9
    one[2, 0, 0, 0], other[2, 0, 3, 3] = 0.6, 0.6
    found = mask_iou(one, other).tolist()
    assert found[:3] == pytest.approx([4 / 12, 1, 0])
    assert math.isnan(found[3])
    assert mask_iou(one[2:3], other[2:3], threshold=0.7).isnan().all()


def test_background_difference_leaves_out_both_masks() -> None:
    image, _ = random_pair()
    other = image + 0.25
    one_mask, other_mask = torch.zeros(2, 3, 1, 5, 4)
    one_mask[:, :, 0], other_mask[:, :, 1] = 1, 1
    other[:, :, :2] += 5  # under the masks
    found = background_difference(image, one_mask, other, other_mask)
    assert found.tolist() == pytest.approx([0.25] * 3)
    assert background_difference(image, torch.ones_like(one_mask), other, other_mask).isnan().all()


def test_background_difference_is_the_mean_of_a_loop() -> None:
    (image, mask), (other, other_mask) = random_pair(1), random_pair(2)
    for b, found in enumerate(background_difference(image, mask, other, other_mask).tolist()):
        differences = [
            abs(image[b, c, y, x].item() - other[b, c, y, x].item())
            for y in range(5)
            for x in range(4)
            if mask[b, 0, y, x] <= 0.5 and other_mask[b, 0, y, x] <= 0.5
            for c in range(3)
        ]
        assert found == pytest.approx(sum(differences) / len(differences))


def test_an_empty_mask_has_no_colours() -> None:
    image, mask = random_pair()
    assert colour_distance(image, mask, image, torch.zeros_like(mask)).isnan().all()
