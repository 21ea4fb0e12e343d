"""Adapt a segmentation model to an unlabelled domain, end to end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.text import Text

from stylebridge.data.doctor import Severity, quick_check
from stylebridge.data.domain import Domain, DomainSummary
from stylebridge.data.label_space import LabelSpace
from stylebridge.data.text_files import read_json
from stylebridge.engine import open_accelerator
from stylebridge.errors import DataError, RunError
from stylebridge.jobs.datasets.domains import (
    AdaptationDomains,
    check_evaluation,
    open_adaptation,
    reopen_adaptation,
)
from stylebridge.jobs.datasets.label_options import ensure_classes_present
from stylebridge.jobs.datasets.together import check_together
from stylebridge.jobs.recipe.adapt import Recipe, builtin_recipes, load_recipe, override_recipe
from stylebridge.jobs.runs.data_files import ensure_unchanged, files_of
from stylebridge.jobs.runs.folder import RunFolder, open_run, take_over_stages
from stylebridge.jobs.runs.interrupts import resumable
from stylebridge.jobs.runs.machine import default_workers, facts_of_start
from stylebridge.jobs.runs.start import (
    ensure_same_settings,
    is_finished,
    place_of,
    plain_options,
    seed_changes,
    take_run,
)
from stylebridge.jobs.tasks.adaptation.report import finish_run
from stylebridge.jobs.tasks.adaptation.stages import StageContext, check_stages, run_stage
from stylebridge.jobs.tasks.adaptation.translated_source import (
    check_translator,
    choose_translator,
    translated_source,
)
from stylebridge.launch import is_main
from stylebridge.metrics.segmentation import SegmentationScores
from stylebridge.networks.segmenters.build import Segmenter, load_segmenter
from stylebridge.terminal import open_console, say

#: Chosen by benchmarks/bridge.py: the best mean on both of its pairs of domains.
DEFAULT_RECIPE = "bridge-small"


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


@resumable("adapt")
def adapt(
    source: str | Path | None = None,
    target: str | Path | None = None,
    out: str | Path = "runs/adapt",
    recipe: str | Path | Recipe | None = None,
    *,
    translator: str | None = None,
    label_space: str | Path | LabelSpace | None = None,
    evaluate_on: str | Path | None = None,
    class_maps: Sequence[str | Path] = (),
    target_labels: str | Path | None = None,
    read_as: Sequence[str] = (),
    allow_missing_classes: bool = False,
    seed: int | None = None,
    device: str = "auto",
    overrides: list[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    accept_changed_data: bool = False,
    reuse: str | Path | None = None,
    workers: int | None = None,
    quiet: bool = False,
    console: Console | None = None,
) -> AdaptationResult:
    """Train a segmenter on a labelled source and carry it over to an unlabelled target.

    Args:
        source: labelled: ``PATH``, ``LAYOUT:PATH`` or ``LAYOUT/SPLIT:PATH`` (:func:`~stylebridge.data.open_domain`).
            May be left out with ``resume``.
        target: unlabelled, in the same forms. Its labels are never read for training or for choosing a model; where
            they exist they are checked before training and scored after it, for the report.
        out: the run folder to make.
        recipe: a built-in recipe's name, a YAML file, or a :class:`Recipe`; None: the default recipe, or with
            ``resume`` the run's own.
        translator: for recipes that translate the source first: a method (``nice-gan``, ``cyclegan``), a translation
            recipe, or the folder of a finished translation run.
        label_space: the model's: a built-in label space's name or a YAML file; None: the source's own, printed. Label
            files that show other classes are mapped to it, and what shows nothing is read in it.
        evaluate_on: labelled images of the target's domain for the report, in place of ``target``.
        class_maps: YAML files that say how classes of one label space become those of the model's, where
            equal names do not say it (:mod:`stylebridge.data.class_map`).
        target_labels: label maps of *some* target images (a folder of files named as they are, or a labelled
            domain). They join the source wherever it is trained on; scores leave them out.
        read_as: ``DOMAIN=SPACE``: the label space that a domain (``source``, ``target-labels``, ``evaluation``) is read
            in whatever its files show.
        allow_missing_classes: train although no label map holds more than half of the model's classes.
        seed: replaces the recipe's seed.
        device: ``auto``, ``cpu`` or ``cuda``.
        overrides: ``key.path=value`` changes to the recipe.
        resume: continue the run in ``out``.
        overwrite: replace the run in ``out``.
        accept_changed_data: continue although files of the data were added, removed or changed since the run began.
        reuse: another run on the same data; its finished stages are taken over as long as seed, segmenter and
            stage settings are the same.
        workers: processes that load images; None: chosen by the device.
        quiet: no progress on the terminal.

    Raises:
        UserError: a path, key or value is wrong; the message says which and how to mend it.
        TrainingStopped: a loss or gradient was not finite.
    """
    console = console or open_console(stderr=True, quiet=quiet or not is_main())
    options = plain_options(
        label_space=label_space,
        class_maps=class_maps,
        target_labels=target_labels,
        read_as=read_as,
        allow_missing_classes=allow_missing_classes,
        reuse=reuse,
    )
    changes = seed_changes(overrides, seed)
    chosen = (
        _choose_recipe(recipe if recipe is not None else DEFAULT_RECIPE, changes, translator)
        if not resume
        else None
    )
    if resume and recipe is not None:
        own = open_run(Path(out), "adapt")
        named = _choose_recipe(recipe, changes, translator)
        if named.name != own.recipe().name:
            ensure_same_settings(own, own.recipe(), named)
    run = take_run(
        out,
        "adapt",
        resume=resume,
        overwrite=overwrite,
        data={"source": source, "target": target},
        options=options,
        inputs={
            "the run of --reuse": reuse,
            "the target labels": target_labels,
            "the evaluation set": place_of(evaluate_on),
            "the translator": chosen.translator.run
            if chosen is not None and chosen.translator is not None
            else None,
        },
    )
    if resume:
        own = run.recipe()
        stages = [f"stages/{own.stage_name(index)}" for index in range(len(own.stages))]
        if recipe is not None or changes or translator is not None:
            chosen = _choose_recipe(recipe if recipe is not None else own, changes, translator)
        elif evaluate_on is None and is_finished(
            run, (*stages, "segmenter", "scores.json", "report.html"), console
        ):
            return _result_of(run)
        precision = own.precision
    else:
        assert chosen is not None
        precision = chosen.precision
        if source is None or target is None:
            raise DataError("Give both --source FOLDER and --target FOLDER.")
    other = open_run(Path(reuse), "adapt") if reuse is not None else None

    accelerator = open_accelerator(device, precision)
    _warn_of_size(chosen, accelerator.device, console)
    data = _open_data(
        run,
        resume,
        accelerator,
        console,
        source=source,
        target=target,
        label_space=label_space,
        evaluate_on=evaluate_on,
        class_maps=class_maps,
        target_labels=target_labels,
        read_as=read_as,
        allow_missing_classes=allow_missing_classes,
    )
    if chosen is None:
        resolved = run.recipe().spelt_out()
    else:
        resolved = chosen.resolve(_usual(data.source.sizes), _usual(data.target.sizes))
    _begin_or_hold(run, resume, resolved, data.domains, accelerator, options, accept_changed_data, other)

    before, after = _train(run, resolved, data, accelerator, workers, resume, console, quiet)
    accelerator.wait_for_everyone()
    onnx = run.onnx if run.onnx.is_file() else None
    return AdaptationResult(run.path, load_segmenter(run.segmenter), run.report, before, after, onnx)


@dataclass(frozen=True)
class _Data:
    """The domains, and what reading all files of source and target showed."""

    domains: AdaptationDomains
    source: DomainSummary
    target: DomainSummary


def _open_data(
    run: RunFolder,
    resume: bool,
    accelerator: Accelerator,
    console: Console,
    *,
    source: str | Path | None,
    target: str | Path | None,
    label_space: str | Path | LabelSpace | None,
    evaluate_on: str | Path | None,
    class_maps: Sequence[str | Path],
    target_labels: str | Path | None,
    read_as: Sequence[str],
    allow_missing_classes: bool,
) -> _Data:
    """Open the domains (a run that goes on: as it was begun) and check every file before anything is trained."""
    if resume:
        domains = reopen_adaptation(run.facts(), evaluate_on, console)
    else:
        assert source is not None
        assert target is not None
        domains = open_adaptation(
            source,
            target,
            evaluate_on=evaluate_on,
            label_space=label_space,
            class_maps=class_maps,
            target_labels=target_labels,
            read_as=read_as,
            console=console,
        )
    if accelerator.is_main_process:
        _warn_of_findings([domains.source, domains.target], console)
    source_summary = check_together(domains.source, accelerator, console)
    target_summary = check_together(domains.target, accelerator, console)
    labelled = [source_summary]
    if domains.target_labels is not None:
        labelled.append(check_together(domains.target_labels, accelerator, console))
    if not resume:
        ensure_classes_present(domains.space, labelled, allow_missing_classes, console)
    if not resume or evaluate_on is not None:
        domains = check_evaluation(
            domains, evaluate_on is not None, lambda d: check_together(d, accelerator, console), console
        )
    return _Data(domains, source_summary, target_summary)


def _begin_or_hold(
    run: RunFolder,
    resume: bool,
    resolved: Recipe,
    domains: AdaptationDomains,
    accelerator: Accelerator,
    options: dict[str, Any],
    accept_changed_data: bool,
    other: RunFolder | None,
) -> None:
    """Begin the run's folder, with the finished stages of ``other``; or hold recipe and files against the run's own."""
    files = files_of(source=domains.source, target=domains.target, target_labels=domains.target_labels)
    if resume:
        ensure_same_settings(run, run.recipe().spelt_out(), resolved)
        ensure_unchanged(run.path, files, accept_changed_data)
    else:
        check_translator(resolved, domains.source, domains.target, accelerator.num_processes)
        check_stages(resolved, domains.space.num_classes, accelerator.num_processes)
        if accelerator.is_main_process:
            run.begin(resolved, {**_facts(domains, resolved, accelerator.device), "options": options}, files)
            if other is not None:
                take_over_stages(other, run)
    accelerator.wait_for_everyone()


def _train(
    run: RunFolder,
    recipe: Recipe,
    data: _Data,
    accelerator: Accelerator,
    workers: int | None,
    resume: bool,
    console: Console,
    quiet: bool,
) -> tuple[SegmentationScores | None, SegmentationScores | None]:
    """Translate the source where the recipe says so, train the stages and finish the run; the scores before
    adaptation and after it."""
    workers = workers if workers is not None else default_workers(accelerator.device)
    domains, started = data.domains, time.perf_counter()
    translated = None
    if recipe.translator is not None:
        translated = translated_source(
            run,
            recipe,
            domains.source,
            domains.target,
            accelerator,
            workers=workers,
            quiet=quiet,
            console=console,
        )
    context = StageContext(
        recipe=recipe,
        run=run,
        source=domains.source,
        source_summary=data.source,
        translated=translated,
        target=domains.target,
        target_labels=domains.target_labels,
        space=domains.space,
        accelerator=accelerator,
        workers=workers,
        console=console,
        quiet=quiet,
    )
    for index in range(len(recipe.stages)):
        run_stage(context, index, resume)
    return finish_run(context, domains, time.perf_counter() - started)


def _choose_recipe(recipe: str | Path | Recipe, changes: list[str], translator: str | None) -> Recipe:
    chosen = override_recipe(recipe, changes) if isinstance(recipe, Recipe) else load_recipe(recipe, changes)
    if translator is not None:
        chosen = override_recipe(chosen, choose_translator(chosen, translator))
    return chosen


def _result_of(run: RunFolder) -> AdaptationResult:
    """What a finished run made."""
    path = run.path / "scores.json"
    try:
        kept = read_json(path)
        before, after = (
            SegmentationScores.from_dict(kept[n]) if kept.get(n) else None for n in ("before", "after")
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path} is damaged: the run has finished; train it again with --overwrite."
        ) from error
    onnx = run.onnx if run.onnx.is_file() else None
    return AdaptationResult(run.path, load_segmenter(run.segmenter), run.report, before, after, onnx)


def _warn_of_size(recipe: Recipe | None, device: torch.device, console: Console) -> None:
    if recipe is not None and device.type == "cpu" and f"{recipe.name}-small" in builtin_recipes():
        say(
            console,
            f"{recipe.name} has the published size, and there is no GPU here: expect days. {recipe.name}-small is the "
            f"same method for CPUs.",
        )


def _warn_of_findings(domains: Sequence[Domain], console: Console) -> None:
    """The quick part of ``stylebridge data doctor``: what a look at some files' headers tells."""
    for finding in [found for domain in domains for found in quick_check(domain)]:
        if finding.severity is not Severity.KNOW:
            say(console, Text.assemble((finding.what, "yellow"), " ", finding.advice))


def _usual(sizes: Counter[tuple[int, int]]) -> tuple[int, int]:
    """The most common (width, height)."""
    return sizes.most_common(1)[0][0]


def _facts(domains: AdaptationDomains, recipe: Recipe, device: torch.device) -> dict[str, Any]:
    labelled = {
        "source": domains.source,
        "evaluate_on": domains.evaluation,
        "target_labels": domains.target_labels,
    }
    return {
        "kind": "adapt",
        "recipe": recipe.name,
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
        **facts_of_start(device),
    }
