"""ONNX files: any batch, any size, the torch model's numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from stylebridge.interop.onnx import OnnxSegmenter, export_onnx
from stylebridge.jobs.apply.models.segmenter import load_adapted
from stylebridge.jobs.exchange import export as job
from stylebridge.jobs.exchange.export import export
from stylebridge.networks.segmenters.build import SegmenterConfig, build_segmenter
from support import folders
from support.folders import CommandLine, World

pytestmark = pytest.mark.slow

own_cache, world, finished, stylebridge = (
    folders.own_cache,
    folders.world,
    folders.finished,
    folders.stylebridge,
)
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def exported(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    result = export(finished, onnx=path, quiet=True)
    assert result.max_difference < 1e-3 * max(1, result.largest_logit)
    assert result.agreement > 0.999
    assert result.images.startswith("images of the target")
    assert result.bytes == path.stat().st_size
    return path


@pytest.mark.parametrize("size", [(1, 64, 32), (1, 33, 65), (3, 50, 47), (2, 128, 96), (5, 100, 333)])
def test_any_batch_and_size_gives_the_torch_models_logits(
    exported: Path, finished: Path, size: tuple[int, int, int]
) -> None:
    segmenter, onnx = load_adapted(finished).segmenter, OnnxSegmenter(exported)
    batch, height, width = size
    image = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(height))
    with torch.no_grad():
        wanted = segmenter(image)
    assert onnx(image).shape == (batch, 3, height, width)
    assert float((onnx(image) - wanted).abs().max()) < 1e-3 * max(1.0, float(wanted.abs().max()))


def test_the_file_says_how_to_use_it(exported: Path) -> None:
    facts = OnnxSegmenter(exported).metadata
    assert json.loads(facts["classes"]) == list(folders.NAMES)
    assert json.loads(facts["label_space"])["colours"][0] == list(folders.COLOURS[0])
    assert "RGB in [0, 1]" in facts["image"]


@torch.no_grad()
@pytest.mark.parametrize("encoder", ["vgg16", "tu-tf_efficientnet_lite0"])
def test_other_networks(encoder: str, tmp_path: Path) -> None:
    """FADA's DeepLab at any size; padding as TensorFlow's in the default encoder."""
    arch = "deeplab-v2" if encoder == "vgg16" else "fpn"
    segmenter = build_segmenter(SegmenterConfig(arch=arch, encoder=encoder, weights=None), 5).eval()
    export_onnx(segmenter, tmp_path / "m.onnx", {})
    onnx = OnnxSegmenter(tmp_path / "m.onnx", threads=1)
    for shape in ((1, 3, 61, 97), (2, 3, 128, 64)):
        image = torch.rand(shape, generator=torch.Generator().manual_seed(5))
        wanted = segmenter(image)
        torch.testing.assert_close(
            onnx(image), wanted, atol=1e-4 * max(1, float(wanted.abs().max())), rtol=1e-3
        )


def test_the_command_line_prints_the_difference(
    stylebridge: CommandLine, finished: Path, world: World, tmp_path: Path
) -> None:
    done = stylebridge(
        "export", finished, "--onnx", tmp_path / "m.onnx", "--images", world.held_out / "images"
    )
    assert done.code == 0, done.err
    assert "difference" in done.out
    assert "held-out" in done.out.replace("\n", "")
    stylebridge("export", finished, "--onnx", tmp_path / "m.onnx").refused("m.onnx exists already")
    stylebridge("export", finished, "--onnx", tmp_path).refused("is a folder")
    stylebridge("export", tmp_path / "none", "--onnx", tmp_path / "n.onnx").refused("none does not exist")


def test_a_file_that_computes_something_else_is_not_kept(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stylebridge: CommandLine
) -> None:
    class Other(OnnxSegmenter):
        def __call__(self, image: torch.Tensor) -> torch.Tensor:
            return super().__call__(image) + 100.0

    monkeypatch.setattr(job, "OnnxSegmenter", Other)
    done = stylebridge("export", finished, "--onnx", tmp_path / "m.onnx", "--quiet")
    done.refused("differs from the torch model by 1e+02")
    assert not list(tmp_path.glob("*.onnx"))
    assert np.isfinite(job.TOLERANCE)
