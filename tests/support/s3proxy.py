# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A proxy in front of a real S3 store that does to chosen requests what networks and stores do on bad days.

    with S3Proxy(store.endpoint) as proxy:
        proxy.on("UploadPart", Reply(503, "SlowDown"), times=2)
        repository = open_repository("offsite", {**store.spec(), "endpoint": proxy.endpoint})

A request is named by its S3 operation. What no rule takes is forwarded unchanged (the signature stays valid, because the
store sees the host that was signed). `requests` are all that came, in order.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Optional
from urllib.parse import parse_qs, urlsplit

__all__ = ["Answer", "BlackHole", "Change", "Cut", "CutAnswer", "Damage", "Meanwhile", "Reply", "Request", "S3Proxy", "Slow"]


@dataclass(frozen=True)
class Request:
    number: int
    operation: str
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """Answer with an S3 error (or any body) and do not forward."""

    status: int
    code: str = "InternalError"
    message: str = "by the proxy"
    body: Optional[bytes] = None

    def text(self) -> bytes:
        return self.body if self.body is not None else f"<Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>".encode()


@dataclass(frozen=True)
class Cut:
    """Break the connection: after `after_bytes` of the request's body, or, `forward`ed, in place of the answer."""

    after_bytes: Optional[int] = None
    forward: bool = False


@dataclass(frozen=True)
class CutAnswer:
    """Forward, then break the connection after so many bytes of the answer's body."""

    after_bytes: int


@dataclass(frozen=True)
class BlackHole:
    """Take everything and never answer."""


@dataclass(frozen=True)
class Damage:
    """Flip one bit of the request's body and forward it."""


@dataclass(frozen=True)
class Change:
    """Forward, then give another answer than the store's."""

    change: Callable[[Answer], Answer]


@dataclass(frozen=True)
class Meanwhile:
    """Do something before the request is forwarded, or after, before it is answered; then break the connection."""

    action: Callable[[], None]
    after: bool


@dataclass(frozen=True)
class Slow:
    """Take the request's body at this speed."""

    bytes_per_second: int


@dataclass
class _Rule:
    operation: str
    action: Any
    times: int
    skip: int
    taken: int = field(default=0)


class S3Proxy:
    """Listens on a free port of loopback; `endpoint` is its URL."""

    def __init__(self, upstream: str) -> None:
        self.requests: list[Request] = []
        self._upstream = urlsplit(upstream).netloc
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._ended = threading.Event()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = _Listener(("127.0.0.1", 0), Handler)
        # Else the kernel takes up to 32 MiB in our name, and no line looks slow.
        self._server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * 1024)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def on(self, operation: str, action: Any, *, times: int = 1_000_000, skip: int = 0) -> None:
        """Do `action` with requests of `operation` ("*": of any), `times` times, after the first `skip` of them."""
        self._rules.append(_Rule(operation, action, times, skip))

    def clear(self) -> None:
        """No faults any more, and no requests yet."""
        self._rules.clear()
        self.requests.clear()

    def operations(self) -> list[str]:
        return [request.operation for request in self.requests]

    def __enter__(self) -> S3Proxy:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def decide(self, handler: _Handler) -> Any:
        with self._lock:
            request = Request(len(self.requests) + 1, _operation(handler), handler.command, handler.path, dict(handler.headers.items()))
            self.requests.append(request)
            for rule in self._rules:
                if rule.operation in ("*", request.operation):
                    rule.taken += 1
                    if rule.skip < rule.taken <= rule.skip + rule.times:
                        return rule.action
        return None

    def forward(self, handler: _Handler, body: bytes) -> Answer:
        connection = http.client.HTTPConnection(self._upstream, timeout=120)
        try:
            connection.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
            for name, value in handler.headers.items():
                if name.lower() not in ("expect", "connection"):
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()


class _Listener(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # as a store has it: with five, a busy machine keeps connections waiting for a second and longer


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: S3Proxy

    def setup(self) -> None:
        super().setup()
        with self.owner._lock:
            self.owner._open.add(self.connection)

    def finish(self) -> None:
        with self.owner._lock:
            self.owner._open.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def handle_one_request(self) -> None:
        with contextlib.suppress(OSError):
            super().handle_one_request()
            return
        self.close_connection = True

    def _serve(self) -> None:
        action = self.owner.decide(self)
        length = int(self.headers.get("Content-Length") or 0)
        if isinstance(action, Damage):
            body = self.rfile.read(length)
            body = body[: length // 2] + bytes([body[length // 2] ^ 1]) + body[length // 2 + 1 :]
        elif isinstance(action, Slow):
            body = self._read_slowly(length, action.bytes_per_second)
        elif isinstance(action, Cut) and action.after_bytes is not None:
            body = self.rfile.read(min(length, action.after_bytes))
        else:
            body = self.rfile.read(length)
        if isinstance(action, Cut) and not action.forward:
            return self._break()
        if isinstance(action, BlackHole):
            self.owner._ended.wait()
            return self._break()
        if isinstance(action, Reply):
            return self._answer(Answer(action.status, [], action.text()))
        if isinstance(action, Meanwhile) and not action.after:
            action.action()
            return self._break()
        answer = self.owner.forward(self, body)
        if isinstance(action, Meanwhile):
            action.action()
            return self._break()
        if isinstance(action, Cut):
            return self._break()
        if isinstance(action, CutAnswer):
            self._answer(answer, action.after_bytes)
            return self._break()
        return self._answer(action.change(answer) if isinstance(action, Change) else answer)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _answer(self, answer: Answer, only_bytes: Optional[int] = None) -> None:
        self.send_response_only(answer.status)
        bodiless = self.command == "HEAD" or answer.status in (204, 304)
        for name, value in answer.headers:
            if name.lower() not in ("connection", "transfer-encoding") and (bodiless or name.lower() != "content-length"):
                self.send_header(name, value)
        if not bodiless:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if not bodiless:
            self.wfile.write(answer.body[:only_bytes])
        self.wfile.flush()

    def _read_slowly(self, length: int, bytes_per_second: int) -> bytes:
        pieces = []
        while length:
            piece = self.rfile.read(min(length, max(1, bytes_per_second // 20)))
            if not piece:
                break
            pieces.append(piece)
            length -= len(piece)
            time.sleep(0.05)
        return b"".join(pieces)

    def _break(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Nothing: the tests look at `requests`."""


def _operation(handler: _Handler) -> str:
    parts = urlsplit(handler.path)
    query = parse_qs(parts.query, keep_blank_values=True)
    on_bucket = parts.path.strip("/").count("/") == 0
    if "uploads" in query:
        return "CreateMultipartUpload" if handler.command == "POST" else "ListMultipartUploads"
    if "uploadId" in query:
        return {"PUT": "UploadPart", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}.get(handler.command, "ListParts")
    if "retention" in query:
        return "PutObjectRetention"
    if on_bucket:
        return {"GET": "ListObjectsV2", "HEAD": "HeadBucket", "PUT": "CreateBucket"}.get(handler.command, "DeleteBucket")
    return {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject"}.get(handler.command, "DeleteObject")
