"""A Dropbox on loopback that speaks the real protocol to the real SDK, over TLS, and fails as it is told.

The SDK reads the names of its hosts once, when it is imported. So there is one server a test process, and every test
finds it empty. A planned fault that did not fire fails the test that planned it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import trustme

from backup_pipeline_tests.harness.fake_dropbox_files import (
    LARGEST_REQUEST,
    File,
    Malformed,
    Namespace,
    Refusal,
    content_hash,
    described,
)

HOSTS = ("DROPBOX_API_HOST", "DROPBOX_API_CONTENT_HOST", "DROPBOX_API_NOTIFY_HOST")
#: What a command needs of the environment to reach the fake.
DROPBOX_VARIABLES = (*HOSTS, "REQUESTS_CA_BUNDLE", "NO_PROXY")
HOME = "1000"
SCOPES = frozenset({"files.metadata.read", "files.content.read", "files.content.write"})
_SCOPE_OF = {
    "files/upload": "files.content.write",
    "files/upload_session/start": "files.content.write",
    "files/upload_session/append_v2": "files.content.write",
    "files/upload_session/finish": "files.content.write",
    "files/delete_v2": "files.content.write",
    "files/download": "files.content.read",
    "files/export": "files.content.read",
    "files/get_metadata": "files.metadata.read",
    "files/list_folder": "files.metadata.read",
    "files/list_folder/continue": "files.metadata.read",
    "users/get_space_usage": "account_info.read",
}


@dataclass
class Token:
    team: bool = False
    expired: bool = False
    scopes: frozenset[str] = SCOPES


@dataclass(frozen=True)
class Request:
    """A request as it came in."""

    route: str
    token: str
    select_user: str | None
    path_root: str | None
    argument: dict[str, Any]
    size: int


@dataclass
class Fault:
    #: 429 · 429-plain · 500 · 503 · drop (no answer) · lost (done, no answer) · cut (half of the body)
    kind: str
    route: str
    times: int = 1
    #: Let so many requests of that route pass first.
    after: int = 0
    fired: int = 0


@dataclass
class FakeDropbox:
    """Everything that a test may look at or arrange."""

    address: str = ""
    namespaces: dict[str, Namespace] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    refresh_tokens: dict[str, tuple[str, str]] = field(default_factory=dict)
    #: Member → the namespaces that member may enter; the first is the member's home.
    members: dict[str, list[str]] = field(default_factory=dict)
    page: int = 7
    seen: list[Request] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    cursors: dict[str, list[Any]] = field(default_factory=dict)
    retry_after: int = 1
    lock: threading.RLock = field(default_factory=threading.RLock)

    def reset(self, token: str) -> None:
        self.namespaces, self.tokens = {HOME: Namespace()}, {token: Token()}
        self.refresh_tokens, self.members, self.cursors = {}, {}, {}
        self.page, self.seen, self.faults, self.token = 7, [], [], token

    token: str = ""

    @property
    def home(self) -> Namespace:
        return self.namespaces[HOME]

    def plan(self, kind: str, route: str, times: int = 1, after: int = 0) -> Fault:
        fault = Fault(kind, route, times, after)
        self.faults.append(fault)
        return fault

    def due(self, route: str) -> str:
        for fault in self.faults:
            if fault.route == route and fault.fired < fault.times:
                if fault.after:
                    fault.after -= 1
                    continue
                fault.fired += 1
                return fault.kind
        return ""

    def routes(self) -> list[str]:
        return [one.route for one in self.seen]


class _Answer(Exception):
    def __init__(self, status: int, body: Any, **headers: str) -> None:
        self.status, self.headers = status, headers
        self.json = not isinstance(body, str)
        self.body = json.dumps(body).encode() if self.json else body.encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    fake: FakeDropbox

    def log_message(self, *_: Any) -> None: ...

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        route = self.path.removeprefix("/2/").strip("/")
        with self.fake.lock:
            fault = self.fake.due(route)
        if fault == "drop":
            return self._hang_up()
        try:
            if fault in ("500", "503"):
                raise _Answer(int(fault), "try later")
            if fault.startswith("429"):
                self._too_many(plain=fault.endswith("plain"))
            with self.fake.lock:
                if route == "oauth2/token":
                    raise self._refresh(parse_qs(body.decode()))
                answer, data = self._route(route, body)
        except _Answer as error:
            return self._send(error.status, error.body, json_body=error.json, **error.headers)
        except Malformed as error:
            return self._send(
                400, f'Error in call to API function "{route}": {error}'.encode(), json_body=False
            )
        except Refusal as error:
            return self._send(
                409, json.dumps({"error_summary": f"{error}/..", "error": _union(error, route)}).encode()
            )
        if fault == "lost":
            return self._hang_up()
        if data is None:
            return self._send(200, json.dumps(answer).encode())
        self._download(answer, data, cut=fault == "cut")
        return None

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, status: int, body: bytes, *, json_body: bool = True, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if json_body else "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _too_many(self, *, plain: bool) -> None:
        wait = self.fake.retry_after
        error = {"reason": {".tag": "too_many_requests"}, "retry_after": wait}
        body: Any = "slow down" if plain else {"error_summary": "too_many_requests/..", "error": error}
        raise _Answer(429, body, Retry_After=str(wait))

    def _refresh(self, form: dict[str, list[str]]) -> _Answer:
        given = {name: values[0] for name, values in form.items()}
        known = self.fake.refresh_tokens.get(given.get("refresh_token", ""))
        if given.get("grant_type") != "refresh_token" or known is None:
            return _Answer(400, {"error": "invalid_grant", "error_description": "refresh token is invalid"})
        if known != (given.get("client_id"), given.get("client_secret", "")):
            return _Answer(400, {"error": "invalid_client"})
        token = f"sl.fresh-{len(self.fake.tokens)}"
        self.fake.tokens[token] = Token(team=bool(self.fake.members))
        return _Answer(200, {"access_token": token, "expires_in": 14400, "token_type": "bearer"})

    def _namespace(self, route: str) -> Namespace:
        fake, name = self.fake, self.headers.get("Authorization", "").removeprefix("Bearer ")
        token = fake.tokens.get(name)
        if token is None:
            raise _Answer(401, {"error": {".tag": "invalid_access_token"}})
        if token.expired:
            raise _Answer(401, {"error_summary": "expired/", "error": {".tag": "expired_access_token"}})
        scope = _SCOPE_OF[route]
        if scope not in token.scopes:
            raise _Answer(401, {"error": {".tag": "missing_scope", "required_scope": scope}})
        member = self.headers.get("Dropbox-API-Select-User")
        if token.team and member is None:
            raise Malformed(
                "This API function operates on a single Dropbox account, but the OAuth 2 access token you provided "
                "is for an entire Dropbox Business team."
            )
        if not token.team and member is not None:
            raise Malformed("Unexpected select user header: this is no token of a team")
        if token.team and member not in fake.members:
            raise _Answer(401, {"error": {".tag": "invalid_select_user"}})
        allowed = fake.members[member] if member else [HOME]
        root = self.headers.get("Dropbox-API-Path-Root")
        wanted = allowed[0] if root is None else json.loads(root).get("namespace_id", allowed[0])
        if wanted not in allowed:
            raise _Answer(422, {"error_summary": "no_permission/", "error": {".tag": "no_permission"}})
        return fake.namespaces[wanted]

    def _route(self, route: str, body: bytes) -> tuple[Any, bytes | None]:
        if route not in _SCOPE_OF:
            raise _Answer(404, f"Unknown API function: {route}")
        header = self.headers.get("Dropbox-API-Arg")
        content = header is not None
        argument = json.loads(header) if header is not None else json.loads(body) or {}
        user, root = self.headers.get("Dropbox-API-Select-User"), self.headers.get("Dropbox-API-Path-Root")
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.fake.seen.append(Request(route, token, user, root, argument, len(body) if content else 0))
        space = self._namespace(route)
        if content:
            if len(body) > LARGEST_REQUEST:
                raise Refusal("payload_too_large")
            given = argument.get("content_hash")
            if given is not None and given != content_hash(body):
                raise Refusal("content_hash_mismatch")
        return self._do(space, route, argument, body)

    def _do(
        self, space: Namespace, route: str, given: dict[str, Any], body: bytes
    ) -> tuple[Any, bytes | None]:
        match route.removeprefix("files/"):
            case "upload":
                return _file(space.write(given["path"], body, given)), None
            case "upload_session/start":
                return {"session_id": space.start(body, close=given.get("close", False))}, None
            case "upload_session/append_v2":
                return space.append(given["cursor"], body, close=given.get("close", False)), None
            case "upload_session/finish":
                return _file(space.finish(given["cursor"], given["commit"], body)), None
            case "get_metadata":
                if given["path"] == "":
                    raise Malformed("path: The root folder is unsupported.")
                return described(space.find(given["path"])), None
            case "delete_v2":
                return {"metadata": described(space.delete(given["path"], given.get("parent_rev")))}, None
            case "list_folder":
                found = space.below(given["path"], recursive=given.get("recursive", False))
                return self._page([described(one) for one in found]), None
            case "list_folder/continue":
                if given["cursor"] not in self.fake.cursors:
                    raise Refusal("reset")
                return self._page(self.fake.cursors[given["cursor"]]), None
            case "users/get_space_usage":
                allocation = {".tag": "individual", "allocated": space.quota}
                return {"used": space.used(), "allocation": allocation}, None
            case "download":
                found_file = space.find(given["path"])
                if isinstance(found_file, str):
                    raise Refusal("path", "not_file")
                if not found_file.downloadable:
                    raise Refusal("unsupported_file")
                return _file(found_file), found_file.data
            case _:
                raise _Answer(404, f"Unknown API function: {route}")

    def _page(self, entries: list[Any]) -> dict[str, Any]:
        """A cursor may be used again: an answer can be lost."""
        cursor = f"cursor-{len(self.fake.cursors)}"
        self.fake.cursors[cursor] = entries[self.fake.page :]
        return {
            "entries": entries[: self.fake.page],
            "cursor": cursor,
            "has_more": len(entries) > self.fake.page,
        }

    def _download(self, result: Any, data: bytes, *, cut: bool) -> None:
        status, part = 200, data
        wanted = self.headers.get("Range")
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            if int(first) >= len(data):
                return self._send(416, b"out of range", json_body=False)
            status, part = 206, data[int(first) : int(last) + 1 if last else None]
        self.send_response(status)
        self.send_header("Dropbox-API-Result", json.dumps(result))
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        with contextlib.suppress(OSError):  # a client that has seen enough hangs up
            self.wfile.write(part[: len(part) // 2] if cut else part)
        if cut:
            self.wfile.flush()
            self._hang_up()
        return None


def _file(file: File) -> dict[str, Any]:
    return {name: value for name, value in described(file).items() if name != ".tag"}


def _union(refusal: Refusal, route: str) -> dict[str, Any]:
    """A union holds the next one under its tag; only UploadError.path is a structure, with a `reason`."""
    inner: dict[str, Any] = {".tag": refusal.tags[-1], **refusal.value}
    for tag in reversed(refusal.tags[:-1]):
        if route == "files/upload" and tag == "path":
            inner = {".tag": tag, "reason": inner, "upload_session_id": "pid_upload_session:x"}
        else:
            inner = {".tag": tag, tag: inner}
    return inner


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, context: ssl.SSLContext, handler: type[_Handler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self._context = context

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        # The handshake belongs to the connection's own thread.
        wrapped = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return wrapped, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is none of our business."""


