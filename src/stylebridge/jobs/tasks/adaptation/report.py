"""How an adaptation ends: the segmenter in its place, the scores, and the report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stylebridge.atomic import RESUME, write_text, written_folder
from stylebridge.data.dataset import read_pair
from stylebridge.data.domain import Domain, titles
from stylebridge.data.files import FileRef
from stylebridge.data.images import read_image
from stylebridge.data.spread import evenly_spaced
from stylebridge.engine.processes import Share
from stylebridge.errors import DataError, UserError
from stylebridge.jobs.apply.models.inference import confusion_of, predict_files
from stylebridge.jobs.apply.models.model import open_model
from stylebridge.jobs.datasets.together import check_together, progress_bar
from stylebridge.jobs.exchange.export import export
from stylebridge.jobs.recipe.adapt import AdaptRecipe, InferenceConfig
from stylebridge.jobs.tasks.adaptation.work import AdaptWork
from stylebridge.jobs.tasks.report import run_rows
from stylebridge.metrics.segmentation import ConfusionMatrix, SegmentationScores
from stylebridge.networks.model_card import Training, write_model_card
from stylebridge.networks.segmenters.build import Segmenter, load_segmenter
from stylebridge.report.html import (
    AdaptationReport,
    DomainFacts,
    SourceSample,
    StageTiming,
    TargetSample,
    write_report,
)

_PICTURES = 6


def finish_run(
    work: AdaptWork, total_seconds: float
) -> tuple[SegmentationScores | None, SegmentationScores | None]:
    """Put the last stage's segmenter in its place, score it (and the source-only one) and write the report.

    All processes come here: they share the images that are scored, and the main one does the rest.

    Returns the scores before and after adaptation; None where there is nothing to compare.
    """
    recipe, run, accelerator, domains = work.recipe, work.run, work.accelerator, work.data.domains
    evaluation, problem = domains.evaluation, domains.unscored or None
    if evaluation is not None:
        try:
            check_together(evaluation, accelerator, work.console)
        except DataError as error:
            evaluation, problem = None, str(error)
    exported = ""
    if accelerator.is_main_process:
        _put_in_place(work)
        exported = _export(work) if recipe.onnx else ""
    accelerator.wait_for_everyone()

    after = load_segmenter(run.segmenter).to(accelerator.device)
    before = _before(work)
    if before is not None:
        before = before.to(accelerator.device)
    first, last = (recipe.inference_of(recipe.stage_name(i)) for i in (0, len(recipe.stages) - 1))
    scores = _score(after, evaluation, work, last)
    scores_before = _score(before, evaluation, work, first) if before is not None else None
    if not accelerator.is_main_process:
        return scores_before, scores
    measured = _Measured(before, after, scores_before, scores, evaluation)
    notices = [*_notices(work, evaluation, before, problem), *([exported] if exported else [])]
    _write_results(work, measured, notices, total_seconds)
    return scores_before, scores


@dataclass(frozen=True)
class _Measured:
    """The segmenters from before adaptation (None: there is none) and after, and their scores."""

    before: Segmenter | None
    after: Segmenter
    scores_before: SegmentationScores | None
    scores: SegmentationScores | None
    evaluation: Domain | None


def _write_results(work: AdaptWork, measured: _Measured, notices: list[str], total_seconds: float) -> None:
    """``scores.json``, the segmenter's model card, and the report."""
    recipe, run, evaluation = work.recipe, work.run, measured.evaluation
    first, last = (recipe.inference_of(recipe.stage_name(i)) for i in (0, len(recipe.stages) - 1))
    predict_before = _predictor(measured.before, first, work) if measured.before is not None else None
    predict_after = _predictor(measured.after, last, work)
    source, target = titles(work.data.domains.source, work.data.domains.target)
    scores = measured.scores_before, measured.scores
    with work.console.status("Writing the report …"):
        _write_scores(run.path / "scores.json", *scores)
        scored_on = evaluation.title if evaluation is not None else None
        training = Training(source, target, recipe.name, recipe.seed, scored_on, *scores)
        write_model_card(run.segmenter, training, RESUME)
        write_report(
            run.report,
            AdaptationReport(
                title=f"{source} → {target}",
                recipe=recipe.name,
                source=DomainFacts(
                    source, str(work.data.domains.source.root), len(work.data.domains.source.images)
                ),
                target=DomainFacts(
                    target, str(work.data.domains.target.root), len(work.data.domains.target.images)
                ),
                label_space=work.data.domains.space,
                before=measured.scores_before,
                after=measured.scores,
                source_samples=_source_samples(work),
                seen_on=scored_on,
                target_samples=_target_samples(work, evaluation, predict_before, predict_after),
                label_free=_label_free(work, predict_before, predict_after),
                metrics=run.path / "metrics.jsonl",
                facts=_facts(work, evaluation, total_seconds),
                notices=notices,
                timing=_timing(work),
            ),
            RESUME,
        )


