"""Every method at a tiny size, trained for some steps by one process or by its part of several.

Run as a program, once by each process, it trains all of them, and does all other work that processes share:
`python pair.py DATA FOLDER`.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from timm.layers.drop import DropPath
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.engine import Method, OptimizerConfig, Trainer, TrainerConfig, open_accelerator
from stylebridge.engine.devices import Precision
from stylebridge.methods.bridge import Bridge, BridgeOptions
from stylebridge.methods.colour_transfer import ColourTransfer
from stylebridge.methods.cyclegan import CycleGAN, CycleGANOptions
from stylebridge.methods.fada import FADA, FADAOptions
from stylebridge.methods.mixnmatch import MixNMatch
from stylebridge.methods.mixnmatch_features import MixNMatchFeatures, MixNMatchFeaturesOptions
from stylebridge.methods.nice_gan import NiceGAN
from stylebridge.methods.self_distillation import SelfDistillation
from stylebridge.methods.self_training import SelfTraining, SelfTrainingOptions
from stylebridge.methods.source_only import SourceOnly
from stylebridge.methods.synthesis import Synthesis
from stylebridge.networks.cyclegan import CycleGANConfig, CycleGANNetworks
from stylebridge.networks.label_gan import MultiScaleDiscriminator, PerceptualLoss
from stylebridge.networks.mixnmatch import FeatureNetworks, MixNMatchConfig, MixNMatchNetworks
from stylebridge.networks.nice_gan import NiceGanConfig, NiceGanNetworks
from stylebridge.networks.sean import SEANConfig, SEANNetworks
from stylebridge.networks.segmenters.build import SegmenterConfig, build_segmenter
from stylebridge.networks.spade import SPADEConfig, SPADENetworks
from support.mini import CHANNELS, CLASSES, MiniSegmenter, batches
from support.shared_work import together, whole_run

#: Of the global batch; and steps, of which some methods skip phases.
IMAGES, STEPS = 4, 3

Streams = dict[str, list[dict[str, Tensor]]]


@dataclass(frozen=True)
class Case:
    """``kind``: the class, by which a test sees that no method is missing. ``settings``: of the trainer."""

    kind: type
    build: Callable[[], tuple[Method, Streams]]
    settings: dict[str, Any]


CASES: dict[str, Case] = {}


def case(name: str, kind: type, **settings: Any) -> Callable[[Callable[[], tuple[Method, Streams]]], None]:
    def register(build: Callable[[], tuple[Method, Streams]]) -> None:
        CASES[name] = Case(kind, build, settings)

    return register


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


@case("source-only", SourceOnly, accumulate=2)
def _() -> tuple[Method, Streams]:
    return SourceOnly(Random()), domains("source")


@case("source-only-lite0", SourceOnly)
def _() -> tuple[Method, Streams]:
    config = SegmenterConfig(arch="unet", encoder="tu-tf_efficientnet_lite0", weights=None)
    segmenter = build_segmenter(config, CLASSES)
    for name, module in segmenter.named_modules():
        if hasattr(module, "drop_path") and name:
            module.drop_path = DropPath(0.3)
    return SourceOnly(segmenter), domains("source", size=(64, 64), steps=2)


@case("self-distillation", SelfDistillation)
def _() -> tuple[Method, Streams]:
    return SelfDistillation(Random()), {"target": domains("source")["source"]}


@case("colour-transfer", ColourTransfer)
def _() -> tuple[Method, Streams]:
    return ColourTransfer(Random()), domains("source", "target")


@case("fada", FADA)
def _() -> tuple[Method, Streams]:
    options = FADAOptions(adversarial_weight=0.5, feature_pool=2)
    return FADA(Random(), options), domains("source", "target")


@case("self-training", SelfTraining)
def _() -> tuple[Method, Streams]:
    options = SelfTrainingOptions(teacher_decay=0.5, confidence=0.3)
    return SelfTraining(Random(), options), domains("source", "target")


def _bridge(**options: Any) -> tuple[Method, Streams]:
    networks = {"channels": 4, "blocks": 1, "style_channels": 4, "hidden": 4, **options.pop("networks", {})}
    return Bridge(Random(), BridgeOptions(networks=networks, **options)), domains("source", "target")


TEACHING = SelfTrainingOptions(teacher_decay=0.5, confidence=0.3)


@case("bridge", Bridge)
def _() -> tuple[Method, Streams]:
    return _bridge(
        alignment=FADAOptions(), self_training=TEACHING, reconstruction_weight=1.0, source_weight=0.5
    )


@case("bridge-turns", Bridge)
def _() -> tuple[Method, Streams]:
    return _bridge(turns=True, painters_every=2, networks={"class_critics": False, "output": "image"})


@case("bridge-look", Bridge)
def _() -> tuple[Method, Streams]:
    return _bridge(train=["segmenter"], networks={"output": "look"}, self_training=TEACHING)


# --- translation ----------------------------------------------------------------------------------------------


@case("nice-gan", NiceGAN)
def _() -> tuple[Method, Streams]:
    networks = NiceGanNetworks(NiceGanConfig(image_size=48, channels=3, blocks=1, layers=6))
    return NiceGAN(networks), domains("a", "b", size=(48, 48))


@case("cyclegan", CycleGAN)
def _() -> tuple[Method, Streams]:
    networks = CycleGANNetworks(CycleGANConfig(image_size=24, channels=2, blocks=1, layers=2))
    # The buffers are full after one step.
    return CycleGAN(networks, CycleGANOptions(buffer=5)), domains("a", "b", size=(24, 24))


# --- synthesis ------------------------------------------------------------------------------------------------


class Squares(PerceptualLoss):
    """A stand-in for VGG-19."""

    name = "squares_perceptual"

    def features(self, image: Tensor) -> list[Tensor]:
        return [F.avg_pool2d(image, size).square() for size in (1, 2, 3, 4, 5)]


def _synthesis(networks: SEANNetworks | SPADENetworks) -> tuple[Method, Streams]:
    method = Synthesis(networks, MultiScaleDiscriminator(networks.config), Squares())
    with torch.no_grad():  # the published gain of 0.02 would leave everything near 0
        for network in method.networks.values():
            for name, parameter in network.named_parameters():
                parameter.mul_(20) if parameter.dim() > 1 else None
                if name.endswith("noise_scale"):
                    parameter.add_(0.3)
    return method, domains("labelled", size=(32, 32))


@case("sean", Synthesis)
def _() -> tuple[Method, Streams]:
    size = {"classes": CLASSES, "channels": 1, "hidden": 4, "discriminator_channels": 3}
    return _synthesis(SEANNetworks(SEANConfig(**size, style_channels=16)))


@case("spade", Synthesis)
def _() -> tuple[Method, Streams]:
    size = {"classes": CLASSES, "channels": 1, "hidden": 4, "discriminator_channels": 3}
    return _synthesis(SPADENetworks(SPADEConfig(**size)))


@case("spade-vae", Synthesis)
def _() -> tuple[Method, Streams]:
    size = {"classes": CLASSES, "channels": 1, "hidden": 4, "discriminator_channels": 3}
    return _synthesis(SPADENetworks(SPADEConfig(**size, vae=True, latent=4, image_size=(32, 32))))


# --- mixing ---------------------------------------------------------------------------------------------------

MIX = MixNMatchConfig(
    image_size=64,
    shapes=2,
    textures=5,
    pose=4,
    generator_channels=2,
    discriminator_channels=2,
    encoder_channels=2,
    pair_channels=1,
    extractor_channels=2,
)
BOXES = torch.tensor([[40.0, 40, 60, 60], [0, 0, 62, 62], [5, 5, 5, 30], [10, 20, 40, 60]])


def _photos() -> Streams:
    made = domains("images", size=(64, 64), steps=2)["images"]
    for batch in made:
        batch["background"] = batch["image"][..., 1:-1, 1:-1].contiguous()
        batch["box"] = BOXES
    return {"images": made}


@case("mixnmatch", MixNMatch)
def _() -> tuple[Method, Streams]:
    return MixNMatch(MixNMatchNetworks(MIX)), _photos()


@case("mixnmatch-features", MixNMatchFeatures)
def _() -> tuple[Method, Streams]:
    networks = FeatureNetworks(MixNMatchNetworks(MIX).generator.eval())
    return MixNMatchFeatures(networks, MixNMatchFeaturesOptions(soft_shapes=0.5)), _photos()


# --- training -------------------------------------------------------------------------------------------------


def train(name: str, folder: Path, precision: Precision | None = None, steps: int | None = None) -> None:
    """Train a case on this process's part of the batches. Left in the folder: ``metrics.jsonl``, and of each process
    the networks as ``weights-RANK.safetensors``.

    Args:
        precision: None: float64; else weights are float32.
        steps: so many of them; None: all.
    """
    accelerator = open_accelerator("cpu", precision or "fp32")
    rank, count = accelerator.process_index, accelerator.num_processes
    torch.manual_seed(11 + rank)  # nothing but the trainer makes networks alike
    method, streams = CASES[name].build()
    for network in method.networks.values():
        network.to(torch.float64 if precision is None else torch.float32)
    if precision is not None:
        streams = {stream: [_single(batch) for batch in made] for stream, made in streams.items()}
    settings = {"accumulate": 1, **CASES[name].settings}
    steps = steps or len(next(iter(streams.values())))
    config = TrainerConfig(
        steps=steps, batch=IMAGES, log_every=1, sample_every=0, checkpoint_every=steps, **settings
    )
    # Adam would make much of a gradient that is 0 but for rounding.
    sgd = OptimizerConfig(kind="sgd", lr=0.01)
    trainer = Trainer(
        method=method,
        config=config,
        optimizers={network: sgd for phase in method.phases() for network in phase.trains},
        streams={
            stream: _part(made, settings["accumulate"], rank, count) for stream, made in streams.items()
        },
        run=folder,
        stage="1-pair",
        seed=5,
        accelerator=accelerator,
        quiet=True,
    )
    folder.mkdir(parents=True, exist_ok=True)
    trainer.fit()
    tensors = {
        f"{network}.{key}": value.detach().clone().contiguous()
        for network, module in {**method.networks, **method.local}.items()
        for key, value in module.state_dict().items()
    }
    save_file(tensors, folder / f"weights-{rank}.safetensors")
    accelerator.wait_for_everyone()


def _single(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.float() if value.dtype == torch.float64 else value for key, value in batch.items()}


def _part(
    made: list[dict[str, Tensor]], accumulate: int, rank: int, count: int
) -> Callable[[int], Iterator[dict[str, Tensor]]]:
    """A stream of this process's rows of each micro-batch."""

    def open_stream(first: int) -> Iterator[dict[str, Tensor]]:
        for batch in made:
            for micro in range(accumulate):
                pieces = {key: value.chunk(accumulate)[micro] for key, value in batch.items()}
                yield {key: value.chunk(count)[rank] for key, value in pieces.items()}

    return open_stream


if __name__ == "__main__":
    torch.set_num_threads(1)
    data, place = Path(sys.argv[1]), Path(sys.argv[2])
    for each in CASES:
        train(each, place / each)
    outcome = together(data, place / "together")
    whole_run(data, place / "run")
    (place / f"together-{os.environ['RANK']}.json").write_text(json.dumps(outcome))
