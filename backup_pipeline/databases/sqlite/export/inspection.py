"""A SQLite file → `model.Schema`: what SQLite itself says, completed by the text of the definitions."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from backup_pipeline.databases.own_names import OWN_PREFIX
from backup_pipeline.databases.sqlite.export.definitions import (
    TableSql,
    parse_index,
    parse_table,
    parse_virtual,
)
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import SequenceState
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

#: SQLite knows one schema that lasts.
MAIN = "main"
SETTINGS = (
    "page_size", "encoding", "user_version", "application_id", "auto_vacuum", "journal_mode"
)  # fmt: skip
#: Module → what the tables that it keeps its rows in are called, after its own name (for SQLite before 3.37).
_SHADOWS = {
    "fts3": ("content", "segments", "segdir", "docsize", "stat"),
    "fts4": ("content", "segments", "segdir", "docsize", "stat"),
    "fts5": ("data", "idx", "content", "docsize", "config"),
    "rtree": ("node", "rowid", "parent"),
    "rtree_i32": ("node", "rowid", "parent"),
    "geopoly": ("node", "rowid", "parent"),
}
_VIRTUAL = re.compile(r"\s*CREATE\s+VIRTUAL\s+TABLE\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Inspected:
    schema: Schema
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class _Listed:
    name: str
    sql: str
    kind: TableKind
    strict: bool
    without_rowid: bool


def table_id(name: str) -> TableId:
    return TableId(MAIN, name)


def inspect(connection: sqlite3.Connection) -> Inspected:
    findings: list[Finding] = []
    listed = list_tables(connection)
    tables = tuple(_table(connection, entry, listed, findings) for entry in listed)
    return Inspected(
        Schema(
            engine="sqlite",
            tables=_with_referenced_keys(tables),
            sequences=tuple(
                Sequence(
                    table.id,
                    owned_by=table.id,
                    owned_by_column=table.primary_key.columns[0] if table.primary_key else None,
                )
                for table in tables
                if "AUTOINCREMENT" in table.options
            ),
            objects=tuple(_objects(connection)),
            settings=settings(connection),
        ),
        tuple(findings),
    )


def settings(connection: sqlite3.Connection) -> dict[str, str]:
    return {name: str(connection.execute(f"PRAGMA main.{name}").fetchone()[0]) for name in SETTINGS}


def list_tables(connection: sqlite3.Connection) -> list[_Listed]:
    """Every table but SQLite's own and those of merges, in the order of their creation."""
    listed = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid"
    ).fetchall()
    rows = [(name, sql) for name, sql in listed if not name.startswith(OWN_PREFIX)]
    if sqlite3.sqlite_version_info >= (3, 37):
        told = {
            name: (kind, bool(strict), bool(without))
            for name, kind, without, strict in connection.execute(
                "SELECT name, type, wr, strict FROM pragma_table_list WHERE schema = 'main'"
            )
        }
        kinds: dict[str, TableKind] = {"virtual": "virtual", "shadow": "shadow"}
        return [
            _Listed(name, sql or "", kinds.get(told[name][0], "table"), told[name][1], told[name][2])
            for name, sql in rows
            if name in told
        ]
    return _listed_by_text(rows)


def _listed_by_text(rows: Iterable[tuple[str, str | None]]) -> list[_Listed]:
    """The same, where `PRAGMA table_list` does not exist yet (before 3.37)."""
    entries = [(name, sql or "") for name, sql in rows]
    shadows: set[str] = set()
    for name, sql in entries:
        if _VIRTUAL.match(sql):
            shadows |= {f"{name}_{end}" for end in _SHADOWS.get(parse_virtual(sql).module, ())}
    found = []
    for name, sql in entries:
        options = () if _VIRTUAL.match(sql) else parse_table(sql).options
        kind: TableKind = "virtual" if _VIRTUAL.match(sql) else "shadow" if name in shadows else "table"
        found.append(_Listed(name, sql, kind, "STRICT" in options, "WITHOUT ROWID" in options))
    return found


def owner_of_shadow(shadow: str, virtual: Iterable[str]) -> str | None:
    """`docs_content` belongs to `docs`; of several that fit, to the longest."""
    fitting = [name for name in virtual if shadow.lower().startswith(f"{name.lower()}_")]
    return max(fitting, key=len, default=None)


