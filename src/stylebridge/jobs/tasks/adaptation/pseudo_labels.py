"""Label maps of the target that the model of the stage before predicts: pseudo-labels (FADA, stage 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stylebridge.data.dataset import read_pair
from stylebridge.data.domain import Domain
from stylebridge.data.files import FileRef, path_below
from stylebridge.data.label_space import LabelSpace
from stylebridge.jobs.apply.models.inference import predict_files, write_label_png
from stylebridge.jobs.datasets.together import make_together, progress_bar
from stylebridge.jobs.recipe.adapt import InferenceConfig
from stylebridge.jobs.tasks.adaptation.work import AdaptWork
from stylebridge.networks.segmenters.build import load_segmenter


def pseudo_labelled(work: AdaptWork, index: int) -> Domain:
    """The target with the pseudo-labels of a stage, which are made unless they are there."""
    stage, recipe, domains = work.recipe.stages[index], work.recipe, work.data.domains
    assert stage.pseudo_labels is not None
    folder = work.run.path / "pseudo_labels" / recipe.stage_name(index)
    write_pseudo_labels(work, work.run.stage(recipe.stage_name(index - 1)), stage.pseudo_labels, folder)
    labels = tuple(_path(folder, domains.target, image) for image in domains.target.images)
    plain = LabelSpace(
        name=f"{domains.space.name} (train ids)",
        classes=domains.space.classes,
        colours=domains.space.colours,
        raw_ids={**{k: k for k in range(domains.space.num_classes)}, 255: 255},
    )
    return replace(domains.target, labels=labels, space=plain)


def _path(folder: Path, target: Domain, image: FileRef) -> Path:
    return folder / path_below(image, target.root).with_suffix(".png")


def write_pseudo_labels(work: AdaptWork, stage: Path, config: InferenceConfig, folder: Path) -> None:
    """Label every target image with a stage's model, unless that is done: hard labels, no threshold (FADA, stage 3).
    All processes share the images."""
    accelerator, device = work.accelerator, work.accelerator.device

    def write(images: Sequence[FileRef], beside: Path) -> None:
        segmenter = load_segmenter(stage / "segmenter").to(device)
        shown = accelerator.is_main_process and not work.quiet
        with progress_bar("pseudo-labels", len(images), work.console, shown) as advance:
            for path, _, labels in predict_files(segmenter, images, config, device, advance):
                write_label_png(
                    labels, work.data.domains.space, _path(beside, work.data.domains.target, path)
                )

    def finish(beside: Path) -> None:
        _write_known_labels(work, beside)

    make_together(folder, work.data.domains.target.images, accelerator, write, finish, group=config.batch)


def _write_known_labels(work: AdaptWork, folder: Path) -> None:
    """Where the truth of a target image was given, it takes the place of the prediction."""
    few = work.data.domains.target_labels
    if few is None:
        return
    targets = {str(image) for image in work.data.domains.target.images}
    for i, image in enumerate(few.images):
        if str(image) in targets:
            _, labels = read_pair(few, i)
            assert labels is not None
            write_label_png(labels, work.data.domains.space, _path(folder, work.data.domains.target, image))
