"""Catalog → `model.Schema`: what is in the database, as the snapshot sees it.

The number of queries does not depend on the number of tables.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from backup_pipeline.databases.postgres.export import catalog, connect
from backup_pipeline.databases.postgres.export.database import read_database, read_roles, roles_named
from backup_pipeline.databases.postgres.export.objects import read_objects
from backup_pipeline.model.schema import (
    Check,
    Column,
    ForeignKey,
    Index,
    IndexPart,
    Key,
    Schema,
    SchemaObject,
    Sequence,
    Table,
    TableId,
    TableKind,
)

_KINDS: Mapping[str, TableKind] = {"r": "table", "p": "partitioned", "f": "foreign"}
_ACTIONS = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}
_MATCHES = {"s": "SIMPLE", "f": "FULL", "p": "PARTIAL"}


@dataclass(frozen=True, slots=True)
class RawColumn:
    """What the definition digest of a table is made of."""

    name: str
    number: int
    type_oid: int
    modifier: int
    type: str
    generated: bool


@dataclass(frozen=True, slots=True)
class Inspection:
    schema: Schema
    #: Of every table, with its oid: the rest of the source works by oid, for names can change hands.
    oids: Mapping[TableId, int]
    columns: Mapping[int, tuple[RawColumn, ...]]


def inspect(connection: connect.Connection) -> Inspection:
    """Needs a session with an empty search_path, so that every name in a definition is qualified."""
    with connect.explained("reading the schema", connection):
        relations = connect.rows(connection, catalog.RELATIONS)
        columns = _by_table(connect.rows(connection, catalog.COLUMNS))
        constraints = _by_table(connect.rows(connection, catalog.CONSTRAINTS))
        indexes = _by_table(connect.rows(connection, catalog.INDEXES))
        sequences = connect.rows(connection, catalog.SEQUENCES)
        objects, roles = read_objects(connection)
        settings = _settings(connection)
        roles |= roles_named(connection)
        roles |= {table[6] for table in relations if table[6]} | {row[17] for row in sequences}
        database = read_database(connection, settings["database"])
        role_definitions = read_roles(connection, roles)
    names = {row[0]: TableId(row[1], row[2]) for row in relations}
    tables = tuple(
        _table(row, names, columns[row[0]], constraints[row[0]], indexes[row[0]]) for row in relations
    )
    made = list(objects)
    made += _view_indexes(indexes)
    schema = Schema(
        engine="postgres",
        tables=tables,
        sequences=tuple(_sequence(row) for row in sequences),
        objects=tuple(made),
        roles=tuple(sorted(roles)),
        settings=settings,
        database=database,
        role_definitions=role_definitions,
    )
    return Inspection(
        schema=schema,
        oids={name: oid for oid, name in names.items()},
        columns={oid: tuple(_raw(row) for row in columns[oid]) for oid in names},
    )


def _by_table(rows: Iterable[connect.Row]) -> dict[int, list[connect.Row]]:
    found: dict[int, list[connect.Row]] = defaultdict(list)
    for row in rows:
        found[row[0]].append(row)
    return found


def _table(
    row: connect.Row,
    names: Mapping[int, TableId],
    columns: list[connect.Row],
    constraints: list[connect.Row],
    indexes: list[connect.Row],
) -> Table:
    parents = tuple(names[oid] for oid in row[13] if oid in names)
    is_partition = row[11]
    of_constraints = {constraint[13] for constraint in constraints if constraint[2] in "pux"}
    keys = [_key(constraint) for constraint in constraints if constraint[2] == "p"]
    return Table(
        id=names[row[0]],
        kind=_KINDS[row[3]],
        columns=tuple(_column(column) for column in columns),
        primary_key=keys[0] if keys else None,
        uniques=tuple(_key(constraint) for constraint in constraints if constraint[2] == "u"),
        foreign_keys=tuple(_foreign_key(constraint) for constraint in constraints if constraint[2] == "f"),
        # Exclusion constraints stand with the checks: rules on rows that are only known by their definition.
        checks=tuple(Check(c[1], c[3]) for c in constraints if c[2] in "cx"),
        indexes=tuple(_index(index) for index in indexes if index[4] not in of_constraints),
        inherits=() if is_partition else parents,
        partition_of=parents[0] if is_partition and parents else None,
        partition_key=row[9],
        partition_bound=row[8],
        unlogged=row[4] == "u",
        row_security=row[5],
        owner=row[6],
        comment=row[7],
        options=tuple(row[10] or ()) + (("FORCE ROW LEVEL SECURITY",) if row[12] else ()),
    )


def _column(row: connect.Row) -> Column:
    generated, expression = row[5], row[6]
    identity = {"a": "always", "d": "by default"}.get(row[4])
    return Column(
        name=row[1],
        type=row[2],
        nullable=not row[3],
        default=None if generated else expression,
        identity=identity,
        # PostgreSQL 18 also has virtual ones ("v"); both are computed again and never exported.
        generated=expression if generated else None,
        stored=generated != "v",
        collation=row[7],
        comment=row[8],
    )


def _raw(row: connect.Row) -> RawColumn:
    return RawColumn(row[1], row[9], row[10], row[11], row[2], bool(row[5]))


def _key(row: connect.Row) -> Key:
    return Key(row[1], tuple(row[11]), row[3], deferrable=row[4])


def _index(row: connect.Row) -> Index:
    parts = tuple(
        IndexPart(column or "", expression or "", collation) for column, expression, collation in row[10]
    )
    return Index(row[1], row[2], unique=row[3], parts=parts, predicate=row[11], nulls_equal=row[12])


def _foreign_key(row: connect.Row) -> ForeignKey:
    return ForeignKey(
        name=row[1],
        columns=tuple(row[11]),
        references=TableId(row[14], row[15]),
        referenced=tuple(row[12]),
        on_delete=_ACTIONS[row[9]],
        on_update=_ACTIONS[row[8]],
        match=_MATCHES[row[10]],
        deferrable=row[4],
        initially_deferred=row[5],
        validated=row[6],
    )


def _sequence(row: connect.Row) -> Sequence:
    return Sequence(
        id=TableId(row[0], row[1]),
        type=row[2],
        start=row[3],
        increment=row[4],
        minimum=row[5],
        maximum=row[6],
        cache=row[7],
        cycle=row[8],
        owned_by=TableId(row[9], row[10]) if row[10] else None,
        owned_by_column=row[11],
    )


def _view_indexes(indexes: Mapping[int, list[connect.Row]]) -> list[SchemaObject]:
    return [
        SchemaObject("index", row[1], row[2] + ";", row[7], TableId(row[7], row[8]))
        for rows in indexes.values()
        for row in rows
        if row[9] == "m"
    ]


def _settings(connection: connect.Connection) -> dict[str, str]:
    names = (
        "encoding",
        "collation",
        "ctype",
        "locale_provider",
        "icu_locale",
        "database",
        "comment",
        "owner",
        # Only where it was dropped or renamed: a new database has it, with rights for everybody.
        "public_schema",
    )
    version = connection.server_version // 10000
    provider = "d.datlocprovider::text" if version >= 15 else "'c'"
    locale = "d.datlocale" if version >= 17 else ("d.daticulocale" if version >= 15 else "NULL")
    found = connect.row(
        connection,
        f"""SELECT pg_catalog.pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, {provider}, {locale}, d.datname,
                   pg_catalog.shobj_description(d.oid, 'pg_database'), pg_catalog.pg_get_userbyid(d.datdba),
                   CASE WHEN pg_catalog.to_regnamespace('public') IS NULL THEN 'absent' END
              FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()""",
    )
    return {name: cast(str, value) for name, value in zip(names, found, strict=True) if value is not None}
