"""Counting and fingerprinting every table of a private file, and checking its indexes, with all the cores there are."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backup_pipeline.databases.sqlite.export.explaining import explain, primary_code, told
from backup_pipeline.databases.sqlite.export.rows import (
    RowRange,
    fingerprint_table,
    quoted,
    reading_file,
    rowid_name,
)
from backup_pipeline.databases.sqlite.export.soundness import Soundness, index_check
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.fingerprint import Fingerprint
from backup_pipeline.model.schema import Table
from backup_pipeline.processes.workers import Handle, Pool

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
class TableContent:
    fingerprint: Fingerprint | None = None
    soundness: Soundness = field(default_factory=Soundness)
    #: Why the rows could not be read (a virtual table whose module or content is not here).
    unreadable: str | None = None


Told = Callable[[Task, TableContent], None]


@contextmanager
def look(setup: Path) -> Iterator[Handle]:
    """What a worker runs."""
    yield lambda task, _tell: seen(setup, task)


def seen(path: Path, task: Task) -> TableContent:
    if task.indexes:
        return TableContent(soundness=index_check(path, task.table))
    try:
        return TableContent(fingerprint_table(path, task.table, task.rows))
    except sqlite3.Error as error:
        if primary_code(error) != sqlite3.SQLITE_ERROR:
            raise explain(error, path) from error
        return TableContent(unreadable=told(error))


def plan(path: Path, tables: Iterable[Table]) -> list[Task]:
    """The long ones first, so that no worker begins with the longest when the others have ended."""
    tasks: list[tuple[int, Task]] = []
    with reading_file(path) as connection:
        for table in tables:
            name = table.id.name
            if not table.columns:
                continue  # a virtual table whose module is missing; the inspection has said so
            rowids = _rowids(connection, table)
            extent = ROWS_A_TASK if rowids is None else rowids.last - rowids.first + 1
            if table.kind != "virtual" and (table.indexes or table.uniques or table.primary_key):
                tasks.append((extent, Task(name, indexes=True)))
            tasks += [(min(extent, ROWS_A_TASK), task) for task in _row_tasks(name, rowids)]
    return [task for _, task in sorted(tasks, key=lambda item: -item[0])]


def _row_tasks(name: str, rowids: RowRange | None) -> Iterator[Task]:
    if rowids is None or rowids.last - rowids.first < 2 * ROWS_A_TASK:
        yield Task(name)
        return
    # Rowids may be sparse over 2**64: never more than 64 tasks a table.
    step = max(ROWS_A_TASK, -(-(rowids.last - rowids.first + 1) // 64))
    for first in range(rowids.first, rowids.last + 1, step):
        yield Task(name, RowRange(first, min(first + step - 1, rowids.last)))


def _rowids(connection: sqlite3.Connection, table: Table) -> RowRange | None:
    """Between which rowids the rows are; None for tables that have no rowid, or whose rowid cannot be named."""
    name = rowid_name(connection, table.id.name)
    if table.kind == "virtual" or "WITHOUT ROWID" in table.options or name is None:
        return None
    where = f"main.{quoted(table.id.name)}"
    first, last = connection.execute(
        f"SELECT (SELECT min({name}) FROM {where}), (SELECT max({name}) FROM {where})"
    ).fetchone()
    return None if first is None else RowRange(first, last)


def look_at(path: Path, tasks: Sequence[Task], workers: int, told: Told) -> None:
    if workers < 2 or path.stat().st_size < WORTH_WORKERS or len(tasks) < 2:
        for task in tasks:
            told(task, seen(path, task))
        return
    with Pool("backup_pipeline.databases.sqlite.export.looking:look", path, min(workers, len(tasks))) as pool:

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

    def add(self, task: Task, value: TableContent) -> None:
        if value.fingerprint is not None:
            known = self.fingerprints.get(task.table, Fingerprint())
            self.fingerprints[task.table] = known.combine(value.fingerprint)
        if value.unreadable is not None:
            self.unreadable[task.table] = value.unreadable
        self.damage += value.soundness.damage
        self.notes += value.soundness.findings()
