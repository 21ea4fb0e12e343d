"""The streams of an adaptation's stage: which images, how they are drawn and augmented."""

from __future__ import annotations

from collections.abc import Mapping

from stylebridge.data.augment import Augmentation
from stylebridge.data.dataset import DomainDataset
from stylebridge.data.domain import Domain, DomainSummary
from stylebridge.data.joined import JoinedDataset, JoinedSampler
from stylebridge.data.sampling import (
    ClassBalancedSampler,
    RareClassSampler,
    Sampler,
    ShardSampler,
    UniformSampler,
)
from stylebridge.data.shards import ShardSequence
from stylebridge.jobs.recipe.adapt import AdaptStage, StreamConfig
from stylebridge.jobs.tasks.adaptation.pseudo_labels import pseudo_labelled
from stylebridge.jobs.tasks.adaptation.work import AdaptWork
from stylebridge.jobs.tasks.streams import Seeds, StreamOpener, stream_opener

#: The numbers of the streams, for their seeds.
_NUMBERS = {"source": 0, "target": 1}
#: Added to the source's seed for labelled target images: no stream has it.
_FEW_LABELS_SEED = 3


def streams_of(work: AdaptWork, index: int, seed: int, seeds: Seeds) -> Mapping[str, StreamOpener]:
    """The streams of a stage. Pseudo-labels are made first, where the stage reads them."""
    stage, domains = work.recipe.stages[index], {}
    if stage.source is not None:
        translated = work.data.translated if stage.translated else None
        domains["source"] = translated or work.data.domains.source
    if stage.pseudo_labels is not None:
        domains["target"] = pseudo_labelled(work, index)
    elif stage.target is not None:
        domains["target"] = work.data.domains.target
    return {
        stream: _opener(work, stage, stream, domain, seeds.of_stream(seed, _NUMBERS[stream]))
        for stream, domain in domains.items()
    }


def _opener(work: AdaptWork, stage: AdaptStage, stream: str, domain: Domain, seed: int) -> StreamOpener:
    config: StreamConfig = getattr(stage, stream)
    dataset = DomainDataset(domain, config.augmentation, seed=seed)
    sampler = make_sampler(config.sampler, domain, work.data.source, config.augmentation, seed)
    few = work.data.domains.target_labels
    if stream == "source" and few is not None:
        augmentation = _same_size(config.augmentation, stage.target)
        joined = DomainDataset(few, augmentation, seed=seed + _FEW_LABELS_SEED)
        uniform = UniformSampler(len(few.images), seed + _FEW_LABELS_SEED)
        sampler = JoinedSampler(sampler, uniform, len(dataset), work.recipe.target_label_share)
        dataset = JoinedDataset(dataset, joined)
    return stream_opener(dataset, sampler, stage.trainer, work.accelerator, work.workers)


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
