"""Typed settings of the engine. They match a recipe's YAML field by field."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from stylebridge.settings import MOST_STEPS, Settings


class Strict(Settings):
    """Base of the settings of training."""


_Beta = Annotated[float, Field(ge=0, lt=1)]
_Factor = Annotated[float, Field(ge=0, le=1000)]


class ScheduleConfig(Strict):
    """Schedule of a learning rate over the steps (0-based): a factor on the optimiser's ``lr``.

    ``constant``: 1. ``poly``: ``(1 − step/total)^power``. ``linear-from-half``: 1 for the first half, then lower by
    ``1/half`` each step, 0 at the end (NICE-GAN, SPADE). ``linear-from-half-cyclegan``: lower by ``1/(half + 1)``, so
    above 0 in the last step. Both count steps where the published code counts epochs. During the first ``warmup`` steps
    the factor is also multiplied by ``(step + 1)/warmup``. ``total`` may exceed the number of steps (FADA: stops at
    64 %).
    """

    kind: Literal["constant", "poly", "linear-from-half", "linear-from-half-cyclegan"] = "constant"
    power: float = Field(default=0.9, gt=0, le=100)
    total: int | None = Field(
        default=None, gt=0, le=MOST_STEPS, description="None: the stage's number of steps"
    )
    warmup: int = Field(default=0, ge=0, le=MOST_STEPS)

    def factor(self, step: int, steps: int) -> float:
        """The factor for one step of a stage with ``steps`` steps; never negative."""
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
    """Training length, batch size and intervals. ``batch`` is global: images of a stream in a step, all processes.

    The length is a number of ``steps``, or of ``epochs`` (passes over the data set) for methods published that way:
    :meth:`for_images` converts epochs to steps when the set is known.

    Three switches trade exactness or start-up time for speed. They have not been measured on a GPU, so the defaults are
    the safe values:

    ``tf32``: matrix products and convolutions of float32 tensors in TF32 on GPUs that support it (10-bit mantissa).
    True: both; False: neither; None: torch's defaults.
    ``cudnn_benchmark``: cuDNN times its algorithms for each shape and takes the fastest. A resumed run may choose other
    algorithms, so its weights need not be bit-identical.
    ``compile``: ``torch.compile`` of the networks during training. Checkpoints and weight names stay the same; losses
    may differ in the last digits.
    """

    steps: int = Field(default=0, gt=0, le=MOST_STEPS, description="default: computed from `epochs`")
    epochs: int | None = Field(default=None, gt=0, le=MOST_STEPS, description="instead of steps")
    batch: int = Field(gt=0, le=65536)
    accumulate: int = Field(default=1, gt=0, le=65536, description="micro-batches in one step")
    clip_gradient: float | None = Field(
        default=None, gt=0, description="largest gradient norm of each network"
    )
    log_every: int = Field(default=10, gt=0, le=MOST_STEPS)
    checkpoint_every: int = Field(default=500, gt=0, le=MOST_STEPS)
    keep_checkpoints: int = Field(default=2, gt=0)
    sample_every: int = Field(
        default=500, ge=0, le=MOST_STEPS, description="0: no sample images during training"
    )
    channels_last: bool = True
    tf32: bool | None = Field(default=None, description="TF32 on GPUs; see the class")
    cudnn_benchmark: bool = Field(default=False, description="let cuDNN time its algorithms; see the class")
    compile: bool = Field(default=False, description="torch.compile the networks; see the class")

    @model_validator(mode="before")
    @classmethod
    def _not_known_yet(cls, data: Any) -> Any:
        """A recipe saved before the data set was known has ``steps: 0`` beside its epochs."""
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
        """A copy with steps instead of epochs, for a data set of ``images`` images.

        Args:
            short_batch: whether the last images of an epoch form a smaller batch (one more step).
        """
        if self.epochs is None:
            return self
        an_epoch = -(-images // self.batch) if short_batch else images // self.batch
        return self.model_copy(update={"steps": self.epochs * max(1, an_epoch), "epochs": None})
