"""Two processes reproduce one, for every method."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from stylebridge.engine import Average, Losses, Method, OptimizerConfig, Phase, Step, Term
from support import folders, pair
from support.mini import batches, mini_trainer
from support.shared_work import STAGES, together, whole_run
from support.tiny_methods import CASES

#: The first test waits for the pair of processes.
pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


def run_processes(count: int, program: str, *arguments: str) -> None:
    """Run a program in several processes of one group, like torch's launcher."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    shared |= {"PYTHONPATH": os.pathsep.join([str(Path(pair.__file__).parents[1]), *sys.path])}
    started = [
        subprocess.Popen(
            [sys.executable, program, *arguments],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    told = [process.communicate()[1] for process in started]
    assert all(process.returncode == 0 for process in started), told[0][-3000:] + told[1][-3000:]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder shared by pytest's workers."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def data(shared: Path) -> Path:
    """``good``: seven pairs; ``bad``: as many, of which the second and the sixth image are damaged; ``target``."""
    root = shared / "data"
    with FileLock(shared / "data.lock"):
        if not (root / "complete").exists():
            root.mkdir()
            folders.write_space(root / "three.yaml")
            for name in ("good", "bad"):
                folders.write_domain(root / name, 7, seed=4)
            folders.write_domain(root / "target", 4, labels=False, dark=True, seed=5)
            for number in (1, 5):
                file = root / "bad" / "images" / f"{number:03}.jpg"
                file.write_bytes(file.read_bytes()[:200])
            (root / "complete").touch()
    return root


@pytest.fixture(scope="session")
def two(data: Path, shared: Path) -> Path:
    """The folder in which two processes have trained every case and done all that is shared: of several workers, the
    first that needs it makes it."""
    with FileLock(shared / "two.lock"):
        if not (shared / "two" / "together-1.json").exists():
            run_processes(2, pair.__file__, str(data), str(shared / "two"))
    return shared / "two"


def told(folder: Path) -> Iterator[tuple[str, float]]:
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        for key, value in json.loads(line).items():
            if key.startswith(("loss/", "grad_norm/")):
                yield key, value


@pytest.mark.parametrize("name", CASES)
def test_two_processes_reproduce_one(name, two, tmp_path):
    """Losses, gradients, weights, averages, buffers of all types and image buffers, in both processes. Noise, dropout,
    DropPath and batch norm in training mode are in it."""
    pair.train(name, tmp_path)
    one, other = list(told(tmp_path)), list(told(two / name))
    assert [key for key, _ in one] == [key for key, _ in other]
    for (key, value), (_, found) in zip(one, other, strict=True):
        assert found == pytest.approx(value, rel=1e-6, abs=1e-9), key
    expected = load_file(tmp_path / "weights-0.safetensors")
    for rank in range(2):
        found = load_file(two / name / f"weights-{rank}.safetensors")
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(
                found[key], value, rtol=1e-6, atol=1e-9, msg=lambda m, k=key: f"{k}: {m}"
            )


class Seldom(Method):
    """A network trained in every third step, and its average."""

    name = "seldom"
    streams: ClassVar = {"source": True}

    def __init__(self) -> None:
        super().__init__()
        self.networks["network"] = self.network = nn.Linear(2, 1)
        self.averages["average"] = Average(of="network", decay=0.75)
        self.seen: list[torch.Tensor] = []

    def phases(self) -> list[Phase]:
        return [
            Phase("look", trains=(), losses=self._look),
            Phase("move", trains=("network",), losses=self._move, every=3),
        ]

    def _look(self, step: Step) -> Losses:
        average = self.networks["average"]
        assert isinstance(average, nn.Linear)
        self.seen.append(average.weight.detach().clone())
        yield Term("nothing", torch.zeros((), requires_grad=True))

    def _move(self, step: Step) -> Losses:
        yield Term("weight", self.network.weight.sum())


def test_an_average_moves_only_when_its_network_was_stepped(tmp_path):
    """In between, it must not decay towards weights that are already counted."""
    method = Seldom()
    start = method.network.weight.detach().clone()
    sgd = OptimizerConfig(kind="sgd", lr=0.1, momentum=0)
    mini_trainer(method, {"source": batches(6, (2, 2))}, tmp_path, {"network": sgd}).fit()
    first = (
        start - 0.1
    )  # the average of step 0 is the network; that of step 3 has the share 1 − 1/4 of it left
    second = 0.75 * first + 0.25 * (first - 0.1)
    expected = [start, first, first, first, second, second]
    for found, value in zip(method.seen, expected, strict=True):
        torch.testing.assert_close(found, value)


# --- work that processes share --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outcomes(data: Path, two: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The results of one process, and of each of two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", "")  # put back afterwards
        alone = together(data, tmp_path_factory.mktemp("alone") / "together")
    pairs = [(two / f"together-{rank}.json").read_text() for rank in range(2)]
    return [json.loads(text) for text in (json.dumps(alone), *pairs)]


@pytest.mark.parametrize("what", ["checked", "made", "label free", "lines", "styles", "never", "agreed"])
def test_shared_work_comes_to_what_one_process_finds(what, outcomes):
    """Bit-identical: sums are computed in the order of the images."""
    alone, *pair_of = outcomes
    expected = "process 0" if what == "agreed" else alone[what]
    assert [outcome[what] for outcome in pair_of] == [expected, expected]


def test_each_process_takes_a_part_once(outcomes):
    """Files are decoded by one process; the second time by none."""
    alone, *pair_of = outcomes
    assert (alone["decoded"], alone["decoded after"]) == (7, 7)
    assert [outcome["decoded"] for outcome in pair_of] == [3, 4]
    assert [outcome["decoded after"] for outcome in pair_of] == [3, 4]
    assert [outcome["groups"] for outcome in pair_of] == [[0, 1, 2, 3], [4, 5, 6]]  # pairs stay together


def test_a_failure_is_everybodys_and_the_first_in_order(outcomes):
    alone, *pair_of = outcomes
    assert "001.jpg" in alone["bad"]
    assert [outcome["bad"] for outcome in pair_of] == [alone["bad"]] * 2
    assert alone["failed"] == pair_of[1]["failed"] == "ValueError: of one alone"
    assert pair_of[0]["failed"] == "RunError: Another process failed: ValueError: of one alone"


def test_buffers_of_all_types_are_the_main_processes(outcomes):
    for outcome in outcomes:
        assert outcome["buffers"] == {
            "steps": 3,
            "known": [True, True, False],
            "rounded": [0.5, 0.5],
            "mean": [[0.1, 0.1], [0.1, 0.1]],
        }


def test_gradients_are_means_and_what_has_none_anywhere_keeps_none(outcomes):
    """Otherwise an optimiser with momentum would change parameters without a gradient."""
    for outcome in outcomes[1:]:
        assert outcome["gradients"] == {
            "everywhere": [2.0, 2.0],
            "here": [0.5, 0.5],
            "nowhere": None,
            "exact": [1 + 5e-13],
        }


def test_waiting_for_the_main_process_is_not_a_failure(outcomes):
    for outcome in outcomes[1:]:
        assert outcome["patience"] >= 12 * 3600


def test_a_whole_run_is_that_of_one_process(data, two, tmp_path, monkeypatch):
    """Translated images, pseudo-labels, scores and the results of every stage, without missing or extra files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    whole_run(data, tmp_path / "run")
    one, other = tmp_path / "run", two / "run"

    def files(run: Path) -> set[str]:
        names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
        return {name for name in names if "tensorboard" not in name and "process-" not in name}

    assert files(one) == files(other)
    for name in ("translated", "pseudo_labels"):
        pictures = sorted((one / name).rglob("*.png"))
        assert len(pictures) == {"translated": 7, "pseudo_labels": 4}[name]
        for path in pictures:
            mine, others = (
                np.asarray(Image.open(p)).astype(int) for p in (path, other / path.relative_to(one))
            )
            if name == "translated":
                assert np.abs(mine - others).max() <= 1
            else:  # where two classes are all but equal, rounding decides
                assert np.mean(mine != others) < 0.01
    for stage in STAGES:
        mine, others = (
            load_file(run / "stages" / stage / "segmenter" / "model.safetensors") for run in (one, other)
        )
        for key, value in mine.items():
            torch.testing.assert_close(others[key], value, rtol=0, atol=3e-3)
    told = [
        [json.loads(line) for line in (run / "label_free.jsonl").read_text().splitlines()]
        for run in (one, other)
    ]
    assert [line["step"] for line in told[0]] == [1, 2]
    for mine, others in zip(*told, strict=True):
        assert others["certainty"] == pytest.approx(mine["certainty"], abs=1e-3)
    scores = [json.loads((run / "scores.json").read_text())["after"] for run in (one, other)]
    assert scores[1]["pixels"] == scores[0]["pixels"]
    assert scores[1]["miou_all"] == pytest.approx(scores[0]["miou_all"], abs=5e-3)
