"""The definitions without pg_dump: put together from the catalog's own texts. Less complete, and loud about it.

pre-data makes what rows need: schemas, types, functions, sequences, tables. post-data makes what is faster or only
possible with the rows there: keys, indexes, references, views, triggers, policies, owners and rights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import psycopg2.extensions

from backup_pipeline.databases.postgres.export.objects import NAMED_ONLY
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.schema import Column, ForeignKey, Schema, SchemaObject, Sequence, Table, TableId

MADE_BY = "reflection"

_HEADER = (
    "SET client_encoding = 'UTF8';\nSET standard_conforming_strings = on;\nSET check_function_bodies = false;\n"
    "SELECT pg_catalog.set_config('search_path', '', false);\nSET client_min_messages = warning;\n"
)
_BEFORE = ("schema", "extension", "enum", "domain", "composite", "range", "function")
_AFTER = (
    "view",
    "materialized view",
    "statistics",
    "index",
    "rule",
    "trigger",
    "policy",
    "comment",
    "owner",
    "grant",
)
#: What exists and is neither spelled out in the schema nor rebuilt from it.
_NOT_COVERED = (
    "operator families, casts and transforms",
    "foreign data wrappers, servers and tables",
    "publications, subscriptions and event triggers",
    "default privileges, security labels, rights on types, languages and databases",
    "storage parameters of columns and indexes, statistics targets, replica identities, clustering",
    "access methods, tablespaces, names of NOT NULL constraints, unlogged sequences",
)


def sections(schema: Schema) -> tuple[tuple[str, str, bytes], ...]:
    return (
        ("pre-data", MADE_BY, _text(_before(schema))),
        ("post-data", MADE_BY, _text(_after(schema))),
    )


def of_tables(schema: Schema, tables: Iterable[TableId]) -> tuple[str, str]:
    """Some tables, as the catalog shows them to a login that may not read them: what others may refer to (they themselves with
    their keys), and what belongs to them."""
    wanted = frozenset(tables)
    part = replace(
        schema,
        tables=tuple(table for table in schema.tables if table.id in wanted),
        sequences=tuple(sequence for sequence in schema.sequences if sequence.owned_by in wanted),
        objects=tuple(item for item in schema.objects if item.table in wanted and item.kind != "function"),
    )
    # Sequences that feed a default are pg_dump's, and may come later: so do the defaults, and the checks with them.
    bare = tuple(
        replace(table, checks=(), columns=tuple(replace(column, default=None) for column in table.columns))
        for table in part.tables
    )
    own = tuple(sequence for sequence in part.sequences if _is_identity(sequence, part))
    before = [*_before(replace(part, tables=bare, sequences=own, objects=())), *_keys(part.tables)]
    # Whose a table is comes before whose its sequences are: they go with it.
    before += map(_owner, part.tables)
    keyless = tuple(replace(table, primary_key=None, uniques=(), owner=None) for table in part.tables)
    after = [*_completed(part), *_after(replace(part, tables=keyless)), *_owned(part)]
    return "\n\n".join(before), "\n\n".join(after)


def _completed(schema: Schema) -> Iterator[str]:
    for table in schema.tables:
        alter = f"ALTER TABLE {_id(table.id)}"
        for column in table.columns:
            if column.default and not column.generated:
                yield f"{alter} ALTER COLUMN {quote(column.name)} SET DEFAULT {column.default};"
        for check in table.checks:
            if check.expression.startswith("CHECK"):
                yield f"{alter} ADD CONSTRAINT {quote(check.name)} {check.expression};"


def finding(schema: Schema, major: int) -> Finding:
    present = sorted({item.kind for item in schema.objects if item.kind in NAMED_ONLY})
    lost = tuple(
        f"{item.kind} {item.schema + '.' if item.schema else ''}{item.name}"
        for item in schema.objects
        if item.kind in NAMED_ONLY
    )
    here = f" Of those this database has: {', '.join(present)}." if present else ""
    return Finding.of(
        "no-pg-dump",
        major=major,
        missing="; ".join((*sorted(NAMED_ONLY), *_NOT_COVERED)),
        here=here,
        examples=lost[:20],
    )


def _text(statements: Iterable[str]) -> bytes:
    return "\n\n".join((_HEADER, *statements, "")).encode()


def quote(*names: str) -> str:
    """Needs no connection: this text is written for any server, in UTF-8."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def _id(identifier: TableId) -> str:
    return quote(identifier.schema, identifier.name)


