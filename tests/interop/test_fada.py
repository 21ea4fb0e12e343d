"""Released FADA checkpoints: read without executing code, with the published network's outputs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet101

from stylebridge.errors import WeightsError
from stylebridge.interop.fada import read_released
from stylebridge.jobs.apply.models.segmenter import load_adapted
from support import folders
from support.folders import CommandLine

own_cache, stylebridge = folders.own_cache, folders.stylebridge
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


class NoEps(nn.Module):
    """Frozen batch norm as in the authors' code: y = x·w/√var + (b − mean·w/√var), no eps."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((channels,), value))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight / self.running_var.sqrt()  # type: ignore[operator]
        shift = self.bias - self.running_mean * scale  # type: ignore[operator]
        return x * scale[None, :, None, None] + shift[None, :, None, None]


class Reference(nn.Module):
    """The published DeepLab-V2, put together from torchvision's parts, with released keys."""

    def __init__(self, classes: int, frozen: bool) -> None:
        super().__init__()
        net = resnet101(
            replace_stride_with_dilation=[False, True, True], norm_layer=NoEps if frozen else None
        )
        del net.fc
        self.backbone = net
        self.conv2d_list = nn.ModuleList(
            nn.Conv2d(2048, classes, 3, padding=r, dilation=r) for r in (6, 12, 18, 24)
        )
        generator = torch.Generator().manual_seed(3)
        for name, value in self.state_dict().items():
            if "running_var" in name:  # small enough for an eps to show
                value.copy_(torch.rand(value.shape, generator=generator) * 0.02 + 1e-4)
            elif "bn" in name and name.endswith("weight"):
                value.copy_(torch.rand(value.shape, generator=generator) * 0.02 + 0.005)
            elif "running_mean" in name:
                value.copy_(torch.randn(value.shape, generator=generator) * 0.01)

    def forward(self, image: Tensor) -> Tensor:
        net = self.backbone
        x = (image - MEAN[:, None, None]) / STD[:, None, None]
        x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
        x = net.layer4(net.layer3(net.layer2(net.layer1(x))))
        logits = sum(conv(x) for conv in self.conv2d_list)
        assert isinstance(logits, Tensor)
        return F.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=True)

    def released(self, prefix: str = "module.") -> dict[str, Any]:
        parts: dict[str, dict[str, Tensor]] = {"feature_extractor": {}, "classifier": {}}
        for key, value in self.state_dict().items():
            part = "classifier" if key.startswith("conv2d_list") else "feature_extractor"
            parts[part][prefix + key] = value
        return {"iteration": 20000, **parts, "optimizer_fea": {"state": {}}, "optimizer_cls": {"state": {}}}


@pytest.fixture(scope="module")
def frozen() -> Reference:
    return Reference(19, frozen=True).eval()


def run_import(stylebridge: CommandLine, folder: Path, content: Any, *more: object) -> Path:
    torch.save(content, folder / "model.pth")
    done = stylebridge("import", "fada", folder / "model.pth", "--out", folder / "run", *more)
    assert done.code == 0, done.err
    (folder / "model.pth").unlink()
    return folder / "run"


def assert_same_output(ours: Tensor, wanted: Tensor) -> None:
    """Within 1e-4 of the logits' size: a hundred layers of random weights make them large."""
    assert float((ours - wanted).abs().max()) <= 1e-4 * max(1.0, float(wanted.abs().max()))


