"""Every method at a tiny size: the one table of them. A new method gets a case here, and the suites test it.

The contract tests (``tests/contracts``), two processes (``tests/engine/test_processes.py``) and half precision
(``tests/methods/test_half_precision.py``) train these cases.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.engine import Method, OptimizerConfig, Trainer, TrainerConfig, open_accelerator
from stylebridge.engine.devices import Precision
from stylebridge.methods.registry import find_method
from stylebridge.networks.label_gan import MultiScaleDiscriminator, PerceptualLoss
from stylebridge.networks.mixnmatch import FeatureNetworks, MixNMatchNetworks
from stylebridge.networks.segmenters.build import SegmenterConfig, build_segmenter
from support.mini import CHANNELS, CLASSES, MiniSegmenter, batches
from support.mixers import TINY as MIX

#: Of the global batch; and steps, of which some methods skip phases.
IMAGES, STEPS = 4, 3

Streams = dict[str, list[dict[str, Tensor]]]


@dataclass(frozen=True)
class Case:
    """A method at a tiny size.

    Attributes:
        method: its name in the registry.
        build: the method and its batches of each stream.
        idle: the beginnings of names (NETWORK.PARAMETER) of weights that the published losses do not reach.
        shares_graphs: graphs in its memo go from phase to phase, and the last phase takes them out.
        settings: of the trainer.
    """

    method: str
    build: Callable[[], tuple[Method, Streams]]
    idle: tuple[str, ...]
    shares_graphs: bool
    settings: dict[str, Any]


CASES: dict[str, Case] = {}


def case(
    name: str, method: str = "", idle: tuple[str, ...] = (), shares_graphs: bool = False, **settings: Any
) -> Callable[[Callable[[], tuple[Method, Streams]]], None]:
    """Add what is built to the table; ``method``: if it is not the case's name."""

    def register(build: Callable[[], tuple[Method, Streams]]) -> None:
        CASES[name] = Case(method or name, build, idle, shares_graphs, settings)

    return register


def make(method: str, *networks: Any, **options: Any) -> Method:
    """A registered method on these networks."""
    kind: Any = find_method(method).method
    return kind(*networks, options=kind.Options(**options))


def networks(method: str, **settings: Any) -> nn.Module:
    """A registered method's networks with these settings."""
    declared = find_method(method).networks
    assert declared is not None
    return declared.build(declared.config(**settings))


class Random(MiniSegmenter):
    """Batch norm, and all kinds of random layers."""

    def __init__(self) -> None:
        super().__init__(dropout=0.3, batch_norm=True)
        self.encoder = nn.Sequential(*self.encoder, nn.Dropout(0.2), _Path())


class _Path(nn.Module):
    """timm's DropPath around a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.drop = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), DropPath(0.4)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop(self.conv(x))


def domains(*names: str, size: tuple[int, int] = (32, 40), steps: int = STEPS) -> Streams:
    """Images, the source's with labels of which each image ignores another share."""
    made = {}
    for seed, name in enumerate(names):
        made[name] = batches(steps, size, IMAGES, seed=seed, labelled=name in ("source", "labelled"))
        for batch in made[name]:
            for row, label in enumerate(batch.get("label", ())):
                label[: 6 * row] = 255
    return made


# --- segmentation ---------------------------------------------------------------------------------------------


@case("source-only", accumulate=2)
def _() -> tuple[Method, Streams]:
    return make("source-only", Random()), domains("source")


@case("source-only-lite0", method="source-only")
def _() -> tuple[Method, Streams]:
    settings = SegmenterConfig(arch="unet", encoder="tu-tf_efficientnet_lite0", weights=None)
    segmenter = build_segmenter(settings, CLASSES)
    for name, module in segmenter.named_modules():
        if hasattr(module, "drop_path") and name:
            module.drop_path = DropPath(0.3)
    return make("source-only", segmenter), domains("source", size=(64, 64), steps=2)


