"""The report of an image training: final results, their progress, and the facts of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from stylebridge.data.spread import evenly_spaced
from stylebridge.report import curves
from stylebridge.report.page import open_environment, write_page
from stylebridge.report.pictures import photo_uri
from stylebridge.version import __version__

_HISTORY = 6


@dataclass(frozen=True)
class TrainingPage:
    """The contents of the page.

    Attributes:
        title: the headline.
        recipe: the recipe's name.
        lead: a sentence that describes the pictures.
        rows: the meaning of each row of a sample grid, from the top.
        samples: grids ``STEP.png`` from training, all of the same size.
        metrics: path of ``metrics.jsonl``.
        facts: names and values.
        use: the next command.
    """

    title: str
    recipe: str
    lead: str
    rows: Sequence[str]
    samples: Sequence[Path]
    metrics: Path
    facts: Sequence[tuple[str, str]]
    use: str


def write_training_page(path: Path, page: TrainingPage) -> None:
    """Write the page atomically.

    Raises:
        RunError: it cannot be written.
    """
    write_page(path, render(page))


def render(page: TrainingPage) -> str:
    """The page's HTML."""
    environment = open_environment()
    records = curves.read_metrics(page.metrics)
    return environment.get_template("training.html.j2").render(
        page=page,
        version=__version__,
        style=Markup(environment.get_template("style.css.j2").render()),
        last=_grid(page.samples[-1]) if page.samples else None,
        history=[_grid(page.samples[i]) for i in evenly_spaced(len(page.samples), _HISTORY, rounded=True)]
        if len(page.samples) > 1
        else [],
        panels=curves.panels(curves.loss_curves(records)),
    )


def _grid(path: Path) -> dict[str, Any]:
    with Image.open(path) as opened:
        image = np.array(opened.convert("RGB"))
    height, width = image.shape[:2]
    return {"uri": photo_uri(image, 92), "width": width, "height": height, "step": int(path.stem)}
