"""A finished segmenter with its label space and inference settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from stylebridge.data.label_space import LabelSpace
from stylebridge.data.text_files import read_json
from stylebridge.errors import RunError, one_line
from stylebridge.jobs.apply.models.inference import predict_arrays
from stylebridge.jobs.recipe.adapt import InferenceConfig
from stylebridge.jobs.runs.folder import open_run
from stylebridge.networks.segmenters.build import Segmenter, load_segmenter


@dataclass(frozen=True)
class AdaptedModel:
    """A segmenter with its label space and inference settings."""

    segmenter: Segmenter
    space: LabelSpace
    inference: InferenceConfig

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return next(self.segmenter.parameters()).device

    def predict(self, image: np.ndarray) -> np.ndarray:
        """The label map uint8 [H, W] of an image uint8 [H, W, 3], as from ``stylebridge segment``."""
        self.segmenter.eval()
        ((_, _, labels),) = predict_arrays(self.segmenter, [("", image)], self.inference, self.device)
        return labels


def load_adapted(path: Path) -> AdaptedModel:
    """Load the segmenter of a finished run, or of a ``segmenter`` folder taken from one.

    Raises:
        RunError: the run does not exist, has another kind, or is not finished.
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


def open_segmenter(path: Path, device: torch.device) -> AdaptedModel:
    """The segmenter of a run or ``segmenter`` folder on a device; see :func:`load_adapted`."""
    model = load_adapted(path)
    model.segmenter.to(device)
    return model
