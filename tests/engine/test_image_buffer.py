"""The image buffer keeps, swaps and is saved."""

import torch

from stylebridge.engine.image_buffer import ImageBuffer


def image(values):
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1, 1)


def test_fills_first_then_swaps_about_half_and_loses_nothing():
    torch.manual_seed(0)
    buffer = ImageBuffer(8, (1, 1, 1))
    given, returned = [], []
    for start in range(0, 4000, 4):
        fresh = image(range(start, start + 4))
        out = buffer.swap(fresh, torch.rand(4, 2))
        given += fresh.flatten().tolist()
        returned += out.flatten().tolist()
        if start < 8:
            assert torch.equal(out, fresh)
    kept = buffer.images.flatten().tolist()
    # The first eight are kept and also returned; afterwards every image is either inside or was handed out once.
    late = sorted(returned[8:] + kept)
    assert late == sorted(given)
    old = sum(r != g for r, g in zip(returned[8:], given[8:], strict=True)) / (len(given) - 8)
    assert 0.45 < old < 0.55


def test_state_is_in_the_state_dict():
    buffer = ImageBuffer(3, (1, 1, 1))
    buffer.swap(image([1, 2]), torch.rand(2, 2))
    again = ImageBuffer(3, (1, 1, 1))
    again.load_state_dict(buffer.state_dict())
    assert torch.equal(again.images, buffer.images)
    assert int(again.filled) == 2


def test_more_images_than_it_holds_are_exchanged_without_loss():
    """Like several processes, which exchange the global batch."""
    torch.manual_seed(0)
    buffer = ImageBuffer(3, (1, 1, 1))
    returned = []
    for start in range(0, 70, 7):
        returned += buffer.swap(image(range(start, start + 7)), torch.rand(7, 2)).flatten().tolist()
    kept = buffer.images.flatten().tolist()
    assert sorted(returned[3:] + kept) == list(range(70))
