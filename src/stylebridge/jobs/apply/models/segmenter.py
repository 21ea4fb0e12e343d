"""Loading the adapted model of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stylebridge.data.label_space import LabelSpace
from stylebridge.data.text_files import read_json
from stylebridge.errors import RunError, one_line
from stylebridge.jobs.recipe.adapt import InferenceConfig
from stylebridge.jobs.runs.folder import open_run
from stylebridge.networks.segmenters.build import Segmenter, load_segmenter


@dataclass(frozen=True)
class AdaptedModel:
    """A segmenter with what is needed to use it."""

    segmenter: Segmenter
    space: LabelSpace
    inference: InferenceConfig


def load_adapted(path: Path) -> AdaptedModel:
    """Load the segmenter of a finished run, or of a ``segmenter`` folder taken out of one.

    Raises:
        RunError: there is no run, it is of another kind, or it is not finished.
    """
    folder = path
    if not (path / "stylebridge.json").is_file():
        folder = open_run(path, "adapt").segmenter
    if not folder.is_dir():
        raise RunError(
            f"{path} has no finished segmenter: continue it with `stylebridge adapt --resume --out {path}`."
        )
    facts = folder / "stylebridge.json"
    try:
        extra = read_json(facts)["extra"]
        space = LabelSpace.from_dict(extra["label_space"])
        inference = InferenceConfig.model_validate(extra["inference"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        reason = one_line(error)
        raise RunError(
            f"{facts} does not say how to use the segmenter ({reason}): give the --out folder of a run that is "
            f"whole."
        ) from error
    return AdaptedModel(segmenter=load_segmenter(folder).eval(), space=space, inference=inference)