@case("self-distillation")
def _() -> tuple[Method, Streams]:
    return make("self-distillation", Random()), {"target": domains("source")["source"]}


@case("colour-transfer")
def _() -> tuple[Method, Streams]:
    return make("colour-transfer", Random()), domains("source", "target")


@case("fada")
def _() -> tuple[Method, Streams]:
    return make("fada", Random(), adversarial_weight=0.5, feature_pool=2, colour_transfer=True), domains(
        "source", "target"
    )


TEACHING = {"teacher_decay": 0.5, "confidence": 0.3}


@case("self-training")
def _() -> tuple[Method, Streams]:
    return make("self-training", Random(), **TEACHING, colour_transfer=True), domains("source", "target")


def _bridge(**options: Any) -> tuple[Method, Streams]:
    networks = {"channels": 4, "blocks": 1, "style_channels": 4, "hidden": 4, **options.pop("networks", {})}
    return make("bridge", Random(), networks=networks, **options), domains("source", "target")


@case("bridge")
def _() -> tuple[Method, Streams]:
    return _bridge(alignment={}, self_training=TEACHING, reconstruction_weight=1.0, source_weight=0.5)


@case("bridge-turns", method="bridge")
def _() -> tuple[Method, Streams]:
    return _bridge(turns=True, painters_every=2, networks={"class_critics": False, "output": "image"})


@case("bridge-look", method="bridge")
def _() -> tuple[Method, Streams]:
    return _bridge(train=["segmenter"], networks={"output": "look"}, self_training=TEACHING)


# --- translation ----------------------------------------------------------------------------------------------


@case("nice-gan")
def _() -> tuple[Method, Streams]:
    built = networks("nice-gan", image_size=48, channels=3, blocks=1, layers=6)
    return make("nice-gan", built), domains("a", "b", size=(48, 48))


@case("cyclegan")
def _() -> tuple[Method, Streams]:
    built = networks("cyclegan", image_size=24, channels=2, blocks=1, layers=2)
    # The buffers are full after one step.
    return make("cyclegan", built, buffer=5), domains("a", "b", size=(24, 24))


# --- synthesis ------------------------------------------------------------------------------------------------


class Squares(PerceptualLoss):
    """A stand-in for VGG-19."""

    name = "squares_perceptual"

    def features(self, image: Tensor) -> list[Tensor]:
        return [F.avg_pool2d(image, size).square() for size in (1, 2, 3, 4, 5)]


def _synthesis(name: str, **settings: Any) -> tuple[Method, Streams]:
    size = {"classes": CLASSES, "channels": 1, "hidden": 4, "discriminator_channels": 3}
    built: Any = networks(name, **size, **settings)
    method = make(name, built, MultiScaleDiscriminator(built.config), Squares())
    with torch.no_grad():  # the published gain of 0.02 would leave everything near 0
        for network in method.networks.values():
            for key, parameter in network.named_parameters():
                parameter.mul_(20) if parameter.dim() > 1 else None
                if key.endswith("noise_scale"):
                    parameter.add_(0.3)
    return method, domains("labelled", size=(32, 32))


#: The last block takes no style.
@case("sean", idle=tuple(f"generator.generator.up_3.norm_{n}.blending" for n in "01s"))
def _() -> tuple[Method, Streams]:
    return _synthesis("sean", style_channels=16)


@case("spade")
def _() -> tuple[Method, Streams]:
    return _synthesis("spade")


@case("spade-vae", method="spade")
def _() -> tuple[Method, Streams]:
    return _synthesis("spade", vae=True, latent=4, image_size=(32, 32))


# --- mixing ---------------------------------------------------------------------------------------------------

BOXES = torch.tensor([[40.0, 40, 60, 60], [0, 0, 62, 62], [5, 5, 5, 30], [10, 20, 40, 60]])


