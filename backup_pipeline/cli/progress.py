"""What moves while work is done: a bar on a terminal, a dated line now and then in a log.

A listener is told of steps, possibly thousands a second and from more than one thread; it only adds them up. Nothing
here may end the work: a terminal that was closed is no reason for a night without a backup.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from backup_pipeline.cli.call import tell
from backup_pipeline.cli.page import clean, one_line
from backup_pipeline.cli.units import duration, number, plural, share, size
from backup_pipeline.model.progress import Advance, Listener, Phase

if TYPE_CHECKING:
    from rich.progress import Progress

#: Seconds between two lines of a log: the first minute shows that it lives, an hour does not fill the log.
LOG_PAUSES = (5.0, 5.0, 10.0, 20.0, 30.0)
REFRESHES_A_SECOND = 5
#: Before that, a rate and the time that is left say nothing: connections, planning, what came in one piece.
MEASURED = 2.0
#: Columns of a terminal on which a bar, all figures and the names of tables have room in one line.
WIDE = 130
#: A table is shown as current for so long after its last step.
CURRENT = 3.0

_DOING: dict[Phase, str] = {
    "export": "reading",
    "files": "reading files",
    "verify": "checking",
    "load": "loading",
    "index": "indexing",
    "compare": "comparing",
    "copy": "copying",
    "thaw": "waiting for the thaw",
    "wait": "waiting for the store",
}
#: Here a note says what is looked at; elsewhere it says that something happened: a retry, a restart.
_LOOKING: tuple[Phase, ...] = ("verify", "compare")


@dataclass
class Tally:
    """What was done so far in the phase that is under way."""

    clock: Callable[[], float] = time.monotonic
    phase: Phase | None = None
    rows: int = 0
    bytes: int = 0
    steps: int = 0
    total_rows: int | None = None
    total_bytes: int | None = None
    reused: int = 0
    #: Since when bytes and rows are measured, and how many there were then. Not the wait for a lock, nor what the
    #: first step brought: that was done before it was told. None: nothing moves.
    measured_from: float | None = None
    bytes_then: int = 0
    fraction_then: float = 0.0
    #: Subject → when it was last heard of.
    seen: dict[str, float] = field(default_factory=dict)
    #: Notes that are worth a line of their own, until they are taken.
    notes: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, step: Advance) -> None:
        with self.lock:
            now = self.clock()
            if step.phase == "wait":
                self.notes.append(step.note)
                self.measured_from = None
                return
            if step.phase != self.phase:
                self._begin(step.phase)
            self.rows += step.rows
            self.bytes += step.bytes
            self.steps += 1
            self.total_rows = step.total_rows if step.total_rows is not None else self.total_rows
            self.total_bytes = step.total_bytes if step.total_bytes is not None else self.total_bytes
            subject = step.subject
            if step.note == "reused":
                self.reused += 1
            elif step.note and step.phase in _LOOKING:
                subject = f"{step.subject}: {step.note}"
            elif step.note:
                self.notes.append(f"{step.subject}: {step.note}")
                self.measured_from = None
            if self.measured_from is None and (step.rows or step.bytes or not step.note):
                self.measured_from, self.bytes_then = now, self.bytes
                self.fraction_then = self.fraction or 0.0
            self.seen.pop(subject, None)
            self.seen[subject] = now

    def _begin(self, phase: Phase) -> None:
        self.phase, self.measured_from = phase, None
        self.rows = self.bytes = self.steps = self.reused = 0
        self.total_rows = self.total_bytes = None
        self.seen = {}

    def take_notes(self) -> list[str]:
        with self.lock:
            taken, self.notes = self.notes, []
            return taken

    @property
    def fraction(self) -> float | None:
        """How much of it is done; None when that is unknown. Estimates may be too low: never more than 99 %."""
        for done, total in ((self.bytes, self.total_bytes), (self.rows, self.total_rows)):
            if total:
                return min(done / total, 0.99)
        return None

    @property
    def seconds(self) -> float | None:
        """How long it moves; None while that says nothing."""
        since = self.measured_from
        moved = 0.0 if since is None else self.clock() - since
        return moved if moved >= MEASURED else None

    @property
    def rate(self) -> float | None:
        seconds = self.seconds
        return (self.bytes - self.bytes_then) / seconds if seconds else None

    @property
    def seconds_left(self) -> float | None:
        seconds, fraction = self.seconds, self.fraction
        if not seconds or not fraction or fraction <= self.fraction_then:
            return None
        return seconds * (1 - fraction) / (fraction - self.fraction_then)

    @property
    def current(self) -> list[str]:
        with self.lock:
            now = self.clock()
            return [clean(name) for name, at in self.seen.items() if now - at < CURRENT][-3:]

    def figures(self, *, short: bool = False) -> str:
        """1,234,567 rows, 1.2 GiB, 120.0 MiB/s, 7 chunks unchanged. Short: one of them and the rate; a percentage stands beside it."""
        parts = []
        if self.rows and not (short and self.bytes):
            total = f" of about {number(self.total_rows)}" if self.total_rows and not self.total_bytes else ""
            parts.append(f"{number(self.rows)}{total} {'files' if self.phase == 'files' else 'rows'}")
        if self.bytes:
            total = f" of about {size(self.total_bytes)}" if self.total_bytes and not short else ""
            parts.append(f"{size(self.bytes)}{total}")
            if self.rate:
                parts.append(f"{size(self.rate)}/s")
        if self.reused and not short:
            parts.append(f"{plural(self.reused, 'chunk')} unchanged")
        return ", ".join(parts) or plural(self.steps, "step")


@contextmanager
def showing(doing: str, stream: TextIO, *, colour: bool) -> Iterator[Listener]:
    """`doing` is what the bar and the lines are headed with: "backup of shop"."""
    if stream.isatty():
        with _on_a_terminal(doing, stream, colour=colour) as listener:
            yield listener
    else:
        yield LogProgress(doing, stream)


class LogProgress:
    """2026-11-21T02:00:05Z backup of shop: reading 34%, 1,234,567 rows, 1.2 GiB, 120.0 MiB/s, 40 s left (public.orders)"""

    def __init__(
        self,
        doing: str,
        stream: TextIO,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.doing = doing
        self.stream = stream
        self.clock = clock
        self.now = now
        self.tally = Tally(clock)
        self.lines = 0
        self.due = clock() + LOG_PAUSES[0]

    def __call__(self, step: Advance) -> None:
        self.tally.add(step)
        for note in self.tally.take_notes():
            self._line(note)
        if self.tally.phase is not None and self.clock() >= self.due:
            pause = LOG_PAUSES[min(self.lines, len(LOG_PAUSES) - 1)]
            self.due = self.clock() + pause
            self.lines += 1
            self._line(self._state())

    def _state(self) -> str:
        tally = self.tally
        assert tally.phase is not None
        fraction, left = tally.fraction, tally.seconds_left
        parts = [
            f"{_DOING[tally.phase]}{f' {share(fraction, 1)}' if fraction is not None else ''}",
            tally.figures(),
        ]
        if left is not None:
            parts.append(f"about {duration(left)} left")
        current = tally.current
        return ", ".join(parts) + (f" ({', '.join(current)})" if current else "")

    def _line(self, text: str) -> None:
        tell(self.stream, f"{self.now():%Y-%m-%dT%H:%M:%SZ} {self.doing}: {one_line(text)}\n")


@contextmanager
def _on_a_terminal(doing: str, stream: TextIO, *, colour: bool) -> Iterator[Listener]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    console = Console(file=stream, force_terminal=True, no_color=not colour, highlight=False, markup=False)
    tally = Tally()
    wide = console.width >= WIDE
    columns = [
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        *((BarColumn(bar_width=24),) if wide else ()),
        TextColumn("{task.fields[figures]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", markup=False),
        *((TextColumn("{task.fields[current]}", markup=False, style="dim"),) if wide else ()),
    ]
    bar = Progress(
        *columns,
        console=console,
        transient=True,
        auto_refresh=False,
    )
    task = bar.add_task(doing, total=None, figures="", left="", current="")
    stopped = threading.Event()

    def draw() -> None:
        for note in tally.take_notes():
            console.print(Text(f"{doing}: {one_line(note)}"))
        if tally.phase is not None:
            _update(bar, task, doing, tally, short=not wide)
        bar.refresh()

    def keep_drawing() -> None:
        # A thread of our own: rich's would show figures of the last step only, and die with the terminal.
        while not stopped.wait(1 / REFRESHES_A_SECOND):
            try:
                draw()
            except (OSError, ValueError):
                return

    painter = threading.Thread(target=keep_drawing, daemon=True)
    try:
        bar.start()
        painter.start()
        yield tally.add
    finally:
        stopped.set()
        if painter.ident is not None:
            painter.join()
        _finish(draw, bar)


def _finish(draw: Callable[[], None], bar: Progress) -> None:
    try:
        draw()
        bar.stop()
    except (OSError, ValueError):
        return  # the terminal is gone, and so is its reader


def _update(bar: Progress, task: object, doing: str, tally: Tally, *, short: bool) -> None:
    assert tally.phase is not None
    fraction, left = tally.fraction, tally.seconds_left
    percent = f" {share(fraction, 1)}" if short and fraction is not None else ""
    bar.update(
        task,  # type: ignore[arg-type]
        description=f"{doing}: {_DOING[tally.phase]}{percent}",
        total=None if fraction is None else 1.0,
        completed=fraction or 0.0,
        figures=tally.figures(short=short),
        left="" if left is None else f"{duration(left)} left",
        current=", ".join(tally.current),
    )
