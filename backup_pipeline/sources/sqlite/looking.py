"""Counting and fingerprinting every table of a private file, and checking its indexes, with all the cores there are."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backup_pipeline.errors import SourceError
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.fingerprint import Fingerprint
from backup_pipeline.model.schema import Table
from backup_pipeline.sources.sqlite.explaining import explain, primary_code
from backup_pipeline.sources.sqlite.rows import RowRange, fingerprint_table, quoted, reading_file
from backup_pipeline.sources.sqlite.soundness import Soundness, index_check
from backup_pipeline.workers import Handle, Pool

#: Below this, starting a worker takes longer than looking.
WORTH_WORKERS = 24 * 1024 * 1024
#: Rows a task: a table of millions is shared by all workers.
ROWS_A_TASK = 500_000


@dataclass(frozen=True, slots=True)
class Task:
    """One look at a table: at some of its rows, or (`indexes`) at whether its indexes fit."""

    table: str
    rows: RowRange | None = None
    indexes: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    fingerprint: Fingerprint | None = None
    soundness: Soundness = field(default_factory=Soundness)
    #: Why the rows could not be read (a virtual table whose module or content is not here).
    unreadable: str | None = None


Told = Callable[[Task, Seen], None]


@contextmanager
def look(setup: Path) -> Iterator[Handle]:
    """What a worker runs."""
    yield lambda task, _tell: seen(setup, task)


def seen(path: Path, task: Task) -> Seen:
    if task.indexes:
        return Seen(soundness=index_check(path, task.table))
    try:
        return Seen(fingerprint_table(path, task.table, task.rows))
    except sqlite3.Error as error:
        if primary_code(error) != sqlite3.SQLITE_ERROR:
            raise explain(error, path) from error
        return Seen(unreadable=str(error))


def plan(path: Path, tables: Iterable[Table]) -> list[Task]:
    """The long ones first, so that no worker begins with the longest when the others have ended."""
    tasks: list[tuple[int, Task]] = []
    with reading_file(path) as connection:
        for table in tables:
            name = table.id.name
            if not table.columns:
                continue  # a virtual table whose module is missing; the inspection has said so
            if table.kind != "virtual" and (
                table.indexes or table.uniques or "WITHOUT ROWID" in table.options
            ):
                tasks.append((_extent(connection, table), Task(name, indexes=True)))
            if table.kind == "virtual" or "WITHOUT ROWID" in table.options:
                tasks.append((_extent(connection, table), Task(name)))
                continue
            first, last = _rowids(connection, name)
            for start in range(first, last + 1, _step(first, last)):
                end = min(start + _step(first, last) - 1, last)
                whole = (start, end) == (first, last)
                tasks.append((end - start, Task(name, None if whole else RowRange(start, end))))
            if last < first:
                tasks.append((0, Task(name)))
    return [task for _, task in sorted(tasks, key=lambda item: -item[0])]


def _rowids(connection: sqlite3.Connection, name: str) -> tuple[int, int]:
    try:
        row = connection.execute(
            f"SELECT (SELECT min(rowid) FROM main.{quoted(name)}), (SELECT max(rowid) FROM main.{quoted(name)})"
        ).fetchone()
    except sqlite3.OperationalError as error:
        raise SourceError(f"main.{name}: {error}") from error
    return (0, -1) if row[0] is None else (row[0], row[1])


def _step(first: int, last: int) -> int:
    """Rowids may be sparse over 2**64: never more than 64 tasks a table."""
    return max(ROWS_A_TASK, -(-(last - first + 1) // 64))


def _extent(connection: sqlite3.Connection, table: Table) -> int:
    if table.kind == "virtual" or "WITHOUT ROWID" in table.options:
        return ROWS_A_TASK
    first, last = _rowids(connection, table.id.name)
    return last - first + 1


def look_at(path: Path, tasks: Sequence[Task], workers: int, told: Told) -> None:
    if workers < 2 or path.stat().st_size < WORTH_WORKERS or len(tasks) < 2:
        for task in tasks:
            told(task, seen(path, task))
        return
    with Pool("backup_pipeline.sources.sqlite.looking:look", path, min(workers, len(tasks))) as pool:

        def result(task: Any, value: Any) -> None:
            told(task, value)

        pool.run(tasks, on_result=result)


@dataclass
class Gathered:
    """What was seen of every table, put together."""

    fingerprints: dict[str, Fingerprint] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)

    def add(self, task: Task, value: Seen) -> None:
        if value.fingerprint is not None:
            known = self.fingerprints.get(task.table, Fingerprint())
            self.fingerprints[task.table] = known.combine(value.fingerprint)
        if value.unreadable is not None:
            self.unreadable[task.table] = value.unreadable
        self.damage += value.soundness.damage
        self.notes += value.soundness.findings()
