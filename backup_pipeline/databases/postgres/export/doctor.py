"""Can this database be backed up as it should be? Every missing right, every danger, each with what to do.

Nothing is locked and nothing is waited for: a doctor may be called at noon on a busy server.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping

import psycopg2

from backup_pipeline.databases.postgres.export import (
    catalog,
    connect,
    foresight,
    reflection,
    rights,
    snapshot,
    unchanged,
    versions,
)
from backup_pipeline.databases.postgres.export.chunks import RANGES_SINCE
from backup_pipeline.databases.postgres.export.diagnostics import told
from backup_pipeline.databases.postgres.export.inspect import inspect
from backup_pipeline.databases.postgres.export.session import row_encoding
from backup_pipeline.databases.postgres.server import pg_dump_for
from backup_pipeline.errors import BackupError
from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.model.schema import Schema, TableId, with_ancestors
from backup_pipeline.model.selection import Selection

#: A transaction that is open for so long keeps VACUUM from its work, and our own snapshot is judged by it as well.
_LONG_SECONDS = 3600
#: How long a look at the definitions waits for another session's lock: pg_get_expr and the like take locks, too.
PATIENCE = 5.0


def diagnose(parameters: Mapping[str, str], address: str, selection: Selection) -> Report:
    started = time.monotonic()
    findings: list[Finding] = []
    counted: dict[str, int] = {}
    try:
        connection = connect.connect(parameters)
    except BackupError as error:
        findings.append(Finding.of_error(error))
        return Report(address, tuple(findings), counted, time.monotonic() - started)
    try:
        findings.extend(versions.outside(connection.server_version))
        if any(finding.severity == "error" for finding in findings):
            # Nothing more can be asked of a server that does not know the questions.
            return Report(address, tuple(findings), counted, time.monotonic() - started)
        snapshot.begin(connection, lock_timeout=PATIENCE)
        found = rights.candidates(connection)
        # A partitioned root holds no rows: its partitions do, and are counted.
        holding = sum(1 for candidate in found if candidate.kind != "p")
        counted |= {"tables": holding, "selected": len(rights.selected(found, selection))}
        for look in (_login, _ranges, _pooler, _room, _standby, _state, _encoding, _large_objects, _activity):
            findings.extend(look(connection))
        findings.extend(_rights(connection, rights.selected(found, selection)))
        locks = tuple(_locks(connection, found))
        findings.extend(locks)
        if not locks:  # else the catalog's functions would wait for that session
            findings.extend(_tables(connection, found, selection))
            findings.extend(_definitions(connection))
            findings.extend(foresight.invalid_indexes(connection))
            findings.extend(foresight.unread_mappings(connection))
            findings.extend(foresight.names_without_schema(connection))
    except BackupError as error:
        findings.append(Finding.of_error(error))
    finally:
        connection.close()
    return Report(address, tuple(findings), counted, time.monotonic() - started)


def refused(connection: connect.Connection, queries: Mapping[str, str]) -> dict[str, str]:
    """As the application would ask: with the database's own settings, which know its schemas."""
    connect.run(connection, f"SET lock_timeout = {int(PATIENCE * 1000)}; BEGIN READ ONLY")
    found = {}
    for name, text in queries.items():
        connect.run(connection, "SAVEPOINT before")
        try:
            connect.run(connection, f"PREPARE asked AS {text.strip().rstrip(';')}")
        except psycopg2.Error as error:
            found[name] = told(error)[0]
        connect.run(connection, "ROLLBACK TO SAVEPOINT before; DEALLOCATE ALL")
    return found


def _login(connection: connect.Connection) -> Iterator[Finding]:
    """What a user of the database could gain by the backup's rights."""
    (mighty,) = connect.row(
        connection, "SELECT pg_catalog.pg_has_role(current_user, 'pg_execute_server_program', 'MEMBER')"
    )
    if mighty:
        others = [row[0] for row in connect.rows(connection, catalog.OF_OTHERS)]
        yield Finding.of(
            "superuser-login",
            more=f". Of {len(others)} tables of other owners no range is read, and no unchanged one is kept"
            * bool(others),
            remedy="\n".join(rights.lesser_role(connection)),
            examples=others[:20],
        )
    if not snapshot.guards(connection):
        yield Finding.of("server-unpatched", guard=snapshot.GUARD)


