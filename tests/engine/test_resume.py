"""Nothing is lost: kills, full disks and several processes."""

import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stylebridge.engine import checkpoint as ckpt
from stylebridge.errors import CheckpointError, RunError
from support import tiny

STEPS = 60
KILLED_STEPS = 240


def final(folder: Path) -> dict[str, torch.Tensor]:
    last = ckpt.find_checkpoints(folder / "trainer_state")[-1]
    return {
        f"{file.name}:{name}": value
        for file in sorted(last.path.glob("*.safetensors"))
        for name, value in load_file(file).items()
    }


def told(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("time", "samples_per_second")} for line in lines]


def wait_for_step(folder: Path, step: int, child) -> None:
    """Wait until a checkpoint of that step exists, or the child has ended."""
    state = folder / "trainer_state"
    while child.is_alive() and max([c.step for c in ckpt.find_checkpoints(state)], default=0) < step:
        time.sleep(0.001)


@pytest.mark.slow
def test_a_run_killed_at_any_moment_resumes_to_the_same_bits(tmp_path):
    """SIGKILL at random moments, again and again, until a run comes through: weights, optimisers, averages,
    image buffer, random generators and the log are those of a run that was never interrupted."""
    # A server that imported torch once forks the children: they start at once, and no thread is alive in it.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "stylebridge.engine"])
    moments = random.Random(0)
    starts: list[int] = []
    kills = 0
    for folder, may_kill in [("whole", False)] + [("killed", True)] * 8 + [("killed", False)]:
        ours, theirs = context.Pipe()
        child = context.Process(target=tiny.resume_and_train, args=(tmp_path / folder, KILLED_STEPS, theirs))
        child.start()
        theirs.close()  # else a child that dies early is waited for without end
        first_step = ours.recv()  # training is about to begin
        if folder == "whole":
            child.join()
            continue
        starts.append(first_step)
        if may_kill:
            # Some checkpoints on, and then any moment: within a step, a write, a rename or a removal.
            wait_for_step(tmp_path / folder, first_step + moments.randrange(0, 40), child)
            time.sleep(moments.uniform(0.0, 0.03))
            os.kill(child.pid, signal.SIGKILL)  # type: ignore[arg-type]
            kills += child.exitcode is None
        child.join()
        if child.exitcode == 0:
            break
    assert child.exitcode == 0
    assert told(tmp_path / "killed")[-1]["step"] == KILLED_STEPS
    assert kills >= 4
    assert len({step for step in starts if step > 0}) >= 3, starts  # really resumed, at several steps
    expected, found = final(tmp_path / "whole"), final(tmp_path / "killed")
    assert expected.keys() == found.keys()
    different = [name for name in expected if not torch.equal(expected[name], found[name])]
    assert different == []
    assert told(tmp_path / "whole") == told(tmp_path / "killed")


def test_every_kind_of_state_is_in_the_checkpoint(tmp_path):
    """Leaving any one thing out must change the outcome: otherwise the test above could not detect its loss."""
    tiny.train(tmp_path / "whole", 12, checkpoint_every=6, keep_checkpoints=2)
    expected = ckpt.find_checkpoints(tmp_path / "whole" / "trainer_state")[-1].path

    def outcome(forget) -> bool:
        folder = tmp_path / "again"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "whole", folder)
        first, last = ckpt.find_checkpoints(folder / "trainer_state")
        shutil.rmtree(last.path)
        trainer = tiny.make_trainer(folder, 12, checkpoint_every=6)
        trainer.resume(first)
        forget(trainer)
        trainer.fit()
        found = ckpt.find_checkpoints(folder / "trainer_state")[-1].path
        return all(
            torch.equal(value, load_file(found / file.name)[name])
            for file in expected.glob("network.*.safetensors")
            for name, value in load_file(file).items()
        )

    def forget_optimizer(trainer):
        fresh = tiny.make_trainer(tmp_path / "fresh", 12)
        trainer.optimizers["maker"].load_state_dict(fresh.optimizers["maker"].state_dict())

    assert outcome(lambda trainer: None)
    assert not outcome(forget_optimizer)
    assert outcome(
        lambda trainer: torch.manual_seed(99)
    )  # what networks draw follows the step, not the process
    assert not outcome(lambda trainer: trainer.method.buffer.images.zero_())
    assert not outcome(lambda trainer: trainer.method.networks["average"][0].weight.data.zero_())


