"""Adaptation on built-in data: toy simulator to toy camera, on a CPU, in minutes."""

from __future__ import annotations

from pathlib import Path

from stylebridge.jobs.datasets.toy import draw_toy
from stylebridge.jobs.runs.folder import new_run
from stylebridge.jobs.runs.outputs import TOY, ensure_free
from stylebridge.jobs.tasks.adapt import AdaptationResult
from stylebridge.jobs.train import adapt
from stylebridge.terminal import open_console, say

SIZE = (160, 120)
#: Seeds of the scenes: the three sets share no scene.
SETS = {"sim": ("sim", 300, 0), "camera": ("camera", 200, 10_000), "camera-held-out": ("camera", 60, 20_000)}


def demo(
    out: str | Path = "runs/demo",
    *,
    recipe: str | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    quiet: bool = False,
) -> AdaptationResult:
    """Draw 300 labelled simulator scenes and 200 unlabelled camera scenes, adapt, and score on 60 other camera scenes.
    Writes ``out/report.html``.

    Args:
        out: the run folder to create; the scenes are drawn into ``<out>-data`` beside it.
        recipe, seed, device, quiet: see :func:`stylebridge.train`.
        overwrite: replace an earlier demo, its scenes included.

    Raises:
        RunError: ``out`` exists and may not be replaced, or a set in ``<out>-data`` was not drawn by us.
    """
    run = Path(out)
    data = run.with_name(f"{run.name}-data")
    new_run(run, overwrite)
    for name in SETS:
        ensure_free(data / name, TOY, overwrite)
    console = open_console(stderr=True, quiet=quiet)
    for name, (look, count, first_seed) in SETS.items():
        say(console, f"Drawing {count} scenes: {name} …")
        draw_toy(
            data / name,
            look,
            count,
            first_seed=first_seed,
            size=SIZE,
            labels=name != "camera",
            overwrite=overwrite,
            quiet=quiet,
        )
    return adapt(
        data / "sim",
        data / "camera",
        run,
        recipe=recipe,
        label_space="camvid-11",
        evaluate_on=data / "camera-held-out",
        seed=seed,
        device=device,
        overwrite=overwrite,
        quiet=quiet,
    )
