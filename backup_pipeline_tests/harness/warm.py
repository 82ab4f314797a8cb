"""A warm parent: one process imports what a run needs, and forks a child for each run.

Scenarios kill hundreds of runs. A fresh interpreter would cost more than the run, and most kills would meet its start.
`start(code, …)` is `python -c code …` from its first line on: a process of its own, with the folder and the environment
of the caller, that ends with a code or by a signal.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import IO, NoReturn

#: What a backup, a verification, a copy, a prune, a restore of files, a merge and an undo import on their way.
IMPORTED = (
    "duckdb",
    "psycopg",
    "psycopg2",
    "pyarrow",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.postgresql.psycopg2",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "yaml",
    "backup_pipeline.cli.app",
    "backup_pipeline.cli.ending",
    "backup_pipeline.config.loading",
    "backup_pipeline.copies.replicate",
    "backup_pipeline.databases.merge.merging",
    "backup_pipeline.databases.merge.undoing",
    "backup_pipeline.databases.postgres.export",
    "backup_pipeline.databases.postgres.merging",
    "backup_pipeline.databases.sqlite.export",
    "backup_pipeline.databases.sqlite.merging",
    "backup_pipeline.files.restore",
    "backup_pipeline.files.store",
    "backup_pipeline.operations",
    "backup_pipeline.operations.undo",
    "backup_pipeline.references.joining",
    "backup_pipeline.retention.prune",
    "backup_pipeline.verification.verify",
)


class Child:
    """Like a `Popen`. It is the child of a process that waits for it and writes its id and its code into a pipe."""

    def __init__(self, told: IO[str], stdout: IO[str], stderr: IO[bytes]) -> None:
        self._told, self.stdout, self._stderr = told, stdout, stderr
        self.pid = int(told.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self._end()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None and not select.select([self._told], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return self._end() if self.returncode is None else self.returncode

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def _end(self) -> int:
        self.returncode = int(self._told.readline())
        self._told.close()
        return self.returncode

    def ended(self) -> tuple[int, str, str]:
        """Its code, the output that was not read, and its errors."""
        if not self._stderr.closed:
            with self.stdout, self._stderr:
                output, code = self.stdout.read(), self.wait()
                self._stderr.seek(0)
                self._ended = code, output, self._stderr.read().decode()
        return self._ended

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.ended()


def start(code: str, *arguments: str) -> Child:
    told, tells = os.pipe()
    read, writes = os.pipe()
    stderr = tempfile.TemporaryFile()  # noqa: SIM115 — the child's block closes it
    order = {"code": code, "arguments": arguments, "folder": str(Path.cwd()), "environment": dict(os.environ)}
    try:
        socket.send_fds(_parent(), [json.dumps(order).encode()], [tells, writes, stderr.fileno()])
    finally:
        os.close(tells)
        os.close(writes)
    return Child(os.fdopen(told, encoding="ascii"), os.fdopen(read, encoding="utf-8"), stderr)


@cache
def _parent() -> socket.socket:
    """Of this test process; it ends with it."""
    mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    argv = [sys.executable, "-m", "backup_pipeline_tests.harness.warm", str(its.fileno())]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(argv, cwd=root, pass_fds=[its.fileno()], stdin=subprocess.DEVNULL)
    its.close()
    atexit.register(process.wait)
    atexit.register(mine.close)
    return mine


# -- in the parent ----------------------------------------------------------------------------------------------


def _serve(orders: socket.socket) -> Callable[[], None] | None:
    """Forks until the tests have ended: None then, and in a child its work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, files, _, _ = socket.recv_fds(orders, 1 << 20, 3)
        if not message:
            return None
        if os.fork() == 0:
            orders.close()
            _wait_for(*files)
            return lambda: _run(**json.loads(message))
        for file in files:
            os.close(file)


def _wait_for(tells: int, stdout: int, stderr: int) -> None:
    """Comes back in the child alone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if pid := os.fork():
        os.close(stdout)
        os.write(tells, f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        os.write(tells, f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)
    os.close(tells)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.close(stdout)
    os.close(stderr)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _run(code: str, arguments: list[str], folder: str, environment: dict[str, str]) -> NoReturn:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.argv = ["-c", *arguments]
    ends = 1
    try:
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
        ends = 0
    except BaseException:  # noqa: BLE001 — as the interpreter does
        traceback.print_exc()
    _leave(ends)


def _leave(code: int) -> NoReturn:
    """The interpreter's own end takes apart everything that was imported: ten times the work of a short run."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main(number: str) -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()
    if run := _serve(socket.socket(fileno=int(number))):
        run()
    _leave(0)


if __name__ == "__main__":
    main(sys.argv[1])
