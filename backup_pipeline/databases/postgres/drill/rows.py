"""Row for row: the restored tables against the chunks of the vault, by worker processes.

Both sides are row text in one form, so two tables are equal when their lines are, in any order and with their
number. What differs is read a second time for examples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

import psycopg2.extensions

from backup_pipeline.databases.differing import differing_rows
from backup_pipeline.databases.postgres.export import connect
from backup_pipeline.databases.postgres.export.copyout import CopyOut
from backup_pipeline.databases.postgres.export.session import session_settings
from backup_pipeline.databases.postgres.restore.target import Server
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.fingerprint import Fingerprint
from backup_pipeline.model.manifest import Manifest, ObjectRef, TableEntry
from backup_pipeline.model.progress import Advance, Listener
from backup_pipeline.model.schema import TableId
from backup_pipeline.processes.workers import Handle, Pool, Tell
from backup_pipeline.vault.backup import Backup
from backup_pipeline.vault.door import Door

FACTORY = f"{__name__}:session"
#: Pages of one table that one worker reads at a time; a larger table is read by several.
_PAGES = 8192
_FEW_PAGES = 512
#: Below this, workers would take longer to start than the work takes.
_ALONE = 16 * 1024 * 1024
#: Tables below this go to a worker together.
_SMALL = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Setup:
    server: Server
    door: Door
    encoding: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A chunk of the vault."""

    table: TableId
    columns: tuple[str, ...]
    object: ObjectRef


@dataclass(frozen=True, slots=True)
class Restored:
    """A run of a table's pages (None: to the end)."""

    table: TableId
    columns: tuple[str, ...]
    first: int = 0
    end: int | None = None
    #: Known to be short: gathered in one go, which needs no thread.
    small: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    parts: tuple[Stored | Restored, ...]


@dataclass(frozen=True, slots=True)
class Print:
    """What a worker says of one part."""

    part: Stored | Restored
    rows: int
    total: int


@dataclass
class Compared:
    """The outcome, and what was looked at."""

    tables: int = 0
    rows: int = 0
    findings: list[Finding] = field(default_factory=list)


@contextmanager
def session(setup: Setup) -> Iterator[Handle]:
    connection = open_session(setup.server)
    try:

        def handle(task: Batch, tell: Tell) -> None:
            for part in task.parts:
                tell(_print(connection, setup, part))

        yield handle
    finally:
        connection.close()


def _print(connection: connect.Connection, setup: Setup, part: Stored | Restored) -> Print:
    found = Fingerprint()
    for block in read(connection, setup, part):
        found.add_lines(block)
    return Print(part, found.rows, found.total)


def open_session(server: Server) -> connect.Connection:
    connection = connect.connect({**server.parameters, "dbname": server.database})
    with connect.explained("preparing a session", connection):
        for name, value in session_settings(connection.server_version).items():
            connect.rows(connection, "SELECT pg_catalog.set_config(%s, %s, false)", (name, value))
    return connection


def read(connection: connect.Connection, setup: Setup, part: Stored | Restored) -> Iterable[bytes]:
    if isinstance(part, Stored):
        return setup.door.rows(part.table, part.columns, part.object)
    return _restored(connection, setup.encoding, part)


def _restored(connection: connect.Connection, encoding: str, part: Restored) -> Iterator[bytes]:
    text = _copy_statement(connection, part)
    codec = psycopg2.extensions.encodings.get(encoding, "utf-8") if encoding != "SQL_ASCII" else "utf-8"
    statement = text.encode(codec)
    if encoding != "UTF8":
        connect.run(connection, f"SET client_encoding = {connect.literal(connection, encoding)}")
    yield from CopyOut(connection, statement, str(part.table)).blocks(small=part.small)
    if encoding != "UTF8":
        connect.run(connection, "SET client_encoding = 'UTF8'")


def _copy_statement(connection: connect.Connection, part: Restored) -> str:
    name = connect.quoted(connection, part.table.schema, part.table.name)
    columns = ", ".join(connect.quoted(connection, column) for column in part.columns)
    conditions = []
    if part.first:
        conditions.append(f"ctid >= '({part.first},0)'::pg_catalog.tid")
    if part.end is not None:
        conditions.append(f"ctid < '({part.end},0)'::pg_catalog.tid")
    if not conditions:
        # Nothing is planned for it: see `_pages`.
        return f"COPY {name}{f' ({columns})' if columns else ''} TO STDOUT"
    return f"COPY (SELECT {columns} FROM ONLY {name} WHERE {' AND '.join(conditions)}) TO STDOUT"


