"""Every foreign key, in the data of the backup: a child's value that no parent has is reported, with examples.

A backup of one consistent moment cannot hold such a row unless the database did. So a dangling reference is either
a hole in the export or damage that the live database has without knowing; both are found before a restore.

How they are joined is in `joining`, when two values are equal in `comparable`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import duckdb
import pyarrow as pa

from backup_pipeline.errors import Damaged
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.outcome import CheckResult
from backup_pipeline.model.progress import Advance, Listener
from backup_pipeline.model.schema import ForeignKey, Schema, TableId
from backup_pipeline.processes.scratch import Scratch
from backup_pipeline.reading.interrupting import interruptible
from backup_pipeline.reading.tables import leaves_of
from backup_pipeline.reading.types import Types
from backup_pipeline.references.comparable import compare
from backup_pipeline.references.joining import Join, Keys, Reference
from backup_pipeline.vault.backup import Backup

#: Free space to ask for: keys are short, and DuckDB keeps them packed.
_ROOM = 64 << 20


#: What other backups of the same verification were found to hold.
Memory = dict[tuple[object, ...], tuple[Finding, ...]]


def check(
    backup: Backup,
    *,
    hurt: frozenset[str],
    memory: Memory,
    listener: Listener,
) -> CheckResult:
    findings: list[Finding] = []
    counted: Counter[str] = Counter()
    todo: list[Reference] = []
    for reference in references(backup.manifest, backup.schema):
        why = _cannot_be_checked(reference, hurt)
        if why:
            findings.append(_not_checked(reference, why))
            counted["references_not_checked"] += 1
            continue
        counted["references"] += 1
        if reference.contents in memory:
            findings += memory[reference.contents]
        else:
            todo.append(reference)
    for reference, found in _join(backup, todo, listener):
        memory[reference.contents] = found
        findings += found
    return CheckResult(tuple(findings), dict(counted))


def references(manifest: Manifest, schema: Schema) -> Iterator[Reference]:
    """Every foreign key between tables whose rows are here, each once."""
    types = Types(schema)
    entries = {entry.id: entry for entry in manifest.tables}
    ancestors = _ancestors(schema)
    for table in schema.tables:
        children = [leaf for leaf in leaves_of(schema, table.id) if leaf in entries]
        for key in table.foreign_keys:
            if not children or _is_a_copy(schema, table.id, key, ancestors):
                continue
            parent = schema.table(key.references)
            leaves = leaves_of(schema, key.references) if parent else (key.references,)
            own = {column.name: column for column in table.columns}
            far = {column.name: column for column in parent.columns} if parent else {}
            comparisons = tuple(
                compare(types, own[one], far[other])
                for one, other in zip(key.columns, key.referenced, strict=True)
                if one in own and other in far
            )
            yield Reference(
                table.id,
                key,
                tuple(entries[leaf] for leaf in children),
                tuple(entries[leaf] for leaf in leaves if leaf in entries),
                comparisons,
                tuple(leaf for leaf in leaves if leaf not in entries),
            )


def _ancestors(schema: Schema) -> dict[TableId, tuple[TableId, ...]]:
    above = {table.id: table.partition_of for table in schema.tables}
    found: dict[TableId, tuple[TableId, ...]] = {}
    for table in above:
        line: list[TableId] = []
        parent = above[table]
        while parent is not None and parent not in line:
            line.append(parent)
            parent = above.get(parent)
        found[table] = tuple(line)
    return found


def _is_a_copy(
    schema: Schema, table: TableId, key: ForeignKey, ancestors: dict[TableId, tuple[TableId, ...]]
) -> bool:
    """The engine keeps a copy of a partitioned table's key for each partition, on either end."""
    roots = {key.references, *ancestors.get(key.references, ())}
    for owner in (table, *ancestors.get(table, ())):
        holder = schema.table(owner)
        for other in holder.foreign_keys if holder else ():
            same = (other.columns, other.referenced) == (key.columns, key.referenced)
            higher = owner != table or other.references != key.references
            if same and higher and other.references in roots:
                return True
    return False


def _cannot_be_checked(reference: Reference, hurt: frozenset[str]) -> str:
    key = reference.key
    names = {str(entry.id) for entry in (*reference.children, *reference.parents)}
    if reference.absent:
        return f"{', '.join(map(str, reference.absent))} is not in this backup"
    if damaged := sorted(names & hurt):
        return f"{', '.join(damaged)} is damaged"
    if len(reference.comparisons) != len(key.columns):
        return "its columns are not in the schema"
    held = all(set(key.columns) <= set(entry.columns) for entry in reference.children)
    if not held or not all(set(key.referenced) <= set(entry.columns) for entry in reference.parents):
        return "one of its columns is generated: its values are not in the backup"
    return ""


def _not_checked(reference: Reference, why: str) -> Finding:
    return Finding.of("reference-not-checked", table=reference.table, key=reference.key.name, why=why)


# ── joining


def _join(
    backup: Backup, todo: Sequence[Reference], listener: Listener
) -> Iterator[tuple[Reference, tuple[Finding, ...]]]:
    if not todo:
        return
    with interruptible(), Scratch.make(_ROOM) as scratch:
        keys = Keys(backup, todo, scratch.folder)
        try:
            for reference in todo:
                listener(Advance("verify", str(reference.table), note=f"foreign key {reference.key.name}"))
                yield reference, tuple(_dangling(keys, reference))
                keys.done(reference)
        finally:
            keys.close()


def _dangling(keys: Keys, reference: Reference) -> Iterator[Finding]:
    if not any(entry.rows for entry in reference.children):
        return
    try:
        with interruptible():
            join = Join.of(keys, reference)
            count = sum(join.count(part) for part in range(join.parts))
            examples = join.examples() if count else ()
        if count:
            yield _finding(reference, count, examples)
    except (pa.ArrowInvalid, Damaged) as error:
        yield Finding.of("keys-unreadable", table=reference.table, key=reference.key.name, why=_first(error))
    except duckdb.Error as error:
        # Out of memory or of disk: a weakness of this machine, and not of the backup.
        finding = _not_checked(reference, _first(error))
        yield replace(
            finding, severity="warning", remedy="set TMPDIR to a folder on a larger disk, and verify again"
        )


def _first(error: Exception) -> str:
    return str(error).splitlines()[0]


def _finding(reference: Reference, count: int, examples: tuple[str, ...]) -> Finding:
    key = reference.key
    if not all(comparison.certain for comparison in reference.comparisons):
        finding = _not_checked(
            reference,
            f"{count:,} rows have no parent of the same text, and only the engine can say "
            "whether values of these types are equal (a drill does)",
        )
        return replace(finding, examples=examples)
    rows = "row refers" if count == 1 else "rows refer"
    message = (
        f"{reference.table}: {count:,} {rows} by {key.name} to rows of {key.references} that are not there"
    )
    if key.validated:
        remedy = "look whether the live database has the same rows; if it does not, run `backup --full`"
    else:
        message += " (the database does not enforce this key: it is NOT VALID)"
        remedy = "repair the rows in the live database, then VALIDATE the constraint"
    return Finding.of(
        "dangling-reference",
        table=reference.table,
        message=message,
        severity="error" if key.validated else "warning",
        remedy=remedy,
        examples=examples,
    )
