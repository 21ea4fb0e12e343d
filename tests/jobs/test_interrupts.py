"""Ctrl-C and SIGTERM through the command line: the exit code, one sentence, and the line that continues the run."""

import importlib
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from stylebridge.engine import Trainer
from stylebridge.engine import checkpoint as ckpt
from stylebridge.errors import Interrupted
from stylebridge.jobs.runs.interrupts import resumable
from support import folders
from support.folders import CommandLine
from support.tiny_tasks import TASKS, command, write_data

own_cache, stylebridge = folders.own_cache, folders.stylebridge

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.fixture(autouse=True)
def usual_handlers():
    """A background process may ignore SIGINT; here it must be received."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def words_of(task: str, data: Path, steps: int = 6) -> list[object]:
    """The command line of a short training."""
    trainers = {TASKS[task].trainer, "feature.trainer."} if task == "mix" else {TASKS[task].trainer}
    few = {"steps": steps, "checkpoint_every": 100}
    return command(task, data, *(f"{t}{key}={value}" for t in trainers for key, value in few.items()))


@pytest.mark.slow
@pytest.mark.parametrize(("task", "number"), zip(TASKS, [signal.SIGTERM, signal.SIGINT] * 2, strict=True))
def test_every_training_names_the_line_that_continues_it(
    task: str, number: int, tmp_path: Path, data: Path, stylebridge: CommandLine, monkeypatch
) -> None:
    run = tmp_path / "a run"
    original = Trainer._run_step

    def in_the_middle(self, steps):
        values = original(self, steps)
        if self.step == 1:
            signal.raise_signal(number)
        return values

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_run_step", in_the_middle)
        common = ["--device", "cpu", "--workers", "0", "--quiet"]
        outcome = stylebridge(*words_of(task, data), "--out", run, *common)
    assert outcome.code == CODES[number], outcome.err
    assert "Traceback" not in outcome.err
    sentence = outcome.err.strip().splitlines()[-1]
    line = (
        f"stylebridge {task if task == 'adapt' else f'{task} train'} --resume --out {shlex.quote(str(run))}"
    )
    assert sentence.startswith(
        "Interrupted at step 3 of 6 of stage 1-"
    )  # heard after the second step's transfer
    assert sentence.endswith(f"Continue with: {line}")
    assert [c.step for c in ckpt.find_checkpoints(run / "trainer_state")] == [3]
    # The line does what it says.
    done = stylebridge(*shlex.split(line)[1:], *common)
    assert done.code == 0, done.err
    assert [c.step for c in ckpt.find_checkpoints(run / "trainer_state")][-1] == 6


@pytest.mark.slow
@pytest.mark.parametrize("number", list(CODES))
@pytest.mark.parametrize("moment", ["datasets.together.check_domain", "tasks.adapt.finish_run"])
def test_outside_of_the_steps_it_is_one_sentence_too(
    number: int, moment: str, tmp_path: Path, data: Path, stylebridge: CommandLine, monkeypatch
) -> None:
    """While data are checked there is nothing to continue; while the report is written there is."""
    module, function = moment.rsplit(".", 1)
    job = importlib.import_module(f"stylebridge.jobs.{module}")
    monkeypatch.setattr(job, function, lambda *_args, **_kwargs: signal.raise_signal(number))
    words = words_of("adapt", data)
    outcome = stylebridge(*words, "--out", tmp_path / "run", "--device", "cpu", "--workers", "0", "--quiet")
    assert outcome.code == CODES[number]
    begun = f" Continue with: stylebridge adapt --resume --out {tmp_path / 'run'}"
    assert outcome.err == f"Interrupted.{begun if function == 'finish_run' else ''}\n"


@pytest.mark.slow
def test_a_run_that_was_to_be_replaced_is_not_the_one_to_continue(
    tmp_path: Path, data: Path, stylebridge: CommandLine, monkeypatch
) -> None:
    run, words = tmp_path / "run", words_of("adapt", data)
    common = ["--out", run, "--device", "cpu", "--workers", "0", "--quiet"]
    assert stylebridge(*words, *common).code == 0
    job = importlib.import_module("stylebridge.jobs.datasets.together")
    monkeypatch.setattr(job, "check_domain", lambda *_args, **_more: signal.raise_signal(signal.SIGINT))
    outcome = stylebridge(*words, *common, "--overwrite")
    assert (outcome.code, outcome.err) == (130, "Interrupted.\n")


@pytest.mark.slow
def test_ctrl_c_of_a_terminal_ends_the_loaders_processes_too(tmp_path: Path, data: Path) -> None:
    """A terminal sends the signal to the whole group: loader processes must leave it to the training, and then end."""
    run = tmp_path / "run"
    words = words_of("adapt", data, steps=100000)
    words += [
        "--set",
        "stages.0.trainer.checkpoint_every=2",
        "--out",
        run,
        "--device",
        "cpu",
        "--workers",
        "2",
    ]
    child = subprocess.Popen(
        [sys.executable, "-m", "stylebridge", *map(str, words)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )
    try:
        while child.poll() is None and not ckpt.find_checkpoints(run / "trainer_state"):
            time.sleep(0.05)
        family = psutil.Process(child.pid).children(recursive=True) if child.poll() is None else []
        os.killpg(child.pid, signal.SIGINT)
        _, err = child.communicate(timeout=120)
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
    assert child.returncode == 130, err
    assert "Traceback" not in err
    assert err.strip().splitlines()[-1].endswith(f"stylebridge adapt --resume --out {run}")
    assert len(family) >= 2
    assert not [process for process in family if process.is_running()]
    assert ckpt.find_checkpoints(run / "trainer_state")[-1].damage() is None


def test_the_outermost_job_names_the_line(tmp_path: Path) -> None:
    """A translator that an adaptation trains is continued by the adaptation. A checkpoint's step is kept."""

    def begin(out: Path) -> None:
        out.mkdir(parents=True)
        (out / "run.yaml").touch()

    def train() -> None:
        outer = tmp_path / "run"
        with resumable("adapt", outer, False):
            begin(outer)
            with resumable("translate train", outer / "translator", False):
                begin(outer / "translator")
                raise Interrupted(signal.SIGTERM, "step 3 of 6 of stage 1-translate")

    with pytest.raises(Interrupted) as caught:
        train()
    assert caught.value.exit_code == 143
    assert str(caught.value) == (
        "Interrupted at step 3 of 6 of stage 1-translate; a checkpoint was written. "
        f"Continue with: stylebridge adapt --resume --out {tmp_path / 'run'}"
    )