@pytest.fixture(scope="session")
def dropbox_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeDropbox, Path]]:
    """The server of this test process, and the file with the certificate that vouches for it."""
    if "dropbox" in sys.modules:
        raise RuntimeError(
            "the Dropbox SDK was imported before the fake was there: import it inside functions"
        )
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusted = tmp_path_factory.mktemp("dropbox") / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    fake = FakeDropbox()
    server = _Server(context, type("Handler", (_Handler,), {"fake": fake}))
    fake.address = f"127.0.0.1:{server.server_port}"
    for name in HOSTS:
        os.environ[name] = fake.address
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield fake, trusted
    server.shutdown()
    server.server_close()
    thread.join()


_numbers = iter(range(1, 1 << 30))


@pytest.fixture
def fake_dropbox(
    dropbox_process: tuple[FakeDropbox, Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeDropbox]:
    """An empty Dropbox, with one user and that user's token."""
    fake, trusted = dropbox_process
    # Where it is set, it overrides what a session says: as for users behind a proxy that opens TLS.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(trusted))
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # A token of its own for each test: clients are kept for the life of a process.
    fake.reset(f"sl.user-{next(_numbers)}")
    yield fake
    quiet = [fault for fault in fake.faults if fault.fired < fault.times]
    assert quiet == [], "a planned fault never fired"
