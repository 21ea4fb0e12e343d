"""Typed settings of the engine. A recipe's YAML maps onto these field by field."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from stylebridge.settings import MOST_STEPS, Settings


class Strict(Settings):
    """Base of the settings of training."""


_Beta = Annotated[float, Field(ge=0, lt=1)]
_Factor = Annotated[float, Field(ge=0, le=1000)]


class ScheduleConfig(Strict):
    """How a learning rate moves with the step (0-based): a factor on the optimiser's ``lr``.

    ``constant``: 1. ``poly``: ``(1 − step/total)^power``. ``linear-from-half``: 1 for the first half, then less by
    ``1/half`` each step, 0 at the end (NICE-GAN, SPADE). ``linear-from-half-cyclegan``: less by ``1/(half + 1)``, which
    leaves the last step a little; step by step where the published code counts epochs. During the first ``warmup``
    steps the factor is also multiplied by ``(step + 1)/warmup``. ``total`` may lie beyond the last step (FADA stops at
    64 %).
    """

    kind: Literal["constant", "poly", "linear-from-half", "linear-from-half-cyclegan"] = "constant"
    power: float = Field(default=0.9, gt=0, le=100)
    total: int | None = Field(
        default=None, gt=0, le=MOST_STEPS, description="None: the stage's number of steps"
    )
    warmup: int = Field(default=0, ge=0, le=MOST_STEPS)

    def factor(self, step: int, steps: int) -> float:
        """The factor for one step of a stage that lasts ``steps`` steps; never negative."""
        scale = 1.0 if self.warmup == 0 else min(1.0, (step + 1) / self.warmup)
        if self.kind == "constant":
            return scale
        total = self.total or steps
        if self.kind == "poly":
            return scale * max(0.0, 1.0 - step / total) ** self.power
        if self.kind == "linear-from-half":
            half = max(1, total // 2)
            return scale * max(0.0, 1.0 - max(0, step + 1 - half) / half)
        half = total // 2
        return scale * max(0.0, 1.0 - max(0, step + 1 - half) / (total - half + 1))


class OptimizerConfig(Strict):
    """One network's optimiser. ``group_lr`` multiplies ``lr`` for parameter groups the network names."""

    kind: Literal["sgd", "adam", "adamw"] = "adamw"
    lr: float = Field(gt=0, le=100)
    momentum: float = Field(default=0.9, ge=0, lt=1, description="SGD only")
    betas: tuple[_Beta, _Beta] = Field(default=(0.9, 0.999), description="Adam and AdamW only")
    weight_decay: float = Field(default=0.0, ge=0, le=100)
    group_lr: dict[str, _Factor] = Field(default_factory=dict)
    schedule: ScheduleConfig = ScheduleConfig()


class TrainerConfig(Strict):
    """How long, how large and how often. ``batch`` is global: images a stream, a step, over all processes.

    The length is a number of ``steps``, or of ``epochs``, passes over the data set, for methods that are published so:
    :meth:`for_images` makes steps of them when the set is known.

    Three switches trade exactness or start-up time for speed. None of them was measured on a GPU yet, so the defaults
    are the safe ones:

    ``tf32``: matrix products and convolutions of float32 tensors in TF32 on GPUs that have it (10 bits of mantissa).
    True: both; False: neither; None: torch's own defaults.
    ``cudnn_benchmark``: cuDNN measures its algorithms for each shape and takes the fastest. A resumed run may then
    choose others, so its weights need not be equal to the bit.
    ``compile``: ``torch.compile`` of the networks while they train. Checkpoints and names of weights stay the same;
    losses may differ in the last digits.
    """

    steps: int = Field(default=0, gt=0, le=MOST_STEPS, description="left out: as many as `epochs` make")
    epochs: int | None = Field(default=None, gt=0, le=MOST_STEPS, description="in place of steps")
    batch: int = Field(gt=0, le=65536)
    accumulate: int = Field(default=1, gt=0, le=65536, description="micro-batches that make one step")
    clip_gradient: float | None = Field(default=None, gt=0, description="largest gradient norm a network")
    log_every: int = Field(default=10, gt=0, le=MOST_STEPS)
    checkpoint_every: int = Field(default=500, gt=0, le=MOST_STEPS)
    keep_checkpoints: int = Field(default=2, gt=0)
    sample_every: int = Field(
        default=500, ge=0, le=MOST_STEPS, description="0: no sample pictures while training"
    )
    channels_last: bool = True
    tf32: bool | None = Field(default=None, description="TF32 on GPUs; see the class")
    cudnn_benchmark: bool = Field(
        default=False, description="let cuDNN measure its algorithms; see the class"
    )
    compile: bool = Field(default=False, description="torch.compile the networks; see the class")

    @model_validator(mode="before")
    @classmethod
    def _not_known_yet(cls, data: Any) -> Any:
        """Steps of 0 stand beside epochs where a recipe was written down before the data set was known."""
        if isinstance(data, dict) and data.get("epochs") is not None and data.get("steps") == 0:
            return {key: value for key, value in data.items() if key != "steps"}
        return data

    @model_validator(mode="after")
    def _has_one_length(self) -> Self:
        if (self.steps > 0) == (self.epochs is not None):
            given = "both steps and epochs are given" if self.steps else "neither steps nor epochs are given"
            raise ValueError(f"{given}: give one of them, above 0")
        return self

    def for_images(self, images: int, *, short_batch: bool = False) -> Self:
        """With steps in place of epochs over so many images.

        Args:
            short_batch: whether the images left over at the end of an epoch make a batch (a step) of their own.
        """
        if self.epochs is None:
            return self
        an_epoch = -(-images // self.batch) if short_batch else images // self.batch
        return self.model_copy(update={"steps": self.epochs * max(1, an_epoch), "epochs": None})
