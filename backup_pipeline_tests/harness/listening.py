"""A mail server and a web server that take alerts, and remember what came."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from backup_pipeline_tests.harness.ports import free_port

#: Apprise's four seconds are for a machine that does nothing else.
PATIENT = "cto=60&rto=60"


@dataclass
class Mailbox:
    port: int = 0
    letters: list[Message] = field(default_factory=list)

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:
        self.letters.append(message_from_bytes(envelope.content, policy=default))
        return "250 OK"

    @property
    def subjects(self) -> list[str]:
        return [str(letter["Subject"]) for letter in self.letters]

    @property
    def address(self) -> str:
        who = "from=backup@example.com&to=ops@example.com"
        return f"mailto://127.0.0.1:{self.port}?{who}&mode=insecure&{PATIENT}"


@dataclass
class Hook:
    port: int = 0
    status: int = 200
    bodies: list[dict[str, Any]] = field(default_factory=list)
    #: Requests, also those that were refused.
    tries: int = 0

    @property
    def address(self) -> str:
        return f"json://127.0.0.1:{self.port}/alert?{PATIENT}"

    @property
    def titles(self) -> list[str]:
        return [body["title"] for body in self.bodies]


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    made = Mailbox(free_port())
    controller = Controller(made, hostname="127.0.0.1", port=made.port, ready_timeout=60)
    controller.start()
    yield made
    controller.stop()


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.tries += 1
            if made.status == 200:
                made.bodies.append(json.loads(body))
            self.send_response(made.status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()
