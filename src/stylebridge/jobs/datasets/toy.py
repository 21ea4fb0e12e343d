"""Draw data sets of the built-in toy world."""

from __future__ import annotations

from pathlib import Path

from rich.progress import Progress

from stylebridge.data.toy import write_toy
from stylebridge.errors import UserError
from stylebridge.jobs.runs.outputs import TOY, ensure_free, replaced_folder
from stylebridge.terminal import open_console


def draw_toy(
    out: str | Path,
    look: str,
    count: int,
    *,
    first_seed: int = 0,
    size: tuple[int, int] = (240, 180),
    labels: bool = True,
    overwrite: bool = False,
    quiet: bool = False,
) -> None:
    """Draw ``count`` scenes with seeds from ``first_seed`` into ``out/images`` and optionally ``out/labels``.

    Args:
        look: ``sim`` (clean, flat, noon) or ``camera`` (textured, dusk or haze, lens and sensor effects).
        size: (width, height) in pixels.
        overwrite: replace an earlier drawn set in ``out``.

    Raises:
        UserError: an unknown look, or ``out`` contains something that may not be replaced.
    """
    folder = Path(out)
    if look not in ("sim", "camera"):
        raise UserError(f"--look is {look!r}: choose sim or camera.")
    ensure_free(folder, TOY, overwrite)
    with (
        replaced_folder(folder, TOY) as beside,
        Progress(console=open_console(stderr=True, quiet=quiet), transient=True) as progress,
    ):
        task = progress.add_task(f"draw {look}", total=count)
        write_toy(
            beside,
            look,
            count,
            first_seed=first_seed,
            size=size,
            labels=labels,
            progress=lambda done: progress.update(task, completed=done),
        )
