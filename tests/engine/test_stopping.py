"""Ctrl-C and SIGTERM: the step is finished and a checkpoint written, and nothing else."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stylebridge.engine import checkpoint as ckpt
from stylebridge.engine.stopping import StopRequest
from stylebridge.errors import Interrupted
from support import tiny


@pytest.fixture(autouse=True)
def usual_handlers():
    """A background process may ignore SIGINT; here it must be received."""
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Signalled(tiny.TinyMethod):
    """Gets a signal in the middle of a step."""

    def __init__(self, step: int, *signals: int) -> None:
        super().__init__()
        self.at, self.signals = step, signals

    def _make(self, step):
        if step.number == self.at:
            for number in self.signals:
                signal.raise_signal(number)
        yield from super()._make(step)


def newest(folder: Path) -> dict[str, torch.Tensor]:
    saved = ckpt.find_checkpoints(folder / "trainer_state")[-1].path
    return {f"{f.name}:{k}": v for f in saved.glob("*.safetensors") for k, v in load_file(f).items()}


def told(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("time", "samples_per_second")} for line in lines]


def make(folder: Path, method=None):
    trainer = tiny.make_trainer(folder, 12, method, checkpoint_every=6)
    # Windows of the log that no checkpoint of a signal falls together with.
    trainer.config = trainer.stepper.config = trainer.config.model_copy(update={"log_every": 4})
    return trainer


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_step_and_the_run_continues_to_the_same_bits(tmp_path, capfd, number, code):
    make(tmp_path / "whole").fit()
    with pytest.raises(Interrupted, match="step 3 of 12 of stage 1-tiny; a checkpoint was written") as caught:
        make(tmp_path / "run", Signalled(2, number)).fit()
    assert caught.value.exit_code == code
    assert "Stopping at the end of this step" in capfd.readouterr().err
    assert [c.step for c in ckpt.find_checkpoints(tmp_path / "run" / "trainer_state")] == [3]
    again = make(tmp_path / "run")
    assert again.resume_newest()
    again.fit()
    expected, found = newest(tmp_path / "whole"), newest(tmp_path / "run")
    assert expected.keys() == found.keys()
    assert [name for name, value in expected.items() if not torch.equal(value, found[name])] == []
    assert told(tmp_path / "run") == told(tmp_path / "whole")
    assert signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL)


def test_a_second_ctrl_c_ends_at_once(tmp_path):
    with pytest.raises(Interrupted) as caught:
        make(tmp_path, Signalled(2, signal.SIGINT, signal.SIGINT)).fit()
    assert caught.value.where == ""
    assert ckpt.find_checkpoints(tmp_path / "trainer_state") == []


def test_several_processes_take_the_launchers_echo_for_the_same_signal():
    with StopRequest(processes=2) as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)  # what a launcher sends right after the terminal
        assert stop.heard == signal.SIGINT
        stop.agreed = True


def test_a_signal_that_another_process_got_ends_this_one_too(tmp_path, monkeypatch):
    """The stop request is shared with the phase's values: a mean over processes that is not zero."""
    trainer = make(tmp_path)
    reduce = trainer.accelerator.reduce

    def with_another(numbers, *args):
        reduced = reduce(numbers, *args)
        if args != ("mean",):
            return reduced
        return reduced + torch.tensor([0.0] * (len(numbers) - 1) + [signal.SIGTERM / 2])

    monkeypatch.setattr(trainer.accelerator, "reduce", with_another)
    with pytest.raises(Interrupted, match="step 1 of 12") as caught:
        trainer.fit()
    assert caught.value.exit_code == 143


def test_an_ignored_signal_stays_ignored_and_other_threads_train(tmp_path):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    make(tmp_path / "ignored", Signalled(2, signal.SIGINT)).fit()
    thread = threading.Thread(target=make(tmp_path / "thread").fit)
    thread.start()
    thread.join()
    assert told(tmp_path / "thread") == told(tmp_path / "ignored")


@pytest.mark.slow
def test_a_signal_to_every_process_ends_two_of_them_at_one_step(tmp_path):
    """A real launch: both processes get the signal at different moments, and write one complete checkpoint."""
    options = ["--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
    options += ["--dynamo_backend", "no", "--main_process_port", "0"]
    command = [sys.executable, "-m", "accelerate.commands.launch", *options]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(tiny.__file__).parents[1]), *sys.path]),
    }
    child = subprocess.Popen(
        [*command, tiny.__file__, str(tmp_path), "1000000"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )
    try:
        tiny.wait_for_checkpoint(tmp_path, 10, child)
        os.killpg(child.pid, signal.SIGINT)  # as a terminal does
        _, err = child.communicate(timeout=120)
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
    saved = ckpt.find_checkpoints(tmp_path / "trainer_state")[-1]
    assert saved.damage() is None
    assert err.count(f"step {saved.step} of 1000000") >= 1, err[-3000:]
    assert {path.name for path in saved.path.glob("process-*")} >= {
        "process-0.safetensors",
        "process-1.safetensors",
    }
