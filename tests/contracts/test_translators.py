"""The contract of every image translator in use."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stylebridge.errors import DataError
from stylebridge.methods.registry import method_names
from support.tiny_methods import CASES


@pytest.fixture(params=method_names("translate"))
def networks(request: pytest.FixtureRequest) -> Any:
    """Tiny networks, as saved in a run."""
    torch.manual_seed(0)
    method: Any = CASES[request.param].build()[0]
    return method.model.double()


def photos(images: int, height: int, width: int) -> Tensor:
    return torch.rand(images, 3, height, width, dtype=torch.float64)


@pytest.mark.parametrize("to", ["a", "b"])
@pytest.mark.parametrize("size", [(48, 48), (37, 50), (48, 49), (5, 7), (1, 1)])
def test_images_keep_their_size_and_range(networks: Any, to: str, size: tuple[int, int]) -> None:
    image = photos(2, *size)
    translated = networks.translator(to)(image)
    assert translated.shape == image.shape
    assert 0 <= translated.min() <= translated.max() <= 1
    assert translated.isfinite().all()


def test_each_image_is_translated_by_itself_and_always_equally(networks: Any) -> None:
    translator, image = networks.translator("b"), photos(3, 37, 50)
    together = translator(image)
    assert torch.equal(translator(image), together)
    for row, alone in zip(together, image, strict=True):
        torch.testing.assert_close(translator(alone[None])[0], row)


def test_directions_are_networks_of_their_own(networks: Any) -> None:
    image = photos(1, 48, 48)
    assert not torch.allclose(networks.translator("a")(image), networks.translator("b")(image))


def test_it_has_its_own_weights_that_are_not_trained(networks: Any) -> None:
    translator, image = networks.translator("a"), photos(1, 48, 48)
    before = translator(image)
    with torch.no_grad():
        for parameter in networks.parameters():
            parameter.zero_()
    assert torch.equal(translator(image), before)
    assert not translator.training
    assert not any(parameter.requires_grad for parameter in translator.parameters())


def test_the_parts_weights_are_all_of_it(networks: Any) -> None:
    """A run keeps the children's state dicts and the settings, and nothing else."""
    image, expected = photos(1, 48, 48), networks.translator("b")
    again = type(networks)(type(networks.config).model_validate_json(networks.config.model_dump_json()))
    parts = dict(networks.named_children())
    assert {id(p) for part in parts.values() for p in part.parameters()} == {
        id(p) for p in networks.parameters()
    }
    for name, part in again.named_children():
        assert isinstance(part, nn.Module)
        part.load_state_dict(parts[name].state_dict())
    assert torch.equal(again.double().translator("b")(image), expected(image))


def test_what_it_cannot_translate_is_named(networks: Any) -> None:
    with pytest.raises(DataError, match=r"\[1, 1, 48, 48\]"):
        networks.translator("a")(photos(1, 48, 48)[:, :1])
    with pytest.raises(DataError, match="'c'"):
        networks.translator("c")
