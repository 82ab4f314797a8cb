"""Worker processes: one interpreter each, because threads share a lock that costs 40 % of an export (measured).

What belongs here: starting workers, handing them tasks, hearing from them, and their certain end. What does
not: what they do. A worker is `python -m backup_pipeline.processes.workers`; what it runs is named `package.module:factory`,
and `factory(setup)` is a context manager that yields `handle(task, tell)`.

All data goes through the worker's stdin and stdout as length-prefixed pickles. So a password in `setup` is never on a
command line or in the environment. A worker whose stdin ends has lost its parent and ends at once, in
the middle of a task too: the database notices the broken connection and rolls back.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import queue
import selectors
import signal
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, Literal, Self

from backup_pipeline.errors import BackupError, Incomplete
from backup_pipeline.processes import waiting

#: Told by a handler while it works; handed to the parent's `on_news`.
Tell = Callable[[Any], None]
Handle = Callable[[Any, Tell], Any]
Factory = Callable[[Any], AbstractContextManager[Handle]]

_LENGTH = struct.Struct("!Q")
_LOST_PARENT = 70


@dataclass(frozen=True, slots=True)
class _Reply:
    kind: Literal["ready", "news", "waits", "result", "error"]
    value: Any = None


class Pool:
    """`with Pool("package.module:factory", setup, 2) as pool: pool.run(tasks, on_result=…)`."""

    def __init__(
        self,
        factory: str,
        setup: object,
        size: int,
        *,
        lost: Callable[[Any, str], BackupError] | None = None,
    ) -> None:
        """`lost(task, how)` makes the error for a worker that died; the task is None when it had none yet."""
        self._selector = selectors.DefaultSelector()
        self._workers: list[_Worker] = []
        try:
            for _ in range(max(1, size)):
                worker = _Worker(factory, setup, lost or _lost)
                self._workers.append(worker)
                self._selector.register(worker.stdout, selectors.EVENT_READ, worker)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(worker.process.pid for worker in self._workers)

    def run(
        self,
        tasks: Iterable[Any],
        *,
        on_result: Callable[[Any, Any], None],
        on_news: Callable[[Any, Any], None] = lambda _task, _news: None,
    ) -> None:
        """Do every task, in any order; the first error ends it (and is raised here)."""
        waiting = iter(tasks)
        self.schedule(lambda: next(waiting, None), on_result=on_result, on_news=on_news)

    def schedule(
        self,
        pick: Callable[[], Any | None],
        *,
        on_result: Callable[[Any, Any], None],
        on_news: Callable[[Any, Any], None] = lambda _task, _news: None,
    ) -> None:
        """Like `run`, for tasks that may have to wait for others: `pick` is asked for a task that can begin now
        whenever a worker is idle, and again after each result. None with nothing under way is the end."""
        while True:
            for worker in self._workers:
                if worker.ready and not worker.tasks:
                    task = pick()
                    if task is None:
                        break
                    worker.give(task)
            busy = any(worker.tasks for worker in self._workers)
            if not busy and all(worker.ready for worker in self._workers):
                return
            self.hear(on_result, on_news)

    def load(self, number: int) -> int | None:
        """How many tasks a worker has; None before it is ready."""
        worker = self._workers[number]
        return len(worker.tasks) if worker.ready else None

    def give(self, number: int, task: Any) -> None:
        """A task for a certain worker, which does its tasks one after the other."""
        self._workers[number].give(task)

    def hear(
        self,
        on_result: Callable[[Any, Any], None],
        on_news: Callable[[Any, Any], None] = lambda _task, _news: None,
        *,
        wait: bool = True,
    ) -> None:
        """What the workers say now; or, with `wait`, at least one of them."""
        for key, _ in self._selector.select(None if wait else 0):
            self._hear(key.data, on_result, on_news)

    def _hear(
        self,
        worker: _Worker,
        on_result: Callable[[Any, Any], None],
        on_news: Callable[[Any, Any], None],
    ) -> None:
        reply = worker.read()
        if reply.kind == "error":
            raise reply.value
        if reply.kind == "ready":
            worker.ready = True
        elif reply.kind == "waits":
            waiting.tell(reply.value)
        elif reply.kind == "news":
            on_news(worker.tasks[0], reply.value)
        else:
            on_result(worker.tasks.popleft(), reply.value)

    def close(self) -> None:
        """Idle workers end in order, busy ones at once. Closing twice does nothing."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.end()
        for worker in workers:
            worker.wait()
        self._selector.close()