def test_checkpoints_hold_safetensors_and_json_only(tmp_path):
    tiny.train(tmp_path, 3)
    (saved,) = ckpt.find_checkpoints(tmp_path / "trainer_state")
    assert {path.suffix for path in saved.path.iterdir()} == {".safetensors", ".json"}
    assert saved.state()["draws"] == {"source": 12}


def test_old_checkpoints_go_and_leftovers_are_cleared(tmp_path):
    state = tmp_path / "trainer_state"
    (state / ".partial-1-tiny-00000099").mkdir(parents=True)
    (state / ".discarded-1-tiny-00000001").mkdir()
    tiny.train(tmp_path, 20, checkpoint_every=5, keep_checkpoints=2)
    assert sorted(p.name for p in state.iterdir()) == ["1-tiny-00000015", "1-tiny-00000020"]


class TestFullDisk:
    """A disk that takes no more bytes, by a limit on the size of files that a child process may write."""

    def child(self, folder: Path, limit: int | None) -> subprocess.CompletedProcess:
        def small_disk() -> None:
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        code = (
            "import sys, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "from pathlib import Path; from support import tiny\n"
            "from stylebridge.errors import CheckpointError\n"
            "try: tiny.train(Path(sys.argv[1]), int(sys.argv[2]))\n"
            "except CheckpointError as error: print(error); sys.exit(9)\n"
        )
        steps = "20" if limit is None else "40"
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(tiny.__file__).parents[1]), *sys.path]),
        }
        return subprocess.run(
            [sys.executable, "-c", code, str(folder), steps],
            preexec_fn=small_disk,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    @pytest.mark.slow
    def test_is_an_error_that_leaves_the_previous_checkpoint_intact(self, tmp_path):
        assert self.child(tmp_path, None).returncode == 0
        before = {f: f.read_bytes() for f in (tmp_path / "trainer_state").rglob("*") if f.is_file()}
        result = self.child(tmp_path, 4096)
        assert result.returncode == 9, result.stderr
        assert "could not be written" in result.stdout
        assert "previous checkpoint" in result.stdout
        assert "is intact" in result.stdout
        after = {f: f.read_bytes() for f in (tmp_path / "trainer_state").rglob("*") if f.is_file()}
        assert after == before


def test_a_failed_write_names_what_is_intact(tmp_path):
    with (
        pytest.raises(CheckpointError, match="no earlier checkpoint exists"),
        ckpt.explain_full_disk("checkpoint x", tmp_path),
    ):
        raise OSError(28, "No space left on device")


def test_a_checkpoint_of_another_stage_or_network_is_refused(tmp_path):
    tiny.train(tmp_path, 5)
    (saved,) = ckpt.find_checkpoints(tmp_path / "trainer_state")
    other = tiny.TinyMethod()
    other.networks["maker"] = other.maker = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1))
    with pytest.raises(RunError, match="does not fit the network of this recipe"):
        tiny.make_trainer(tmp_path, 5, other).resume(saved)
    trainer = tiny.make_trainer(tmp_path, 5)
    trainer.stage = "2-other"
    with pytest.raises(RunError, match="written by stage '1-tiny'"):
        trainer.resume(saved)


def launch(processes: int, folder: Path) -> None:
    command = [sys.executable, tiny.__file__, str(folder), str(STEPS)]
    if processes > 1:
        # With --cpu, `accelerate launch` starts several processes through MPI only; --multi_gpu starts them with
        # torch's launcher, and the program itself takes the CPU.
        options = ["--multi_gpu", "--num_processes", str(processes), "--num_machines", "1"]
        options += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
        command = [sys.executable, "-m", "accelerate.commands.launch", *options, *command[1:]]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(tiny.__file__).parents[1]), *sys.path]),
    }
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_give_the_loss_curve_of_one(tmp_path):
    """Same global batch, dropout, unevenly many counted pixels an image: only rounding may differ."""
    launch(1, tmp_path / "one")
    launch(2, tmp_path / "two")
    one, two = told(tmp_path / "one"), told(tmp_path / "two")
    assert [line["step"] for line in two] == list(range(1, STEPS + 1))
    for a, b in zip(one, two, strict=True):
        for name in ("loss/make/fit", "loss/make/fool", "loss/judge/real"):
            if name in a:
                assert b[name] == pytest.approx(a[name], rel=1e-3, abs=1e-4)
    saved = ckpt.find_checkpoints(tmp_path / "two" / "trainer_state")[-1].path
    assert (saved / "process-0.safetensors").is_file()
    assert (saved / "process-1.safetensors").is_file()
