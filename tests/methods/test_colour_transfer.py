"""Colour transfer: the reference's mean and deviation, image by image, and training on the result."""

import copy
from pathlib import Path

import pytest
import torch

from stylebridge.methods.colour_transfer import ColourTransfer, match_colour
from stylebridge.methods.self_distillation import SelfDistillation
from stylebridge.methods.source_only import SourceOnly, SupervisedOptions
from support.mini import SGD, assert_same_weights, batches, mean_ce, mini_segmenter, mini_trainer


def gentle(images: int, size: tuple[int, int], seed: int) -> torch.Tensor:
    """Random images whose values stay far from 0 and 1, each channel with its own mean and spread."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(images, 3, *size, generator=generator, dtype=torch.float64) - 0.5
    centre = 0.4 + 0.2 * torch.rand(images, 3, 1, 1, generator=generator, dtype=torch.float64)
    spread = 0.1 + 0.2 * torch.rand(images, 3, 1, 1, generator=generator, dtype=torch.float64)
    return centre + spread * noise


# --- the transfer -------------------------------------------------------------------------------------------


def test_each_image_takes_its_references_mean_and_deviation() -> None:
    image, reference = gentle(3, (12, 17), seed=0), gentle(3, (9, 7), seed=1)
    moved = match_colour(image, reference)
    assert (moved > 0).all()  # nothing was clipped, else the statistics could not be met
    assert (moved < 1).all()
    for i in range(3):
        for channel in range(3):
            ours, theirs = moved[i, channel].flatten(), reference[i, channel].flatten()
            torch.testing.assert_close(ours.mean(), theirs.mean(), rtol=1e-6, atol=0)
            torch.testing.assert_close(ours.std(), theirs.std(), rtol=1e-6, atol=0)


def test_the_transfer_is_affine_and_rising_in_each_channel() -> None:
    image, reference = gentle(2, (12, 17), seed=2), gentle(2, (12, 17), seed=3)
    moved = match_colour(image, reference)
    scale = reference.std((2, 3)) / image.std((2, 3))
    shift = reference.mean((2, 3)) - scale * image.mean((2, 3))
    torch.testing.assert_close(moved, scale[..., None, None] * image + shift[..., None, None])


def test_a_reference_equal_to_the_image_changes_nothing() -> None:
    image = gentle(2, (5, 6), seed=4)
    torch.testing.assert_close(match_colour(image, image), image, rtol=1e-12, atol=1e-12)


def test_the_input_is_left_alone() -> None:
    image, reference = gentle(1, (5, 6), seed=5), torch.rand(1, 3, 5, 6, dtype=torch.float64)
    kept, kept_reference = image.clone(), reference.clone()
    match_colour(image, reference)
    assert torch.equal(image, kept)
    assert torch.equal(reference, kept_reference)


def test_results_stay_in_range() -> None:
    image = gentle(1, (8, 8), seed=6)
    reference = (torch.arange(64) % 2).double().view(1, 1, 8, 8).expand(1, 3, 8, 8)  # as contrasty as can be
    moved = match_colour(image, reference)
    assert moved.min() == 0
    assert moved.max() == 1


@pytest.mark.parametrize("level", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("size", [(48, 64), (512, 512)])
def test_flat_images_are_safe(level: float, size: tuple[int, int]) -> None:
    """An image without contrast becomes an image without contrast of the reference's mean; a flat reference
    makes the image flat. Single precision, where the mean of equal values need not equal them."""
    flat = torch.full((1, 3, *size), level)
    reference = gentle(1, (16, 16), seed=7).float()
    moved = match_colour(flat, reference)
    wanted = reference.mean((2, 3), keepdim=True).expand_as(moved)
    torch.testing.assert_close(moved, wanted, rtol=0, atol=2 / 255)
    back = match_colour(reference, flat)
    torch.testing.assert_close(back, torch.full_like(back, level), rtol=0, atol=1e-6)


# --- the methods --------------------------------------------------------------------------------------------


def test_colour_transfer_trains_on_recoloured_source_images(tmp_path: Path) -> None:
    source, target = batches(3, (9, 12), seed=1), batches(3, (7, 8), seed=2, labelled=False)
    ours = ColourTransfer(mini_segmenter())
    mini_trainer(ours, {"source": source, "target": target}, tmp_path / "a").fit()
    recoloured = [
        {**s, "image": match_colour(s["image"], t["image"])} for s, t in zip(source, target, strict=True)
    ]
    theirs = SourceOnly(mini_segmenter())
    mini_trainer(theirs, {"source": recoloured}, tmp_path / "b").fit()
    assert_same_weights(ours.segmenter, theirs.segmenter, rtol=1e-9)
    plain = SourceOnly(mini_segmenter())
    mini_trainer(plain, {"source": source}, tmp_path / "c").fit()
    with pytest.raises(AssertionError):
        assert_same_weights(ours.segmenter, plain.segmenter, rtol=1e-3)


@pytest.mark.parametrize("temperature", [1.0, 1.8])
@pytest.mark.parametrize(("method", "stream"), [(SourceOnly, "source"), (SelfDistillation, "target")])
def test_supervised_training_is_cross_entropy_over_valid_pixels(
    tmp_path: Path, method: type[SourceOnly], stream: str, temperature: float
) -> None:
    made = batches(3, (9, 12), seed=3)
    ours = method(mini_segmenter(), SupervisedOptions(temperature=temperature))
    expected = copy.deepcopy(ours.segmenter)
    sgd = torch.optim.SGD(expected.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for batch in made:
        sgd.zero_grad()
        mean_ce(expected(batch["image"]) / temperature, batch["label"]).backward()
        sgd.step()
    mini_trainer(ours, {stream: made}, tmp_path).fit()
    assert_same_weights(ours.segmenter, expected, rtol=1e-9)


def test_a_batch_without_a_valid_pixel_moves_nothing(tmp_path: Path) -> None:
    made = batches(1, (9, 12))
    made[0]["label"].fill_(255)
    method = SourceOnly(mini_segmenter())
    before = copy.deepcopy(method.segmenter)
    plain = {"segmenter": SGD.model_copy(update={"weight_decay": 0.0})}
    mini_trainer(method, {"source": made}, tmp_path, plain).fit()
    assert_same_weights(method.segmenter, before, rtol=0)