class _Worker:
    def __init__(self, factory: str, setup: object, lost: Callable[[Any, str], BackupError]) -> None:
        self._make_error = lost
        path = os.pathsep.join(entry for entry in sys.path if entry)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "backup_pipeline.processes.workers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            # Unbuffered, because `select` does not see a second frame that lies in a buffer.
            bufsize=0,
            # Ctrl-C in the terminal is for the parent, which ends its workers itself.
            start_new_session=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        #: Under way is the first of them.
        self.tasks: deque[Any] = deque()
        self.ready = False
        self._send((factory, setup))

    def give(self, task: Any) -> None:
        self.tasks.append(task)
        self._send(task)

    def read(self) -> _Reply:
        frame = _read_frame(self.stdout)
        if frame is None:
            raise self._lost()
        reply = pickle.loads(frame)
        assert isinstance(reply, _Reply)
        return reply

    def end(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()
        if self.tasks or not self.ready:
            self.process.kill()

    def wait(self) -> None:
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.stdout.close()

    def _send(self, value: Any) -> None:
        try:
            _write_frame(self.stdin, value)
        except BrokenPipeError:
            raise self._lost() from None

    def _lost(self) -> BackupError:
        code = self.process.wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return self._make_error(self.tasks[0] if self.tasks else None, how)


def _lost(_task: Any, how: str) -> BackupError:
    return Incomplete(
        f"a worker process {how} in the middle of its work",
        remedy="see whether the machine ran out of memory, and run it again",
    )


def _write_frame(stream: IO[bytes], value: Any) -> None:
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    left = memoryview(_LENGTH.pack(len(data)) + data)
    while left:
        left = left[stream.write(left) :]


def _read_frame(stream: IO[bytes]) -> bytes | None:
    """None at the end of the stream, also where it ends inside a frame."""
    head = _read_exactly(stream, _LENGTH.size)
    return None if head is None else _read_exactly(stream, _LENGTH.unpack(head)[0])


def _read_exactly(stream: IO[bytes], size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        part = stream.read(size - len(parts))
        if not part:
            return None
        parts += part
    return bytes(parts)


# ── inside the worker


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Frames go out through a descriptor of their own: every print goes to stderr.
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    tasks: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    working = threading.Event()
    working.set()

    def listen() -> None:
        while (frame := _read_frame(sys.stdin.buffer)) is not None:
            tasks.put(frame)
        if working.is_set():
            os._exit(_LOST_PARENT)
        tasks.put(None)

    threading.Thread(target=listen, daemon=True).start()
    one_at_a_time = threading.Lock()

    def send(reply: _Reply) -> None:
        with one_at_a_time:
            _write_frame(out, reply)

    try:
        with waiting.having_time(lambda text: send(_Reply("waits", text))):
            _serve(tasks, working, send)
    except BrokenPipeError:
        os._exit(_LOST_PARENT)


def _serve(
    tasks: queue.SimpleQueue[bytes | None], working: threading.Event, send: Callable[[_Reply], None]
) -> None:
    first = tasks.get()
    assert first is not None
    try:
        name, setup = pickle.loads(first)
        module, _, attribute = name.partition(":")
        factory: Factory = getattr(importlib.import_module(module), attribute)
        with factory(setup) as handle:
            send(_Reply("ready"))
            for task in _tasks(tasks, working):
                send(_Reply("result", handle(task, lambda news: send(_Reply("news", news)))))
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - every error is the parent's to judge: it is raised there
        send(_Reply("error", _portable(error)))


def _tasks(tasks: queue.SimpleQueue[bytes | None], working: threading.Event) -> Iterator[Any]:
    while True:
        working.clear()
        frame = tasks.get()
        if frame is None:
            return
        working.set()
        yield pickle.loads(frame)


def _portable(error: Exception) -> Exception:
    """The error as it can cross; one that cannot be pickled still says what it was."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - pickling calls methods of the error's class
        return Incomplete(f"{type(error).__name__}: {error}")
    return error


if __name__ == "__main__":
    # Not this module's own `main`: what it pickles must bear the name under which the parent knows it.
    from backup_pipeline.processes.workers import main as serve

    serve()
