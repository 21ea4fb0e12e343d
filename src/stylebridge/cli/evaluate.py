"""``stylebridge evaluate``: score a model on labelled images, or compare sets of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from stylebridge.cli.options import (
    ClassMaps,
    Device,
    LabelSpaceOption,
    Quiet,
    ReadAs,
)
from stylebridge.terminal import open_console


class _ModelByDefault(TyperGroup):
    """``evaluate RUN --data …`` is short for ``evaluate model RUN --data …``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help"):
            args = ["model", *args]
        return super().parse_args(ctx, args)


evaluate_app = typer.Typer(
    cls=_ModelByDefault,
    help="Score a model (evaluate RUN --data DATA), or compare sets of images.",
    no_args_is_help=True,
)
Out = Annotated[Path | None, typer.Option(help="Also write the scores to this JSON file")]


@evaluate_app.command("model")
def evaluate_model(
    run: Annotated[Path, typer.Argument(help="Run folder of `stylebridge adapt`")],
    data: Annotated[
        str, typer.Option(help="Labelled images: a folder, a zip file or LAYOUT:PATH", metavar="DATA")
    ],
    label_space: LabelSpaceOption = None,
    class_map: ClassMaps = None,
    read_as: ReadAs = None,
    out: Out = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Score an adapted model on labelled images: per-class IoU, mIoU, pixel accuracy."""
    from stylebridge.cli.tables import print_scores
    from stylebridge.jobs.evaluate.segmenter import evaluate as job

    scores = job(
        run,
        data,
        label_space=label_space,
        class_maps=class_map or (),
        read_as=read_as,
        out=out,
        device=device,
        quiet=quiet,
    )
    print_scores(scores, open_console(), title=f"{run} on {data}")


@evaluate_app.command("images")
def evaluate_images(
    real: Annotated[
        str, typer.Option(help="Real images: a folder, a zip file or LAYOUT:PATH", metavar="DATA")
    ],
    fake: Annotated[str, typer.Option(help="Generated images, same formats as --real", metavar="DATA")],
    features: Annotated[str, typer.Option(help="auto, inception or lite0")] = "auto",
    weights: Annotated[Path | None, typer.Option(help="File with Inception weights")] = None,
    batch: Annotated[int, typer.Option(min=1)] = 16,
    seed: Annotated[int, typer.Option(help="Random seed of the KID subsets", min=0)] = 0,
    out: Out = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Compare two sets of images: FID, KID and IS; without Inception weights, FD-lite0, KD-lite0 and IS-lite0."""
    from stylebridge.jobs.evaluate.images import evaluate_images as job
    from stylebridge.jobs.evaluate.images import print_image_scores

    scores = job(
        real,
        fake,
        features=features,  # type: ignore[arg-type]
        weights=weights,
        batch=batch,
        device=device,
        out=out,
        seed=seed,
        quiet=quiet,
    )
    print_image_scores(scores, open_console())


@evaluate_app.command("pairs")
def evaluate_pairs(
    first: Annotated[str, typer.Argument(help="Images", metavar="DATA")],
    second: Annotated[
        str | None,
        typer.Argument(help="Images with the same names; default: measure the diversity of the first set"),
    ] = None,
    distance: Annotated[str, typer.Option(help="auto, lpips or lite0")] = "auto",
    weights: Annotated[Path | None, typer.Option(help="File with AlexNet weights")] = None,
    pairs: Annotated[int, typer.Option(help="Number of random pairs within one set", min=1)] = 1000,
    size: Annotated[int, typer.Option(help="Images are resized to this side, in pixels", min=32)] = 256,
    batch: Annotated[int, typer.Option(min=1)] = 8,
    seed: Annotated[int, typer.Option(help="Random seed of the pairs", min=0)] = 0,
    out: Out = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Measure perceptual distance: the diversity of one set, or between images of the same name in two sets."""
    from stylebridge.jobs.evaluate.pairs import evaluate_pairs as job
    from stylebridge.jobs.evaluate.pairs import print_pair_scores

    scores = job(
        first,
        second,
        distance=distance,  # type: ignore[arg-type]
        weights=weights,
        pairs=pairs,
        size=size,
        batch=batch,
        device=device,
        out=out,
        seed=seed,
        quiet=quiet,
    )
    print_pair_scores(scores, open_console())
