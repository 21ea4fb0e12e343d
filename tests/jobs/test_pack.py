"""``stylebridge data pack``, and adapting from its shards."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest
import yaml
from PIL import Image

from stylebridge.data import check_domain, open_domain
from stylebridge.engine import Trainer
from stylebridge.engine import checkpoint as ckpt
from stylebridge.errors import DataError, RunError, UserError
from stylebridge.jobs.datasets.pack import pack
from stylebridge.jobs.evaluate.segmenter import evaluate
from support import folders
from support.folders import World, assert_same, tiny_adapt, told, weights

own_cache, world = folders.own_cache, folders.world
jobs_pack = importlib.import_module("stylebridge.jobs.datasets.pack")


def packed(world: World, out: Path, **options) -> Path:
    options = {"label_space": world.space, "quiet": True, "shard_mb": 0.011} | options
    return pack(world.source, out, **options).path


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- packing ------------------------------------------------------------------------------------------------


def test_what_was_packed_is_reported(world: World, tmp_path: Path):
    result = pack(world.source, tmp_path / "out", label_space=world.space, shard_mb=0.011, quiet=True)
    tars = sorted((tmp_path / "out").glob("*.tar"))
    assert (result.path, result.shards, result.samples) == (tmp_path / "out", len(tars), 6)
    assert result.shards > 2
    assert result.bytes == sum(tar.stat().st_size for tar in tars)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_shards_packed_anew_are_the_same(world: World, tmp_path: Path):
    """From shards too: keys are numbered, and image bytes and train ids are unchanged."""
    first = packed(world, tmp_path / "first")
    assert content(packed(world, tmp_path / "second", workers=1)) == content(first)
    again = pack(first, tmp_path / "third", shard_mb=0.011, quiet=True).path
    ours, theirs = (open_domain(place, "source", labelled=True) for place in (again, first))
    assert ours.space == theirs.space
    assert [image.read_bytes() for image in ours.images] == [image.read_bytes() for image in theirs.images]  # type: ignore[union-attr]
    np.testing.assert_array_equal(check_domain(ours).pixel_counts, check_domain(theirs).pixel_counts)


def test_without_a_label_space_it_is_inferred_and_reported(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture
):
    pack(world.source, tmp_path / "out")
    assert "the plain ids 0 to 2 as 3 classes" in capsys.readouterr().err
    space = open_domain(tmp_path / "out", "source", labelled=True).space
    assert space is not None
    assert space.nameless


def test_unlabelled(world: World, tmp_path: Path):
    assert pack(world.target, tmp_path / "out", unlabelled=True, quiet=True).samples == 4
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        ".stylebridge.json",
        "000000.tar",
        "index.json",
        "samples.npy",
        "sizes.npy",
    ]


def test_what_is_there_is_not_lost(world: World, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(RunError, match=r"mine exists already"):
            packed(world, tmp_path / "mine", overwrite=overwrite)
    with pytest.raises(RunError, match="is the data"):
        pack(packed(world, tmp_path / "in"), tmp_path / "in", overwrite=True, quiet=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file is a file, so"):
        packed(world, tmp_path / "file" / "out")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    assert (tmp_path / "in" / "index.json").is_file()


def test_overwriting_replaces_shards(world: World, tmp_path: Path):
    out = packed(world, tmp_path / "out")
    expected = content(packed(world, tmp_path / "large", shard_mb=1))
    with pytest.raises(RunError, match=r"exists already: .* --overwrite"):
        packed(world, out, shard_mb=1)
    assert content(packed(world, out, shard_mb=1, overwrite=True)) == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large", "out"]


def test_overwriting_keeps_the_old_shards_until_the_new_are_whole(world: World, tmp_path: Path):
    out = packed(world, tmp_path / "out")
    before = content(out)
    bad = folders.write_domain(tmp_path / "bad", 3)
    (bad / "images" / "001.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"001\.jpg cannot be read as an image"):
        pack(bad, out, label_space=world.space, overwrite=True, quiet=True)
    assert content(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "out"]


KILLED = """
import os, sys
import stylebridge.data.shards.writer as writer
import stylebridge.jobs.datasets.pack as job
original = writer._Shards.write
def write(self, packed):
    if len(self.entries) == 2:
        os._exit(9)
    return original(self, packed)
