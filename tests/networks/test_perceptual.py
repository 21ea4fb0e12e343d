"""LPIPS against its formula on torchvision's AlexNet, and the distance that replaces it."""

import importlib.resources
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.models import alexnet

from stylebridge.errors import DataError, RecipeError, WeightsError
from stylebridge.metrics.perceptual import stage_distance
from stylebridge.networks import image_features, perceptual
from stylebridge.networks.perceptual import Lite0Distance, Lpips, open_perceptual

torch.set_num_threads(1)


def some_images(count: int = 2, side: int = 64, seed: int = 0) -> Tensor:
    """Smooth random images in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(count, 3, 8, 8, generator=generator)
    return torch.nn.functional.interpolate(small, size=(side, side + 10), mode="bilinear")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(image_features, "reachable", lambda *_: False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))


@pytest.mark.slow
def test_lpips_equals_its_formula(tmp_path: Path) -> None:
    """Scaled input, unit features after each ReLU, squared differences weighted by the released linear layers."""
    pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
    torch.manual_seed(0)
    backbone = alexnet(weights=None).eval()
    torch.save(backbone.state_dict(), tmp_path / "alexnet.pth")
    distance, note = open_perceptual("lpips", tmp_path / "alexnet.pth")
    assert (distance.name, note) == ("LPIPS", None)
    file = importlib.resources.files("torchmetrics") / "functional/image/lpips_models/alex.pth"
    weights = torch.load(str(file), map_location="cpu", weights_only=True)
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])

    def stages(image: Tensor) -> list[Tensor]:
        x, found = (2 * image - 1 - shift.view(1, 3, 1, 1)) / scale.view(1, 3, 1, 1), []
        for n, layer in enumerate(backbone.features):
            x = layer(x)
            if n in (1, 4, 7, 9, 11):
                found.append(x / x.square().sum(1, keepdim=True).sqrt().clamp(min=1e-4))
        return found

    first, second = some_images(), some_images(seed=1)
    with torch.no_grad():
        pairs = zip(stages(first), stages(second), strict=True)
        expected = sum(
            ((x - y).square() * weights[f"lin{n}.model.1.weight"]).sum(1).mean((1, 2))
            for n, (x, y) in enumerate(pairs)
        )
        assert isinstance(expected, Tensor)
        torch.testing.assert_close(distance(first, second), expected, rtol=1e-3, atol=1e-8)
    assert expected.min() > 0
    assert expected.shape == (2,)


@pytest.fixture(scope="module")
def lite0() -> Lite0Distance:
    return Lite0Distance()


def test_the_distance_on_lite0_is_that_of_its_stages(lite0: Lite0Distance) -> None:
    first, second = some_images(), some_images(seed=1)
    with torch.no_grad():
        of_first, of_second = lite0.stages(first), lite0.stages(second)
        found = lite0(first, second)
    assert [stage.shape[1] for stage in of_first] == [16, 24, 40, 112, 320]
    assert [stage.shape[2] for stage in of_first] == [32, 16, 8, 4, 2]
    torch.testing.assert_close(found, stage_distance(of_first, of_second), rtol=1e-4, atol=1e-6)
    assert lite0.name == "PD-lite0"
    assert not any(p.requires_grad for p in lite0.parameters())


def test_the_distance_on_lite0_grows_with_what_is_seen(lite0: Lite0Distance) -> None:
    image = some_images()
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        far = [lite0(image, (image + s * noise).clamp(0, 1)) for s in (0.0, 0.02, 0.1, 0.3)]
        there, back = lite0(image, image.flip(0)), lite0(image.flip(0), image)
    assert far[0].abs().max() < 1e-5
    assert (torch.stack(far).diff(dim=0) > 0).all()
    torch.testing.assert_close(there, back)


def test_what_cannot_be_compared_is_refused(lite0: Lite0Distance) -> None:
    with pytest.raises(DataError, match="cannot be compared"):
        lite0(some_images(), some_images(side=96))
    with pytest.raises(DataError, match="cannot be compared"):
        lite0(some_images()[:, :1], some_images()[:, :1])
    with pytest.raises(DataError, match=r"40×30 are too small for PD-lite0.* 32 pixels"):
        lite0(torch.zeros(1, 3, 30, 40), torch.zeros(1, 3, 30, 40))


def test_without_weights_and_network_lite0_is_taken_and_reported(offline: None) -> None:
    distance, note = open_perceptual()
    assert isinstance(distance, Lite0Distance)
    assert note is not None
    assert note.endswith("PD-lite0, which is not comparable with LPIPS.")
    with pytest.raises(WeightsError, match=r"AlexNet weights of LPIPS .* not available"):
        open_perceptual("lpips")


def test_wrong_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth does not contain AlexNet's weights \(missing: "):
        open_perceptual("auto", tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"none\.pth cannot be read"):
        open_perceptual("auto", tmp_path / "none.pth")
    with pytest.raises(RecipeError, match="'vgg': choose"):
        open_perceptual("vgg")  # type: ignore[arg-type]


def test_a_missing_torchmetrics_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torchmetrics.functional.image.lpips", None)
    with pytest.raises(WeightsError, match="pip install torchmetrics"):
        Lpips({})
    monkeypatch.setattr(perceptual, "hub_weights", lambda *_: {})
    distance, note = open_perceptual()
    assert distance.name == "PD-lite0"
    assert note is not None
    assert "torchmetrics, which is not installed" in note
