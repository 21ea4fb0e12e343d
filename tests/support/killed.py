"""Trainings that are killed: a process that imports everything once and forks a child for every start.

Run as a program it reads a line of JSON for each start on its standard input, and answers with one on its standard
output. It knows no test framework, so that nothing but the training is alive in a child.
"""

import contextlib
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Of each stage; all of them take a moment.
STEPS = {"adapt": 10, "translate": 40, "synthesize": 12, "mix": 10}


@dataclass(frozen=True)
class Moment:
    """When a start is killed.

    ``event``: at the ``count``-th event whose name and paths match (see ``sys.addaudithook``): just before a file is
    opened, renamed or removed; with ``delay`` so many seconds later, wherever the training is then. ``line``: when
    that line of ``metrics.jsonl`` is half written.
    """

    event: str = ""
    count: int = 1
    delay: float = 0.0
    line: int = 0


class Nursery:
    """The process that forks, seen from a test."""

    def __init__(self, cache: Path) -> None:
        tests = str(Path(__file__).parents[1])
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "XDG_CACHE_HOME": str(cache),
                "PYTHONPATH": os.pathsep.join([tests, *(p for p in sys.path if p)]),
            },
        )

    def start(self, task: str, data: Path, out: Path, moment: Moment | None = None) -> str:
        """Start or resume a training; returns ``killed`` or ``done``, or what was printed where it failed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        wanted = {
            "task": task,
            "data": str(data),
            "out": str(out),
            "moment": vars(moment) if moment else None,
        }
        print(json.dumps(wanted), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


# --- the trainings ------------------------------------------------------------------------------------------


def train(task: str, data: Path, out: Path, resume: bool) -> None:
    """A tiny training of several checkpoints and pictures; of ``adapt`` three stages, the last one on pseudo-labels,
    and scores."""
    from support.folders import tiny_overrides
    from support.tiny_tasks import TASKS

    tiny = TASKS[task]
    if resume:
        tiny.resume(out)
        return
    options: dict[str, Any] = {"recipe": tiny.recipe}
    changes, trainers = list(tiny.changes), [tiny.trainer]
    if task == "adapt":
        options = {"recipe": "fada-small", "evaluate_on": data}
        changes, trainers = tiny_overrides("fada-small"), [f"stages.{n}.trainer." for n in range(3)]
    elif task == "mix":
        trainers = ["code.trainer.", "feature.trainer."]
    few = {"steps": STEPS[task], "log_every": 2, "sample_every": 0 if task == "adapt" else 3}
    changes += [f"{trainer}{key}={value}" for trainer in trainers for key, value in few.items()]
    tiny.run(data, out, overrides=changes, **options)


# --- children -----------------------------------------------------------------------------------------------


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _arm(moment: Moment) -> None:
    """Let this process kill itself at the moment."""
    if moment.event:
        seen = iter(range(1, 10**9))
        # A thread of its own dies wherever the training is: within a step, a write, a rename or a removal.
        later = threading.Timer(moment.delay, _die)
        later.daemon = True

        def hear(event: str, args: tuple) -> None:
            if event not in ("open", "os.rename", "os.remove", "os.mkdir", "shutil.rmtree"):
                return
            paths = [os.fsdecode(a) for a in args[:2] if isinstance(a, str | bytes | os.PathLike)]
            if re.search(moment.event, " ".join([event, *paths])) and next(seen) == moment.count:
                later.start() if moment.delay else _die()

        sys.addaudithook(hear)
    if moment.line:
        from stylebridge.engine.logs import MetricLog

        write, lines = MetricLog.write, iter(range(1, 10**9))

        class Half:
            """A file that dies in the middle of a line."""

            def __init__(self, file: Any) -> None:
                self.file = file

            def write(self, line: bytes) -> None:
                if next(lines) == moment.line:
                    self.file.write(line[: len(line) // 2])
                    _die()
                self.file.write(line)

            def __getattr__(self, name: str) -> Any:
                return getattr(self.file, name)

        def writing(log: Any, step: int) -> Any:
            if not isinstance(log.file, Half):
                log.file = Half(log.file)
            return write(log, step)

        MetricLog.write = writing  # type: ignore[method-assign]


def _child(wanted: dict[str, Any], told: Path) -> None:
    with told.open("w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            out, moment = Path(wanted["out"]), wanted["moment"]
            if moment is not None:
                _arm(Moment(**moment))
            resume = (out / "run.yaml").is_file()
            train(wanted["task"], Path(wanted["data"]), out, resume)
            if moment is None:
                (told.with_suffix(".modules")).write_text(json.dumps(sorted(sys.modules)))
            os._exit(0)
        except BaseException:
            traceback.print_exc(file=file)
            file.flush()
            os._exit(1)


def _serve(lines: Iterator[str]) -> None:
    import torch

    torch.set_num_threads(1)
    for line in lines:
        wanted = json.loads(line)
        told = Path(f"{wanted['out']}.txt")
        child = os.fork()
        if child == 0:
            _child(wanted, told)
        status = os.waitpid(child, 0)[1]
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        answer = "killed" if killed else "done" if status == 0 else told.read_text()
        modules = told.with_suffix(".modules")
        if modules.is_file():  # what it imported on the way: the next children find it there
            for name in json.loads(modules.read_text()):
                if name not in sys.modules:
                    with contextlib.suppress(Exception):
                        importlib.import_module(name)
            modules.unlink()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve(sys.stdin)  # type: ignore[arg-type]
