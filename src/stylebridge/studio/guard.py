"""Middleware before gradio: it answers only the page of the user who started the studio, and only what the page needs.

Other users of this machine can reach 127.0.0.1, too. The address printed at the start contains a token. The page opened
with it gets a cookie, and a request without token or cookie is refused. (Browsers share cookies between ports: the
cookie is named after the port, so that two studios of one user do not log each other out.)
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: A request contains a photo and a label map, each up to 20 MB, and a third more in base64.
MAX_BODY = 60 * 2**20
#: Time limit for the arrival of a body, in seconds. From this machine it takes less than one second.
BODY_SECONDS = 60.0

#: Gradio's page and its parts; not its uploads, files, proxy or monitoring.
_PARTS = re.compile(
    r"/(?:|config/?|theme\.css|favicon\.ico|manifest\.json|robots\.txt|(?:assets|static)/.+"
    r"|gradio_api/(?:info/?|theme\.css|startup-events|app_id/?|heartbeat/\w+))"
)

_HOSTS = ("127.0.0.1", "localhost")

#: Nothing is loaded from or sent to other machines, whatever gradio's page requests.
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'; form-action 'none'; "
    "base-uri 'self'; object-src 'none'"
)


_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-frame-options", b"DENY"),  # frame-ancestors, for browsers that do not know it
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
#: The request of gradio itself while it starts.
_STARTING = "/gradio_api/startup-events"

_ELSEWHERE = 404, "This address does not exist."
_TOO_LARGE = 413, "The files are larger than the studio accepts: use smaller files."
_TOO_SLOW = 408, "The files did not arrive in time: send them again."
_NO_TOKEN = (
    401,
    "Open the complete address that `stylebridge studio` printed at its start: it ends with a token.",
)


class Admission:
    """Access to a studio: for everyone who knows its token.

    Attributes:
        starting: gradio is starting and tests whether its own server answers.
    """

    def __init__(self, token: str) -> None:
        self.token, self.starting = token, True

    def cookie_name(self, scope: Scope) -> str:
        """Name of the cookie of the studio on this port."""
        return f"stylebridge_studio_{scope['server'][1]}"

    def in_address(self, scope: Scope) -> bool:
        """Whether the address of the page contains the token."""
        if scope["method"] != "GET" or scope["path"] != "/":
            return False
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])
        return self._right(given[0])

    def in_cookie(self, scope: Scope, header: str) -> bool:
        """Whether the cookies contain the token."""
        try:
            cookie = SimpleCookie(header).get(self.cookie_name(scope))
        except CookieError:
            return False
        return cookie is not None and self._right(cookie.value)

    def _right(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self.token.encode())


class Guard:
    """ASGI middleware: refuses foreign hosts and origins, requests without the token, addresses that the studio
    does not use, and bodies that are too large or too slow.

    Args:
        endpoints: the names under ``/gradio_api/run/`` that may be called.
        admission: access to the studio.
        body_seconds: time limit for the arrival of a body.
    """

    def __init__(
        self,
        app: Any,
        endpoints: tuple[str, ...],
        admission: Admission,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        self.app, self.endpoints = app, frozenset(f"/gradio_api/run/{name}" for name in endpoints)
        self.admission, self.body_seconds = admission, body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        refusal = self._refusal(scope)
        if refusal is None and scope["method"] == "POST":
            # The application gets a complete body, or none.
            body = await self._body(receive)
            if isinstance(body, tuple):
                refusal = body
            else:
                receive = _again(body, receive)
        if refusal is not None:
            await _refuse(send, *refusal)
            return
        cookie = self._new_cookie(scope)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS, *cookie]
            await send(message)

        await self.app(scope, receive, with_headers)

    async def _body(self, receive: Receive) -> bytes | tuple[int, str]:
        """The complete body, or the refusal. Bytes are counted as they arrive; the announced length does not count."""
        parts, size = [], 0
        try:
            async with asyncio.timeout(self.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        return _TOO_SLOW  # the client has disconnected
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > MAX_BODY:
                        return _TOO_LARGE
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            return _TOO_SLOW

    def _new_cookie(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """The cookie for a page opened with the token in its address."""
        if not self.admission.in_address(scope):
            return []
        name, token = self.admission.cookie_name(scope), self.admission.token
        return [(b"set-cookie", f"{name}={token}; Path=/; HttpOnly; SameSite=Strict".encode())]

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        host = headers.get("host", "")
        # Another site can point its name at this machine's address; its requests still contain that name.
        if host.rpartition(":")[0] not in _HOSTS and host not in _HOSTS:
            return 403, "The studio answers on 127.0.0.1 only."
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return 403, "The studio answers its own page only."
        admitted = self.admission.in_address(scope) or self.admission.in_cookie(
            scope, headers.get("cookie", "")
        )
        if not admitted and not (self.admission.starting and scope["path"] == _STARTING):
            return _NO_TOKEN
        if scope["method"] in ("GET", "HEAD"):
            return None if _PARTS.fullmatch(scope["path"]) else _ELSEWHERE
        if scope["method"] != "POST" or scope["path"] not in self.endpoints:
            return _ELSEWHERE
        announced = headers.get("content-length", "0")
        return None if announced.isdecimal() and int(announced) <= MAX_BODY else _TOO_LARGE


def _again(body: bytes, receive: Receive) -> Receive:
    """A receive function that returns the body already read, then later messages."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


async def _refuse(send: Send, status: int, sentence: str) -> None:
    body = json.dumps({"error": sentence}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *_HEADERS,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
