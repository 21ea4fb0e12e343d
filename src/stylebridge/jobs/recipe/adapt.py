"""Recipes of adaptations: a segmenter and the stages that train it, resolved against the data."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from stylebridge.data.augment import Augmentation
from stylebridge.engine.config import OptimizerConfig, Strict
from stylebridge.jobs.recipe.base import Recipe, Stage
from stylebridge.networks.segmenters.config import SegmenterConfig
from stylebridge.settings import MOST_PIXELS


class StreamConfig(Strict):
    """How images of one domain are drawn. ``pixels`` resizes to about that many pixels at the domain's own
    aspect ratio (it becomes ``augmentation.resize`` when the recipe is resolved; scale and crop are then left
    out where the whole image fits into the crop)."""

    pixels: int | None = Field(default=None, gt=0, le=MOST_PIXELS)
    augmentation: Augmentation = Augmentation()
    sampler: Literal["uniform", "class-balanced", "rare-class"] = "uniform"


class InferenceConfig(Strict):
    """How an image is predicted: resized to ``size`` (width, height) or about ``pixels``, logits brought to
    the wanted size. ``scales`` and ``flip`` average the softmax over resized and mirrored copies. ``window``
    (width, height) slides over what is larger, neighbours overlapping by the share ``overlap``; their logits are
    averaged."""

    size: tuple[PositiveInt, PositiveInt] | None = None
    pixels: int | None = Field(default=None, gt=0, le=MOST_PIXELS)
    scales: tuple[PositiveFloat, ...] = Field(default=(1.0,), min_length=1)
    flip: bool = False
    window: tuple[PositiveInt, PositiveInt] | None = None
    overlap: float = Field(default=0.25, ge=0, lt=1)
    batch: int = Field(default=4, gt=0)


class TranslatorConfig(Strict):
    """The translator that brings source images to the target's look before training.

    ``recipe`` is a translation recipe's name or YAML file, changed by ``overrides`` (``key=value``); ``run`` instead
    is the folder of a finished translation run (its a: the source's look, its b: the target's). Images are translated
    at about ``pixels`` pixels and brought back to their size; None: at their own size."""

    recipe: str
    overrides: tuple[str, ...] = ()
    run: str | None = None
    pixels: int | None = Field(default=None, gt=0, le=MOST_PIXELS)


class LabelFreeConfig(Strict):
    """Scores of the segmenter on the unlabelled target while a stage trains, at every ``trainer.sample_every`` steps:
    its ``certainty`` and its ``agreement`` with itself on changed copies
    (:class:`stylebridge.metrics.label_free.LabelFreeScore`).

    ``images``: so many target images, evenly spaced. ``choose``: the result of the stage: the ``last`` weights, or
    those with the best of either score. ``keep``: keep the weights of all scored steps in ``snapshots/``."""

    images: int = Field(default=24, gt=0)
    choose: Literal["last", "certainty", "agreement"] = "last"
    keep: bool = False


class AdaptStage(Stage):
    """One stage of an adaptation: besides method, length and optimisers what it starts from and its streams."""

    task = "adapt"

    start: Literal["initial", "previous"] = "previous"
    source: StreamConfig | None = None
    target: StreamConfig | None = None
    translated: bool = Field(
        default=False, description="take source images as the recipe's translator makes them"
    )
    pseudo_labels: InferenceConfig | None = Field(
        default=None, description="label the target with the model of the stage before"
    )
    label_free: LabelFreeConfig | None = None
    inference: InferenceConfig | None = Field(
        default=None, description="how the model of this stage is used and scored; None: as the recipe says"
    )
    segmenter: dict[str, Any] = Field(
        default_factory=dict, description="changes to the segmenter's settings; needs start: initial"
    )
    optimizers: dict[str, OptimizerConfig]  # type: ignore[assignment]

    @model_validator(mode="after")
    def _fits_adaptation(self) -> Self:
        streams = self.spec.method.streams
        for stream in ("source", "target"):
            wanted, given = stream in streams, getattr(self, stream) is not None
            if wanted != given:
                raise ValueError(
                    f"{self.method} {'needs' if wanted else 'does not read'} the stream {stream!r}"
                )
        if self.target is not None and self.target.sampler != "uniform":
            raise ValueError(
                f"target.sampler {self.target.sampler!r} needs labels: the target has none, use uniform"
            )
        wrong = set(self.segmenter) - set(SegmenterConfig.model_fields)
        if wrong:
            known = ", ".join(SegmenterConfig.model_fields)
            raise ValueError(f"segmenter.{sorted(wrong)[0]} is not a known key; choose among {known}")
        if self.segmenter and self.start == "previous":
            raise ValueError("segmenter changes the settings of a new network: add start: initial")
        if self.trainer.epochs is not None:
            raise ValueError(
                "trainer.epochs: two sets are read here, so a stage's length is counted in steps"
            )
        if (self.pseudo_labels is not None) != streams.get("target", False):
            raise ValueError("pseudo_labels belong to self-distillation, and self-distillation needs them")
        return self


class AdaptRecipe(Recipe):
    """An adaptation: the segmenter and the stages that train it."""

    segmenter: SegmenterConfig
    translator: TranslatorConfig | None = None
    stages: tuple[AdaptStage, ...] = Field(min_length=1)
    inference: InferenceConfig = InferenceConfig()
    target_label_share: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="share of labelled target images, if some are given, in source batches",
    )
    onnx: bool = Field(default=False, description="also write the adapted segmenter as segmenter.onnx")

    @model_validator(mode="after")
    def _stages_fit_together(self) -> Self:
        if self.stages[0].pseudo_labels is not None:
            raise ValueError("stages[0].pseudo_labels need the model of a stage before: put one before it")
        translated = any(stage.translated for stage in self.stages)
        if translated != (self.translator is not None):
            raise ValueError("a translator belongs to stages with translated: true, and they need one")
        return self

    def inference_of(self, stage: str) -> InferenceConfig:
        """How the model of a stage is used and scored, by the stage's name on the disk."""
        names = [self.stage_name(index) for index in range(len(self.stages))]
        return self.stages[names.index(stage)].inference or self.inference

    def resolve(self, source_size: tuple[int, int], target_size: tuple[int, int]) -> AdaptRecipe:
        """Replace every ``pixels`` by the size it means for these domains (their usual width and height), and spell
        out every default."""
        data = self.model_dump()
        for stage in data["stages"]:
            _resolve_streams(stage, {"source": source_size, "target": target_size})
            if stage["pseudo_labels"] is not None:
                _resolve_inference(stage["pseudo_labels"], target_size)
            if stage["inference"] is not None:
                _resolve_inference(stage["inference"], target_size)
        _resolve_inference(data["inference"], target_size)
        return AdaptRecipe.model_validate(data).spelt_out()