writer._Shards.write = write
job.pack(sys.argv[1], sys.argv[2], label_space=sys.argv[3], shard_mb=0.011, quiet=True)
"""


@pytest.mark.slow
def test_a_killed_pack_leaves_nothing_that_looks_finished(world: World, tmp_path: Path):
    command = [sys.executable, "-c", KILLED, str(world.source), str(tmp_path / "out"), str(world.space)]
    assert subprocess.run(command, check=False).returncode == 9
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.rglob("index.json"))
    assert list(tmp_path.rglob("000001.tar"))  # it was under way
    assert content(packed(world, tmp_path / "out")) == content(packed(world, tmp_path / "other"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "out"]


def test_a_full_disk_is_reported(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(jobs_pack, "write_shards", full)
    with pytest.raises(RunError, match=r"\(No space left on device\): make room, or choose another --out\.$"):
        packed(world, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0, -1, float("nan")])
def test_an_invalid_size_is_reported(world: World, tmp_path: Path, size: float):
    with pytest.raises(DataError, match="--shard-mb is"):
        packed(world, tmp_path / "out", shard_mb=size)


# --- adapting from shards -----------------------------------------------------------------------------------


@pytest.fixture
def in_shards(world: World, tmp_path: Path) -> World:
    """The world with source, target and held-out images in shards."""
    target = pack(world.target, tmp_path / "target", unlabelled=True, shard_mb=0.011, quiet=True).path
    held_out = pack(world.held_out, tmp_path / "held-out", label_space=world.space, quiet=True).path
    return World(packed(world, tmp_path / "source"), target, held_out, world.space)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["source-only-small", "fada-small"])
def test_shards_train_what_their_files_train(world: World, in_shards: World, tmp_path: Path, recipe: str):
    """Bit-identical, including pseudo-labels and class-balanced sampling; and the scores are the same."""
    runs = [
        tiny_adapt(w, tmp_path / name, recipe, evaluate_on=w.held_out)
        for name, w in (("files", world), ("shards", in_shards))
    ]
    assert_same(weights(runs[1].run), weights(runs[0].run))
    assert runs[0].after is not None
    assert runs[1].after is not None
    assert runs[1].after.as_dict() == runs[0].after.as_dict()
    facts = yaml.safe_load((runs[1].run / "run.yaml").read_text())
    assert (facts["source"], facts["target"]) == (f"shards:{in_shards.source}", f"shards:{in_shards.target}")


@pytest.mark.slow
def test_the_space_of_the_shards_is_the_model_s(world: World, in_shards: World, tmp_path: Path):
    run = tiny_adapt(in_shards, tmp_path / "run", label_space=None).run
    scores = evaluate(run, in_shards.held_out, quiet=True)
    assert scores.as_dict() == evaluate(run, world.held_out, label_space=world.space, quiet=True).as_dict()


@pytest.mark.slow
def test_labelled_shards_as_target_are_scored(world: World, in_shards: World, tmp_path: Path):
    result = tiny_adapt(replace(in_shards, target=in_shards.held_out), tmp_path / "run")
    assert result.after is not None


class Killed(BaseException):
    """Stands for SIGKILL."""


def resumed_after_a_kill(world: World, out: Path) -> Path:
    original = Trainer.save

    def save(self, log=None):
        original(self, log)
        if len(ckpt.find_checkpoints(self.folder)) == 1:
            raise Killed

    overrides = [f"stages.0.trainer.{key}" for key in ("steps=5", "batch=4")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "save", save)
        with pytest.raises(Killed):
            tiny_adapt(world, out, overrides=overrides)
    return tiny_adapt(world, out, overrides=overrides, resume=True).run


@pytest.mark.slow
def test_a_killed_run_continues_in_the_middle_of_an_epoch(in_shards: World, tmp_path: Path):
    """Six samples in batches of four: the kill after one step falls inside the first epoch."""
    overrides = [f"stages.0.trainer.{key}" for key in ("steps=5", "batch=4")]
    whole = tiny_adapt(in_shards, tmp_path / "whole", overrides=overrides).run
    again = resumed_after_a_kill(in_shards, tmp_path / "killed")
    assert_same(weights(again), weights(whole))


@pytest.fixture
def afar(in_shards: World) -> Iterator[World]:
    """The world's shards in memory, at a URL."""
    system = fsspec.filesystem("memory")
    for name, place in (("source", in_shards.source), ("target", in_shards.target)):
        system.put(str(place), f"/afar/{name}", recursive=True)
    yield World("memory://afar/source/", "memory://afar/target/", in_shards.held_out, in_shards.space)  # type: ignore[arg-type]
    system.rm("/afar", recursive=True)


@pytest.mark.slow
def test_adapting_from_an_address_and_going_on(afar: World, tmp_path: Path):
    overrides = [f"stages.0.trainer.{key}" for key in ("steps=5", "batch=4")]
    whole = tiny_adapt(afar, tmp_path / "whole", overrides=overrides).run
    again = resumed_after_a_kill(afar, tmp_path / "killed")
    assert_same(weights(again), weights(whole))
    assert yaml.safe_load((whole / "run.yaml").read_text())["source"] == "shards:memory://afar/source"
    assert len(told(whole)) == 5


@pytest.mark.slow
def test_another_address_is_not_the_run_s(afar: World, tmp_path: Path):
    tiny_adapt(afar, tmp_path / "run")
    with pytest.raises(
        UserError, match="was made with the source shards:memory://afar/source, not memory://other"
    ):
        tiny_adapt(replace(afar, source="memory://other/"), tmp_path / "run", resume=True)  # type: ignore[arg-type]


def test_a_picture_that_cannot_be_read_is_not_packed(world: World, tmp_path: Path):
    bad = folders.write_domain(tmp_path / "bad", 3)
    Image.new("L", (64, 48), 77).save(bad / "labels" / "002.png")
    with pytest.raises(DataError, match=r"002\.png has the id 77, which label space three does not have"):
        pack(bad, tmp_path / "out", label_space=world.space, quiet=True)
    assert not (tmp_path / "out").exists()
