"""Commands as whole processes: wall time, and the memory of the process and all that it started."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backup_pipeline_tests.harness.processes import tree

Prepare = Callable[[], None]


@dataclass(frozen=True)
class Command:
    name: str
    argv: Sequence[str]
    #: Run before each measured run, outside the clock: an empty vault, a fresh target.
    prepare: Prepare = lambda: None
    env: dict[str, str] | None = None
    #: The first process of a server that works for it.
    server: int | None = None


@dataclass
class Runs:
    name: str
    seconds: list[float] = field(default_factory=list)
    #: Highest sum over the process tree, of what only it holds (PSS), in MiB.
    memory: list[float] = field(default_factory=list)
    #: Of the process and the children that it waited for, user and system together.
    cpu: list[float] = field(default_factory=list)
    #: Of the sessions of the server that ended meanwhile.
    served: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def processor(self) -> float:
        return statistics.median(self.cpu)

    @property
    def peak(self) -> float:
        return max(self.memory)


def interleaved(commands: Sequence[Command], runs: int) -> dict[str, Runs]:
    """A B C A B C …: a machine that grows slow in the middle slows all of them."""
    found = {command.name: Runs(command.name) for command in commands}
    for _ in range(runs):
        for command in commands:
            command.prepare()
            os.sync()  # who comes first would wait for what was written before
            before = _of_ended_sessions(command.server)
            seconds, memory, cpu = once(command)
            found[command.name].served.append(_of_ended_sessions(command.server) - before)
            found[command.name].seconds.append(seconds)
            found[command.name].memory.append(memory)
            found[command.name].cpu.append(cpu)
            print(
                f"    {command.name:<34} {seconds:8.2f} s {cpu:8.2f} s of processor {memory:7.0f} MiB",
                flush=True,
            )
    return found


def _of_ended_sessions(server: int | None) -> float:
    """Seconds of processor of the children that a server has waited for."""
    if server is None:
        return 0.0
    fields = Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def once(command: Command) -> tuple[float, float, float]:
    """Seconds, MiB, seconds of processor."""
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            command.argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=command.env
        )
        watcher = _Watcher(process.pid)
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        code = process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        watcher.stop()
        if code:
            said.seek(0)
            raise RuntimeError(f"{command.name} ended with {code}:\n{said.read().decode()[-2000:]}")
    return seconds, watcher.peak / 1024, usage.ru_utime + usage.ru_stime


class _Watcher(threading.Thread):
    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak, self._done = pid, 0, threading.Event()

    def run(self) -> None:
        while not self._done.wait(0.1):
            self.peak = max(self.peak, sum(_pss(pid) for pid in tree(self.pid)))

    def stop(self) -> None:
        self._done.set()
        self.join()


def _pss(pid: int) -> int:
    """In KiB."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