#: What :mod:`~stylebridge.jobs.recipe.reading` reads recipes of this task as.
RECIPE = AdaptRecipe


def _resolve_streams(stage: dict[str, Any], usual: dict[str, tuple[int, int]]) -> None:
    """Give the streams of a stage their sizes. If all images of all streams fit into their crops, they are used
    whole, because scaling them down would only add padding. Streams are treated equally, so that they can be mixed."""
    sized = []
    for name, size in usual.items():
        if stage[name] is not None and stage[name]["pixels"] is not None:
            augmentation = stage[name]["augmentation"]
            augmentation["resize"] = size_for(stage[name].pop("pixels"), size)
            sized.append(augmentation)
    if all(a["crop"] and a["resize"][0] <= a["crop"][0] and a["resize"][1] <= a["crop"][1] for a in sized):
        for augmentation in sized:
            augmentation["crop"] = augmentation["scale"] = None


def _resolve_inference(config: dict[str, Any], usual: tuple[int, int]) -> None:
    if config["pixels"] is not None:
        config["size"], config["pixels"] = size_for(config["pixels"], usual), None


def size_for(pixels: int, usual: tuple[int, int]) -> tuple[int, int]:
    """The (width, height) of about ``pixels`` pixels at the aspect ratio of ``usual``, multiples of 4;
    images that have no more pixels keep their size."""
    width, height = usual
    scale = min(1.0, (pixels / (width * height)) ** 0.5)
    if scale == 1.0:
        return width, height
    return max(4, round(width * scale / 4) * 4), max(4, round(height * scale / 4) * 4)
