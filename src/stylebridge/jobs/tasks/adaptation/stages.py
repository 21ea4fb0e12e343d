"""One stage of a recipe: its streams of images, its method, and what it hands on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from rich.console import Console

from stylebridge.atomic import written_folder
from stylebridge.data.augment import Augmentation
from stylebridge.data.dataset import DomainDataset, read_pair
from stylebridge.data.domain import Domain, DomainSummary
from stylebridge.data.files import FileRef, path_below
from stylebridge.data.joined import JoinedDataset, JoinedSampler
from stylebridge.data.label_space import LabelSpace
from stylebridge.data.sampling import (
    ClassBalancedSampler,
    RareClassSampler,
    Sampler,
    ShardSampler,
    UniformSampler,
)
from stylebridge.data.shards import ShardSequence
from stylebridge.engine import Trainer
from stylebridge.engine import checkpoint as ckpt
from stylebridge.engine.method import Batch
from stylebridge.engine.rng import seed_everything
from stylebridge.jobs.apply.models.inference import predict_files, write_label_png
from stylebridge.jobs.datasets.together import make_together, progress_bar
from stylebridge.jobs.recipe.adapt import InferenceConfig, Recipe, StageConfig, StreamConfig
from stylebridge.jobs.runs.folder import RunFolder
from stylebridge.jobs.runs.outputs import PART, mark
from stylebridge.jobs.runs.start import check_training
from stylebridge.jobs.streams import stream_opener
from stylebridge.jobs.tasks.adaptation.label_free import LabelFreeScores
from stylebridge.jobs.tasks.adaptation.pictures import SamplePictures
from stylebridge.methods.base import SegmentationMethod
from stylebridge.methods.registry import classes_of
from stylebridge.networks.segmenters.build import Segmenter, SegmenterConfig, build_segmenter, load_segmenter

_STREAM_SEEDS = {"source": 1, "target": 2}
#: Added to the source's seed for labelled target images: no stream has it.
_FEW_LABELS_SEED = 3


@dataclass(frozen=True)
class StageContext:
    """What all stages of a run share."""

    recipe: Recipe
    run: RunFolder
    source: Domain
    source_summary: DomainSummary
    target: Domain
    target_labels: Domain | None
    translated: Domain | None
    space: LabelSpace
    accelerator: Accelerator
    workers: int
    console: Console
    quiet: bool


def run_stage(context: StageContext, index: int, resume: bool) -> Path:
    """Train one stage, or do nothing if it is complete; returns the folder of what it handed on."""
    name = context.recipe.stage_name(index)
    done = context.run.stage(name)
    if done.is_dir():
        return done
    stage = context.recipe.stages[index]
    seed = context.recipe.seed * 1000 + index
    seed_everything(seed)
    method = _build_method(context, index)
    previous = context.run.stage(context.recipe.stage_name(index - 1)) if index else None
    domains = _domains(context, stage, name, previous)
    inference = context.recipe.inference_of(name)
    sampler = SamplePictures(context.run, context.source, context.target, inference, method, name)
    scores = None
    if stage.label_free is not None:
        scores = LabelFreeScores(
            context.run,
            name,
            stage.label_free,
            context.target,
            inference,
            context.accelerator,
        )
    main = context.accelerator.is_main_process
    trainer = Trainer(
        method=method,
        config=stage.trainer,
        optimizers=stage.optimizers,
        streams={
            stream: _stream_opener(context, stage, stream, domain, seed) for stream, domain in domains.items()
        },
        run=context.run.path,
        stage=name,
        seed=seed,
        accelerator=context.accelerator,
        on_sample=lambda step: _on_sample(step, method, sampler if main else None, scores),
        console=context.console,
        quiet=context.quiet,
    )
    if resume:
        trainer.resume_newest()
    trainer.fit()
    if context.accelerator.is_main_process:
        if scores is not None:
            segmenter = method.networks[method.result]
            assert isinstance(segmenter, Segmenter)
            scores.restore_best(segmenter)
        hand_on(method, context, done)
    context.accelerator.wait_for_everyone()
    context.accelerator.free_memory()
    return done


def _on_sample(
    step: int,
    method: SegmentationMethod[Any],
    pictures: SamplePictures | None,
    scores: LabelFreeScores | None,
) -> None:
    if pictures is not None:
        pictures(step)
    if scores is not None:
        segmenter = method.networks[method.result]
        assert isinstance(segmenter, Segmenter)
        scores(step, segmenter)


def check_stages(recipe: Recipe, num_classes: int, processes: int) -> None:
    """Find before the run begins what would stop a stage: its segmenter, its batch, its parameter groups.

    Networks are built on no device and without weights, which takes next to no time.

    Raises:
        UserError: names the key.
    """
    for stage in recipe.stages:
        config = {**recipe.segmenter.model_dump(), **stage.segmenter, "weights": None}
        kind = classes_of("adapt")[stage.method]

        def build(
            kind: type[SegmentationMethod[Any]] = kind,
            config: dict[str, Any] = config,
            stage: StageConfig = stage,
        ) -> SegmentationMethod[Any]:
            return kind(
                build_segmenter(SegmenterConfig(**config), num_classes), kind.Options(**stage.options)
            )

        check_training(build, stage.trainer, stage.optimizers, processes, f"stage {stage.name}")


def _build_method(context: StageContext, index: int) -> SegmentationMethod[Any]:
    stage = context.recipe.stages[index]
    if stage.start == "previous" and index:
        segmenter = load_segmenter(context.run.stage(context.recipe.stage_name(index - 1)) / "segmenter")
    else:
        config = SegmenterConfig(**{**context.recipe.segmenter.model_dump(), **stage.segmenter})
        segmenter = build_segmenter(config, context.space.num_classes)
    kind = classes_of("adapt")[stage.method]
    method = kind(segmenter, kind.Options(**stage.options))
    if index:
        _inherit(method, context.run.stage(context.recipe.stage_name(index - 1)))
    method.begin()
    return method


def _inherit(method: SegmentationMethod[Any], previous: Path) -> None:
    """Take over what the stage before trained besides the segmenter, where this method goes on with it."""
    for name in set(method.inherits) & set(method.networks):
        file = previous / "networks" / f"{name}.safetensors"
        if file.is_file():
            ckpt.load_network(method.networks[name], file)


def _domains(
    context: StageContext, stage: StageConfig, name: str, previous: Path | None
) -> dict[str, Domain]:
    domains: dict[str, Domain] = {}
    if stage.source is not None:
        domains["source"] = context.translated if stage.translated and context.translated else context.source
    if stage.target is not None:
        domains["target"] = context.target
    if stage.pseudo_labels is not None:
        assert previous is not None
        folder = context.run.path / "pseudo_labels" / name
        write_pseudo_labels(context, previous, stage.pseudo_labels, folder)
        labels = tuple(_pseudo_label_path(folder, context.target, image) for image in context.target.images)
        plain = LabelSpace(
            name=f"{context.space.name} (train ids)",
            classes=context.space.classes,
            colours=context.space.colours,
            raw_ids={**{k: k for k in range(context.space.num_classes)}, 255: 255},
        )
        domains["target"] = replace(context.target, labels=labels, space=plain)
    return domains


def _pseudo_label_path(folder: Path, target: Domain, image: FileRef) -> Path:
    return folder / path_below(image, target.root).with_suffix(".png")


def write_pseudo_labels(context: StageContext, stage: Path, config: InferenceConfig, folder: Path) -> None:
    """Label every target image with a stage's model, unless that is done: hard labels, no threshold (FADA, stage 3).
    All processes share the images."""
    accelerator, device = context.accelerator, context.accelerator.device

    def write(images: Sequence[FileRef], beside: Path) -> None:
        segmenter = load_segmenter(stage / "segmenter").to(device)
        shown = accelerator.is_main_process and not context.quiet
        with progress_bar("pseudo-labels", len(images), context.console, shown) as advance:
            for path, _, labels in predict_files(segmenter, images, config, device, advance):
                write_label_png(labels, context.space, _pseudo_label_path(beside, context.target, path))

    def finish(beside: Path) -> None:
        _write_known_labels(context, beside)

    make_together(folder, context.target.images, accelerator, write, finish, group=config.batch)


def _write_known_labels(context: StageContext, folder: Path) -> None:
    """Where the truth of a target image was given, it takes the place of the prediction."""
    few = context.target_labels
    if few is None:
        return
    targets = {str(image) for image in context.target.images}
    for i, image in enumerate(few.images):
        if str(image) in targets:
            _, labels = read_pair(few, i)
            assert labels is not None
            write_label_png(labels, context.space, _pseudo_label_path(folder, context.target, image))


def _stream_opener(
    context: StageContext, stage: StageConfig, stream: str, domain: Domain, seed: int
) -> Callable[[int], Iterator[Batch]]:
    config: StreamConfig = getattr(stage, stream)
    seed = seed * 10 + _STREAM_SEEDS[stream]
    dataset = DomainDataset(domain, config.augmentation, seed=seed)
    sampler = make_sampler(config.sampler, domain, context.source_summary, config.augmentation, seed)
    if stream == "source" and context.target_labels is not None:
        few = context.target_labels
        augmentation = _same_size(config.augmentation, stage.target)
        joined = DomainDataset(few, augmentation, seed=seed + _FEW_LABELS_SEED)
        uniform = UniformSampler(len(few.images), seed + _FEW_LABELS_SEED)
        sampler = JoinedSampler(sampler, uniform, len(dataset), context.recipe.target_label_share)
        dataset = JoinedDataset(dataset, joined)
    return stream_opener(dataset, sampler, stage.trainer, context.accelerator, context.workers)


def _same_size(source: Augmentation, target: StreamConfig | None) -> Augmentation:
    """How labelled target images are augmented: as the target, if that gives the source's size, else as the
    source (whose resize may change their aspect ratio)."""
    if target is None or target.augmentation.crop != source.crop:
        return source
    return (
        target.augmentation
        if source.crop is not None or source.resize == target.augmentation.resize
        else source
    )


def make_sampler(
    kind: str, domain: Domain, source_summary: DomainSummary, augmentation: Augmentation, seed: int
) -> Sampler:
    """The sampler that a recipe names; the class-aware ones use the source's label statistics."""
    shards = domain.images.shards if isinstance(domain.images, ShardSequence) else None
    if kind == "uniform" or domain.labels is None:
        if shards is not None and shards.remote:
            return ShardSampler(shards.counts, seed)
        return UniformSampler(len(domain.images), seed)
    if shards is not None:
        shards.ensure_random_access(kind)
    counts = source_summary.pixel_counts
    if kind == "class-balanced":
        return ClassBalancedSampler(counts > 0, seed)
    return RareClassSampler(counts, seed)


def hand_on(method: SegmentationMethod[Any], context: StageContext, folder: Path) -> None:
    """Save what a finished stage made; the folder gets its name when everything is in it."""
    result = method.networks[method.result]
    assert isinstance(result, Segmenter)
    run = context.run.path
    with (
        ckpt.explain_full_disk(f"the result of stage {folder.name}", run),
        written_folder(folder, error=None) as beside,
    ):
        result.save_pretrained(beside / "segmenter", extra=describe_segmenter(context, folder.name))
        for name, network in method.networks.items():
            if name != method.result:
                (beside / "networks").mkdir(exist_ok=True)
                ckpt.save_tensors(network.state_dict(), beside / "networks" / f"{name}.safetensors")
        mark(beside, PART)


def describe_segmenter(context: StageContext, stage: str) -> dict[str, Any]:
    """What a user of the segmenter needs besides its weights: the label space and how to predict."""
    return {
        "label_space": context.space.as_dict(),
        "inference": context.recipe.inference_of(stage).model_dump(mode="json"),
    }