def _literal(text: str) -> str:
    adapter = psycopg2.extensions.QuotedString(text)
    adapter.encoding = "utf-8"
    quoted: bytes = adapter.getquoted()
    return quoted.decode().lstrip()


# ── pre-data


def _before(schema: Schema) -> Iterator[str]:
    by_kind = _by_kind(schema.objects)
    for kind in _BEFORE:
        if kind != "function":
            yield from (item.definition for item in by_kind.get(kind, ()))
    for sequence in schema.sequences:
        if not _is_identity(sequence, schema):
            yield _sequence(sequence)
    # Tables' defaults and checks may call functions; those that speak of a table's own type come after it. (Bodies are
    # not checked here, so they do not matter.)
    functions = by_kind.get("function", [])
    yield from (item.definition for item in functions if item.table is None)
    for table in _parents_first(schema.tables):
        yield _table(table, schema)
    yield from (item.definition for item in functions if item.table and schema.table(item.table))
    yield from _owned(schema)


def _is_identity(sequence: Sequence, schema: Schema) -> bool:
    table = schema.table(sequence.owned_by) if sequence.owned_by else None
    return table is not None and any(
        column.identity for column in table.columns if column.name == sequence.owned_by_column
    )


def _owned(schema: Schema) -> Iterator[str]:
    for sequence in schema.sequences:
        if sequence.owned_by and not _is_identity(sequence, schema):
            column = quote(sequence.owned_by_column or "")
            yield f"ALTER SEQUENCE {_id(sequence.id)} OWNED BY {_id(sequence.owned_by)}.{column};"


def _by_kind(objects: Iterable[SchemaObject]) -> dict[str, list[SchemaObject]]:
    found: dict[str, list[SchemaObject]] = {}
    for item in objects:
        found.setdefault(item.kind, []).append(item)
    return found


def _parents_first(tables: Iterable[Table]) -> list[Table]:
    waiting = {table.id: table for table in tables if table.kind != "foreign"}
    ordered: list[Table] = []
    while waiting:
        ready = [
            table
            for table in waiting.values()
            if not any(parent in waiting for parent in (*table.inherits, *filter(None, [table.partition_of])))
        ]
        for table in ready:
            ordered.append(waiting.pop(table.id))
    return ordered


def _options(sequence: Sequence) -> str:
    return (
        f"START WITH {sequence.start} INCREMENT BY {sequence.increment} MINVALUE {sequence.minimum}"
        f" MAXVALUE {sequence.maximum} CACHE {sequence.cache}{' CYCLE' if sequence.cycle else ''}"
    )


def _sequence(sequence: Sequence) -> str:
    return f"CREATE SEQUENCE {_id(sequence.id)} AS {sequence.type} {_options(sequence)};"


def _table(table: Table, schema: Schema) -> str:
    parents = [found for parent in table.inherits if (found := schema.table(parent))]
    inherited = {column for parent in parents for column in parent.columns}
    lines = [_column(column, table, schema) for column in table.columns if column not in inherited]
    lines += [
        f"CONSTRAINT {quote(check.name)} {check.expression}"
        for check in table.checks
        if check.expression.startswith("CHECK")
    ]
    text = (
        f"CREATE {'UNLOGGED ' if table.unlogged else ''}TABLE {_id(table.id)} (\n    "
        + ",\n    ".join(lines)
        + "\n)"
    )
    if table.inherits:
        text += f" INHERITS ({', '.join(_id(parent) for parent in table.inherits)})"
    if table.partition_key:
        text += f" PARTITION BY {table.partition_key}"
    parameters = [option for option in table.options if "=" in option]
    if parameters:
        text += f" WITH ({', '.join(parameters)})"
    text += ";"
    if table.partition_of:
        # Attached and not created as one, for its columns may stand in another order than its parent's.
        text += f"\nALTER TABLE ONLY {_id(table.partition_of)} ATTACH PARTITION {_id(table.id)} {table.partition_bound};"
    return text


def _column(column: Column, table: Table, schema: Schema) -> str:
    text = f"{quote(column.name)} {column.type}"
    if column.collation:
        text += f" COLLATE {column.collation}"
    if column.generated:
        text += f" GENERATED ALWAYS AS ({column.generated}) {'STORED' if column.stored else 'VIRTUAL'}"
    elif column.identity and not table.partition_of:
        fed = next(
            (s for s in schema.sequences if (s.owned_by, s.owned_by_column) == (table.id, column.name)), None
        )
        options = f" (SEQUENCE NAME {_id(fed.id)} {_options(fed)})" if fed else ""
        text += f" GENERATED {column.identity.upper()} AS IDENTITY{options}"
    elif column.default:
        text += f" DEFAULT {column.default}"
    return text + ("" if column.nullable else " NOT NULL")


