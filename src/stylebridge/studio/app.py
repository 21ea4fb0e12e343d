"""The gradio application: one page, and the named calls that it makes."""

from __future__ import annotations

import os
import socket
import webbrowser
from collections.abc import Callable
from typing import Any

from stylebridge.jobs.apply.models.model import capabilities_of
from stylebridge.studio.desk import Desk
from stylebridge.studio.guard import Admission, Guard
from stylebridge.studio.mix import MAX_VARIED, Mix
from stylebridge.studio.page import css, markup, script
from stylebridge.studio.paint import Paint
from stylebridge.studio.segment import Segment
from stylebridge.studio.sentences import told
from stylebridge.studio.translate import Translate
from stylebridge.studio.uploads import MAX_MEGABYTES, MAX_MEGAPIXELS

# Read when gradio is imported: nothing is counted or sent.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"


def calls_of(desk: Desk) -> dict[str, Callable[[dict], dict]]:
    """The calls that the page can make, by name; each takes and returns a dict, and says errors in a sentence."""
    paint, segment, translate, mix = Paint(desk), Segment(desk), Translate(desk), Mix(desk)

    def list_runs(request: dict[str, Any]) -> dict[str, Any]:
        """The names of all runs by what they can do."""
        return desk.runs.listed()

    functions = (
        list_runs, paint.open_run, paint.open_picture, paint.add_style, paint.generate, paint.save_map,
        segment.segment, translate.domains, translate.translate, mix.mix_photo, mix.mix,
    )  # fmt: skip
    return {function.__name__: told(function, desk.runs.below) for function in functions}


def build(desk: Desk, *, run: str = "", segmenter: str = "") -> tuple[Any, tuple[str, ...]]:
    """The page as gradio Blocks, and the names of its calls.

    Args:
        run: the name of the run that the page opens with.
        segmenter: the name of the run that is offered first where a label map is missing.
    """
    import gradio as gr
    from gradio.events import api

    calls = calls_of(desk)
    facts = {
        "run": run,
        "does": list(capabilities_of(desk.runs.find(run))) if run else [],
        "segmenter": segmenter,
        "megabytes": MAX_MEGABYTES,
        "megapixels": MAX_MEGAPIXELS,
        "side": desk.max_side,
        "varied": MAX_VARIED,
    }
    with gr.Blocks(title="stylebridge studio", analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML(markup(facts), padding=False, apply_default_css=False)
        for name, call in calls.items():
            api(call, api_name=name, queue=False)
    return blocks, tuple(calls)


def serve(
    blocks: Any, endpoints: tuple[str, ...], port: int, *, token: str, open_browser: bool = False
) -> str:
    """Serve the page on 127.0.0.1 from a thread of its own; returns the address that opens it, with the token.

    Args:
        token: what the page is opened with; requests of those who do not know it are refused.

    Raises:
        OSError: the port is taken.
    """
    from gradio.themes import Base
    from starlette.middleware import Middleware

    admission = Admission(token)
    plain = ["system-ui", "sans-serif"]  # gradio's own fonts would be fetched
    theme = Base(font=plain, font_mono=["ui-monospace", "monospace"])
    blocks.launch(
        server_name="127.0.0.1",
        server_port=port or _free_port(),
        inbrowser=False,  # gradio does not know the token
        share=False,
        quiet=True,
        show_error=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        run_history=False,
        allowed_paths=None,
        max_file_size="1kb",  # of gradio's own uploads, which the page does not use
        footer_links=[],
        theme=theme,
        css=css(),
        js=script(),
        prevent_thread_lock=True,
        app_kwargs={
            "middleware": [Middleware(Guard, endpoints=endpoints, admission=admission)],
            "docs_url": None,
            "redoc_url": None,
        },
    )
    admission.starting = False
    address = f"http://127.0.0.1:{blocks.server_port}/?token={token}"
    if open_browser:
        webbrowser.open(address)
    return address


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]
