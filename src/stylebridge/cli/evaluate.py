"""``stylebridge evaluate``: a model on labelled images, or one set of images beside another."""

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
    """``evaluate RUN --data …`` is ``evaluate model RUN --data …``: the first of the commands there was."""

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
    data: Annotated[str, typer.Option(help="Labelled: a folder or zip, or LAYOUT:PATH", metavar="DATA")],
    label_space: LabelSpaceOption = None,
    class_map: ClassMaps = None,
    read_as: ReadAs = None,
    out: Out = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Score an adapted model on labelled images: per-class IoU, mIoU, pixel accuracy."""
    from stylebridge.cli.tables import print_scores
    from stylebridge.jobs.evaluate.model import evaluate as job

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
    fake: Annotated[str, typer.Option(help="Generated images, in the same form", metavar="DATA")],
    features: Annotated[str, typer.Option(help="auto, inception or lite0")] = "auto",
    weights: Annotated[Path | None, typer.Option(help="Inception weights, as a file")] = None,
    batch: Annotated[int, typer.Option(min=1)] = 16,
    seed: Annotated[int, typer.Option(help="Of the subsets of KID", min=0)] = 0,
    out: Out = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Compare two sets of images: FID, KID ± and IS, or the same on Lite0 features under other names."""
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
        str | None, typer.Argument(help="Images of the same names; without them the diversity of the first")
    ] = None,
    distance: Annotated[str, typer.Option(help="auto, lpips or lite0")] = "auto",
    weights: Annotated[Path | None, typer.Option(help="AlexNet weights, as a file")] = None,
    pairs: Annotated[int, typer.Option(help="Random pairs of one set", min=1)] = 1000,
    size: Annotated[int, typer.Option(help="Side that images are resized to", min=32)] = 256,
    batch: Annotated[int, typer.Option(min=1)] = 8,
    seed: Annotated[int, typer.Option(help="Of the pairs", min=0)] = 0,
    out: Out = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Perceptual distance: the diversity of one set, or images of one name in two."""
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
