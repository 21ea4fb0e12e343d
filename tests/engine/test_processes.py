"""Two processes reproduce one, for every method."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from stylebridge.engine import Average, Losses, Method, OptimizerConfig, Phase, Step, Term
from stylebridge.jobs.synthesizers import SYNTHESIZERS
from stylebridge.jobs.translators import TRANSLATORS
from stylebridge.methods import SEGMENTATION_METHODS
from stylebridge.methods.mixnmatch import MixNMatch
from stylebridge.methods.mixnmatch_features import MixNMatchFeatures
from support import pair
from support.mini import batches, mini_trainer

#: One pair of processes trains all methods: with several workers, one of them has all these tests.
pytestmark = pytest.mark.xdist_group("two processes")


def run_processes(count: int, program: str, *arguments: str) -> None:
    """Run a program in so many processes of one group, as torch's launcher does."""
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


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes have trained every case."""
    folder = tmp_path_factory.mktemp("two")
    run_processes(2, pair.__file__, str(folder))
    return folder


def told(folder: Path) -> Iterator[tuple[str, float]]:
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        for key, value in json.loads(line).items():
            if key.startswith(("loss/", "grad_norm/")):
                yield key, value


@pytest.mark.parametrize("name", pair.CASES)
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


def test_every_registered_method_is_among_them():
    kinds = {case.kind for case in pair.CASES.values()}
    translators = {kind.method for kind in TRANSLATORS.values()}
    assert kinds >= {*SEGMENTATION_METHODS.values(), *translators, MixNMatch, MixNMatchFeatures}
    assert pair.CASES.keys() >= {*SEGMENTATION_METHODS, *TRANSLATORS, *SYNTHESIZERS}


class Seldom(Method):
    """A network that is trained in every third step, and its average."""

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
    """Between, it must not decay towards weights that it has counted already."""
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
