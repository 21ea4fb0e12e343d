"""Recipes: typed, read from YAML, resolved against the data, and kept with the run."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from stylebridge.data.augment import Augmentation, Blur, Jitter
from stylebridge.data.text_files import MAX_DEPTH, TextFileError, parse_yaml, read_yaml
from stylebridge.engine.config import OptimizerConfig, ScheduleConfig, Strict, TrainerConfig
from stylebridge.errors import RecipeError, did_you_mean
from stylebridge.methods.registry import classes_of
from stylebridge.networks.segmenters.build import SegmenterConfig
from stylebridge.settings import LARGEST_SEED, MOST_PIXELS, allowed_range


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

    ``images``: so many target images, evenly spaced. ``choose``: what the stage hands on: the ``last`` weights, or
    those with the best of either score. ``keep``: keep the weights of all scored steps in ``snapshots/``."""

    images: int = Field(default=24, gt=0)
    choose: Literal["last", "certainty", "agreement"] = "last"
    keep: bool = False


class StageConfig(Strict):
    """One stage: a method, what it starts from, its streams, its length and its optimisers."""

    name: str = Field(pattern=r"^[a-z0-9-]+$", max_length=64)
    method: str
    start: Literal["initial", "previous"] = "previous"
    options: dict[str, Any] = Field(default_factory=dict)
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
    trainer: TrainerConfig
    optimizers: dict[str, OptimizerConfig]

    @field_validator("method")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in classes_of("adapt"):
            raise ValueError(f"{value!r} is no method; choose one of {sorted(classes_of('adapt'))}")
        return value

    @model_validator(mode="after")
    def _fits_method(self) -> StageConfig:
        method = classes_of("adapt")[self.method]
        try:
            options = method.Options(**self.options)
        except ValidationError as error:
            raise ValueError(f"options{describe_validation(error)}") from None
        for stream in ("source", "target"):
            wanted, given = stream in method.streams, getattr(self, stream) is not None
            if wanted != given:
                raise ValueError(
                    f"{self.method} {'needs' if wanted else 'does not read'} the stream {stream!r}"
                )
        if self.target is not None and self.target.sampler != "uniform":
            raise ValueError(
                f"target.sampler {self.target.sampler!r} needs labels: the target has none, use uniform"
            )
        trained = method.trained(options)
        if set(self.optimizers) != set(trained):
            raise ValueError(
                f"optimizers are given for {sorted(self.optimizers)}, but {self.method} trains {sorted(trained)}"
            )
        wrong = set(self.segmenter) - set(SegmenterConfig.model_fields)
        if wrong:
            known = ", ".join(SegmenterConfig.model_fields)
            raise ValueError(f"segmenter.{sorted(wrong)[0]} is not a known key; choose among {known}")
        if self.segmenter and self.start == "previous":
            raise ValueError("segmenter changes a network that is built anew: write start: initial beside it")
        if self.trainer.epochs is not None:
            raise ValueError(
                "trainer.epochs: two sets are read here, so a stage's length is counted in steps"
            )
        if (self.pseudo_labels is not None) != method.streams.get("target", False):
            raise ValueError("pseudo_labels belong to self-distillation, and self-distillation needs them")
        return self


