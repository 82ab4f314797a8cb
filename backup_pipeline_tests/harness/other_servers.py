"""S3 servers as other people run them: a real one behind a filter that answers as they do.

What each does is known from a trial with the server itself, or from the reports of its users. The filter changes what it
must and passes on the rest, so that bytes, versions and locks are those of the server behind it.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

import urllib3

from backup_pipeline_tests.harness.fault_proxy import QuietServer
from backup_pipeline_tests.harness.stores import S3Server

LOCK = "x-amz-object-lock-"
_HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "content-length", "host"}


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    #: Names in lower case.
    headers: dict[str, str]
    body: bytes

    @property
    def asks(self) -> frozenset[str]:
        return frozenset(parse_qs(urlsplit(self.path).query, keep_blank_values=True))

    @property
    def key(self) -> str:
        """Empty where the bucket itself is meant."""
        return urlsplit(self.path).path.lstrip("/").partition("/")[2]

    def without(self, *beginnings: str) -> Request:
        kept = {name: value for name, value in self.headers.items() if not name.startswith(beginnings)}
        return replace(self, headers=kept)

    def plain(self) -> Request:
        return replace(self, path=urlsplit(self.path).path)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def refusal(code: str, status: int = 400, message: str = "") -> Answer:
    text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Answer(status, {"Content-Type": "application/xml"}, text.encode())


Forward = Callable[[Request], Answer]
Behaviour = Callable[[Request, Forward], Answer]

_LISTING = b'<?xml version="1.0"?><ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated></ListBucketResult>'


def _unknown(request: Request, names: set[str], code: str) -> Answer | None:
    """A subresource that it does not know: the GET lists the bucket, the PUT creates it."""
    if request.key or not names & request.asks:
        return None
    if request.method == "GET":
        return Answer(200, {"Content-Type": "application/xml"}, _LISTING)
    return refusal(code) if request.method == "PUT" else None


@dataclass
class Ceph:
    """RADOS Gateway 16.2: BlockPublicAcls refuses its owner's writes (issue 49135), the lock of an upload in parts is
    ignored, and so is If-None-Match when it is completed; `?encryption` is not known."""

    blocking: set[str] = field(default_factory=set)

    def __call__(self, request: Request, forward: Forward) -> Answer:
        bucket = urlsplit(request.path).path.lstrip("/").partition("/")[0]
        unknown = _unknown(request, {"encryption"}, "InvalidArgument")
        if unknown is not None:
            return unknown
        if "publicAccessBlock" in request.asks and request.method == "PUT":
            blocks = b"<BlockPublicAcls>true" in request.body
            (self.blocking.add if blocks else self.blocking.discard)(bucket)
        plain_put = (
            request.method == "PUT"
            and request.key
            and not request.asks
            and "x-amz-copy-source" not in request.headers
        )
        if plain_put and bucket in self.blocking:
            return refusal("AccessDenied", 403)
        if "uploads" in request.asks:
            request = request.without(LOCK)
        if "uploadId" in request.asks and request.method == "POST":
            request = request.without("if-none-match")
        return forward(request)


def swift(request: Request, forward: Forward) -> Answer:
    """OpenStack Swift 2.30 s3api: it ignores the headers of locks, and takes what it does not know for the plain request."""
    if "policy" in request.asks:
        return refusal("NotImplemented", 501)
    names = {"encryption", "lifecycle", "publicAccessBlock", "object-lock"}
    unknown = _unknown(request, names, "MalformedXML")
    if unknown is not None:
        return unknown
    if "retention" in request.asks:
        request = request.plain()  # the object itself is read, or written
    return forward(request.without(LOCK))


def b2(request: Request, forward: Forward) -> Answer:
    """Backblaze B2 (home-assistant/core#143995)."""
    for name in request.headers:
        if name.startswith("x-amz-checksum-") or name == "x-amz-sdk-checksum-algorithm":
            return refusal(
                "InvalidArgument", message=f"Unsupported header '{name}' received for this API call."
            )
    return forward(request)


def old_minio(request: Request, forward: Forward) -> Answer:
    """Older MinIO and Dell ECS (aws/aws-sdk-java-v2#6243): a digest has to be an MD5."""
    wants = {
        "versioning",
        "publicAccessBlock",
        "encryption",
        "lifecycle",
        "object-lock",
        "policy",
        "retention",
        "delete",
    }
    if request.method in ("PUT", "POST") and wants & request.asks and "content-md5" not in request.headers:
        return refusal("MissingContentMD5", message="Missing required header for this request: Content-Md5.")
    return forward(request)


def s3rver(request: Request, forward: Forward) -> Answer:
    """s3rver 3.7: a write over a key leaves the ETag of what was there before. Here: every ETag is another one."""
    named = request.headers.get("if-match", "")[::-1]  # it knows its own
    answer = forward(replace(request, headers={**request.headers, "if-match": named}) if named else request)
    if not request.key or "/tmp/" in request.path or request.asks - {"x-id"}:
        return answer
    wrong = re.compile(rb"[0-9a-f]{32}")
    headers = {
        name: value[::-1] if name.lower() == "etag" else value for name, value in answer.headers.items()
    }
    body = answer.body
    if "x-amz-copy-source" in request.headers:
        body = wrong.sub(lambda found: found[0][::-1], body)
    return Answer(answer.status, headers, body)


@dataclass
class Filter:
    upstream: S3Server
    behaviour: Behaviour
    port: int = 0
    #: "PUT ?retention" → how often it was asked.
    asked: Counter[str] = field(default_factory=Counter)

    @property
    def server(self) -> S3Server:
        return replace(self.upstream, endpoint=f"http://127.0.0.1:{self.port}")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    filter: Filter
    pool: urllib3.PoolManager

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, body)
        self.filter.asked[f"{request.method} ?{'&'.join(sorted(request.asks))}"] += 1
        answer = self.filter.behaviour(request, self._forward)
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        told = next((v for n, v in answer.headers.items() if n.lower() == "content-length"), "")
        bodiless = self.command == "HEAD"
        self.send_header("Content-Length", told or "0" if bodiless else str(len(answer.body)))
        self.end_headers()
        if not bodiless:
            self.wfile.write(answer.body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle

    def _forward(self, request: Request) -> Answer:
        headers = {name: value for name, value in request.headers.items() if name not in _HOP}
        answer = self.pool.request(
            request.method,
            self.filter.upstream.endpoint + request.path,
            body=request.body,
            headers=headers,
            redirect=False,
            retries=False,
            decode_content=False,
        )
        return Answer(answer.status, dict(answer.headers), answer.data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def behind(upstream: S3Server, behaviour: Behaviour) -> Iterator[Filter]:
    found = Filter(upstream, behaviour)
    with urllib3.PoolManager(maxsize=32) as pool:
        handler = type("Handler", (_Handler,), {"filter": found, "pool": pool})
        server = QuietServer(("127.0.0.1", 0), handler)
        found.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