def _ranges(connection: connect.Connection) -> Iterator[Finding]:
    if connection.server_version < RANGES_SINCE:
        yield Finding.of("one-chunk-a-table", server_version=connection.server_version // 10000)


def _pooler(connection: connect.Connection) -> Iterator[Finding]:
    """A pooler makes up the process id that it tells its clients."""
    told = connection.info.backend_pid
    (real,) = connect.row(connection, "SELECT pg_catalog.pg_backend_pid()")
    if told != real:
        yield Finding.of("pooler")


def _room(connection: connect.Connection) -> Iterator[Finding]:
    free, limit = connect.row(
        connection,
        """SELECT pg_catalog.current_setting('max_connections')::int
                  - pg_catalog.current_setting('superuser_reserved_connections')::int
                  - (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend'),
                  (SELECT rolconnlimit FROM pg_catalog.pg_roles WHERE rolname = current_user)""",
    )
    if free < 4:
        yield Finding.of("few-connections", count=max(free, 0))
    if 0 <= limit < 4:
        yield Finding.of("connection-limit", limit=limit)


def _standby(connection: connect.Connection) -> Iterator[Finding]:
    standby, delay, feedback = connect.row(
        connection,
        """SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('max_standby_streaming_delay'),
                  pg_catalog.current_setting('hot_standby_feedback')""",
    )
    if standby and feedback != "on" and delay != "-1":
        yield Finding.of("standby", delay=delay)


def _state(connection: connect.Connection) -> Iterator[Finding]:
    if not snapshot.may_identify(connection):
        yield Finding.of("no-incremental")


def _encoding(connection: connect.Connection) -> Iterator[Finding]:
    (encoding,) = connect.row(connection, "SELECT pg_catalog.current_setting('server_encoding')")
    kept = row_encoding(encoding)
    if kept != "UTF8":
        yield Finding.of("encoding", kept=kept)


def _large_objects(connection: connect.Connection) -> Iterator[Finding]:
    try:
        snapshot.refuse_large_objects(connection, "refuse")
    except BackupError as error:
        yield Finding.of("large-objects", why=error.message, remedy=error.remedy)


def _rights(connection: connect.Connection, selected: list[rights.Candidate]) -> Iterator[Finding]:
    grants = rights.missing_grants(connection, selected, rights.sequences(connection))
    if grants:
        yield Finding.of(
            "missing-rights",
            count=len(grants),
            are="s are" if len(grants) != 1 else " is",
            remedy="\n".join(grants),
            examples=tuple(str(c.id) for c in selected if not c.readable or c.filtered)[:20],
        )


def _locks(connection: connect.Connection, tables: list[rights.Candidate]) -> Iterator[Finding]:
    said = snapshot.holders(connection, {c.oid: str(c.id) for c in tables})
    if said:
        yield Finding.of("locked", said=said)


def _activity(connection: connect.Connection) -> Iterator[Finding]:
    (count,) = connect.row(
        connection,
        """SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity
            WHERE pid <> pg_catalog.pg_backend_pid() AND backend_type = 'client backend'
              AND xact_start < pg_catalog.clock_timestamp() - %s * interval '1 second'""",
        (_LONG_SECONDS,),
    )
    (prepared,) = connect.row(
        connection,
        """SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_xacts
            WHERE database = pg_catalog.current_database()
              AND prepared < pg_catalog.clock_timestamp() - %s * interval '1 second'""",
        (_LONG_SECONDS,),
    )
    if count or prepared:
        yield Finding.of("long-transactions", count=count, prepared=prepared)


def _tables(
    connection: connect.Connection, found: list[rights.Candidate], selection: Selection
) -> Iterator[Finding]:
    foreign = [str(c.id) for c in found if c.kind == "f"]
    if foreign:
        yield Finding.of("foreign-tables", count=len(foreign), examples=foreign[:20])
    configured = [str(c.id) for c in found if c.extension is not None and c.extension_config]
    if configured:
        yield Finding.of("extension-tables", examples=configured[:20])
    yield from rights.hollow(found)
    types = unchanged.Types(connection)
    inspection = inspect(connection)
    taken = {c.oid for c in rights.selected(found, selection)}
    unreliable = [
        str(name)
        for name, oid in inspection.oids.items()
        if oid in taken
        and any(types.unreliable(c.type_oid) for c in inspection.columns[oid] if not c.generated)
    ]
    if unreliable:
        yield Finding.of("always-read", examples=unreliable[:20])
    yield from _left_out(connection, inspection.schema, selection)
    unlogged = [str(t.id) for t in inspection.schema.tables if t.unlogged and inspection.oids[t.id] in taken]
    if unlogged:
        yield Finding.of("unlogged-table", examples=unlogged[:20])


def _left_out(connection: connect.Connection, schema: Schema, selection: Selection) -> Iterator[Finding]:
    """What a restore cannot have as it is, because of what is left out of the backups."""
    reasons = {
        table.id: why
        for table in schema.tables
        if table.has_rows and (why := selection.reason_to_leave_out(table.id)) is not None
    }
    hollow = with_ancestors(reasons, schema)
    pointing: dict[TableId, list[str]] = defaultdict(list)
    for table in schema.tables:
        for key in table.foreign_keys:
            if key.references in hollow and table.id not in reasons:
                pointing[key.references].append(f"{table.id} ({', '.join(key.columns)}): {key.name}")
    for referred, keys in pointing.items():
        count = len(keys)
        yield Finding.of(
            "reference-left-out",
            table=referred,
            count=count,
            s="s refer" if count != 1 else " refers",
            reasons=hollow[referred],
            examples=keys[:20],
        )


def _definitions(connection: connect.Connection) -> Iterator[Finding]:
    major = connection.server_version // 10000
    program = pg_dump_for(major)
    if program is None or not program.path.with_name("pg_restore").exists():
        yield reflection.finding(inspect(connection).schema, major)