def _put_in_place(work: AdaptWork) -> None:
    """Copy the segmenter of the last stage to where the run's segmenter is."""
    run, recipe = work.run, work.recipe
    last = run.stage(recipe.stage_name(len(recipe.stages) - 1))
    with written_folder(run.segmenter, mend=RESUME) as beside:
        shutil.copytree(last / "segmenter", beside, dirs_exist_ok=True)


def _export(work: AdaptWork) -> str:
    """Write the segmenter as an ONNX file too; what to tell of it."""
    path = work.run.onnx
    try:
        made = export(work.run.path, onnx=path, overwrite=True, quiet=work.quiet, console=work.console)
    except UserError as error:
        path.unlink(missing_ok=True)  # of an earlier end of this run
        return f"The segmenter was not written as an ONNX file: {error}"
    return (
        f"{path.name} computes what the segmenter does: on images of the target its logits differ by at most "
        f"{made.max_difference:.2g}, and reach {made.largest_logit:.3g}."
    )


def _timing(work: AdaptWork) -> list[StageTiming]:
    """How long each stage trained, over all starts of the run: the log says how fast every step was."""
    seconds: dict[str, float] = {}
    reached: dict[str, int] = {}
    stages = {work.recipe.stage_name(i): stage for i, stage in enumerate(work.recipe.stages)}
    log = work.run.path / "metrics.jsonl"
    for line in log.read_text(encoding="utf-8").splitlines() if log.is_file() else ():
        entry = json.loads(line)
        name, step, rate = entry["stage"], entry["step"], entry.get("samples_per_second")
        if rate and name in stages:
            samples = (step - reached.get(name, 0)) * stages[name].trainer.batch
            seconds[name] = seconds.get(name, 0.0) + samples / rate
            reached[name] = step
    return [StageTiming(name, seconds.get(name, 0.0), stage.trainer.steps) for name, stage in stages.items()]


def _before(work: AdaptWork) -> Segmenter | None:
    """The model without adaptation: the first stage's, where a recipe begins with source-only training."""
    stages = work.recipe.stages
    if len(stages) < 2 or stages[0].method != "source-only":
        return None
    return load_segmenter(work.run.stage(work.recipe.stage_name(0)) / "segmenter")


#: Label maps uint8 [H, W] of image files.
_Predict = Callable[[Sequence[FileRef]], Iterator[np.ndarray]]


def _predictor(segmenter: Segmenter, inference: InferenceConfig, work: AdaptWork) -> _Predict:
    device = work.accelerator.device
    return lambda files: (labels for _, _, labels in predict_files(segmenter, files, inference, device))


def _score(
    segmenter: Segmenter, evaluation: Domain | None, work: AdaptWork, inference: InferenceConfig
) -> SegmentationScores | None:
    if evaluation is None:
        return None
    accelerator = work.accelerator
    share: Share[int] = Share(range(len(evaluation.images)), accelerator, inference.batch)
    part = slice(share.first, share.stop)
    assert evaluation.labels is not None
    mine = replace(evaluation, images=evaluation.images[part], labels=evaluation.labels[part])
    shown = accelerator.is_main_process and not work.quiet
    with progress_bar("score", len(share.mine), work.console, shown) as advance, share.together():
        counted = confusion_of(segmenter, mine, inference, accelerator.device, advance)
    confusion = ConfusionMatrix(work.data.domains.space.num_classes)
    for part_of_one in share.gather([counted]):
        confusion.merge(part_of_one)
    if not int(confusion.matrix.sum()):  # nothing but ignored pixels
        return None
    return confusion.scores(
        work.data.domains.space.classes, work.data.domains.space.name, work.data.domains.space.protocols
    )


def _write_scores(path: Path, before: SegmentationScores | None, after: SegmentationScores | None) -> None:
    named = {"before": before, "after": after}
    text = json.dumps({k: v.as_dict() if v else None for k, v in named.items()}, indent=1)
    write_text(path, text, mend=RESUME)


