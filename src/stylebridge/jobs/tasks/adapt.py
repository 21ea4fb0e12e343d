"""Adaptations: a segmenter trained on a labelled source and adapted to an unlabelled target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from rich.console import Console
from rich.text import Text

from stylebridge.atomic import written_folder
from stylebridge.data.doctor import Severity, quick_check
from stylebridge.data.domain import Domain
from stylebridge.data.text_files import read_json
from stylebridge.engine import checkpoint as ckpt
from stylebridge.errors import RunError
from stylebridge.jobs.datasets.domains import (
    AdaptationDomains,
    check_evaluation,
    open_adaptation,
    reopen_adaptation,
)
from stylebridge.jobs.datasets.label_options import ensure_classes_present
from stylebridge.jobs.datasets.together import check_together
from stylebridge.jobs.recipe.adapt import AdaptRecipe
from stylebridge.jobs.runs.data_files import Files, files_of
from stylebridge.jobs.runs.folder import RunFolder, open_run, take_over_stages
from stylebridge.jobs.runs.outputs import PART, mark
from stylebridge.jobs.runs.start import check_training, place_of
from stylebridge.jobs.tasks.adaptation.label_free import LabelFreeScores
from stylebridge.jobs.tasks.adaptation.pictures import SamplePictures
from stylebridge.jobs.tasks.adaptation.report import finish_run
from stylebridge.jobs.tasks.adaptation.streams import streams_of
from stylebridge.jobs.tasks.adaptation.translated_source import (
    check_translator,
    choose_translator,
    translated_source,
)
from stylebridge.jobs.tasks.adaptation.work import AdaptationData, AdaptWork
from stylebridge.jobs.tasks.base import Plan, Request, Role, Task
from stylebridge.methods.base import SegmentationMethod
from stylebridge.metrics.segmentation import SegmentationScores
from stylebridge.networks.segmenters.build import Segmenter, SegmenterConfig, build_segmenter, load_segmenter
from stylebridge.terminal import say


@dataclass(frozen=True)
class AdaptationResult:
    """What an adaptation made. Scores are None where the target has no labels to compare with, ``onnx`` where the
    recipe asks for no such file or it could not be written (the report says why)."""

    run: Path
    segmenter: Segmenter
    report: Path
    before: SegmentationScores | None
    after: SegmentationScores | None
    onnx: Path | None = None


class Adapt(Task[AdaptRecipe, AdaptationData]):
    """A segmenter from a labelled source to an unlabelled target, in one or more stages."""

    name = "adapt"
    #: Chosen by benchmarks/bridge.py: the best mean on both of its pairs of domains.
    default_recipe = "bridge-small"
    roles = (Role("source"), Role("target"))
    data_needed = "Give both --source FOLDER and --target FOLDER."
    lasting_options = (
        "label_space",
        "class_maps",
        "target_labels",
        "read_as",
        "allow_missing_classes",
        "reuse",
    )

    def changes(self, recipe: AdaptRecipe, request: Request) -> list[str]:
        wanted = request.option("translator")
        return choose_translator(recipe, wanted) if wanted is not None else []

    def reopens(self, request: Request) -> bool:
        return request.option("evaluate_on") is not None

    def inputs(self, request: Request, recipe: AdaptRecipe | None) -> dict[str, str | Path | None]:
        translator = recipe.translator if recipe is not None else None
        return {
            "the run of --reuse": request.option("reuse"),
            "the target labels": request.option("target_labels"),
            "the evaluation set": place_of(request.option("evaluate_on")),
            "the translator": translator.run if translator is not None else None,
        }

    def open(
        self, request: Request, facts: Mapping[str, Any], accelerator: Accelerator, console: Console
    ) -> AdaptationData:
        if request.option("reuse") is not None:
            open_run(Path(request.option("reuse")), "adapt")
        domains, evaluate_on = _open_domains(request, facts, console), request.option("evaluate_on")
        if accelerator.is_main_process:
            _warn_of_findings([domains.source, domains.target], console)
        source = check_together(domains.source, accelerator, console)
        target = check_together(domains.target, accelerator, console)
        labelled = [source]
        if domains.target_labels is not None:
            labelled.append(check_together(domains.target_labels, accelerator, console))
        if not facts:
            allow = bool(request.option("allow_missing_classes"))
            ensure_classes_present(domains.space, labelled, allow, console)
        if not facts or evaluate_on is not None:
            domains = check_evaluation(
                domains, evaluate_on is not None, lambda d: check_together(d, accelerator, console), console
            )
        return AdaptationData(domains, source, target)

    def resolve(self, recipe: AdaptRecipe, data: AdaptationData) -> AdaptRecipe:
        return recipe.resolve(_usual(data.source.sizes), _usual(data.target.sizes))

    def check(self, recipe: AdaptRecipe, data: AdaptationData, processes: int, console: Console) -> None:
        check_translator(recipe, data.domains.source, data.domains.target, processes, console)
        check_stages(recipe, data.domains.space.num_classes, processes)

    def facts(self, recipe: AdaptRecipe, data: AdaptationData) -> dict[str, Any]:
        return _facts(data.domains)

    def files(self, data: AdaptationData) -> Files:
        domains = data.domains
        return files_of(source=domains.source, target=domains.target, target_labels=domains.target_labels)

    def begun(self, work: AdaptWork, request: Request) -> None:
        if request.option("reuse") is not None:
            take_over_stages(open_run(Path(request.option("reuse")), "adapt"), work.run)

    def prepare(self, work: AdaptWork) -> None:
        if work.recipe.translator is not None:
            work.data.translated = translated_source(work)

    def stage_done(self, work: AdaptWork, index: int) -> bool:
        return work.run.stage(work.recipe.stage_name(index)).is_dir()

    def plan(self, work: AdaptWork, index: int, seed: int) -> Plan:
        recipe, name = work.recipe, work.recipe.stage_name(index)
        method = _method(work, index)
        streams = streams_of(work, index, seed, self.seeds)
        inference, target = recipe.inference_of(name), work.data.domains.target
        pictures = SamplePictures(work.run, work.data.domains.source, target, inference, method, name)
        config, scores = recipe.stages[index].label_free, None
        if config is not None:
            scores = LabelFreeScores(work.run, name, config, target, inference, work.accelerator)

        def on_sample(step: int) -> None:
            if work.is_main:
                pictures(step)
            if scores is not None:
                scores(step, _result(method))

        return Plan(method, streams, on_sample, scores)

    def hand_on(self, work: AdaptWork, index: int, plan: Plan) -> None:
        if not work.is_main:
            return
        assert isinstance(plan.method, SegmentationMethod)
        if plan.made is not None:
            plan.made.restore_best(_result(plan.method))
        hand_on(plan.method, work, work.run.stage(work.recipe.stage_name(index)))

    def finish(self, work: AdaptWork, seconds: float) -> AdaptationResult:
        scores = finish_run(work, seconds)
        work.accelerator.wait_for_everyone()
        return _made(work.run, *scores)

    def results(self, recipe: AdaptRecipe) -> Sequence[str]:
        stages = (f"stages/{recipe.stage_name(index)}" for index in range(len(recipe.stages)))
        return *stages, "segmenter", "scores.json", "report.html"

    def result(self, run: RunFolder) -> AdaptationResult:
        path = run.path / "scores.json"
        try:
            kept = read_json(path)
            scores = (
                SegmentationScores.from_dict(kept[n]) if kept.get(n) else None for n in ("before", "after")
            )
            return _made(run, *scores)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise RunError(
                f"{path} is damaged: the run has finished; train it again with --overwrite."
            ) from error


TASK = Adapt()


def _made(
    run: RunFolder, before: SegmentationScores | None, after: SegmentationScores | None
) -> AdaptationResult:
    onnx = run.onnx if run.onnx.is_file() else None
    return AdaptationResult(run.path, load_segmenter(run.segmenter), run.report, before, after, onnx)


# --- data -----------------------------------------------------------------------------------------------------


def _open_domains(request: Request, facts: Mapping[str, Any], console: Console) -> AdaptationDomains:
    """The domains of a new run, or (``facts``) those that a run was begun with."""
    evaluate_on = request.option("evaluate_on")
    if facts:
        return reopen_adaptation(facts, evaluate_on, console)
    source, target = request.data["source"], request.data["target"]
    assert source is not None
    assert target is not None
    return open_adaptation(
        source,
        target,
        evaluate_on=evaluate_on,
        label_space=request.option("label_space"),
        class_maps=request.option("class_maps", ()),
        target_labels=request.option("target_labels"),
        read_as=request.option("read_as", ()),
        console=console,
    )


def _warn_of_findings(domains: Sequence[Domain], console: Console) -> None:
    """The quick part of ``stylebridge data doctor``: what the headers of some files show."""
    for finding in [found for domain in domains for found in quick_check(domain)]:
        if finding.severity is not Severity.KNOW:
            say(console, Text.assemble((finding.what, "yellow"), " ", finding.advice))


def _usual(sizes: Counter[tuple[int, int]]) -> tuple[int, int]:
    """The most common (width, height)."""
    return sizes.most_common(1)[0][0]


def _facts(domains: AdaptationDomains) -> dict[str, Any]:
    labelled = {
        "source": domains.source,
        "evaluate_on": domains.evaluation,
        "target_labels": domains.target_labels,
    }
    return {
        **{name: domain.spec if domain is not None else None for name, domain in labelled.items()},
        "target": domains.target.spec,
        "source_images": len(domains.source.images),
        "target_images": len(domains.target.images),
        "label_space": domains.space.as_dict(),
        "unscored": domains.unscored,
        "class_maps": [found.as_dict() for found in domains.class_maps],
        # How each domain's label files are read, where that is not as the label space says.
        "read_as": {
            name: domain.space.as_dict()
            for name, domain in labelled.items()
            if domain is not None and domain.space is not None and domain.space != domains.space
        },
    }


# --- stages ---------------------------------------------------------------------------------------------------


def check_stages(recipe: AdaptRecipe, num_classes: int, processes: int) -> None:
    """Find before the run begins what would stop a stage: its segmenter, its batch, its parameter groups.

    Raises:
        UserError: names the key.
    """
    for stage in recipe.stages:
        config = SegmenterConfig(**{**recipe.segmenter.model_dump(), **stage.segmenter, "weights": None})
        check_training(
            lambda s=stage, c=config: s.spec.method(build_segmenter(c, num_classes), s.method_options()),  # type: ignore[call-arg]
            stage,
            processes,
            f"stage {stage.name}",
        )


def _method(work: AdaptWork, index: int) -> SegmentationMethod[Any]:
    recipe, stage = work.recipe, work.recipe.stages[index]
    previous = work.run.stage(recipe.stage_name(index - 1)) if index else None
    if stage.start == "previous" and previous is not None:
        segmenter = load_segmenter(previous / "segmenter")
    else:
        config = SegmenterConfig(**{**recipe.segmenter.model_dump(), **stage.segmenter})
        segmenter = build_segmenter(config, work.data.domains.space.num_classes)
    method = stage.spec.method(segmenter, stage.method_options())  # type: ignore[call-arg]
    assert isinstance(method, SegmentationMethod)
    if previous is not None:
        _inherit(method, previous)
    method.begin()
    return method


def _inherit(method: SegmentationMethod[Any], previous: Path) -> None:
    """Copy the other networks of the previous stage that this method continues to train."""
    for name in set(method.inherits) & set(method.networks):
        file = previous / "networks" / f"{name}.safetensors"
        if file.is_file():
            ckpt.load_network(method.networks[name], file)


def _result(method: SegmentationMethod[Any]) -> Segmenter:
    """The segmenter that is the result of a stage."""
    result = method.networks[method.result]
    assert isinstance(result, Segmenter)
    return result


def hand_on(method: SegmentationMethod[Any], work: AdaptWork, folder: Path) -> None:
    """Save the result of a finished stage atomically."""
    with (
        ckpt.explain_full_disk(f"the result of stage {folder.name}", work.run.path),
        written_folder(folder, error=None) as beside,
    ):
        space, inference = work.data.domains.space, work.recipe.inference_of(folder.name)
        extra = {"label_space": space.as_dict(), "inference": inference.model_dump(mode="json")}
        _result(method).save_pretrained(beside / "segmenter", extra=extra)
        for name, network in method.networks.items():
            if name != method.result:
                (beside / "networks").mkdir(exist_ok=True)
                ckpt.save_tensors(network.state_dict(), beside / "networks" / f"{name}.safetensors")
        mark(beside, PART)
