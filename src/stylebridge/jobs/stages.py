"""One stage of a run, whatever its task: seed, method and streams, trainer, result."""

from __future__ import annotations

from typing import Any

from stylebridge.engine import Trainer
from stylebridge.engine.rng import seed_everything
from stylebridge.jobs.tasks.base import Task, Work


def run_stage(task: Task[Any, Any], work: Work[Any, Any], index: int) -> None:
    """Train one stage, from its newest checkpoint if the run is resumed and there is one. A stage whose result is
    written is skipped."""
    if task.stage_done(work, index):
        return
    stage, accelerator = work.recipe.stages[index], work.accelerator
    seed = task.seeds.of_stage(work.recipe.seed, index)
    seed_everything(seed)
    plan = task.plan(work, index, seed)
    trainer = Trainer(
        method=plan.method,
        config=stage.trainer,
        optimizers=stage.optimizers,
        streams=dict(plan.streams),
        run=work.run.path,
        stage=work.recipe.stage_name(index),
        seed=seed,
        accelerator=accelerator,
        on_sample=plan.on_sample,
        console=work.console,
        quiet=work.quiet,
    )
    if work.resume:
        trainer.resume_newest()
    trainer.fit()
    task.hand_on(work, index, plan)
    accelerator.wait_for_everyone()
    accelerator.free_memory()
