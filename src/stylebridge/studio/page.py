"""The page: markup, style and scripts from ``static/``, assembled without network access."""

from __future__ import annotations

import html
import json
from importlib import resources
from typing import Any

_SCRIPTS = ("paint.js", "editor.js", "styles.js", "tabs.js", "mix.js", "main.js")


def _static(name: str) -> str:
    return (resources.files("stylebridge.studio") / "static" / name).read_text(encoding="utf-8")


def markup(facts: dict[str, Any]) -> str:
    """The body of the page; ``facts`` (its initial state) are embedded as JSON."""
    return _static("studio.html").replace("{{facts}}", html.escape(json.dumps(facts), quote=True))


def css() -> str:
    """The style sheet."""
    return _static("studio.css")


def script() -> str:
    """A function that gradio calls when its page is ready: all scripts, in one scope."""
    parts = "\n".join(_static(name) for name in _SCRIPTS)
    return f'() => {{ "use strict";\n{parts}\n}}'
