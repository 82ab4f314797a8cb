"""Serve the graph on this machine: the code, the web server and the daemon, as three processes that end together.

Not `dagster dev`: started without a terminal it ignored both Ctrl-C and SIGTERM (measured), and a backup product that
leaves processes behind is none. The children are ours, each with the processes below it, and are stopped by their ids.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from backup_pipeline.config import FILE_NAME, VARIABLE, redact
from backup_pipeline.errors import ConfigError, ServerFailed
from backup_pipeline.operations import Site
from backup_pipeline.orchestration import instance

#: How long the three have to come up, and to end before they are killed.
START_SECONDS = 120.0
STOP_SECONDS = 10.0

_WORKSPACE = """load_from:
  - grpc_server:
      socket: {socket}
      location_name: backup_pipeline
"""


@dataclass(frozen=True, slots=True)
class Child:
    name: str
    process: subprocess.Popen[bytes]
    log: Path


def serve(
    site: Site,
    host: str = "127.0.0.1",
    port: int = 3000,
    *,
    config: Path | None = None,
    say: Callable[[str], None] = print,
    stop: threading.Event | None = None,
) -> None:
    """Serve until Ctrl-C, SIGTERM, or until `stop` is set. `say` is told the address once it answers."""
    _refuse_a_taken_port(host, port)
    stop = stop or threading.Event()
    with ExitStack() as stack:
        stack.enter_context(_signals(stop))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bp-ui-")))
        three = _Processes(site, _environment(site, config), stop)
        stack.callback(_end, three.children)
        three.start(host, port, folder)
        if not stop.is_set():
            say(f"the graph is at http://{host}:{port} (Ctrl-C ends it)")
        while not stop.wait(0.5):
            three.refuse_the_dead()


@dataclass(frozen=True, slots=True)
class _Processes:
    site: Site
    environment: Mapping[str, str]
    stop: threading.Event
    children: list[Child] = field(default_factory=list)

    def start(self, host: str, port: int, folder: Path) -> None:
        logs = Path(self.environment[instance.VARIABLE]) / "logs"
        logs.mkdir(exist_ok=True)
        code, workspace = folder / "code.sock", folder / "workspace.yaml"
        workspace.write_text(_WORKSPACE.format(socket=code), encoding="utf-8")
        python = [sys.executable, "-m"]
        commands: dict[str, Sequence[str]] = {
            "code": [
                *python, "dagster", "code-server", "start", "--socket", str(code),
                "--module-name", "backup_pipeline.definitions", "--attribute", "defs",
                "--location-name", "backup_pipeline", "--use-python-environment-entry-point",
                "--log-level", "warning",
            ],
            "webserver": [
                *python, "dagster_webserver", "--workspace", str(workspace), "--host", host, "--port", str(port),
                "--log-level", "warning", "--dagster-log-level", "warning",
            ],
            "daemon": [*python, "dagster._daemon", "run", "--workspace", str(workspace), "--log-level", "warning"],
        }  # fmt: skip
        for name, command in commands.items():
            self.children.append(_child(name, command, logs / f"{name}.log", self.environment))
            if name == "code":
                self._wait(code.exists)
        self._wait(lambda: _answers(host, port))

    def _wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not condition() and not self.stop.wait(0.1):
            self.refuse_the_dead()
            if time.monotonic() > deadline:
                last = self.children[-1]
                raise ServerFailed(
                    f"the UI did not come up within {START_SECONDS:.0f} s. {_said(last, self.site)}",
                    remedy=f"the logs are in {last.log.parent}",
                )

    def refuse_the_dead(self) -> None:
        for child in self.children:
            if child.process.poll() is not None:
                raise ServerFailed(
                    f"the {child.name} process ended with {child.process.returncode}. {_said(child, self.site)}",
                    remedy=f"its log is {child.log}",
                )


def _child(name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> Child:
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env=dict(environment),
            # A group of its own: Ctrl-C reaches us alone, and we end the group in our order.
            start_new_session=True,
        )
    return Child(name, process, log)


def _environment(site: Site, config: Path | None) -> dict[str, str]:
    # As `Site.load` found it: named, else by the environment, else in the folder.
    file = config or Path(os.environ.get(VARIABLE) or site.settings.base / FILE_NAME)
    if file.is_dir():
        file = file / FILE_NAME
    if not file.is_file():
        raise ConfigError(
            f"there is no configuration at {file}", remedy=f"name it with --config or ${VARIABLE}"
        )
    return {
        **os.environ,
        VARIABLE: str(file.resolve()),
        instance.VARIABLE: str(instance.home(site)),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _said(child: Child, site: Site) -> str:
    lines = child.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = redact("\n".join(lines[-8:]), site.settings.secrets)
    return f"Its last lines:\n{last}" if last else "It said nothing."


def _answers(host: str, port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{_reachable(host)}:{port}/server_info", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "") else f"[{host}]" if ":" in host else host


def _refuse_a_taken_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {host}:{port}: {error.strerror}",
                remedy="is it running already? Else choose another port with --port",
            ) from None


@contextmanager
def _signals(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the loop, and with it the children; in a thread there is nothing to catch."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()

    before: dict[signal.Signals, Any] = {
        number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(children: Sequence[Child]) -> None:
    """The daemon first, so that it starts nothing new; what does not end in time is killed with all below it."""
    for child in reversed(children):
        _signal(child, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(max(0.1, deadline - time.monotonic()))
    for child in children:
        # Also when the child itself has ended: what it started is in its group.
        _signal(child, signal.SIGKILL)
        child.process.wait()


def _signal(child: Child, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.process.pid, number)