def _source_samples(work: AdaptWork) -> list[SourceSample]:
    source, model = work.data.domains.source, open_model(work.run.path, work.accelerator.device)
    styles = evenly_spaced(len(work.data.domains.target.images), 4, rounded=True)
    samples: list[SourceSample] = []
    for i in evenly_spaced(len(source.images), 4, rounded=True):
        image, label = read_pair(source, i)
        assert label is not None
        translated = None
        if work.data.translated is not None:
            translated = read_image(work.data.translated.images[i])
        elif model.can("translate"):
            style = read_image(work.data.domains.target.images[styles[len(samples) % len(styles)]])
            code = model.translator.code(style, "target")
            translated = model.translator.translate(image, "target", code, labels=label)
        samples.append(SourceSample(image, label, source.images[i].name, translated))
    return samples


def _target_samples(
    work: AdaptWork, evaluation: Domain | None, before: _Predict | None, after: _Predict
) -> list[TargetSample]:
    domain = evaluation or work.data.domains.target
    chosen = evenly_spaced(len(domain.images), _PICTURES, rounded=True)
    paths = [domain.images[i] for i in chosen]
    new = list(after(paths))
    old: list[np.ndarray | None] = [None] * len(paths)
    if before is not None:
        old = list(before(paths))
    samples = []
    for place, i in enumerate(chosen):
        image, truth = read_pair(domain, i)
        samples.append(TargetSample(image, old[place], new[place], paths[place].name, truth))
    return samples


def _label_free(work: AdaptWork, before: _Predict | None, after: _Predict) -> list[tuple[str, str]]:
    """Facts that need no labels: how much changed, and which classes the target has."""
    paths = [
        work.data.domains.target.images[i]
        for i in evenly_spaced(len(work.data.domains.target.images), 24, rounded=True)
    ]
    counts = np.zeros(work.data.domains.space.num_classes, np.int64)
    new = []
    for labels in after(paths):
        counts += np.bincount(labels.ravel(), minlength=len(counts))[: len(counts)]
        new.append(labels)
    facts = [("target images looked at", str(len(paths)))]
    facts.append(
        ("classes found on the target", f"{int((counts > 0.001 * counts.sum()).sum())} of {len(counts)}")
    )
    if before is not None:
        changed = [float((labels != mine).mean()) for labels, mine in zip(before(paths), new, strict=True)]
        facts.append(("pixels that changed class by adapting", f"{100 * float(np.mean(changed)):.1f} %"))
    return facts


def _notices(
    work: AdaptWork, evaluation: Domain | None, before: Segmenter | None, problem: str | None
) -> list[str]:
    notices = (
        [f"There are no scores, because the labels to score against are not right: {problem}"]
        if problem
        else []
    )
    if evaluation is not None:
        notices.append(
            f"The labels of {evaluation.title} ({evaluation.root}) serve the scores on this page alone: they took no "
            f"part in training or in the choice of the model."
        )
    if all(stage.method == "source-only" for stage in work.recipe.stages):
        notices.append("This model was trained on the source alone: it is not adapted.")
    elif before is None:
        notices.append(
            "This recipe has no source-only stage: there is no model from before adaptation to show."
        )
    return notices


def _sizes(recipe: AdaptRecipe) -> str:
    """The size that the final model is used at, and those of stages that differ."""
    others = [(stage.name, stage.inference) for stage in recipe.stages if stage.inference is not None]
    lines = [f"{name}: {_predicted_at(inference)}" for name, inference in others]
    return "\n".join([_predicted_at(recipe.inference), *lines])


def _predicted_at(inference: InferenceConfig) -> str:
    if inference.size is None:
        return "each image's own size"
    return f"{inference.size[0]} × {inference.size[1]}, brought to each image's own size"


def _facts(work: AdaptWork, evaluation: Domain | None, total_seconds: float) -> list[tuple[str, str]]:
    recipe, space = work.recipe, work.data.domains.space
    scored = f"{evaluation.root} ({len(evaluation.images)} images)" if evaluation else "no labels given"
    rows = [
        ("segmenter", f"{recipe.segmenter.arch} on {recipe.segmenter.encoder}"),
        ("label space", f"{space.name} ({space.num_classes} classes)"),
        ("scored on", scored),
        ("predicted at", _sizes(recipe)),
    ]
    return run_rows(work, total_seconds, rows, time="training and checks")
