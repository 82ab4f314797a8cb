"""A proxy between us and an S3 server that does what networks and servers do on bad days, by a plan.

A plan is a list of faults, each for the n-th request of its kind. What was planned and what happened are both known, so
a test can demand that every fault has happened: one that never fires proves nothing. TLS would find altered bytes on
the way; the proxy alters them as a faulty server or a proxy behind the TLS would: in objects, never in listings.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import parse_qs, urlsplit

What = Literal[
    "drop",  # closed before anything was sent on
    "lost-answer",  # done by the server, but its answer is lost
    "late",  # we have given up by the time the server gets it
    "500",
    "503",
    "503-retry-after",
    "short-answer",  # cut off in the middle
    "short-request",
    "wrong-answer",  # one byte is another
    "wrong-request",
    "reset",  # in the middle of a part
]
Kind = Literal["put", "part", "get", "list", "head", "any"]

#: Which kinds of request a fault can happen to.
POSSIBLE: dict[What, tuple[Kind, ...]] = {
    "drop": ("any",),
    "lost-answer": ("any", "put", "part"),
    "late": ("put", "part", "get"),
    "500": ("any",),
    "503": ("any",),
    "503-retry-after": ("any",),
    "short-answer": ("get", "list"),
    "short-request": ("put", "part"),
    "wrong-answer": ("get",),
    "wrong-request": ("put", "part"),
    "reset": ("part",),
}
#: What costs time, and so happens once in a run at most.
SLOW: frozenset[What] = frozenset({"late"})

_HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "proxy-connection"}


@dataclass(frozen=True, slots=True)
class Fault:
    what: What
    kind: Kind
    #: The first request of a kind is number 1.
    number: int


def plan(
    seed: int, usual: Counter[Kind], *, attempts: int, without: frozenset[What] = frozenset()
) -> list[Fault]:
    """Between one and six faults for a piece of work that takes `usual` requests when all is well; in every eighth
    plan the server is away for so long that we give up."""
    chance = random.Random(seed)
    faults: dict[tuple[Kind, int], Fault] = {}
    for _ in range(chance.randint(1, 6)):
        what = chance.choice([what for what in POSSIBLE if what not in without])
        if what in SLOW and any(fault.what in SLOW for fault in faults.values()):
            continue
        kind = chance.choice([kind for kind in POSSIBLE[what] if usual[kind]] or ["any"])
        # Not in the very last requests: retries move numbers, and what is read once may be read twice.
        number = chance.randint(1, max(1, usual[kind] - 1))
        faults.setdefault((kind, number), Fault(what if kind in POSSIBLE[what] else "drop", kind, number))
    if seed % 8 == 0:
        # In the first half: in the second half the backup is listed, and only its proof waits for the store.
        begin = chance.randint(1, max(1, usual["any"] // 2))
        # Two requests may be under way at once, and share the faults: one of the two must run out of attempts.
        for number in range(begin, begin + 2 * attempts - 1):
            faults["any", number] = Fault("503", "any", number)
    return list(faults.values())


@dataclass
class FaultProxy:
    upstream: str
    #: Longer than the client waits.
    too_late: float = 1.5
    fired: list[Fault] = field(default_factory=list)
    counted: Counter[Kind] = field(default_factory=Counter)
    _plan: dict[tuple[Kind, int], Fault] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    port: int = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def expect(self, faults: Sequence[Fault]) -> None:
        """From now on; requests are counted from 1 again."""
        with self._lock:
            self._plan = {(fault.kind, fault.number): fault for fault in faults}
            self.fired, self.counted = [], Counter()

    @property
    def outstanding(self) -> list[Fault]:
        with self._lock:
            return list(self._plan.values())

    def fault_for(self, kind: Kind) -> Fault | None:
        """One fault a request: where two are due, the other one waits for the next request of its kind."""
        with self._lock:
            self.counted[kind] += 1
            self.counted["any"] += 1
            for one in (kind, "any"):
                due = [n for (k, n) in self._plan if k == one and n <= self.counted[one]]
                if due:
                    fault = self._plan.pop((one, min(due)))
                    self.fired.append(fault)
                    return fault
        return None


def kind_of(method: str, path: str) -> Kind:
    parts = urlsplit(path)
    query = parse_qs(parts.query, keep_blank_values=True)
    if method == "PUT":
        return "part" if "partNumber" in query else "put"
    if method == "GET":
        return "list" if {"list-type", "uploads", "uploadId", "prefix"} & query.keys() else "get"
    return "head" if method == "HEAD" else "any"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultProxy

    def _handle(self) -> None:
        kind = kind_of(self.command, self.path)
        fault = self.proxy.fault_for(kind)
        what = fault.what if fault else None
        if what in ("drop", "reset"):
            if what == "reset":
                self.rfile.read(min(4096, int(self.headers.get("Content-Length") or 0)))
            return self._cut(reset=what == "reset")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if what in ("500", "503", "503-retry-after"):
            return self._refuse(500 if what == "500" else 503, after=what == "503-retry-after")
        if what == "late":
            time.sleep(self.proxy.too_late)
        if what == "wrong-request":
            body = altered(body)
        if what == "short-request":
            return self._send_half(body)
        try:
            status, headers, answer = self._forward(body)
        except OSError:
            return self._cut(reset=False)
        if what in ("lost-answer", "late"):
            return self._cut(reset=False)
        if what == "wrong-answer" and status in (200, 206):
            answer = altered(answer)
        self._answer(status, headers, answer, short=what == "short-answer")

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(urlsplit(self.proxy.upstream).netloc, timeout=30)

    def _request(self, connection: http.client.HTTPConnection) -> None:
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _HOP:
                connection.putheader(name, value)
        connection.endheaders()

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        with contextlib.closing(self._connection()) as connection:
            self._request(connection)
            connection.send(body)
            answer = connection.getresponse()
            data = answer.read()
            return answer.status, answer.getheaders(), data

    def _send_half(self, body: bytes) -> None:
        with contextlib.closing(self._connection()) as connection, contextlib.suppress(OSError):
            self._request(connection)
            connection.send(body[: len(body) // 2])
        self._cut(reset=False)

    def _refuse(self, status: int, *, after: bool) -> None:
        code = "InternalError" if status == 500 else "SlowDown"
        text = f"<Error><Code>{code}</Code><Message>planned</Message></Error>".encode()
        headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(text)))]
        self._answer(status, [*headers, *([("Retry-After", "1")] if after else [])], text, short=False)

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, *, short: bool) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in (*_HOP, "content-length"):
                self.send_header(name, value)
        length = next((value for name, value in headers if name.lower() == "content-length"), str(len(body)))
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if short else body)
        if short:
            self._cut(reset=False)

    def _cut(self, *, reset: bool) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.flush()
            if reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                self.connection.shutdown(socket.SHUT_RDWR)
            self.connection.close()

    def log_message(self, format: str, *args: object) -> None:
        pass


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone away is what this is all about."""


def altered(data: bytes) -> bytes:
    """One bit of it is another."""
    if not data:
        return data
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@contextlib.contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    proxy = FaultProxy(upstream)
    handler = type("Handler", (_Handler,), {"proxy": proxy})
    server = QuietServer(("127.0.0.1", 0), handler)
    proxy.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
