"""Runs of version 0.1 are resumed to the weights they have without the stop, and are opened for use."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import stylebridge
from stylebridge.jobs.recipe.reading import load_recipe
from support import folders

pytestmark = pytest.mark.slow

own_cache = folders.own_cache
OLD = Path(__file__).parents[1] / "old_runs"
#: Each task's training, and the weights of a finished run.
TASKS: dict[str, tuple[Callable[..., object], str]] = {
    "adapt": (stylebridge.adapt, "segmenter/model.safetensors"),
    "translate": (stylebridge.train_translator, "networks/generators.safetensors"),
    "synthesize": (stylebridge.train_synthesizer, "networks/generator.safetensors"),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the runs and their data, as the working directory: paths in the runs are relative."""
    shutil.copytree(OLD, tmp_path / "old", ignore=shutil.ignore_patterns("finished"))
    monkeypatch.chdir(tmp_path / "old")
    return tmp_path / "old"


@pytest.mark.parametrize("task", TASKS)
def test_an_old_run_is_resumed_and_used(task: str, here: Path) -> None:
    train, weights = TASKS[task]
    log = here / task / "metrics.jsonl"
    *before, lost = log.read_text(encoding="utf-8").splitlines()  # the last is of a step after the checkpoint
    train(out=task, resume=True, device="cpu", workers=0, quiet=True)
    after = log.read_text(encoding="utf-8").splitlines()
    assert after[: len(before)] == before  # not trained from the start again
    assert after[len(before)] != lost
    expected, found = load_file(OLD / "finished" / f"{task}.safetensors"), load_file(here / task / weights)
    assert found.keys() == expected.keys()
    for name, value in expected.items():  # other machines round otherwise
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
    _use(task, here)


def _use(task: str, here: Path) -> None:
    """One image of the run."""
    image, out = here / "data/sim/images/0.png", here / "out"
    if task == "synthesize":
        labels = here / "data/sim/labels/0.png"
        stylebridge.synthesize(task, labels, out / "0.png", style=image, device="cpu", quiet=True)
    else:
        use = {"adapt": stylebridge.segment, "translate": stylebridge.translate}[task]
        use(task, image, out, device="cpu", quiet=True)
    (written,) = out.rglob("*.png")
    assert Image.open(written).size == (40, 32)


def test_an_old_recipe_of_a_mixer_is_read() -> None:
    recipe = load_recipe(OLD / "recipes" / "mix.yaml", task="mix")
    assert recipe.name == "mixnmatch-small"
    assert load_recipe(OLD / "recipes" / "mix.yaml", ["seed=3"], task="mix").seed == 3