def _table(
    connection: sqlite3.Connection, entry: _Listed, listed: list[_Listed], findings: list[Finding]
) -> Table:
    identifier = table_id(entry.name)
    if entry.kind == "virtual":
        return _virtual(connection, entry, findings)
    parsed = parse_table(entry.sql)
    rows = connection.execute("SELECT * FROM pragma_table_xinfo(?)", (entry.name,)).fetchall()
    indexes = connection.execute('SELECT name, "unique", origin FROM pragma_index_list(?)', (entry.name,))
    by_origin: dict[str, list[tuple[str, bool]]] = {"pk": [], "u": [], "c": []}
    for name, unique, origin in indexes.fetchall():
        by_origin.setdefault(origin, []).append((name, bool(unique)))
    key_columns = tuple(name for _, name in sorted((row[5], row[1]) for row in rows if row[5]))
    # A key without an index of its own is the rowid itself, under another name.
    is_rowid = len(key_columns) == 1 and not by_origin["pk"] and not entry.without_rowid
    options = [
        word for word, said in (("STRICT", entry.strict), ("WITHOUT ROWID", entry.without_rowid)) if said
    ]
    if parsed.autoincrement:
        options.append("AUTOINCREMENT")
    if entry.kind == "shadow":
        owner = owner_of_shadow(entry.name, (other.name for other in listed if other.kind == "virtual"))
        options.append(f"SHADOW OF {owner}")
    return Table(
        identifier,
        kind=entry.kind,
        columns=tuple(_column(row, parsed, key_columns if is_rowid else ()) for row in rows),
        primary_key=Key(parsed.primary_key_name, key_columns) if key_columns else None,
        uniques=tuple(_unique(connection, name, parsed) for name, _ in by_origin["u"]),
        foreign_keys=_foreign_keys(connection, entry.name, parsed),
        checks=tuple(Check(check.name, check.expression) for check in parsed.checks),
        indexes=_indexes(connection, by_origin["c"], parsed),
        options=tuple(options),
    )


def _virtual(connection: sqlite3.Connection, entry: _Listed, findings: list[Finding]) -> Table:
    module = parse_virtual(entry.sql).module
    columns: tuple[Column, ...] = ()
    try:
        rows = connection.execute("SELECT * FROM pragma_table_xinfo(?)", (entry.name,)).fetchall()
        connection.execute(f"SELECT 1 FROM main.{_quoted(entry.name)} LIMIT 0")
        columns = tuple(_column(row, TableSql(), ()) for row in rows if row[6] == 0)
    except sqlite3.Error as error:
        findings.append(Finding.of("module-missing", table=f"main.{entry.name}", name=entry.name, why=error))
    return Table(table_id(entry.name), kind="virtual", columns=columns, options=(f"USING {module}",))


def _column(
    row: tuple[int, str, str, int, str | None, int, int], parsed: TableSql, rowid: tuple[str, ...]
) -> Column:
    _, name, declared, not_null, default, _, hidden = row
    return Column(
        name,
        (declared or "").removesuffix(" GENERATED ALWAYS").removesuffix("GENERATED ALWAYS"),
        nullable=not not_null,
        default=default,
        identity="by default" if name in rowid else None,
        generated=parsed.generated.get(name, "?") if hidden in (2, 3) else None,
        collation=parsed.collations.get(name),
    )


def _unique(connection: sqlite3.Connection, index: str, parsed: TableSql) -> Key:
    columns = _index_columns(connection, index)
    named = next((u.name for u in parsed.uniques if u.columns == columns and u.name), "")
    return Key(named or index, columns)


def _index_columns(connection: sqlite3.Connection, index: str) -> tuple[str, ...]:
    rows = connection.execute("SELECT name FROM pragma_index_info(?) ORDER BY seqno", (index,))
    return tuple(name or "" for (name,) in rows.fetchall())


def _indexes(
    connection: sqlite3.Connection, created: list[tuple[str, bool]], parsed: TableSql
) -> tuple[Index, ...]:
    found = []
    for name, unique in created:
        (sql,) = connection.execute(
            "SELECT sql FROM sqlite_master WHERE type = 'index' AND name = ?", (name,)
        ).fetchone()
        rows = connection.execute(
            "SELECT name, coll FROM pragma_index_xinfo(?) WHERE key ORDER BY seqno", (name,)
        )
        written = parse_index(sql)
        parts = tuple(
            IndexPart(
                column or "",
                "" if column else text,
                collation if collation != parsed.collations.get(column, "BINARY").upper() else None,
            )
            for (column, collation), text in zip(rows, written.parts, strict=True)
        )
        found.append(Index(name, sql, unique, parts, written.predicate))
    return tuple(sorted(found, key=lambda index: index.name))


