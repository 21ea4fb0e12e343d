"""``stylebridge mix``: the factors of four photos in one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stylebridge.cli.options import Device, Overwrite

mix_app = typer.Typer(
    help="Mix pose, background, shape and texture of four photos (MixNMatch).", no_args_is_help=True
)


@mix_app.callback()
def _mix() -> None:
    pass


@mix_app.command("apply")
def mix_apply(
    run: Annotated[Path, typer.Argument(help="Run folder of `stylebridge import mixnmatch`")],
    background: Annotated[Path, typer.Option(help="Photo that gives the background")],
    shape: Annotated[Path, typer.Option(help="Photo that gives the shape")],
    texture: Annotated[Path, typer.Option(help="Photo that gives the texture")],
    out: Annotated[Path, typer.Option(help="Picture to write (PNG)")],
    pose: Annotated[Path | None, typer.Option(help="Photo that gives the pose (code mode)")] = None,
    mode: Annotated[
        str, typer.Option(help="code, or feature: pose and shape pixel by pixel from the --shape photo")
    ] = "code",
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Mix four photos in one picture."""
    from stylebridge.jobs.mix import mix_images

    made = mix_images(
        run,
        out,
        pose=pose,
        background=background,
        shape=shape,
        texture=texture,
        mode=mode,  # type: ignore[arg-type]
        device=device,
        overwrite=overwrite,
    )
    Console().print(f"picture written to {made}", highlight=False)
