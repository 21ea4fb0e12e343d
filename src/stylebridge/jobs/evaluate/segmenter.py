"""Score an adapted model on labelled images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.progress import Progress

from stylebridge.atomic import OTHER_OUT, write_text
from stylebridge.data.domain import check_domain
from stylebridge.data.label_space import LabelSpace
from stylebridge.errors import DataError
from stylebridge.jobs.apply.models.inference import confusion_of
from stylebridge.jobs.apply.models.model import open_model
from stylebridge.jobs.datasets.domains import open_labelled
from stylebridge.jobs.evaluate.images import output_file
from stylebridge.metrics.segmentation import SegmentationScores
from stylebridge.terminal import open_console


def evaluate(
    run: str | Path,
    data: str | Path,
    *,
    label_space: str | Path | LabelSpace | None = None,
    class_maps: Sequence[str | Path] = (),
    read_as: str | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> SegmentationScores:
    """Score a run's segmenter on a labelled folder.

    Predictions are made at the run's inference size and resized to each label map; one int64 confusion matrix counts
    the whole set.

    Args:
        run: a run folder, or its ``segmenter`` folder.
        data: labelled: ``PATH``, ``LAYOUT:PATH`` or ``LAYOUT/SPLIT:PATH``.
        label_space: the label space of the labels, compared with their evidence; None: from their evidence, else the
            run's. Its classes are mapped to the run's by name.
        class_maps: YAML files with class maps, if names differ.
        read_as: the label space regardless of evidence; ``run``: the run's.
        out: JSON file for the scores.

    Raises:
        UserError: the run or the data is invalid.
    """
    path = output_file(out, {"the data": data})
    model = open_model(run, device, "segment").segmenter
    console = open_console(stderr=True, quiet=quiet)
    domain = open_labelled(
        data,
        "evaluation",
        console,
        label_space=label_space,
        class_maps=class_maps,
        read_as=[read_as] if read_as else [],
        model=model.space,
        evaluation=True,
    )
    check_domain(domain)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("evaluate", total=len(domain.images))
        confusion = confusion_of(
            model.segmenter, domain, model.inference, model.device, lambda n: progress.advance(task, n)
        )
    try:
        scores = confusion.scores(model.space.classes, model.space.name, model.space.protocols)
    except DataError as error:
        raise DataError(
            f"The label maps in {domain.root}/labels have no class, only ignored pixels: give labelled ones."
        ) from error
    if path is not None:
        write_text(path, json.dumps(scores.as_dict(), indent=1), mend=OTHER_OUT)
    return scores
