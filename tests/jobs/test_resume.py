"""Adaptations that are resumed, and stages that are copied from another run."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stylebridge.errors import RunError, UserError
from stylebridge.jobs.recipe.reading import load_recipe
from stylebridge.jobs.runs.folder import RunFolder
from stylebridge.jobs.tasks import adapt as adapt_job
from stylebridge.jobs.train import adapt
from support import folders
from support.folders import World, assert_same, tiny_adapt, tiny_overrides, told, weights, write_domain

pytestmark = pytest.mark.slow

own_cache, world, runs = folders.own_cache, folders.world, folders.runs


def test_the_report_tells_the_time_of_every_start(tmp_path: Path, world: World) -> None:
    """A run that is continued after its first stage still reports the time of that stage."""
    run = tiny_adapt(world, tmp_path / "run", recipe="colour-transfer-small").run
    shutil.rmtree(run / "stages" / "2-colour-transfer")
    adapt(out=run, resume=True, device="cpu", quiet=True)
    assert "copied from another run" not in (run / "report.html").read_text(encoding="utf-8")
    other = tiny_adapt(world, tmp_path / "other", recipe="colour-transfer-small", reuse=run).run
    assert (other / "report.html").read_text(encoding="utf-8").count("copied from another run") == 2


def test_resuming_with_the_default_recipe_named_is_refused_too(
    tmp_path: Path, runs: Callable[[str], Path]
) -> None:
    """An explicit recipe counts, even if it is the default."""
    run = shutil.copytree(runs("source-only-small"), tmp_path / "run")
    with pytest.raises(RunError, match="recipe"):
        adapt(out=run, recipe=adapt_job.TASK.default_recipe, resume=True, device="cpu", quiet=True)


# --- reuse ---------------------------------------------------------------------------------------


def test_reuse_takes_finished_stages_over(tmp_path: Path, world: World, runs: Callable[[str], Path]) -> None:
    run = tmp_path / "run"
    tiny_adapt(world, run, "self-training-small", reuse=runs("fada-small"))
    assert [line["stage"] for line in told(run)] == ["2-colour-transfer"] * 2 + ["3-self-training"] * 2
    assert_same(weights(run), weights(runs("self-training-small")))


@pytest.mark.parametrize("changes", [{"seed": 3}, {"overrides": ["stages.0.trainer.steps=1"]}])
def test_reuse_takes_nothing_that_would_come_out_otherwise(
    changes: dict, tmp_path: Path, world: World, runs: Callable[[str], Path]
) -> None:
    tiny_adapt(world, tmp_path / "run", reuse=runs("fada-small"), **changes)
    assert {line["stage"] for line in told(tmp_path / "run")} == {"1-source-only"}


def test_reuse_of_a_run_on_other_data_is_refused(
    tmp_path: Path, world: World, runs: Callable[[str], Path]
) -> None:
    other = World(write_domain(tmp_path / "other", 4), world.target, world.held_out, world.space)
    with pytest.raises(RunError, match="source"):
        tiny_adapt(other, tmp_path / "run", reuse=runs("fada-small"))


def test_overrides_of_a_recipe_object_are_not_dropped(tmp_path: Path, world: World) -> None:
    recipe = load_recipe("source-only-small", tiny_overrides("source-only-small"))
    given = {"label_space": world.space, "device": "cpu", "quiet": True}
    run = tmp_path / "run"
    try:
        adapt(world.source, world.target, run, recipe, overrides=["seed=3"], **given)
    except UserError:
        return
    assert load_recipe(run / "recipe.yaml").seed == 3


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", '{"before": 3}', '{"after": {"confusion": null}}', ""])
def test_damaged_scores_of_a_finished_run_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "scores.json").write_text(text)
    with pytest.raises(RunError, match=r"scores\.json is damaged"):
        adapt_job.TASK.result(RunFolder(tmp_path))
