"""Every command of docs/adapt.md and docs/data.md is run, in order, in an empty folder; training is cut short."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylebridge.jobs.datasets.toy import draw_toy
from stylebridge.jobs.train import find_task
from stylebridge.networks.segmenters.build import SegmenterConfig, build_segmenter
from support import folders
from support.folders import CommandLine, tiny_overrides

own_cache, stylebridge = folders.own_cache, folders.stylebridge

DOCS = Path(__file__).parents[2] / "docs"


def commands(page: str) -> list[list[str]]:
    """The arguments of every command: lines that are indented as code and begin with the program's name."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [
        shlex.split(line.partition("   #")[0])[1:]
        for line in re.findall(r"^    (stylebridge .+)$", text, re.M)
    ]


def run_all(page: str, stylebridge: CommandLine) -> list[str]:
    outputs = []
    for command in commands(page):
        if command[0] == "adapt" and "--resume" not in command:
            command = [*command, "--device", "cpu"]
            command += [
                part
                for change in tiny_overrides(find_task("adapt").default_recipe)
                for part in ("--set", change)
            ]
        done = stylebridge(*command)
        assert done.code == 0, f"{' '.join(command)}\n{done.err}"
        outputs.append(done.out)
    return outputs


def label_footage(folder: Path) -> None:
    """Label maps of the first two scenes of ``footage``, named as they are: what a user would draw by hand."""
    draw_toy(folder / "drawn", "camera", 2, first_seed=10_000, size=(160, 120))
    (folder / "drawn" / "labels").rename(folder / "few")


def write_video(path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for shade in range(4):
            frame = av.VideoFrame.from_ndarray(np.full((120, 160, 3), 60 * shade, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_released_weights(path: Path) -> None:
    """Random weights under the names and in the shapes of a released FADA checkpoint (ResNet-101, 19 classes)."""
    config = SegmenterConfig(arch="deeplab-v2", encoder="resnet101", weights=None)
    parts = {"feature_extractor": {}, "classifier": {}}
    for name, value in build_segmenter(config, 19).state_dict().items():
        part, _, key = name.partition(".")
        parts[part][key] = value
    torch.save({"iteration": 20000, **parts}, path)


def test_the_pages_name_commands() -> None:
    assert len(commands("adapt.md")) >= 10
    assert {c[0] for c in commands("adapt.md")} >= {
        "data",
        "adapt",
        "evaluate",
        "segment",
        "export",
        "import",
    }
    assert {c[1] for c in commands("data.md")} >= {"layouts", "spaces", "class-map", "doctor", "pack"}


@pytest.mark.slow
def test_from_a_folder_of_renders_to_an_onnx_file(
    stylebridge: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    label_footage(tmp_path)
    write_video(tmp_path / "drive.mp4")
    write_released_weights(tmp_path / "g2c_sd.pth")
    run_all("adapt.md", stylebridge)
    assert (tmp_path / "model.onnx").stat().st_size > 10_000
    for page in ("renders.html", "footage.html", "runs/first/report.html"):
        assert "</html>" in (tmp_path / page).read_text(encoding="utf-8")
    masks = sorted(path for path in (tmp_path / "masks").rglob("*.png"))
    assert len(masks) == 20
    assert all(np.array(Image.open(path)).max() < 11 for path in masks)
    assert len(list((tmp_path / "drive").rglob("*.png"))) == 4
    assert (tmp_path / "runs" / "released" / "segmenter").is_dir()


@pytest.mark.slow
def test_the_data_page(stylebridge: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draw_toy(tmp_path / "renders", "sim", 6, first_seed=0, size=(96, 72))
    draw_toy(tmp_path / "checked", "camera", 3, first_seed=20_000, size=(96, 72))
    outputs = run_all("data.md", stylebridge)
    assert "cityscapes" in outputs[0]
    assert "camvid-11" in outputs[1]
    assert "sidewalk: pavement" in outputs[2]
    assert (tmp_path / "renders-fixed" / "labels").is_dir()
    assert list((tmp_path / "shards" / "renders").glob("*.tar"))
