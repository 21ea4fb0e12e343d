"""The served page: what is answered, and what is not."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

pytest.importorskip("gradio", reason="the studio needs gradio: pip install 'stylebridge[studio]'")

from studio.pages import TOKEN
from stylebridge.cli import main
from stylebridge.errors import RunError
from stylebridge.studio import app, launch
from stylebridge.studio.canvas import pack
from stylebridge.studio.guard import MAX_BODY, Admission, Guard


def ask(
    url: str, data: object = None, headers: dict[str, str] | None = None, method: str | None = None
) -> tuple[int, str, dict]:
    """Ask as the page does: with the cookie, unless ``headers`` have another."""
    body = None if data is None else json.dumps(data).encode()
    own = {"content-type": "application/json", "Cookie": f"stylebridge_studio_{urlsplit(url).port}={TOKEN}"}
    request = urllib.request.Request(url, body, own | (headers or {}), method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, reply.read().decode("utf-8", "replace"), dict(reply.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf-8", "replace"), dict(error.headers)


def test_the_page_is_served_and_names_no_path(address: str, root: Path) -> None:
    status, page, headers = ask(f"{address}/")
    assert status == 200
    assert "stylebridge studio" in page
    assert str(root) not in page
    assert str(Path.home()) not in page
    assert "default-src 'self'" in headers["content-security-policy"]
    status, config, _ = ask(f"{address}/config")
    assert status == 200
    assert str(root) not in config
    assert json.loads(config)["analytics_enabled"] is False


def test_a_call_is_answered(address: str) -> None:
    status, text, _ = ask(f"{address}/gradio_api/run/open_run", {"data": [{"run": "runs/facades"}]})
    assert status == 200
    assert json.loads(text)["data"][0]["classes"][1]["name"] == "wall"
    status, text, _ = ask(f"{address}/gradio_api/run/open_run", {"data": ["nonsense"]})
    assert "Traceback" not in text


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd", "/gradio_api/file=conftest.py", "/file=/etc/passwd", "/gradio_api/file/x",
        "/gradio_api/proxy=http://example.com/", "/gradio_api/upload_progress", "/monitoring", "/gradio_api/runs",
        "/gradio_api/vibe-code", "/docs", "/redoc", "/openapi.json", "/gradio_api/openapi.json", "/login_check",
        "/static/../../../etc/passwd", "/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "/svelte/x", "/nowhere",
    ],
)  # fmt: skip
def test_no_other_address_answers(address: str, path: str) -> None:
    status, text, _ = ask(address + path)
    assert status in (403, 404)
    assert "root:" not in text


def test_nothing_can_be_uploaded_or_queued(address: str) -> None:
    for path in (
        "upload",
        "queue/join",
        "call/generate",
        "run/unknown",
        "process_recording",
        "run-history/connect",
    ):
        status, _, _ = ask(f"{address}/gradio_api/{path}", {"data": []})
        assert status == 404, path
    assert ask(f"{address}/gradio_api/run/generate", {}, method="DELETE")[0] == 404


def test_foreign_pages_and_hosts_are_refused(address: str) -> None:
    call, data = f"{address}/gradio_api/run/list_runs", {"data": [{}]}
    assert ask(call, data, {"Origin": address})[0] == 200
    for origin in ("http://example.com", "null", "http://127.0.0.1:1"):
        assert ask(call, data, {"Origin": origin})[0] == 403
    for host in ("example.com", "example.com:7860", "127.0.0.1.example.com", ""):
        assert ask(call, data, {"Host": host})[0] in (400, 403)


def test_a_body_without_end_is_refused(address: str) -> None:
    status, text, _ = ask(
        f"{address}/gradio_api/run/list_runs", {"data": [{}]}, {"Content-Length": str(2**31)}
    )
    assert status == 413
    assert re.search(r"\.$", json.loads(text)["error"])


def test_without_the_token_nothing_is_answered(address: str) -> None:
    wrong = ({"Cookie": ""}, {"Cookie": "stylebridge_studio_1=" + TOKEN}, {"Cookie": "a=b;;=;\x7f=" + TOKEN})
    port = urlsplit(address).port
    for headers in (*wrong, {"Cookie": f"stylebridge_studio_{port}=guess"}):
        for path in ("/", "/?token=guess", "/config", "/theme.css", "/gradio_api/startup-events", "/nowhere"):
            status, text, given = ask(address + path, headers=headers)
            assert status == 401, path
            assert "printed at its start" in json.loads(text)["error"]
            assert not {name.lower() for name in given} & {"set-cookie"}
        assert ask(f"{address}/gradio_api/run/list_runs", {"data": [{}]}, headers)[0] == 401
        # The token in the address opens the page, and no other address.
        assert ask(f"{address}/config?token={TOKEN}", headers=headers)[0] == 401
        assert ask(f"{address}/gradio_api/run/list_runs?token={TOKEN}", {"data": [{}]}, headers)[0] == 401


def test_the_address_with_the_token_gives_a_cookie_that_opens_the_rest(address: str) -> None:
    status, _, headers = ask(f"{address}/?token={TOKEN}", headers={"Cookie": ""})
    assert status == 200
    cookie, *attributes = headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(attributes)
    assert ask(f"{address}/config", headers={"Cookie": f"other=1; {cookie}"})[0] == 200


def test_no_page_may_frame_the_studio(address: str) -> None:
    for headers in ({}, {"Cookie": ""}):
        _, _, given = ask(f"{address}/", headers=headers)
        given = {name.lower(): value for name, value in given.items()}
        assert given["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in given["content-security-policy"]


def test_bytes_that_arrive_are_counted_whatever_was_announced(address: str) -> None:
    """Chunks without an announced length, against the served page: it stops reading soon after the limit."""
    place = urlsplit(address)
    assert place.hostname is not None
    chunk = b"100000\r\n" + b"x" * 2**20 + b"\r\n"
    sent = 0
    with socket.create_connection((place.hostname, place.port or 0), timeout=30) as line:
        line.sendall(
            f"POST /gradio_api/run/list_runs HTTP/1.1\r\nHost: {place.netloc}\r\nTransfer-Encoding: chunked\r\n"
            f"Cookie: stylebridge_studio_{place.port}={TOKEN}\r\nContent-Type: application/json\r\n\r\n".encode()
        )
        try:
            while sent < 3 * MAX_BODY:
                line.sendall(chunk)
                sent += 2**20
            answer = line.recv(12)
        except OSError:  # the studio closed the line while we were sending
            answer = b""
    assert answer in (b"", b"HTTP/1.1 413")
    assert answer or sent < 2 * MAX_BODY


def guarded(messages: list[dict], seconds: float = 60.0) -> tuple[list[dict], list[bytes]]:
    """What a guard sends, and the bodies that the application behind it sees, for a POST whose body comes in
    ``messages`` and then no further."""
    sent: list[dict] = []
    seen: list[bytes] = []
    waiting = iter(messages)

    async def application(scope, receive, send) -> None:
        seen.append((await receive())["body"])

    async def receive() -> dict:
        for message in waiting:
            return message
        await asyncio.sleep(3600)
        raise AssertionError

    async def send(message) -> None:
        sent.append(message)

    headers = [(b"host", b"127.0.0.1:1"), (b"cookie", b"stylebridge_studio_1=secret")]
    scope = {
        "type": "http", "method": "POST", "path": "/gradio_api/run/mix", "query_string": b"", "headers": headers,
        "server": ("127.0.0.1", 1),
    }  # fmt: skip
    guard = Guard(application, ("mix",), Admission("secret"), seconds)
    asyncio.run(asyncio.wait_for(guard(scope, receive, send), 20))  # type: ignore[arg-type]
    return sent, seen


def test_a_body_reaches_the_application_whole_or_not_at_all() -> None:
    def part(body: bytes, more: bool) -> dict:
        return {"type": "http.request", "body": body, "more_body": more}

    assert guarded([part(b"ab", True), part(b"", True), part(b"c", False)]) == ([], [b"abc"])
    for messages, seconds, status in [
        ([part(b"ab", True)], 0.05, 408),  # and then nothing comes
        ([part(b"x" * 2**20, True)] * 61, 60.0, 413),
        ([part(b"ab", True), {"type": "http.disconnect"}], 60.0, 408),
    ]:
        sent, seen = guarded(messages, seconds)
        assert sent[0]["status"] == status
        assert seen == []


_written: list[str] | None = None


def _hear(event: str, args: tuple) -> None:
    if _written is None or event not in ("open", "os.mkdir", "os.rename", "os.link", "os.symlink"):
        return
    if event != "open" or args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        _written.append(str(args[0]))


def test_nothing_is_written_to_the_disk(
    address: str, sent: Callable, town: tuple[np.ndarray, np.ndarray]
) -> None:
    """The first call of each kind may load Python modules, whose bytecode is kept: the second is listened to."""
    global _written
    photo, labels = town
    files = {"photo": sent(photo), "labels": sent(labels)}
    calls = {
        "open_picture": files,
        "add_style": files,
        "generate": {"map": pack(labels)},
        "save_map": {"map": pack(labels)},
        "segment": files | {"run": "runs/town"},
        "translate": files | {"run": "runs/dusk"},
    }
    sys.addaudithook(_hear)
    for heard in (None, []):
        _written = heard
        try:
            for name, request in calls.items():
                url = f"{address}/gradio_api/run/{name}"
                status, text, _ = ask(url, {"data": [{"run": "runs/facades"} | request]})
                assert (status, "error" in json.loads(text)["data"][0]) == (200, False), name
        finally:
            heard, _written = _written, None
    assert heard == []


def test_wrong_options_are_refused_in_a_sentence(tmp_path: Path) -> None:
    for options, said in [
        ({"run": tmp_path}, "is not a stylebridge run"),
        (
            {"run": None, "segmenter": tmp_path / "none"},
            "none does not exist: .* earlier `stylebridge adapt`",
        ),
        ({"run": None, "port": 70000}, "--port is 70000"),
        ({"run": None, "max_side": 3}, "--max-side is 3"),
    ]:
        with pytest.raises(RunError, match=said):
            launch(**options)


def test_a_taken_port_is_reported(address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    port = urlsplit(address).port or 0
    with pytest.raises(RunError, match=f"Port {port} is taken"):
        launch(None, port=port)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_studio_with_its_exit_code(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """gradio's own wait swallows both, prints a line of its own, and the command ended with exit code 0."""
    monkeypatch.chdir(tmp_path)
    serve = app.serve

    def serve_then_signal(*args: Any, **options: Any) -> str:
        address = serve(*args, **options)
        threading.Timer(0.5, os.kill, (os.getpid(), number)).start()
        return address

    monkeypatch.setattr(app, "serve", serve_then_signal)
    monkeypatch.setattr(sys, "argv", ["stylebridge", "studio", "--port", "0"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 128 + number
    told = capfd.readouterr()
    assert told.err == "Interrupted.\n"
    assert len(told.out.splitlines()) == 1
    with pytest.raises(urllib.error.URLError):  # nobody serves any more
        urllib.request.urlopen(re.findall(r"http://\S+", told.out)[0], timeout=5)
