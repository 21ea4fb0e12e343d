"""What stands before gradio: only this machine's own page is answered, and only what the studio needs."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: A request holds a photo and a label map, each of up to 20 MB and a third more in base64.
MAX_BODY = 60 * 2**20

#: Gradio's own page and its parts; not its uploads, its files, its proxy or its monitoring.
_PARTS = re.compile(
    r"/(?:|config/?|theme\.css|favicon\.ico|manifest\.json|robots\.txt|(?:assets|static)/.+"
    r"|gradio_api/(?:info/?|theme\.css|startup-events|app_id/?|heartbeat/\w+))"
)

_HOSTS = ("127.0.0.1", "localhost")

#: Nothing is loaded from, or sent to, any other machine, whatever gradio's page asks for.
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'; form-action 'none'; "
    "base-uri 'self'; object-src 'none'"
)


class Guard:
    """ASGI middleware: refuses foreign hosts and origins, every address but the studio's, and bodies without end.

    Args:
        endpoints: the names under ``/gradio_api/run/`` that may be called.
    """

    def __init__(self, app: Any, endpoints: tuple[str, ...] = ()) -> None:
        self.app, self.endpoints = app, frozenset(f"/gradio_api/run/{name}" for name in endpoints)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope) if scope["type"] == "http" else (403, "There is no such address here.")
        if refusal is not None:
            await _refuse(send, *refusal, websocket=scope["type"] == "websocket")
            return

        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                message.setdefault("headers", [])
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", _POLICY.encode()),
                    (b"referrer-policy", b"no-referrer"),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        await self.app(scope, receive, with_policy)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        host = headers.get("host", "")
        # A page elsewhere can give its own name this machine's address; its requests still carry that name.
        if host.rpartition(":")[0] not in _HOSTS and host not in _HOSTS:
            return 403, "The studio answers on 127.0.0.1 only."
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return 403, "The studio answers its own page only."
        if scope["method"] in ("GET", "HEAD"):
            return None if _PARTS.fullmatch(scope["path"]) else (404, "There is no such address here.")
        if scope["method"] != "POST" or scope["path"] not in self.endpoints:
            return 404, "There is no such address here."
        length = headers.get("content-length", "")
        if not length.isdecimal() or int(length) > MAX_BODY:
            return 413, "That is more than the studio accepts at once: use smaller files."
        return None


async def _refuse(send: Send, status: int, sentence: str, websocket: bool) -> None:
    if websocket:
        await send({"type": "websocket.close", "code": 1008})
        return
    body = json.dumps({"error": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
