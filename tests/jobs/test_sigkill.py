"""36 SIGKILLs, at random and at aimed moments, over all four trainings: each is resumed, and every run ends with the
bits of one that nobody interrupted."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from support.killed import Moment, Nursery
from support.tiny_tasks import write_data

pytestmark = pytest.mark.slow

# Moments, in the order in which a run comes to them.
HALF_A_LINE = Moment(line=2)
IN_A_CHECKPOINT = Moment(event=r"open \S*/\.partial-\d-\S*/optimizer\.", count=3)
BEFORE_ITS_LIST = Moment(event=r"open \S*/\.partial-\d-\S*/files\.json")
BEFORE_ITS_NAME = Moment(event=r"os\.rename \S*/\.partial-\d-\S* \S*/\d-\S*-\d{8}$")
AFTER_ITS_NAME = Moment(event=r"open \S*/trainer_state$")
BEFORE_THE_OLD_ONE_GOES = Moment(event=r"os\.rename \S* \S*/\.discarded-")
WHILE_THE_OLD_ONE_GOES = Moment(event=r"shutil\.rmtree \S*/\.discarded-", count=2)
NETWORKS_HALF_WRITTEN = Moment(event=r"open \S*/\.partial-networks/", count=2)
NETWORKS_BEFORE_THEIR_NAME = Moment(event=r"os\.rename \S*/\.partial-networks ")
REPORT = Moment(event=r"\S*report\.html")


def at_random(seed: int, count: int = 2) -> list[Moment]:
    """One or two checkpoints on, and then any moment of the next steps."""
    generator = random.Random(seed)
    return [replace(BEFORE_ITS_NAME, count=1 + n % 2, delay=generator.uniform(0, 0.05)) for n in range(count)]


def in_a_stage(name: str) -> list[Moment]:
    """While a stage of an adaptation passes its results on."""
    return [
        Moment(event=rf"open \S*stages/\.partial-{name}/\S*config\.json"),
        Moment(event=rf"os\.rename \S*stages/\.partial-{name} "),
    ]


MOMENTS: dict[str, list[Moment]] = {
    "adapt": [
        IN_A_CHECKPOINT,
        HALF_A_LINE,
        *in_a_stage("1-source-only"),
        *at_random(1),
        BEFORE_ITS_NAME,
        Moment(event=r"os\.rename \S*pseudo_labels/\.partial-"),
        BEFORE_THE_OLD_ONE_GOES,
        Moment(event=r"os\.rename \S*/\.partial-segmenter "),
        Moment(event=r"\S*scores\.json"),
        REPORT,
    ],
    "translate": [
        *at_random(2),
        HALF_A_LINE,
        AFTER_ITS_NAME,
        BEFORE_ITS_LIST,
        NETWORKS_HALF_WRITTEN,
        NETWORKS_BEFORE_THEIR_NAME,
    ],
    "synthesize": [
        *at_random(3),
        IN_A_CHECKPOINT,
        HALF_A_LINE,
        WHILE_THE_OLD_ONE_GOES,
        NETWORKS_HALF_WRITTEN,
        REPORT,
    ],
    "mix": [
        *at_random(4),
        BEFORE_ITS_NAME,
        NETWORKS_HALF_WRITTEN,
        NETWORKS_BEFORE_THEIR_NAME,
        *at_random(5, count=1),
        IN_A_CHECKPOINT,
        BEFORE_THE_OLD_ONE_GOES,
        Moment(event=r"os\.rename \S*extractor\S* "),
        REPORT,
    ],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    made = Nursery(tmp_path_factory.mktemp("cache"))
    yield made
    made.close()


def tensors(run: Path) -> dict[str, torch.Tensor]:
    """All contents of a run: results, stage results, checkpoints with optimisers and random generators."""
    return {
        f"{path.relative_to(run)}:{name}": value
        for path in sorted(run.rglob("*.safetensors"))
        for name, value in load_file(path).items()
    }


def told(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("time", "samples_per_second")} for line in lines]


def pictures(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in sorted(run.rglob("*.png"))}


def files(run: Path) -> list[str]:
    return [str(p.relative_to(run)) for p in sorted(run.rglob("*")) if "tensorboard" not in p.parts]


def test_there_are_as_many_as_promised() -> None:
    assert sum(map(len, MOMENTS.values())) == 36


@pytest.mark.parametrize("task", MOMENTS)
def test_a_killed_run_ends_with_the_same_bits(
    task: str, data: Path, tmp_path: Path, nursery: Nursery
) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert nursery.start(task, data, whole) == "done"
    for number, moment in enumerate(MOMENTS[task]):
        outcome = nursery.start(task, data, run, moment)
        assert outcome == "killed", f"moment {number} ({moment}): {outcome}"
    assert nursery.start(task, data, run) == "done"
    expected, found = tensors(whole), tensors(run)
    assert expected.keys() == found.keys()
    assert [name for name, value in expected.items() if not torch.equal(value, found[name])] == []
    assert told(run) == told(whole)
    assert pictures(run) == pictures(whole)
    assert files(run) == files(whole)  # nothing half-written is left
    if task == "adapt":
        assert (run / "scores.json").read_text() == (whole / "scores.json").read_text()
