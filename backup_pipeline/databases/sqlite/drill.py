"""A SQLite drill: the file put together in a private folder, looked at from every side, and written to."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backup_pipeline.databases.base import DrillOptions
from backup_pipeline.databases.sqlite.export.explaining import told
from backup_pipeline.databases.sqlite.export.looking import WORTH_WORKERS, Task, plan, seen
from backup_pipeline.databases.sqlite.export.rows import columns_of, fingerprint_table, quoted, reading_file
from backup_pipeline.databases.sqlite.restore import check, image_of
from backup_pipeline.errors import BackupError, RestoreError
from backup_pipeline.model.drill_report import DrillReport
from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.model.fingerprint import Fingerprint
from backup_pipeline.model.manifest import Manifest, TableEntry
from backup_pipeline.model.progress import Advance, Listener
from backup_pipeline.model.schema import Table
from backup_pipeline.processes.scratch import Scratch
from backup_pipeline.processes.workers import Handle, Pool, Tell
from backup_pipeline.vault.backup import Backup

_BLOCK = 1 << 20
#: The task of a worker that looks at the whole file, as a restore does.
_CHECK = Task("", indexes=True)


@dataclass
class Drill:
    manifest: Manifest
    #: Tables that the application writes to itself: not virtual ones, and not what those keep their rows in.
    ordinary: frozenset[str]
    path: Path
    listener: Listener
    findings: list[Finding] = field(default_factory=list)
    counted: dict[str, int] = field(default_factory=dict)
    #: Of the tables that every worker could read.
    fingerprints: dict[str, Fingerprint] = field(default_factory=dict)


def drill(backup: Backup, options: DrillOptions, listener: Listener) -> DrillReport:
    begin, manifest = time.monotonic(), backup.manifest
    image = image_of(manifest)
    with Scratch.make(image.size) as scratch:
        ordinary = frozenset(table.id.name for table in backup.schema.tables if table.kind == "table")
        work = Drill(manifest, ordinary, scratch.folder / "restored.db", listener)
        backup.door.write_image(
            image,
            work.path,
            lambda size: listener(Advance("load", image.name, bytes=size, total_bytes=image.size)),
        )
        restored = _look(work, backup.schema.tables, options.jobs) - begin
        _prove(work, options.invariants, image.sha256)
    return DrillReport(
        report=Report(
            subject=str(backup),
            findings=tuple(work.findings),
            counted=work.counted,
            seconds=time.monotonic() - begin,
        ),
        recovery_seconds=restored,
        scratch=f"SQLite {sqlite3.sqlite_version}, a private file",
        seconds={"restore": restored, "total": time.monotonic() - begin},
    )


@contextmanager
def look(setup: tuple[Path, Manifest]) -> Iterator[Handle]:
    """A worker checks the file, or reads rows of a table. A table that it cannot read stays for `_compare`."""
    path, manifest = setup

    def handle(task: Task, _tell: Tell) -> tuple[Finding, ...] | Fingerprint | None:
        if task == _CHECK:
            try:
                return check(path, manifest)
            except RestoreError as error:
                return (Finding.of("not-sound", why=error.message, remedy=error.remedy),)
        try:
            return seen(path, task).fingerprint
        except (BackupError, sqlite3.Error):
            return None

    yield handle


def _look(work: Drill, tables: Iterable[Table], jobs: int) -> float:
    """Checks the file as a restore does, and reads the rows on the other cores meanwhile. Returns when the check ended."""
    tasks, ended, unread = [_CHECK], 0.0, set()
    names = {entry.name for entry in work.manifest.tables}
    with suppress(sqlite3.Error):
        planned = plan(work.path, [table for table in tables if table.id.name in names])
        tasks += [task for task in planned if not task.indexes]

    def told(task: Task, found: Any) -> None:
        nonlocal ended
        if task == _CHECK:
            ended = time.monotonic()
            work.findings += found
        elif found is None:
            unread.add(task.table)
        else:
            known = work.fingerprints.get(task.table, Fingerprint())
            work.fingerprints[task.table] = known.combine(found)

    setup = (work.path, work.manifest)
    if jobs < 2 or work.path.stat().st_size < WORTH_WORKERS:
        with look(setup) as handle:
            for task in tasks:
                told(task, handle(task, lambda _news: None))
    else:
        with Pool(f"{__name__}:look", setup, min(jobs, len(tasks))) as pool:
            pool.run(tasks, on_result=told)
    for name in unread:
        work.fingerprints.pop(name, None)
    return ended


def _prove(work: Drill, invariants: Mapping[str, str], digest: str) -> None:
    found = _sha256(work.path)
    if found != digest:
        work.findings.append(Finding.of("file-differs", found=found[:12], digest=digest[:12]))
    for entry in work.manifest.tables:
        work.findings += _compare(work, entry)
    work.counted |= {
        "tables": len(work.manifest.tables),
        "rows": work.manifest.rows,
        "bytes": work.path.stat().st_size,
        "invariants": len(invariants),
    }
    if work.manifest.rows == 0:
        work.findings.append(Finding.of("nothing-in-it/sqlite"))
    work.findings += _invariants(work.path, invariants)
    _write(work)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _compare(work: Drill, entry: TableEntry) -> Iterator[Finding]:
    table = str(entry.id)
    try:
        found = work.fingerprints.get(entry.name) or fingerprint_table(work.path, entry.name)
    except sqlite3.Error as error:
        # A virtual table whose module this SQLite lacks: its rows lie in shadow tables, which are compared.
        yield Finding.of("table-not-readable", table=table, name=entry.name, why=told(error))
        return
    work.listener(Advance("compare", table, rows=found.rows, total_rows=work.manifest.rows))
    if found.rows != entry.rows or (entry.fingerprint and found.hexdigest() != entry.fingerprint):
        yield Finding.of(
            "rows-differ/sqlite", table=table, name=entry.name, rows=entry.rows, restored=found.rows
        )


def _invariants(path: Path, invariants: Mapping[str, str]) -> Iterator[Finding]:
    for name, text in invariants.items():
        with reading_file(path) as connection:
            try:
                cursor = connection.execute(text)
                if cursor.description is None:
                    raise sqlite3.ProgrammingError("it is not a query")
                rows = cursor.fetchmany(3)
            except sqlite3.Error as error:
                yield Finding.of("invariant-fails/drill", name=name, why=told(error))
                continue
        if rows:
            yield Finding.of("invariant-broken/sqlite", name=name, examples=(str(row)[:300] for row in rows))


# ── writing


def _write(work: Drill) -> None:
    """Last of all, for the file is not the backup's any more afterwards: it is ours, and goes."""
    how: dict[str, int] = {}
    with contextlib.closing(sqlite3.connect(work.path, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE bp_drill_write (x)")
            connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            work.findings.append(Finding.of("write-fails", why=error))
            return
        for table, key in _keyed(connection, work.ordinary):
            way, finding = _prove_write(connection, table, key)
            how[way] = how.get(way, 0) + 1
            work.findings += finding
    work.counted["writes"] = sum(how.values())
    ways = ", ".join(f"{count} by {way}" for way, count in sorted(how.items()))
    work.findings.append(
        Finding.of("writes-work/sqlite", count=sum(how.values()), keys=ways or "none has a key")
    )


def _keyed(connection: sqlite3.Connection, ordinary: frozenset[str]) -> list[tuple[str, str]]:
    """(table, column) of every INTEGER PRIMARY KEY: SQLite numbers such rows itself."""
    found = []
    names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
    for (name,) in names:
        if name not in ordinary:
            continue
        keys = connection.execute(
            "SELECT name, type FROM pragma_table_info(?) WHERE pk > 0", (name,)
        ).fetchall()
        if len(keys) == 1 and (keys[0][1] or "").upper() == "INTEGER":
            found.append((name, keys[0][0]))
    return found


def _prove_write(connection: sqlite3.Connection, table: str, key: str) -> tuple[str, tuple[Finding, ...]]:
    others = [column.name for column in columns_of(connection, table) if column.name != key]
    listed = ", ".join(map(quoted, others))
    ways = [("INSERT with defaults", f"INSERT INTO {quoted(table)} DEFAULT VALUES")]
    if others:
        ways.append(
            (
                "INSERT of a copied row",
                f"INSERT INTO {quoted(table)} ({listed}) SELECT {listed} FROM {quoted(table)} LIMIT 1",
            )
        )
    for way, statement in ways:
        connection.execute("BEGIN IMMEDIATE")
        try:
            if connection.execute(statement).rowcount == 1:
                return way, ()
        except sqlite3.Error:
            continue  # another column or a trigger forbids it; the next way
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    return "next number compared", _next_is_free(connection, table, key)


def _next_is_free(connection: sqlite3.Connection, table: str, key: str) -> tuple[Finding, ...]:
    """Only AUTOINCREMENT remembers a number; without it the next one is above the largest by construction."""
    try:
        row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
        (largest,) = connection.execute(f"SELECT max({quoted(key)}) FROM {quoted(table)}").fetchone()
    except sqlite3.OperationalError:
        return ()  # there is no sqlite_sequence: nothing is AUTOINCREMENT
    if row is None or largest is None or int(row[0]) >= largest:
        return ()
    return (
        Finding.of(
            "sequence-behind/sqlite", table=f"main.{table}", name=table, row=row[0], key=key, largest=largest
        ),
    )