def _foreign_keys(connection: sqlite3.Connection, table: str, parsed: TableSql) -> tuple[ForeignKey, ...]:
    rows = connection.execute(
        "SELECT * FROM pragma_foreign_key_list(?) ORDER BY id, seq", (table,)
    ).fetchall()
    by_id: dict[int, list[tuple[int, int, str, str, str | None, str, str, str]]] = {}
    for row in rows:
        by_id.setdefault(row[0], []).append(row)
    written = list(reversed(parsed.foreign_keys))
    known = len(written) == len(by_id)
    found = []
    for number, parts in sorted(by_id.items(), reverse=True):
        first, text = parts[0], written[number] if known else None
        found.append(
            ForeignKey(
                text.name if text else "",
                tuple(part[3] for part in parts),
                table_id(first[2]),
                # Without a list, the parent's primary key is meant; it is filled in when all tables are known.
                tuple(part[4] for part in parts if part[4] is not None),
                on_delete=first[6],
                on_update=first[5],
                match="SIMPLE",
                deferrable=bool(text and text.deferrable),
                initially_deferred=bool(text and text.initially_deferred),
                # SQLite checks references only on connections that ask for it.
                validated=False,
            )
        )
    return tuple(found)


def _with_referenced_keys(tables: tuple[Table, ...]) -> tuple[Table, ...]:
    from dataclasses import replace

    # Names are compared without case: REFERENCES Users means users.
    by_name = {table.id.name.lower(): table for table in tables}

    def resolved(key: ForeignKey) -> ForeignKey:
        parent = by_name.get(key.references.name.lower())
        if parent is None:
            return key
        columns = key.referenced or (parent.primary_key.columns if parent.primary_key else ())
        return replace(key, references=parent.id, referenced=columns)

    return tuple(
        replace(table, foreign_keys=tuple(resolved(key) for key in table.foreign_keys)) for table in tables
    )


def _objects(connection: sqlite3.Connection) -> Iterable[SchemaObject]:
    rows = connection.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE type IN ('view', 'trigger') ORDER BY rowid"
    )
    for kind, name, table, sql in rows.fetchall():
        on = table_id(table) if kind == "trigger" else None
        yield SchemaObject(kind, name, sql or "", schema=MAIN, table=on)


def sequence_states(
    connection: sqlite3.Connection, sequences: Iterable[Sequence]
) -> tuple[SequenceState, ...]:
    """Where AUTOINCREMENT has got to. SQLite notes it with the first row: a table that never had one stands at 0."""
    rows: list[tuple[str, int]] = []
    with contextlib.suppress(sqlite3.OperationalError):  # no AUTOINCREMENT anywhere: no such table
        rows = connection.execute("SELECT name, seq FROM main.sqlite_sequence").fetchall()
    noted = {name: int(seq or 0) for name, seq in rows}
    names = sorted(sequence.id.name for sequence in sequences)
    return tuple(SequenceState(MAIN, name, noted.get(name, 0), name in noted) for name in names)


def definitions(connection: sqlite3.Connection) -> tuple[bytes, bytes]:
    """All of sqlite_schema as two scripts: what rows need, and what comes after them. For people: the file itself
    holds it too. Shadow tables are made by their virtual table, SQLite's own by SQLite."""
    shadows = {entry.name for entry in list_tables(connection) if entry.kind == "shadow"}
    rows = connection.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_master"
        " WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        " ORDER BY CASE type WHEN 'table' THEN 1 WHEN 'index' THEN 2 WHEN 'view' THEN 3 ELSE 4 END, rowid"
    ).fetchall()
    before = "".join(f"-- {name}: {value}\n" for name, value in settings(connection).items())
    after = ""
    for kind, name, table, sql in rows:
        if name in shadows or table in shadows:
            before += f"\n-- made by its virtual table: {' '.join(sql.split())}\n"
        elif kind == "table":
            before += f"\n{sql};\n"
        else:
            after += f"{sql};\n\n"
    return before.encode("utf-8", "surrogateescape"), after.encode("utf-8", "surrogateescape")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
