"""A disk that takes no more: one sentence with the path and the mend, and what was there before is as it was.

The disk is played by the limit of a file's size that the system itself keeps.
"""

import contextlib
import importlib
import resource
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stylebridge.data.domain import open_domain
from stylebridge.data.label_space import LabelSpace
from stylebridge.errors import WriteError
from stylebridge.jobs.apply import labelled_set as translated_set
from stylebridge.jobs.apply.models.domains import Domains
from stylebridge.jobs.apply.models.model import Model
from stylebridge.jobs.pictures import write_png
from stylebridge.jobs.recipe.adapt import InferenceConfig
from stylebridge.jobs.runs.outputs import TRANSLATED, mark
from stylebridge.jobs.tasks.adaptation import report as adapt_report
from stylebridge.jobs.train import adapt
from support import folders
from support.folders import World, tiny_overrides

# The package has a function of the same name.
export_job = importlib.import_module("stylebridge.jobs.exchange.export")
own_cache, world = folders.own_cache, folders.world


@contextlib.contextmanager
def full_disk(largest: int) -> Iterator[None]:
    """Files take no more than ``largest`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def noise(size: tuple[int, int] = (64, 64)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


def test_a_picture(tmp_path: Path) -> None:
    write_png(noise((4, 4)), tmp_path / "a.png")
    before = contents(tmp_path)
    with (
        full_disk(8192),
        pytest.raises(
            WriteError, match=r"a\.png cannot be written \(.*\): make room, or choose another --out\.$"
        ),
    ):
        write_png(noise(), tmp_path / "a.png")
    assert contents(tmp_path) == before


def test_translate_apply(tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    domain = open_domain(world.source, "source", labelled=True, space=LabelSpace.load(world.space))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.yaml").write_text("kind: translate\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("old")
    mark(tmp_path / "out", TRANSLATED)  # an earlier set
    translator: Any = SimpleNamespace(
        domains=Domains(("a", "b"), ("a", "b"), (None, None)),
        styles="none",
        check=lambda *_: None,
        translate=lambda image, *_, **__: image,
    )
    model = Model(tmp_path / "run", "translate", {"translate": lambda _: translator})
    monkeypatch.setattr(translated_set, "_labelled", lambda *_: domain)
    before = contents(tmp_path)
    with full_disk(4000), pytest.raises(WriteError, match="make room, or choose another --out"):
        translated_set.write_translated_set(model, tmp_path / "out", overwrite=True, quiet=True)
    assert contents(tmp_path) == before


def test_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = SimpleNamespace(
        segmenter=None, space=LabelSpace("one", ("a",), ((0, 0, 0),), {0: 0}), inference=InferenceConfig()
    )
    monkeypatch.setattr(export_job, "open_model", lambda *_: SimpleNamespace(segmenter=model))
    monkeypatch.setattr(export_job, "export_onnx", lambda network, path, facts: path.write_bytes(bytes(9000)))
    (tmp_path / "m.onnx").write_bytes(b"old")
    before = contents(tmp_path)
    with (
        full_disk(8192),
        pytest.raises(WriteError, match=r"m\.onnx cannot be written .*another --onnx\.$"),
    ):
        export_job.export(tmp_path / "model", onnx=tmp_path / "m.onnx", overwrite=True, quiet=True)
    assert contents(tmp_path) == before


@pytest.mark.slow
@pytest.mark.parametrize("place", ["_put_in_place", "_write_scores", "write_model_card", "write_report"])
def test_the_end_of_an_adaptation_can_be_resumed(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    write = getattr(adapt_report, place)

    def on_a_full_disk(*arguments: Any) -> Any:
        with full_disk(100):
            return write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(adapt_report, place, on_a_full_disk)
        with pytest.raises(WriteError, match=r"cannot be written \(.*continue it with --resume\.$") as caught:
            adapt(
                world.source, world.target, tmp_path / "run", recipe="source-only-small", label_space=world.space,
                overrides=tiny_overrides("source-only-small"), evaluate_on=world.held_out, device="cpu", quiet=True,
            )  # fmt: skip
    assert str(tmp_path / "run") in str(caught.value)
    assert adapt(out=tmp_path / "run", resume=True, device="cpu", quiet=True).report.is_file()
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith((".partial", ".replaced"))]
