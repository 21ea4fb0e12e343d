"""``stylebridge mix``: combine factors of photos in images, sheets and videos; measure disentanglement."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stylebridge.cli.options import Device, Overwrite, Quiet
from stylebridge.cli.train import mix_train, recipes_of
from stylebridge.errors import DataError
from stylebridge.terminal import open_console, say

mix_app = typer.Typer(
    help="Mix pose, background, shape and texture of four photos (MixNMatch).", no_args_is_help=True
)

_Run = Annotated[Path, typer.Argument(help="Run folder that can mix (MixNMatch)")]
_Mode = Annotated[
    str, typer.Option(help="code, or feature (pose and shape pixel by pixel from the --shape photo)")
]


@mix_app.callback()
def _mix() -> None:
    pass


@mix_app.command("apply")
def mix_apply(
    run: _Run,
    pose: Annotated[Path | None, typer.Option(help="Photo that gives the pose (code mode)")] = None,
    background: Annotated[Path | None, typer.Option(help="Photo that gives the background")] = None,
    shape: Annotated[Path | None, typer.Option(help="Photo that gives the shape")] = None,
    texture: Annotated[Path | None, typer.Option(help="Photo that gives the texture")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Image to write (PNG); with --video, the video (MP4)")
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            help="Vary one factor over the photos of a folder: texture=folder/; give it twice to vary two factors",
            metavar="FACTOR=PHOTOS",
        ),
    ] = None,
    grid: Annotated[Path | None, typer.Option(help="With --vary: sheet to write (PNG)")] = None,
    video: Annotated[
        Path | None, typer.Option(help="Video whose frames give the pose (in feature mode: pose and shape)")
    ] = None,
    masks: Annotated[bool, typer.Option("--masks", help="Also write the masks of shape and texture")] = False,
    mode: _Mode = "code",
    device: Device = "auto",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Mix photos into one image, a sheet that varies one or two factors (--vary), or a video (--video)."""
    from stylebridge.jobs.apply.models.mixer import check_mode

    check_mode(mode)
    photos = {"pose": pose, "background": background, "shape": shape, "texture": texture}
    common = {"mode": mode, "masks": masks, "device": device, "overwrite": overwrite}
    if mode == "feature" and pose is not None and pose != shape:
        note = "In feature mode, pose and shape come from the --shape photo: --pose is not used."
        say(open_console(stderr=True, quiet=quiet), note)
    if vary and video is not None:
        raise DataError("--vary makes a sheet and --video a video: give one of them.")
    if (grid is None) != (not vary):
        raise DataError("--vary FACTOR=PHOTOS and --grid SHEET.png belong together: give both or none.")
    if vary:
        if out is not None:
            raise DataError("With --vary the result is the sheet of --grid: leave out --out.")
        from stylebridge.jobs.apply.mixing.grid import mix_grid

        made = mix_grid(run, grid, vary=vary, quiet=quiet, **photos, **common)  # type: ignore[arg-type]
        say(open_console(), f"sheet written to {made}")
    elif video is not None:
        from stylebridge.jobs.apply.mixing.video import mix_video

        made = mix_video(run, video, out, quiet=quiet, **photos, **common)  # type: ignore[arg-type]
        say(open_console(), f"video written to {made}")
    else:
        from stylebridge.jobs.apply.mix import mix_images

        made = mix_images(run, out, **photos, **common)  # type: ignore[arg-type]
        say(open_console(), f"picture written to {made}")


@mix_app.command("evaluate")
def mix_evaluate(
    run: _Run,
    data: Annotated[Path, typer.Option(help="Folder or zip file of photos", metavar="FOLDER")],
    boxes: Annotated[
        Path | None, typer.Option(help="CSV file of boxes: photos are cropped to them, as in training")
    ] = None,
    pairs: Annotated[int, typer.Option(help="Number of photo pairs to mix", min=2)] = 500,
    seed: Annotated[int, typer.Option(help="Random seed of the pairs", min=0)] = 0,
    json: Annotated[Path | None, typer.Option(help="Also write the scores to this JSON file")] = None,
    mode: _Mode = "code",
    features: Annotated[
        str, typer.Option(help="inception (FID, KID, IS), lite0 (FD-lite0, KD-lite0, IS-lite0), or auto")
    ] = "auto",
    weights: Annotated[
        Path | None,
        typer.Option(help="File with Inception weights; default: torch.hub's cache or a download"),
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Measure whether mixing keeps texture, shape and background, and the distance of mixes to photos."""
    from stylebridge.jobs.evaluate.mixing import evaluate_mixing, print_mix_scores

    scores = evaluate_mixing(
        run,
        data,
        boxes=boxes,
        pairs=pairs,
        seed=seed,
        out=json,
        mode=mode,  # type: ignore[arg-type]
        features=features,  # type: ignore[arg-type]
        weights=weights,
        device=device,
        quiet=quiet,
    )
    print_mix_scores(scores, open_console())


mix_app.command("train")(mix_train)
mix_app.command("recipes")(recipes_of("mix"))
