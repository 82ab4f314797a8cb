"""From the words of a user to the rows.

`orders`, `public.orders`, `"Order Items"`, `public."Order Items"`; a partitioned table is all of its leaves together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from backup_pipeline.errors import ConfigError, NotFound
from backup_pipeline.model.manifest import Manifest, TableEntry
from backup_pipeline.model.schema import Column, Schema, TableId
from backup_pipeline.vault.backup import Backup

_PART = re.compile(r'"(?P<quoted>(?:[^"]|"")*)"|(?P<plain>[^".\s]+)')


@dataclass(frozen=True, slots=True)
class Rows:
    """A table as it is read: its columns, and where its rows lie."""

    id: TableId
    columns: tuple[Column, ...]
    entries: tuple[TableEntry, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def positions(self, entry: TableEntry) -> tuple[int, ...]:
        """Where each column stands in the row text of a leaf, whose order may be another one."""
        return tuple(entry.columns.index(name) for name in self.names)


def find(backup: Backup, name: str) -> Rows:
    """The table that is meant. Without a schema a name has to mean one table."""
    manifest, schema = backup.manifest, backup.schema
    entries = {entry.id: entry for entry in manifest.tables}
    roots = [table.id for table in schema.tables if table.kind == "partitioned"]
    known = [*entries, *(root for root in roots if root not in entries)]
    identifier = meant(known, name)
    if identifier is None:
        raise _unknown(known, name, parse_name(name), manifest)
    table = schema.table(identifier)
    leaves = leaves_of(schema, identifier)
    absent = [str(leaf) for leaf in leaves if leaf not in entries]
    if absent:
        raise NotFound(
            f"{identifier} is partitioned, and this backup does not hold {', '.join(absent)}",
            remedy="read the partitions that are here one by one",
        )
    found = tuple(entries[leaf] for leaf in leaves)
    typed = {column.name: column for column in table.columns} if table else {}
    if identifier in entries:
        names = entries[identifier].columns
    else:
        names = table.exported_columns if table else ()
    return Rows(identifier, tuple(typed.get(name) or Column(name, "text") for name in names), found)


def leaves_of(schema: Schema, table: TableId) -> tuple[TableId, ...]:
    """Where the rows of a table lie: in itself, or in the leaves of a partitioned one. Not in inherited tables."""
    found = schema.table(table)
    if found is None or found.kind != "partitioned":
        return (table,)
    parts = [other.id for other in schema.tables if other.partition_of == table]
    return tuple(leaf for part in parts for leaf in leaves_of(schema, part))


def meant(known: Iterable[TableId], name: str) -> TableId | None:
    """None where there is no such table. Raises ConfigError where there are several."""
    known = list(known)
    exact = [table for table in known if name in (str(table), table.name)]
    parts = parse_name(name)
    quoted = [table for table in known if _same(table, parts)]
    folded = [
        table
        for table in known
        if _same(TableId(table.schema.lower(), table.name.lower()), parts and tuple(p.lower() for p in parts))
    ]
    for found in (exact, quoted, folded):
        if len(found) == 1:
            return found[0]
        if found:
            raise ConfigError(
                f"{name} means {' or '.join(map(str, sorted(found)))}", remedy="name the schema as well"
            )
    return None


def _same(table: TableId, parts: tuple[str, ...]) -> bool:
    return parts in ((table.name,), (table.schema, table.name))


def parse_name(text: str) -> tuple[str, ...]:
    """The parts of an SQL name; what follows it (an alias) is not looked at. Empty when it is none."""
    parts, at = [], 0
    while match := _PART.match(text, at):
        parts.append(match["plain"] if match["quoted"] is None else match["quoted"].replace('""', '"'))
        at = match.end()
        if not text.startswith(".", at):
            break
        at += 1
    return tuple(parts)


def _unknown(known: list[TableId], name: str, parts: tuple[str, ...], manifest: Manifest) -> NotFound:
    for item in manifest.left_out:
        if _same(TableId(item.schema, item.name), parts) or name in (item.name, f"{item.schema}.{item.name}"):
            return NotFound(
                f"{item.schema}.{item.name} is not in the backup {manifest.id}: {item.reason}",
                remedy="use a backup that holds it, or change `include` and `exclude`",
            )
    spellings = [(text.lower(), str(table)) for table in known for text in (str(table), table.name)]
    matches = {
        match
        for text in (".".join(parts) or name, parts[-1] if parts else name)
        for match in get_close_matches(text.lower(), [spelling for spelling, _ in spellings])
    }
    near = dict.fromkeys(table for spelling, table in spellings if spelling in matches)
    if near:
        remedy = f"did you mean {' or '.join(list(near)[:3])}?"
    else:
        remedy = f"it holds {', '.join(str(table) for table in known[:20])}{' …' if len(known) > 20 else ''}"
    return NotFound(
        f"there is no table {name} in the backup {manifest.id} of {manifest.system}", remedy=remedy
    )
