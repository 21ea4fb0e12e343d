"""A hand-made segmenter of a few hundred weights, and a way to train a method with it in float64."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebridge.engine import OptimizerConfig, Trainer, TrainerConfig, open_accelerator
from stylebridge.methods.base import SegmentationMethod
from stylebridge.networks.pretrained import Normalisation
from stylebridge.networks.segmenters.build import Segmenter, SegmenterConfig

CLASSES, CHANNELS, SEED = 4, 6, 5
SGD = OptimizerConfig(kind="sgd", lr=0.05, momentum=0.9, weight_decay=5e-4)

Batch = dict[str, Tensor]

torch.set_num_threads(1)  # such small tensors are slower on several


class MiniSegmenter(Segmenter):
    """Features at half the image's size, a classifier on them, logits upsampled with aligned corners."""

    def __init__(self, classes: int = CLASSES, dropout: float = 0.0, batch_norm: bool = False) -> None:
        super().__init__(SegmenterConfig(), classes, Normalisation((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
        self.feature_channels = CHANNELS
        norm = nn.BatchNorm2d(CHANNELS) if batch_norm else nn.Identity()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, CHANNELS, 3, stride=2, padding=1), norm, nn.Tanh(), nn.Dropout2d(dropout)
        )
        self.head = nn.Conv2d(CHANNELS, classes, 3, padding=1)

    def features(self, image: Tensor) -> Tensor:
        return self.encoder(self.normalise(image))

    def classify(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        return F.interpolate(self.head(features), size=size, mode="bilinear", align_corners=True)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"encoder": list(self.encoder.parameters()), "head": list(self.head.parameters())}


def mini_segmenter(sharpness: float = 3.0, **options: Any) -> MiniSegmenter:
    """The same double-precision network each time; ``sharpness`` scales the classifier, and so its certainty."""
    torch.manual_seed(1)
    segmenter = MiniSegmenter(**options).double()
    with torch.no_grad():
        segmenter.head.weight.mul_(sharpness)
    return segmenter


def batches(
    steps: int,
    size: tuple[int, int],
    images: int = 2,
    seed: int = 0,
    classes: int = CLASSES,
    labelled: bool = True,
) -> list[Batch]:
    """Random batches of images of ``size`` (H, W) in float64; one pixel in eight of the labels is ignored."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for step in range(steps):
        batch = {"image": torch.rand(images, 3, *size, generator=generator, dtype=torch.float64)}
        if labelled:
            label = torch.randint(0, classes, (images, *size), generator=generator)
            batch["label"] = label.masked_fill(torch.rand(label.shape, generator=generator) < 0.125, 255)
        batch["index"] = batch["position"] = torch.arange(step * images, (step + 1) * images)
        made.append(batch)
    return made


def replay(made: Sequence[Batch]) -> Callable[[int], Iterator[Batch]]:
    """A stream that gives these batches."""
    return lambda first: iter(made[first:])


def mini_trainer(
    method: SegmentationMethod[Any],
    streams: dict[str, list[Batch]],
    folder: Path,
    optimizers: dict[str, OptimizerConfig] | None = None,
    kind: type[Trainer] = Trainer,
    **settings: Any,
) -> Trainer:
    """A trainer over all batches of the streams, one a step, on the CPU."""
    made = next(iter(streams.values()))
    steps, images = len(made), len(made[0]["image"])
    config = TrainerConfig(steps=steps, batch=images, log_every=1, sample_every=0, **settings)
    folder.mkdir(parents=True, exist_ok=True)
    return kind(
        method=method,
        config=config,
        optimizers=optimizers or {"segmenter": SGD},
        streams={name: replay(made) for name, made in streams.items()},
        run=folder,
        stage="1-mini",
        seed=SEED,
        accelerator=open_accelerator("cpu"),
        quiet=True,
    )


def ce(logits: Tensor, label: Tensor) -> Tensor:
    """−log softmax at each pixel's label [B, H, W], 0 where it is ignored: written out, for oracles."""
    valid = label != 255
    picked = logits.log_softmax(1).gather(1, label.where(valid, 0)[:, None])[:, 0]
    return -picked.where(valid, 0.0)


def mean_ce(logits: Tensor, label: Tensor) -> Tensor:
    """The mean of :func:`ce` over valid pixels."""
    return ce(logits, label).sum() / (label != 255).sum()


def assert_same_weights(ours: nn.Module, theirs: nn.Module, rtol: float) -> None:
    """Compare two networks of the same form parameter by parameter."""
    mine, others = dict(ours.named_parameters()), dict(theirs.named_parameters())
    assert mine.keys() == others.keys()
    for name, value in mine.items():
        torch.testing.assert_close(
            value, others[name], rtol=rtol, atol=rtol * 1e-2, msg=lambda m, n=name: f"{n}: {m}"
        )