# ── post-data


def _after(schema: Schema) -> Iterator[str]:
    tables = [table for table in schema.tables if table.kind != "foreign"]
    # Partitions before their roots: a root that gets a key or an index adopts those that its partitions have.
    for table in reversed(_parents_first(tables)):
        yield from _keys([table])
        for check in table.checks:
            if not check.expression.startswith("CHECK"):
                yield f"ALTER TABLE {_id(table.id)} ADD CONSTRAINT {quote(check.name)} {check.expression};"
        for index in table.indexes:
            # The catalog says ON ONLY of a partitioned table's index; without ONLY it reaches the partitions.
            start, only, rest = index.definition.partition(f" ON ONLY {_plain(table.id, index.definition)} ")
            yield f"{start} ON {_id(table.id)} {rest};" if only else f"{index.definition};"
    for table in tables:
        yield from (
            _foreign_key(table, key) for key in table.foreign_keys if not _from_root(table, key, schema)
        )
    by_kind = _by_kind(schema.objects)
    for kind in _AFTER:
        if kind == "rule":
            yield from _security(tables)
            # What speaks of a view's type.
            functions = by_kind.get("function", ())
            yield from (item.definition for item in functions if item.table and not schema.table(item.table))
        yield from (item.definition for item in by_kind.get(kind, ()))
    for table in tables:
        yield from _comments(table)
        if table.owner:
            yield _owner(table)


def _owner(table: Table) -> str:
    return f"ALTER TABLE {_id(table.id)} OWNER TO {quote(table.owner or '')};"


def _keys(tables: Iterable[Table]) -> Iterator[str]:
    for table in tables:
        for key in (table.primary_key, *table.uniques):
            if key:
                yield f"ALTER TABLE {_id(table.id)} ADD CONSTRAINT {quote(key.name)} {key.definition};"


def _plain(identifier: TableId, definition: str) -> str:
    """The name as the catalog writes it: quoted where it must be."""
    ways = (
        _id(identifier),
        f"{identifier.schema}.{identifier.name}",
        f"{identifier.schema}.{quote(identifier.name)}",
        f"{quote(identifier.schema)}.{identifier.name}",
    )
    return next((way for way in ways if f" ON ONLY {way} " in definition), ways[0])


def _from_root(table: Table, key: ForeignKey, schema: Schema) -> bool:
    """A reference of a partition that its root has as well comes with the root's."""
    root = schema.table(table.partition_of) if table.partition_of else None
    signs = (key.columns, key.references, key.referenced)
    return root is not None and any(
        signs == (k.columns, k.references, k.referenced) for k in root.foreign_keys
    )


def _foreign_key(table: Table, key: ForeignKey) -> str:
    columns, referenced = (
        ", ".join(quote(name) for name in names) for names in (key.columns, key.referenced)
    )
    text = (
        f"ALTER TABLE {'' if table.kind == 'partitioned' else 'ONLY '}{_id(table.id)} ADD CONSTRAINT {quote(key.name)}"
        f" FOREIGN KEY ({columns}) REFERENCES {_id(key.references)} ({referenced}) MATCH {key.match}"
        f" ON UPDATE {key.on_update} ON DELETE {key.on_delete}"
    )
    if key.deferrable:
        text += f" DEFERRABLE INITIALLY {'DEFERRED' if key.initially_deferred else 'IMMEDIATE'}"
    return text + ("" if key.validated else " NOT VALID") + ";"


def _security(tables: Iterable[Table]) -> Iterator[str]:
    for table in tables:
        if table.row_security:
            yield f"ALTER TABLE {_id(table.id)} ENABLE ROW LEVEL SECURITY;"
        if "FORCE ROW LEVEL SECURITY" in table.options:
            yield f"ALTER TABLE {_id(table.id)} FORCE ROW LEVEL SECURITY;"


def _comments(table: Table) -> Iterator[str]:
    if table.comment:
        yield f"COMMENT ON TABLE {_id(table.id)} IS {_literal(table.comment)};"
    for column in table.columns:
        if column.comment:
            yield f"COMMENT ON COLUMN {_id(table.id)}.{quote(column.name)} IS {_literal(column.comment)};"
