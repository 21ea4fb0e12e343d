"""Draw the built-in toy world onto the disk."""

from __future__ import annotations

from pathlib import Path

from rich.progress import Progress

from stylebridge.data.toy import write_toy
from stylebridge.errors import RunError, UserError
from stylebridge.terminal import open_console


def draw_toy(
    out: str | Path,
    look: str,
    count: int,
    *,
    first_seed: int = 0,
    size: tuple[int, int] = (240, 180),
    labels: bool = True,
    quiet: bool = False,
) -> None:
    """Draw ``count`` scenes with seeds from ``first_seed`` into ``out/images`` and, if asked, ``out/labels``.

    Args:
        look: ``sim`` (clean, flat, noon) or ``camera`` (textured, dusk or haze, lens and sensor effects).
        size: (width, height) in pixels.

    Raises:
        UserError: an unknown look, or ``out`` is not empty.
    """
    folder = Path(out)
    if look not in ("sim", "camera"):
        raise UserError(f"--look is {look!r}: choose sim or camera.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} exists already: choose another folder.")
    with Progress(console=open_console(stderr=True, quiet=quiet), transient=True) as progress:
        task = progress.add_task(f"draw {look}", total=count)
        write_toy(
            folder,
            look,
            count,
            first_seed=first_seed,
            size=size,
            labels=labels,
            progress=lambda done: progress.update(task, completed=done),
        )
