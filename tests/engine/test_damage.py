"""A damaged checkpoint or log: the previous one is used, and the user is told which file is damaged and how."""

import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stylebridge.engine import checkpoint as ckpt
from stylebridge.engine.logs import MetricLog, describe
from stylebridge.errors import RunError
from support import tiny

STEPS = 20


def flip_last_byte(path: Path) -> None:
    """The smallest damage: the size, the header and the shapes are unchanged."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "flipped bit": flip_last_byte,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "missing": lambda path: path.unlink(),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run with checkpoints at steps 15 and 20."""
    folder = tmp_path_factory.mktemp("whole")
    tiny.train(folder, STEPS, checkpoint_every=5)
    return folder


def log(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("time", "samples_per_second")} for line in lines]


def checkpoints(folder: Path) -> list[ckpt.Checkpoint]:
    return ckpt.find_checkpoints(folder / "trainer_state")


def resumed(folder: Path, steps: int = STEPS):
    """A trainer resumed from the intact checkpoint, and its output."""
    trainer = tiny.make_trainer(folder, steps)
    trainer.quiet, trainer.console = False, Console(record=True, width=10_000, file=io.StringIO())
    trainer.resume_newest()
    return trainer, trainer.console


def files_of_a_checkpoint() -> list[str]:
    kinds = [
        "network.maker",
        "network.critic",
        "network.average",
        "optimizer.maker",
        "optimizer.critic",
        "process-0",
    ]
    return [*(f"{kind}.safetensors" for kind in kinds), "process-0.json", "state.json", "files.json"]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", files_of_a_checkpoint())
def test_any_damage_to_any_file_is_found_before_it_is_used(tmp_path, whole, name, damage):
    folder = shutil.copytree(whole, tmp_path / "run")
    newest = checkpoints(folder)[-1]
    assert {path.name for path in newest.path.iterdir()} == set(files_of_a_checkpoint())
    assert newest.damage() is None
    if (name, damage) == ("files.json", "missing"):  # as an older version left it: the other files tell
        (newest.path / name).unlink()
        assert newest.damage() is None
        return
    DAMAGES[damage](newest.path / name)
    trainer, console = resumed(folder)
    assert trainer.step == 15
    told = console.export_text()
    assert f"{newest.path} is damaged" in told
    assert name in told
    assert "training continues from step 15" in told
    # It ends as the run that was never damaged.
    trainer.fit()
    for file in checkpoints(whole)[-1].path.glob("*.safetensors"):
        theirs = load_file(checkpoints(folder)[-1].path / file.name)
        for key, value in load_file(file).items():
            assert torch.equal(value, theirs[key]), (file.name, key)
    assert log(folder) == log(whole)
    # What was damaged is kept aside and is not taken for a checkpoint.
    assert (newest.path.with_name(f".damaged-{newest.path.name}")).is_dir()
    assert [c.step for c in checkpoints(folder)] == [15, 20]


@pytest.mark.parametrize("damage", ["cut", "empty", "missing"])
def test_a_checkpoint_of_an_older_version_is_checked_by_its_headers(tmp_path, whole, damage):
    folder = shutil.copytree(whole, tmp_path / "run")
    newest = checkpoints(folder)[-1]
    (newest.path / "files.json").unlink()
    DAMAGES[damage](newest.path / "optimizer.maker.safetensors")
    trainer, console = resumed(folder)
    assert trainer.step == 15
    assert "optimizer.maker.safetensors" in console.export_text()


def test_without_an_intact_checkpoint_nothing_is_trained_or_removed(tmp_path, whole):
    folder = shutil.copytree(whole, tmp_path / "run")
    for saved in checkpoints(folder):
        flip_last_byte(saved.path / "network.maker.safetensors")
    before = sorted(folder.rglob("*"))
    with pytest.raises(
        RunError, match=r"1-tiny-00000020 is damaged \(network\.maker\.safetensors: its contents"
    ):
        resumed(folder)
    assert sorted(folder.rglob("*")) == before


def test_the_tenth_stage_comes_after_the_ninth(tmp_path):
    """Otherwise its checkpoints would count as the oldest ones, and removed as soon as they are written."""
    for stage in ("9-nine", "10-ten"):
        for step in (1, 2, 3):
            writer = ckpt.CheckpointWriter(tmp_path, stage, step)
            writer.open()
            writer.commit(keep=2)
    assert [(c.stage, c.step) for c in ckpt.find_checkpoints(tmp_path)] == [("10-ten", 2), ("10-ten", 3)]


# --- the log ------------------------------------------------------------------------------------------------


def cut_to(folder: Path, size: int) -> None:
    path = folder / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize("lost", [1, 10, 300])