def compare(backup: Backup, server: Server, encoding: str, *, jobs: int, listener: Listener) -> Compared:
    manifest, setup = backup.manifest, Setup(server, backup.door, encoding)
    connection = open_session(server)
    try:
        batches = _batches(manifest, _pages(connection), connection.server_version)
        ours: dict[TableId, Fingerprint] = {entry.id: Fingerprint() for entry in manifest.tables}
        theirs: dict[TableId, Fingerprint] = {entry.id: Fingerprint() for entry in manifest.tables}

        def told(_: Batch, news: Print) -> None:
            side = ours if isinstance(news.part, Stored) else theirs
            table = news.part.table
            side[table] = side[table].combine(Fingerprint(news.rows, news.total))
            if isinstance(news.part, Restored):
                listener(Advance("compare", str(table), rows=news.rows, total_rows=manifest.rows))

        if jobs <= 1 or sum(entry.bytes for entry in manifest.tables) < _ALONE:
            for batch in batches:
                for part in batch.parts:
                    told(batch, _print(connection, setup, part))
        else:
            with Pool(FACTORY, setup, min(jobs, len(batches))) as pool:
                pool.run(batches, on_result=lambda _task, _result: None, on_news=told)
        outcome = Compared()
        for entry in manifest.tables:
            outcome.tables += 1
            outcome.rows += entry.rows
            outcome.findings += _judge(connection, setup, entry, ours[entry.id], theirs[entry.id])
        return outcome
    finally:
        connection.close()


def _pages(connection: connect.Connection) -> dict[TableId, int]:
    """None of a table with an index that calls an SQL function: for each query on it the planner opens that function, which
    may name things without a schema, and our search_path is empty. Such a table is read in one piece, without a plan."""
    found = connect.rows(
        connection,
        "SELECT n.nspname, c.relname, CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_index i"
        "  JOIN pg_catalog.pg_depend d ON d.objid = i.indexrelid AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass"
        "   AND d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass"
        "  JOIN pg_catalog.pg_proc p ON p.oid = d.refobjid JOIN pg_catalog.pg_language l ON l.oid = p.prolang"
        "  WHERE i.indrelid = c.oid AND l.lanname = 'sql') THEN 0 ELSE pg_catalog.pg_relation_size(c.oid)"
        "  / pg_catalog.current_setting('block_size')::bigint END"
        " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r'",
    )
    return {TableId(schema, name): pages for schema, name, pages in found}


def _batches(manifest: Manifest, pages: dict[TableId, int], version: int) -> list[Batch]:
    """The largest first; the small ones together."""
    sized: list[tuple[int, Stored | Restored]] = []
    for entry in manifest.tables:
        sized += [
            (chunk.object.plain_size, Stored(entry.id, entry.columns, chunk.object)) for chunk in entry.chunks
        ]
        sized += [(entry.bytes * 2 // len(parts) if parts else 0, part)
                  for parts in [_parts(entry, pages.get(entry.id, 0), version)] for part in parts]  # fmt: skip
    sized.sort(key=lambda item: -item[0])
    batches: list[Batch] = []
    small: list[Stored | Restored] = []
    size = 0
    for weight, part in sized:
        if weight >= _SMALL:
            batches.append(Batch((part,)))
            continue
        small.append(part)
        size += weight
        if size >= _SMALL or len(small) >= 200:
            batches.append(Batch(tuple(small)))
            small, size = [], 0
    return [*batches, Batch(tuple(small))] if small else batches


def _parts(entry: TableEntry, pages: int, version: int) -> list[Restored]:
    # Before version 14 every range would scan the whole table.
    if version < 140000 or pages <= _PAGES:
        return [Restored(entry.id, entry.columns, small=entry.bytes < _SMALL and pages < _FEW_PAGES)]
    starts = list(range(0, pages, _PAGES))
    ends: list[int | None] = [*starts[1:], None]
    return [Restored(entry.id, entry.columns, first, end) for first, end in zip(starts, ends, strict=True)]


def _judge(
    connection: connect.Connection, setup: Setup, entry: TableEntry, ours: Fingerprint, theirs: Fingerprint
) -> Iterator[Finding]:
    table = str(entry.id)
    if ours.rows != entry.rows:
        yield Finding.of("row-count/drill", table=table, rows=ours.rows, said=entry.rows)
    if ours.hexdigest() == theirs.hexdigest():
        return
    whole = Restored(entry.id, entry.columns)
    found = differing_rows(
        lambda: chain.from_iterable(
            setup.door.rows(entry.id, entry.columns, chunk.object) for chunk in entry.chunks
        ),
        partial(_restored, connection, setup.encoding, whole),
    )
    what = f"{ours.rows} rows in the backup, {theirs.rows} in the restored database"
    yield Finding.of(
        "rows-differ",
        table=table,
        difference=what if ours.rows != theirs.rows else "other values",
        examples=found.examples(),
    )
