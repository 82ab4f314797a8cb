"""PostgreSQL as a `Source`: what `sources.base` asks for, put together from the files beside this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

import psycopg2

from backup_pipeline.databases.base import Baseline, Export, Options, Sink
from backup_pipeline.databases.own_names import OWN_SCHEMA
from backup_pipeline.databases.postgres.export import (
    applied,
    catalog,
    connect,
    ddl,
    doctor,
    foresight,
    moved,
    reflection,
    rights,
    sequences,
    snapshot,
    unchanged,
    versions,
)
from backup_pipeline.databases.postgres.export.chunks import Sizes, Storage
from backup_pipeline.databases.postgres.export.export import Conductor, TablePlan, plan_tables
from backup_pipeline.databases.postgres.export.inspect import Inspection, inspect
from backup_pipeline.databases.postgres.export.session import row_encoding
from backup_pipeline.databases.postgres.export.worker import Session
from backup_pipeline.databases.postgres.server import Program, pg_dump_for
from backup_pipeline.errors import SourceChanged, SourceError, SourceUnavailable
from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.model.inventory import Inventory, InventoryTable
from backup_pipeline.model.manifest import EarlierImage, Engine, LeftOut, TableEntry
from backup_pipeline.model.progress import Listener, silent
from backup_pipeline.model.schema import Schema, TableId
from backup_pipeline.model.selection import Selection

#: How long a backup waits for another session's ALTER TABLE.
LOCK_TIMEOUT = 60.0


@dataclass(frozen=True)
class PostgresSource:
    url: str = field(repr=False)
    lock_timeout: float = LOCK_TIMEOUT

    @property
    def engine_name(self) -> str:
        return "postgres"

    @cached_property
    def parameters(self) -> dict[str, str]:
        return connect.parse(self.url)

    @property
    def address(self) -> str:
        return connect.address(self.parameters)

    @property
    def location(self) -> str:
        return connect.location(self.parameters)

    @contextmanager
    def snapshot(self, selection: Selection, options: Options) -> Iterator[PostgresSnapshot]:
        with self._connection() as connection:
            versions.require(connection.server_version)
            moment = snapshot.take(connection, selection, self.lock_timeout, options.waiting)
            yield PostgresSnapshot(self, connection, moment, selection, options)

    @contextmanager
    def _connection(self) -> Iterator[connect.Connection]:
        connection = connect.connect(self.parameters)
        try:
            yield connection
        finally:
            # Ends the transaction and gives back every lock, in every state.
            connection.close()

    def inventory(self, selection: Selection) -> Inventory:
        with self._connection() as connection:
            versions.require(connection.server_version)
            snapshot.begin(connection, lock_timeout=doctor.PATIENCE)
            return _inventory(connection, selection)

    def diagnose(self, selection: Selection) -> Report:
        return doctor.diagnose(self.parameters, self.address, selection)

    def refused(self, queries: Mapping[str, str]) -> dict[str, str]:
        if not queries:
            return {}
        with self._connection() as connection:
            return doctor.refused(connection, queries)

    def applied_migrations(self, tool: str) -> tuple[str, ...] | None:
        with self._connection() as connection:
            return applied.migrations(connection, tool)


class PostgresSnapshot:
    """Everything of one moment. Made by `PostgresSource.snapshot`, and gone with its `with` block."""

    def __init__(
        self,
        source: PostgresSource,
        connection: connect.Connection,
        moment: snapshot.Moment,
        selection: Selection,
        options: Options,
    ) -> None:
        self._source = source
        self._connection = connection
        self._moment = moment
        self._selection = selection
        self._options = options
        self._large_objects = snapshot.refuse_large_objects(connection, options.large_objects)
        self._inspection: Inspection = inspect(connection)
        self._storage = _storage(connection)
        self._check_all_inspected()

    def _check_all_inspected(self) -> None:
        """By oid: what was locked, what the candidates say and what the schema describes are the same tables."""
        for candidate in self._moment.selected:
            if self._inspection.oids.get(candidate.id) != candidate.oid or candidate.oid not in self._storage:
                raise SourceChanged(
                    f"{candidate.id} changed while it was looked at", remedy="run the backup again"
                )

    @property
    def taken_at(self) -> datetime:
        return self._moment.taken_at

    @cached_property
    def engine(self) -> Engine:
        return _engine(self._connection, self._inspection.schema)

    @property
    def schema(self) -> Schema:
        return self._inspection.schema

    @property
    def selected(self) -> tuple[TableId, ...]:
        return tuple(candidate.id for candidate in self._moment.selected)

    @cached_property
    def left_out(self) -> tuple[LeftOut, ...]:
        found = []
        for candidate in self._moment.all:
            reason = candidate.reason_to_leave_out(self._selection)
            if candidate.kind != "p" and reason is not None:
                kind = "foreign table" if candidate.kind == "f" else "table"
                found.append(LeftOut(candidate.id.schema, candidate.id.name, kind, reason))
        if self._large_objects:
            reason = "excluded by `large_objects: exclude`"
            found.append(
                LeftOut("pg_catalog", f"{self._large_objects} large objects", "large object", reason)
            )
        return tuple(found)

    @property
    def state(self) -> dict[str, str]:
        return dict(self._moment.state)

    @cached_property
    def tools(self) -> dict[str, str]:
        program = self._pg_dump
        tools = {"psycopg2": psycopg2.__version__.split(" ")[0]}
        return tools | ({"pg_dump": f"{program.version[0]}.{program.version[1]}"} if program else {})

    @cached_property
    def _pg_dump(self) -> Program | None:
        program = pg_dump_for(self._connection.server_version // 10000)
        usable = program is not None and program.path.with_name("pg_restore").exists()
        return program if usable else None

    def ddl(self) -> tuple[tuple[str, str, bytes], ...]:
        if self._pg_dump is None:
            return reflection.sections(self.schema)
        sections = ddl.dump(
            self._pg_dump,
            self._source.parameters,
            self._moment.exported,
            self._moment.encoding,
            self._source.lock_timeout,
            without=tuple(self._not_dumped()),
        )
        sections = ddl.for_server(sections, self._connection.server_version)
        if missing := [candidate.id for candidate in self._unreadable]:
            texts = reflection.of_tables(self.schema, missing)
            missing += [found.id for found in self.schema.sequences if found.owned_by in missing]
            sections = ddl.with_tables(sections, texts, missing, self._moment.encoding)
        return ddl.with_rights_of_public(sections, self.schema.objects, self._renamed_public)

    def _not_dumped(self) -> Iterator[str]:
        for candidate in self._unreadable:
            name = connect.quoted(self._connection, candidate.id.schema, candidate.id.name)
            yield f"--exclude-table={name}"
        with connect.explained("looking for what merges remember", self._connection):
            (there,) = connect.row(self._connection, catalog.HAS_OWN)
        if there:
            yield f"--exclude-schema={OWN_SCHEMA}"

    @cached_property
    def _renamed_public(self) -> str | None:
        """What the schema `public` is called now. It keeps its number; a new one of that name has another."""
        query = "SELECT nspname FROM pg_catalog.pg_namespace WHERE oid = 2200 AND nspname <> 'public'"
        with connect.explained("looking for the schema public", self._connection):
            return next((name for (name,) in connect.rows(self._connection, query)), None)

    @cached_property
    def _unreadable(self) -> tuple[rights.Candidate, ...]:
        """pg_dump locks what it describes, and a lock needs a right: left out of the definitions, with a finding."""
        return tuple(c for c in self._moment.all if not c.readable and c.extension is None)

    def export(
        self,
        sink: Sink,
        *,
        baselines: Mapping[TableId, Baseline],
        previous: EarlierImage | None = None,
        listener: Listener = silent,
        journal: Callable[[TableEntry], None] = lambda _: None,
    ) -> Export:
        conductor = Conductor(
            connection=self._connection,
            session=Session(self._source.parameters, self._moment.exported, self._moment.encoding, sink),
            workers=self._options.workers,
            listener=listener,
            journal=journal,
        )
        types = unchanged.Types(self._connection)
        used = self._used(types)
        before = used.look(self._connection)
        try:
            tables = conductor.run(self._plans(baselines, types, moved.digest(before)))
            states = sequences.states(self._connection)
        except SourceError as error:
            # What looks like a missing right or column may be another table behind the name.
            with suppress(SourceUnavailable):
                self._require_unmoved(used, before, error)
            raise
        self._require_unmoved(used, before)
        return Export(tables=tables, sequences=states, findings=(*self._findings(), *conductor.findings))

    def _used(self, types: unchanged.Types) -> moved.Used:
        tables = [candidate.oid for candidate in self._moment.selected]
        columns = [column.type_oid for oid in tables for column in self._inspection.columns[oid]]
        closure = {part for oid in set(columns) for part in types.closure(oid)}
        with connect.explained("listing the schemas", self._connection):
            schemas = connect.rows(self._connection, catalog.SCHEMAS_OF, (tables,))
        return moved.Used(
            schemas=tuple(oid for (oid,) in schemas),
            types=tuple(closure),
            names=any(types.names_objects(oid) for oid in set(columns)),
        )

    def _require_unmoved(
        self, used: moved.Used, before: moved.Look, cause: SourceError | None = None
    ) -> None:
        """In a new transaction, and while the tables are still locked, where the server has a session to spare."""
        try:
            with self._source._connection() as connection:
                snapshot.begin(connection)
                after = used.look(connection)
        except SourceUnavailable:
            with connect.explained("ending the snapshot", self._connection):
                connect.run(self._connection, "ROLLBACK")
            snapshot.begin(self._connection)
            after = used.look(self._connection)
        found = moved.changes(before, after)
        if found:
            raise SourceChanged(
                f"the definitions changed while the rows were read: {', '.join(sorted(found)[:5])}",
                remedy="run the backup when no migration runs; a schema's rights and names, and the types of columns,"
                " must stay as they are until its rows are read",
            ) from cause

    def _plans(
        self, baselines: Mapping[TableId, Baseline], types: unchanged.Types, catalog_state: str
    ) -> list[TablePlan]:
        tables = []
        for candidate in self._moment.selected:
            table = self.schema.table(candidate.id)
            assert table is not None
            storage = self._storage[candidate.oid]
            tables.append(
                (
                    table,
                    storage,
                    unchanged.table_state(
                        storage, self._inspection.columns[candidate.oid], types, catalog_state
                    ),
                )
            )
        return plan_tables(
            self._connection,
            tables,
            full=self._options.full,
            sizes=Sizes(self._moment.page_size, self._options.chunk_bytes),
            snapshot_state=self._moment.state,
            baselines=baselines,
        )

    def _findings(self) -> Iterator[Finding]:
        yield from versions.outside(self._connection.server_version)
        yield from rights.hollow(self._moment.all)
        with connect.explained("looking for what no backup holds", self._connection):
            yield from foresight.invalid_indexes(self._connection)
            yield from foresight.unread_mappings(self._connection)
        for table in self.schema.tables:
            if table.unlogged and table.id in set(self.selected):
                yield Finding.of("unlogged-table/backup", table=table.id)
        if self._unreadable and self._pg_dump is not None:
            yield Finding.of(
                "ddl-incomplete",
                count=len(self._unreadable),
                examples=(str(candidate.id) for candidate in self._unreadable[:20]),
            )
        if self._pg_dump is None:
            yield reflection.finding(self.schema, self._connection.server_version // 10000)


def _storage(connection: connect.Connection) -> dict[int, Storage]:
    with connect.explained("measuring the tables", connection):
        found = {row[0]: Storage(*row[1:]) for row in connect.rows(connection, catalog.STORAGE)}
        for oid in foresight.not_to_be_planned(connection) & found.keys():
            found[oid] = replace(found[oid], ranges=False)
    return found


def _engine(connection: connect.Connection, schema: Schema) -> Engine:
    with connect.explained("asking for the version", connection):
        (version,) = connect.row(connection, "SELECT pg_catalog.current_setting('server_version')")
    return Engine(
        "postgres", version, {**schema.settings, "row_encoding": row_encoding(schema.settings["encoding"])}
    )


def _inventory(connection: connect.Connection, selection: Selection) -> Inventory:
    schema = inspect(connection)
    storage = _storage(connection)
    tables = []
    for candidate in rights.candidates(connection):
        table = schema.schema.table(candidate.id)
        held = storage[candidate.oid]
        tables.append(
            InventoryTable(
                id=candidate.id,
                kind=table.kind if table else "table",
                columns=len(table.columns) if table else 0,
                rows=held.rows,
                bytes=held.heap + held.toast,
                left_out=candidate.reason_to_leave_out(selection),
                types={column.name: column.type for column in table.columns} if table else {},
                computed=table.computed_columns if table else (),
            )
        )
    return Inventory(_engine(connection, schema.schema), tuple(tables), sum(table.bytes for table in tables))