def test_a_log_that_is_too_short_is_taken_as_it_is_and_reported(tmp_path, whole, lost):
    folder = shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(checkpoints(folder)[-1].path)
    offset = checkpoints(folder)[-1].state()["metrics"]["offset"]
    cut_to(folder, offset - lost)
    trainer, console = resumed(folder)
    trainer.fit()
    data = (folder / "metrics.jsonl").read_bytes()
    assert b"\0" not in data
    assert "some steps are missing from the log" in console.export_text()
    steps = [line["step"] for line in log(folder)]
    assert steps == sorted(set(steps))
    assert set(steps) >= {16, 17, 18, 19, 20}
    assert [line for line in log(whole) if line["step"] in steps] == log(folder)


def test_a_log_that_is_missing_is_reported_too(tmp_path, whole):
    folder = shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(checkpoints(folder)[-1].path)
    (folder / "metrics.jsonl").unlink()
    trainer, console = resumed(folder)
    trainer.fit()
    assert [line["step"] for line in log(folder)] == [16, 17, 18, 19, 20]
    assert "has 0 of its" in console.export_text()


def test_a_damaged_line_does_not_take_the_others_with_it(tmp_path, whole):
    folder = shutil.copytree(whole, tmp_path / "run")
    path = folder / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3] = bytes(len(lines[3]) - 1) + b"\n"
    path.write_bytes(b"".join(lines))
    trainer, _ = resumed(folder)
    trainer.fit()
    assert [line["step"] for line in log(folder)] == [1, 2, 3, *range(5, STEPS + 1)]


def board_steps(folder: Path) -> list[int]:
    board = EventAccumulator(str(folder / "tensorboard" / "1-tiny"))
    board.Reload()
    return [event.step for event in board.Scalars("lr/maker")]


@pytest.mark.parametrize("killed_at", [3, 13])
def test_no_step_is_logged_twice(tmp_path, killed_at):
    """Killed before the first checkpoint, or between two: the file and TensorBoard show every step once."""
    trainer = tiny.make_trainer(tmp_path, STEPS)
    original = trainer._advance

    def die(*args):
        original(*args)
        if trainer.step == killed_at:
            raise SystemExit

    trainer._advance = die  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        trainer.fit()
    assert [line["step"] for line in log(tmp_path)] == list(range(1, killed_at + 1))
    again, _ = resumed(tmp_path)
    again.fit()
    assert [line["step"] for line in log(tmp_path)] == list(range(1, STEPS + 1))
    assert board_steps(tmp_path) == list(range(1, STEPS + 1))


def test_the_lines_of_other_stages_stay(tmp_path):
    first = MetricLog(tmp_path, "1-one", 0)
    first.add({"loss/a/b": 1.0}, 1)
    first.write(1)
    first.close()
    for _ in range(2):  # the second stage starts, dies before its first checkpoint, and starts again
        second = MetricLog(tmp_path, "2-two", 0)
        second.add({"loss/a/b": 2.0}, 1)
        second.write(1)
        second.close()
    assert [(line["stage"], line["step"]) for line in log(tmp_path)] == [("1-one", 1), ("2-two", 1)]


def test_the_log_is_on_the_disk_before_the_checkpoint_counts(tmp_path, monkeypatch):
    """A power cut must not leave a checkpoint that refers to log lines not on the disk."""
    synced: list[str] = []
    fsync, rename = ckpt.os.fsync, ckpt.os.rename
    inode = {}

    def hear_sync(descriptor):
        if ckpt.os.fstat(descriptor).st_ino == inode.get("log"):
            synced.append("log")
        fsync(descriptor)

    def hear_rename(one, two):
        if str(one).endswith("1-tiny-00000005"):
            synced.append("checkpoint")
        rename(one, two)

    trainer = tiny.make_trainer(tmp_path, 5)
    original = trainer.save

    def save(log=None):
        inode["log"] = (tmp_path / "metrics.jsonl").stat().st_ino
        original(log)

    trainer.save = save  # type: ignore[method-assign]
    monkeypatch.setattr(ckpt.os, "fsync", hear_sync)
    monkeypatch.setattr(ckpt.os, "rename", hear_rename)
    trainer.fit()
    assert synced == ["log", "checkpoint"]


# --- what is shown ------------------------------------------------------------------------------------------


def test_a_progress_line_names_phase_and_loss_and_nothing_twice(tmp_path):
    means = {
        "loss/segmenter/source": 0.93,
        "loss/discriminator/source": 0.5,
        "loss/discriminator/target": 0.25,
        "lr/segmenter": 1e-3,
        "samples_per_second": 12.0,
    }
    line = describe(means)
    assert (
        line == "segmenter/source 0.930  discriminator/source 0.500  discriminator/target 0.250  12.0 img/s"
    )
    trainer = tiny.make_trainer(tmp_path, 2)
    trainer.quiet, trainer.console = False, Console(record=True, width=500, file=io.StringIO())
    trainer.fit()
    words = trainer.console.export_text().split()
    assert {"make/fit", "make/fool"} <= set(words)
    names = [word for word in words if "/" in word and word[0].isalpha() and word != "img/s"]
    assert len(names) == len(set(names))