def _photos() -> Streams:
    made = domains("images", size=(64, 64), steps=2)["images"]
    for batch in made:
        batch["background"] = batch["image"][..., 1:-1, 1:-1].contiguous()
        batch["box"] = BOXES
    return {"images": made}


#: The parent discriminator's own verdict is in the published weights, and in no loss.
_IDLE = ("information.shape.real.",)


@case("mixnmatch", idle=_IDLE, shares_graphs=True)
def _() -> tuple[Method, Streams]:
    return make("mixnmatch", MixNMatchNetworks(MIX)), _photos()


@case("mixnmatch-saving", method="mixnmatch", idle=_IDLE)
def _() -> tuple[Method, Streams]:
    return make("mixnmatch", MixNMatchNetworks(MIX), share_graphs=False), _photos()


def _features(**options: Any) -> tuple[Method, Streams]:
    built = FeatureNetworks(MixNMatchNetworks(MIX).generator.eval())
    return make("mixnmatch-features", built, soft_shapes=0.5, **options), _photos()


@case("mixnmatch-features", shares_graphs=True)
def _() -> tuple[Method, Streams]:
    return _features()


@case("mixnmatch-features-saving", method="mixnmatch-features")
def _() -> tuple[Method, Streams]:
    return _features(share_graphs=False)


# --- training -------------------------------------------------------------------------------------------------


def make_trainer(
    name: str,
    folder: Path,
    precision: Precision | None = None,
    steps: int | None = None,
    kind: type[Trainer] = Trainer,
    **changes: Any,
) -> Trainer:
    """A trainer of a case, on this process's part of the batches.

    Args:
        precision: None: float64; else weights are float32.
        steps: so many of them; None: all.
        changes: of the trainer's settings.
    """
    accelerator = open_accelerator("cpu", precision or "fp32")
    rank, count = accelerator.process_index, accelerator.num_processes
    torch.manual_seed(11 + rank)  # nothing but the trainer makes networks alike
    method, streams = CASES[name].build()
    for network in method.networks.values():
        network.to(torch.float64 if precision is None else torch.float32)
    if precision is not None:
        streams = {stream: [_single(batch) for batch in made] for stream, made in streams.items()}
    steps = steps or len(next(iter(streams.values())))
    settings = {
        "log_every": 1,
        "sample_every": 0,
        "checkpoint_every": steps,
        **CASES[name].settings,
        **changes,
    }
    config = TrainerConfig(steps=steps, batch=IMAGES, **settings)
    # Adam would make much of a gradient that is 0 but for rounding.
    sgd = OptimizerConfig(kind="sgd", lr=0.01)
    folder.mkdir(parents=True, exist_ok=True)
    return kind(
        method=method,
        config=config,
        optimizers={network: sgd for phase in method.phases() for network in phase.trains},
        streams={stream: _part(made, config.accumulate, rank, count) for stream, made in streams.items()},
        run=folder,
        stage="1-tiny",
        seed=5,
        accelerator=accelerator,
        quiet=True,
    )


def weights(method: Method) -> dict[str, Tensor]:
    """Copies of all tensors of the networks, the averages and the image buffers."""
    return {
        f"{network}.{key}": value.detach().clone().contiguous()
        for network, module in {**method.networks, **method.local}.items()
        for key, value in module.state_dict().items()
    }


def _single(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.float() if value.dtype == torch.float64 else value for key, value in batch.items()}


def _part(
    made: list[dict[str, Tensor]], accumulate: int, rank: int, count: int
) -> Callable[[int], Iterator[dict[str, Tensor]]]:
    """A stream of this process's rows of each micro-batch."""

    def open_stream(first: int) -> Iterator[dict[str, Tensor]]:
        for number in range(first, len(made) * accumulate):
            step, micro = divmod(number, accumulate)
            pieces = {key: value.chunk(accumulate)[micro] for key, value in made[step].items()}
            yield {key: value.chunk(count)[rank] for key, value in pieces.items()}

    return open_stream