class Recipe(Strict):
    """An experiment: the segmenter and the stages that train it. Field by field what the YAML says."""

    name: str
    description: str = ""
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    segmenter: SegmenterConfig
    translator: TranslatorConfig | None = None
    stages: tuple[StageConfig, ...] = Field(min_length=1)
    inference: InferenceConfig = InferenceConfig()
    target_label_share: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="share of labelled target images, if some are given, in source batches",
    )
    onnx: bool = Field(default=False, description="also write the adapted segmenter as segmenter.onnx")

    @model_validator(mode="after")
    def _stages_fit_together(self) -> Recipe:
        if self.stages[0].pseudo_labels is not None:
            raise ValueError("stages[0].pseudo_labels need the model of a stage before: put one before it")
        translated = any(stage.translated for stage in self.stages)
        if translated != (self.translator is not None):
            raise ValueError("a translator belongs to stages with translated: true, and they need one")
        return self

    def stage_name(self, index: int) -> str:
        """The name a stage has on the disk: numbered, so that names sort in order."""
        return f"{index + 1}-{self.stages[index].name}"

    def inference_of(self, stage: str) -> InferenceConfig:
        """How the model is used and scored that a stage hands on, by the stage's name on the disk."""
        names = [self.stage_name(index) for index in range(len(self.stages))]
        return self.stages[names.index(stage)].inference or self.inference

    def resolve(self, source_size: tuple[int, int], target_size: tuple[int, int]) -> Recipe:
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
        return Recipe.model_validate(data).spelt_out()

    def spelt_out(self) -> Recipe:
        """The same recipe with every option of its methods."""
        stages = []
        for stage in self.stages:
            options = classes_of("adapt")[stage.method].Options(**stage.options)
            stages.append(stage.model_copy(update={"options": options.model_dump(mode="json")}))
        return self.model_copy(update={"stages": tuple(stages)})

    def to_yaml(self) -> str:
        """The recipe as YAML; :func:`load_recipe` reads it back unchanged."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _resolve_streams(stage: dict[str, Any], usual: dict[str, tuple[int, int]]) -> None:
    """Give the streams of a stage their sizes. Where the images of all of them fit into their crops they are
    taken whole: scaling them down would only make padding. Streams are treated alike, so that they can be mixed."""
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


def builtin_recipes() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    folder = Path(str(resources.files("stylebridge") / "recipes" / "adapt"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_recipe(name_or_path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """Read a built-in recipe by name, or a YAML file, and apply ``key.path=value`` overrides.

    Raises:
        RecipeError: no such recipe, not YAML, or a key or value that does not belong.
    """
    data, label = read_recipe(name_or_path, builtin_recipes(), overrides)
    return parse_recipe(data, label)


def read_recipe(
    name_or_path: str | Path, known: dict[str, Path], overrides: list[str] | None = None
) -> tuple[dict[str, Any], str]:
    """A recipe's keys with ``key.path=value`` changes, and what messages call it.

    Args:
        known: the built-in recipes of its kind.

    Raises:
        RecipeError: no such recipe, not YAML, or a change that does not fit.
    """
    label = str(name_or_path)
    path = known.get(label, Path(name_or_path))
    if not path.is_file():
        hint = did_you_mean(label, known)
        raise RecipeError(f"There is no recipe or file {label!r}{hint}: choose one of {', '.join(known)}.")
    try:
        data = read_yaml(path)
    except (OSError, TextFileError) as error:
        raise RecipeError(f"Recipe {label} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(data, dict):
        raise RecipeError(f"Recipe {label} is not a mapping of keys: start from `stylebridge recipes show`.")
    for override in overrides or []:
        _apply_override(data, override)
    return data, label


_Model = TypeVar("_Model", bound=BaseModel)


def load_recipe_as(
    model: type[_Model], name_or_path: str | Path, known: dict[str, Path], overrides: list[str] | None
) -> _Model:
    """Read a recipe of another kind than :class:`Recipe`; see :func:`read_recipe`.

    Raises:
        RecipeError: there is no such recipe, or a key or value is wrong; names it.
    """
    data, label = read_recipe(name_or_path, known, overrides)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise RecipeError(f"Recipe {label}: {describe_validation(error).lstrip('.: ')}.") from None


def override_recipe(recipe: Recipe, overrides: list[str]) -> Recipe:
    """Apply ``key.path=value`` overrides to a recipe.

    Raises:
        RecipeError: a key or value that does not belong.
    """
    data = recipe.model_dump(mode="json")
    for override in overrides:
        _apply_override(data, override)
    return parse_recipe(data, recipe.name)


def parse_recipe(data: dict[str, Any], label: str) -> Recipe:
    """Validate a recipe; the error names the first wrong key.

    Raises:
        RecipeError: a key or value that does not belong.
    """
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError(f"Recipe {label}: {describe_validation(error).lstrip('.')}.") from None


def describe_validation(error: ValidationError) -> str:
    """The first problem of a validation error in words: where it is, what is wrong, what is allowed."""
    problem = error.errors()[0]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{where} is not a known key{_close_key(error, problem)}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"{where} is missing"
    if problem["type"] == "value_error":
        return f"{where}: {message}"
    allowed = allowed_range(error)
    allowed = f" (allowed: {allowed})" if allowed else ""
    return f"{where} is {problem['input']!r}: {message[0].lower()}{message[1:]}{allowed}"


def _close_key(error: ValidationError, problem: Any) -> str:
    """Name the key that was probably meant: the model that refused it is found by walking the location."""
    models = {model.__name__: model for model in _all_models(Recipe)}
    models |= {m.Options.__name__: m.Options for m in classes_of("adapt").values()}
    names = {name for model in models.values() for name in model.model_fields}
    own = models.get(error.title)
    if own is not None and own is not Recipe:
        names = set(own.model_fields)
    given = str(problem["loc"][-1])
    # A key of another model is no help where it stands.
    return did_you_mean(given, names - {given}, cutoff=0.7) or "; remove it"


def _all_models(model: type[BaseModel]) -> list[type[BaseModel]]:
    return [
        model,
        StageConfig,
        StreamConfig,
        LabelFreeConfig,
        InferenceConfig,
        TranslatorConfig,
        Augmentation,
        Jitter,
        Blur,
        SegmenterConfig,
        TrainerConfig,
        OptimizerConfig,
        ScheduleConfig,
    ]


def _apply_override(data: dict[str, Any], override: str) -> None:
    path, separator, text = override.partition("=")
    if not separator:
        raise RecipeError(f"--set {override!r} has no '=': write KEY=VALUE, such as trainer.steps=100.")
    *parents, last = path.split(".")
    if len(parents) > MAX_DEPTH:
        raise RecipeError(
            f"--set {override!r} names a key {len(parents)} levels deep: no key of a recipe is."
        )
    if not all(part and part[0] != "-" for part in (*parents, last)):  # -1 would count from the end
        raise RecipeError(
            f"--set {override!r} names no key: list entries are numbered from 0, as in stages.0.trainer.steps=100."
        )
    place: Any = data
    try:
        for part in parents:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        place[int(last) if isinstance(place, list) else last] = parse_yaml(text)
        if isinstance(place, dict):  # a length that is set takes the place of the other kind
            place.pop({"steps": "epochs", "epochs": "steps"}.get(last, ""), None)
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise RecipeError(
            f"--set {override!r} does not fit the recipe ({reason}): list entries are numbered from 0, as in "
            f"stages.0.trainer.steps=100."
        ) from None
