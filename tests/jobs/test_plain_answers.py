"""Errors name the actual problem: a missing run, a mistyped mode, a size, a suffix."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from stylebridge.cli import app
from stylebridge.cli.tables import print_adaptation
from stylebridge.errors import DataError, RunError, UserError
from stylebridge.jobs.apply.models.mixer import check_mode
from stylebridge.jobs.apply.segment import segment
from stylebridge.jobs.exchange.export import export
from stylebridge.jobs.tasks.adapt import AdaptationResult
from stylebridge.jobs.train import adapt
from stylebridge.metrics.segmentation import SegmentationScores
from support import folders
from support.folders import World, tiny_overrides, write_domain

own_cache, world = folders.own_cache, folders.world


def refused(*arguments: str) -> str:
    """The sentence that a command ends with."""
    result = CliRunner().invoke(app, list(arguments))
    assert isinstance(result.exception, UserError), result.output
    return str(result.exception)


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["photos"], ["--labels", "keep"], ["--region-style", "sky=a.jpg"]])
def test_translate_apply_names_a_run_that_is_not_there(tmp_path: Path, more: list[str]) -> None:
    said = refused(
        "translate", "apply", str(tmp_path / "runs" / "none"), *more, "--out", str(tmp_path / "out")
    )
    assert said.startswith(f"{tmp_path}/runs/none does not exist: give the --out folder")
    assert "stylebridge translate train" in said
    (tmp_path / "photos").mkdir()
    said = refused("translate", "apply", str(tmp_path / "photos"), *more, "--out", str(tmp_path / "out"))
    assert "is not a stylebridge run" in said


@pytest.mark.parametrize(
    "more", [[], ["--vary", "texture=x"], ["--video", "none.mp4"], ["--pose", "none.jpg"], ["--out", "a.txt"]]
)
def test_a_mistyped_mode_is_named_before_anything_else(tmp_path: Path, more: list[str]) -> None:
    said = refused("mix", "apply", str(tmp_path / "none"), "--mode", "featur", *more)
    assert said == "--mode 'featur' is not known (did you mean feature?): choose code or feature."


def test_a_mode_that_resembles_none_has_no_hint() -> None:
    with pytest.raises(RunError, match=r"'xyz' is not known: choose code or feature\.$"):
        check_mode("xyz")


@pytest.mark.parametrize("window", [(100_000, 3), (3, 512), (512, 31), (0, 0), (-64, 64), (20_000, 512)])
def test_windows_of_no_use_are_refused_before_anything_is_loaded(tmp_path: Path, window) -> None:
    with pytest.raises(RunError, match=r"^--window is .* \(width and height\): give sides from 32 to 16384"):
        segment(tmp_path / "none", tmp_path, tmp_path / "out", window=window)


@pytest.mark.parametrize(("name", "advised"), [("m.txt", "m.onnx"), ("model", "model.onnx")])
def test_an_onnx_file_is_called_so(tmp_path: Path, name: str, advised: str) -> None:
    with pytest.raises(RunError, match=rf"does not end in \.onnx: give a name such as {advised}\.$"):
        export(tmp_path / "none", onnx=tmp_path / name)


@pytest.mark.parametrize("wrong", ["nowhere", "empty", "unlabelled", "damaged"])
def test_a_wrong_evaluation_set_is_not_called_the_target(tmp_path: Path, world: World, wrong: str) -> None:
    held_out = tmp_path / "held-out"
    if wrong == "empty":
        held_out.mkdir()
    elif wrong != "nowhere":
        write_domain(held_out, 2, labels=wrong == "damaged")
    if wrong == "damaged":
        (held_out / "labels" / "001.png").write_bytes(b"no picture")
    with pytest.raises(DataError) as caught:
        adapt(
            world.source, world.target, tmp_path / "run", recipe="source-only-small", label_space=world.space,
            overrides=tiny_overrides("source-only-small"), evaluate_on=held_out, device="cpu", quiet=True,
        )  # fmt: skip
    assert str(held_out) in str(caught.value)
    assert "target" not in str(caught.value)


def test_the_terminal_names_what_got_worse_before_what_gained(tmp_path: Path) -> None:
    def scores(*iou: float | None) -> SegmentationScores:
        mean = sum(value or 0 for value in iou) / 4
        zeros = tuple((0,) * 4 for _ in range(4))
        return SegmentationScores(("sky", "[car]", "pole", "sea"), iou, iou, mean, mean, 0.5, 9, zeros, "p")

    before, after = scores(0.5, 0.4, 0.3, None), scores(0.7, 0.3, 0.1, 0.2)
    console = Console(record=True, width=100, file=io.StringIO())
    network: Any = None
    print_adaptation(AdaptationResult(tmp_path, network, tmp_path / "report.html", before, after), console)
    text = console.export_text()
    assert "got worse  pole −20.0, [car] −10.0\n" in text
    assert "gained     sky +20.0\n" in text
    assert text.index("got worse") < text.index("gained") < text.index("mIoU 30.0 → 32.5")
