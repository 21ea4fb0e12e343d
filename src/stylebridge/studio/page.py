"""The page: markup, style and scripts from ``static/``, put together without anything from the network."""

from __future__ import annotations

import html
import json
from importlib import resources
from typing import Any

_SCRIPTS = ("paint.js", "editor.js", "styles.js", "tabs.js", "mix.js", "main.js")


def _static(name: str) -> str:
    return (resources.files("stylebridge.studio") / "static" / name).read_text(encoding="utf-8")


def markup(facts: dict[str, Any]) -> str:
    """The body of the page; ``facts`` (what the page must know from the start) ride along as JSON."""
    return _static("studio.html").replace("{{facts}}", html.escape(json.dumps(facts), quote=True))


def css() -> str:
    """The style sheet."""
    return _static("studio.css")


def script() -> str:
    """A function for gradio to call when its page stands: all scripts, in a scope of their own."""
    parts = "\n".join(_static(name) for name in _SCRIPTS)
    return f'() => {{ "use strict";\n{parts}\n}}'