@pytest.mark.slow
def test_a_frozen_model_gives_the_published_output(
    frozen: Reference, stylebridge: CommandLine, tmp_path: Path
) -> None:
    run = run_import(stylebridge, tmp_path, frozen.released())
    model = load_adapted(run)
    image = torch.rand(1, 3, 65, 97, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted, ours = frozen(image), model.segmenter(image)
    assert wanted.std() > 0.01
    assert_same_output(ours, wanted)
    assert len(frozen.released()["feature_extractor"]) == 520
    assert model.space.name == "cityscapes-19"
    assert model.inference.size == (2048, 1024)

    facts = yaml.safe_load((run / "run.yaml").read_text(encoding="utf-8"))
    assert facts["imported"]["file"] == "model.pth"
    assert facts["imported"]["iteration"] == 20000
    stylebridge("adapt", "--resume", "--out", run).refused("imported", str(run))

    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(tmp_path / "photo.png")
    sized = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
    assert sized["segmenter"]["arch"] == "deeplab-v2"


@pytest.mark.slow
def test_a_model_with_trainable_batch_norm_keeps_its_eps(stylebridge: CommandLine, tmp_path: Path) -> None:
    """624 keys; after stage 2, so with a discriminator and the smaller test size; SYNTHIA's sixteen classes."""
    reference = Reference(16, frozen=False).eval()
    content = reference.released(prefix="")
    assert len(content["feature_extractor"]) == 624
    shapes = {"D.0": (256, 2048), "D.2": (128, 256), "cls1": (16, 128), "cls2": (16, 128)}
    content["model_D"] = {}
    for key, (out, channels) in shapes.items():
        content["model_D"] |= {
            f"{key}.weight": torch.randn(out, channels, 3, 3),
            f"{key}.bias": torch.randn(out),
        }
    run = run_import(stylebridge, tmp_path, content)
    model = load_adapted(run)
    image = torch.rand(1, 3, 64, 48, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert_same_output(model.segmenter(image), reference(image))
    assert model.space.name == "synthia-16"
    assert model.inference.size == (1024, 512)
    assert (run / "networks" / "discriminator.safetensors").stat().st_size > 20_000_000


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("harm-was-done"),))


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("missing", ["does not exist"]),
        ("folder", ["is a folder"]),
        ("numbered", ["has the key 1, which is not a string"]),
        ("numbered part", ["has the key 2, which is not a string"]),
        ("empty", ["is empty"]),
        ("cut", ["cannot be read as a checkpoint"]),
        ("harmful", ["contains code besides tensors"]),
        ("list", ["holds a list"]),
        ("other", ["has no feature_extractor and no classifier", "state_dict"]),
        ("half", ["has no classifier"]),
        ("adaptsegnet", ["AdaptSegNet", "other outputs"]),
        ("classes", ["--label-space"]),
    ],
)
def test_what_is_not_a_released_checkpoint_is_named(
    stylebridge: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, named: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pth"
    tensor = torch.zeros(3, 3)
    content: dict[str, Any] = {
        "cut": {"a": torch.zeros(5000)},
        "harmful": {"feature_extractor": Harmful()},
        "list": [tensor],
        "numbered": {1: tensor},
        "numbered part": {"feature_extractor": {2: tensor}, "classifier": {}},
        "other": {"state_dict": {"x": tensor}},
        "half": {"feature_extractor": {"backbone.conv1.weight": tensor}},
        "adaptsegnet": {"module.conv1.weight": tensor, "module.layer5.conv2d_list.0.weight": tensor},
        "classes": {
            "feature_extractor": {"x": tensor},
            "classifier": {"conv2d_list.0.weight": torch.zeros(7, 8)},
        },
    }
    if how == "classes":
        monkeypatch.setattr("stylebridge.interop.fada.read_released", lambda path: _Seven())
    if how in content:
        torch.save(content[how], path)
    if how == "cut":
        path.write_bytes(path.read_bytes()[:3000])
    if how == "empty":
        path.touch()
    if how == "folder":
        path.mkdir()
    stylebridge("import", "fada", path, "--out", tmp_path / "run").refused("model.pth", *named)
    assert not (tmp_path / "harm-was-done").exists()
    assert not (tmp_path / "run").exists()


class _Seven:
    class segmenter:
        num_classes = 7


@pytest.mark.slow
def test_tensors_that_do_not_fit_are_named(frozen: Reference, tmp_path: Path) -> None:
    content = frozen.released(prefix="")
    del content["feature_extractor"]["backbone.layer3.7.conv2.weight"]
    content["feature_extractor"]["backbone.extra"] = torch.zeros(1)
    content["feature_extractor"]["backbone.conv1.weight"] = torch.zeros(64, 3, 3, 3)
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(WeightsError) as caught:
        read_released(tmp_path / "model.pth")
    for part in (
        "missing: backbone.layer3.7.conv2.weight",
        "surplus: backbone.extra",
        "[64, 3, 3, 3] instead of",
    ):
        assert part in str(caught.value)
    (tmp_path / "model.pth").unlink()


def test_a_run_in_the_way_stays(stylebridge: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    (tmp_path / "model.pth").touch()
    stylebridge("import", "fada", tmp_path / "model.pth", "--out", tmp_path / "run").refused("exists already")
    stylebridge("import", "gan", tmp_path / "model.pth", "--out", tmp_path / "new").refused(
        "'gan'", "deeplab, fada"
    )
    assert (tmp_path / "run" / "mine.txt").read_text() == "mine"
