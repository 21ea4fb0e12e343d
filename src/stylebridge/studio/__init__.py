"""The studio: a page on this machine to paint label maps, style their regions, label, translate and mix photos."""

from __future__ import annotations

import secrets
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stylebridge.errors import RunError
from stylebridge.studio.desk import Desk
from stylebridge.studio.runs import Runs


def launch(
    run: str | Path | None,
    *,
    segmenter: str | Path | None = None,
    port: int = 7860,
    open_browser: bool = False,
    max_side: int = 1024,
    device: str = "auto",
) -> None:
    """Serve the studio on 127.0.0.1 until it is interrupted.

    The address that opens it is printed. It holds a token, which keeps other users of the machine out.

    Args:
        run: the run that the page opens with, any that can do something; None: chosen on the page, from those below
            the working directory.
        segmenter: a run that predicts label maps of photos which have none.
        port: where the page is served; 0: a free one.
        max_side: longest side of a picture that is worked on, in pixels; larger ones are made smaller.

    Raises:
        RunError: gradio is not installed, a run is not one or cannot segment, or the port is taken.
    """
    if find_spec("gradio") is None:
        raise RunError("The studio needs gradio: install it with `pip install 'stylebridge[studio]'`.")
    if not 0 <= port <= 65535:
        raise RunError(f"--port is {port}: give a number from 1024 to 65535.")
    if not 64 <= max_side <= 4096:
        raise RunError(f"--max-side is {max_side}: give a number of pixels from 64 to 4096.")
    from stylebridge.jobs.apply.models.model import open_model
    from stylebridge.studio.app import build, serve

    given: dict[str, Path] = {}
    for option, path, capability in (("run", run, None), ("segmenter", segmenter, "segment")):
        if path is not None:
            given[option] = open_model(path, device, capability).path
    desk = Desk(Runs(list(given.values()), Path.cwd()), max_side=max_side, device=device)
    names = {option: desk.runs.name_of(path) for option, path in given.items()}
    blocks, endpoints = build(desk, run=names.get("run", ""), segmenter=names.get("segmenter", ""))
    try:
        address = serve(blocks, endpoints, port, token=secrets.token_urlsafe(24), open_browser=open_browser)
    except OSError as error:
        raise RunError(f"Port {port} is taken: choose another one with --port.") from error
    print(f"stylebridge studio: {address} (stop it with Ctrl+C)", flush=True)
    _wait(blocks)


def _wait(blocks: Any) -> None:
    """Until Ctrl-C or SIGTERM, which pass on; gradio's own wait would swallow them and end with exit code 0."""
    try:
        threading.Event().wait()
    finally:
        blocks.close(verbose=False)
