"""A manifest, a table, findings, a history → what the UI renders. Nothing here reads a database; nothing is secret.

The keys under `dagster/` are those that the UI knows (row count, columns, table name); the rest are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import parse_timestamp
from backup_pipeline.model.manifest import LeftOut, Manifest, TableEntry
from backup_pipeline.model.overview import Listed
from backup_pipeline.model.schema import Column, Table

#: Of a check that a command evaluated: whether the command told `alerts:` that it failed.
TOLD = "alert_by_command"
Metadata = dict[str, dg.MetadataValue]

#: More lines than these make a page slow; how many there are is said beside the table.
MOST_FINDINGS = 50
MOST_TABLES = 500
_FIGURES: dict[type, Callable[[Any], dg.MetadataValue]] = {
    str: dg.MetadataValue.text,
    int: dg.MetadataValue.int,
    float: dg.MetadataValue.float,
}
_BARS = "▁▂▃▄▅▆▇█"


def table_metadata(entry: TableEntry, table: Table | None, manifest: Manifest, engine: str) -> Metadata:
    """What one table's asset shows of one backup."""
    stored = sum(chunk.object.size for chunk in entry.chunks)
    found: Metadata = {
        "dagster/row_count": dg.MetadataValue.int(entry.rows),
        "dagster/table_name": dg.MetadataValue.text(str(entry.id)),
        "dagster/storage_kind": dg.MetadataValue.text(engine),
        "backup": dg.MetadataValue.text(manifest.id),
    }
    if table is not None and table.columns:
        found["dagster/column_schema"] = dg.MetadataValue.table_schema(column_schema(table))
    if entry.bytes:
        found["bytes"] = dg.MetadataValue.int(entry.bytes)
    if entry.chunks:
        found["stored_bytes"] = dg.MetadataValue.int(stored)
        found["chunks"] = dg.MetadataValue.int(len(entry.chunks))
        found["chunks_reused"] = dg.MetadataValue.int(entry.reused_chunks)
    if entry.bytes and stored:
        found["ratio"] = dg.MetadataValue.float(round(entry.bytes / stored, 2))
    if entry.fingerprint:
        found["fingerprint"] = dg.MetadataValue.text(entry.fingerprint)
    return found


def column_schema(table: Table) -> dg.TableSchema:
    keys = set(table.primary_key.columns) if table.primary_key else set()
    alone = {unique.columns[0] for unique in table.uniques if len(unique.columns) == 1}
    references: dict[str, list[str]] = {}
    for foreign in table.foreign_keys:
        for column, target in zip(foreign.columns, foreign.referenced, strict=False):
            references.setdefault(column, []).append(f"references {foreign.references}.{target}")
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name,
                type=column.type or "(no type)",
                description=column.comment,
                constraints=dg.TableColumnConstraints(
                    nullable=column.nullable,
                    unique=column.name in alone or keys == {column.name},
                    other=[*_about(column, keys), *references.get(column.name, ())],
                ),
            )
            for column in table.columns
        ],
    )


def _about(column: Column, keys: set[str]) -> Iterable[str]:
    if column.name in keys:
        yield "primary key"
    if column.identity:
        yield f"identity {column.identity}"
    if column.generated:
        yield "generated: computed again, not stored"


def schema_of_tables_metadata(entries: Sequence[TableEntry], manifest: Manifest, engine: str) -> Metadata:
    """Where one asset stands for several tables."""
    shown = entries[:MOST_TABLES]
    stored = sum(chunk.object.size for entry in entries for chunk in entry.chunks)
    found: Metadata = {
        "dagster/row_count": dg.MetadataValue.int(sum(entry.rows for entry in entries)),
        "dagster/storage_kind": dg.MetadataValue.text(engine),
        "backup": dg.MetadataValue.text(manifest.id),
        "tables": dg.MetadataValue.int(len(entries)),
        "bytes": dg.MetadataValue.int(sum(entry.bytes for entry in entries)),
        "stored_bytes": dg.MetadataValue.int(stored),
        "chunks_reused": dg.MetadataValue.int(sum(entry.reused_chunks for entry in entries)),
    }
    found["table_list" if len(entries) <= MOST_TABLES else f"first_{MOST_TABLES}_tables"] = (
        dg.MetadataValue.table(
            [
                dg.TableRecord(
                    {
                        "table": entry.name,
                        "rows": entry.rows,
                        "bytes": entry.bytes,
                        "fingerprint": entry.fingerprint[:16],
                    }
                )
                for entry in shown
            ],
            schema=_columns(table="string", rows="int", bytes="int", fingerprint="string"),
        )
    )
    return found


def manifest_metadata(manifest: Manifest, line: Listed, where: str, history: Sequence[Listed]) -> Metadata:
    """What the manifest's asset shows: the recovery point on one screen."""
    found: Metadata = {
        "backup": dg.MetadataValue.text(manifest.id),
        "kind": dg.MetadataValue.text(manifest.kind),
        "scope": dg.MetadataValue.text(
            "full"
            if manifest.scope == "full"
            else f"PARTIAL: {len(manifest.tables)} tables; it never counts as the latest backup"
        ),
        "content": dg.MetadataValue.text(_content(manifest, line)),
        "snapshot_at": dg.MetadataValue.timestamp(parse_timestamp(manifest.snapshot_at)),
        "manifest": dg.MetadataValue.path(where)
        if "://" not in where or where.startswith("file:")
        else dg.MetadataValue.url(where),
        "dagster/row_count": dg.MetadataValue.int(manifest.rows),
        "tables": dg.MetadataValue.int(len(manifest.tables)),
        "files": dg.MetadataValue.int(sum(tree.files for tree in manifest.files)),
        "bytes": dg.MetadataValue.int(line.bytes),
        "stored_bytes": dg.MetadataValue.int(line.stored),
        "duration_seconds": dg.MetadataValue.float(round(line.seconds, 3)),
        "engine": dg.MetadataValue.text(f"{manifest.engine.name} {manifest.engine.version}"),
    }
    if line.stored:
        found["ratio"] = dg.MetadataValue.float(round(line.bytes / line.stored, 2))
    if line.chunks and line.reused_chunks is not None:
        found["chunks"] = dg.MetadataValue.int(line.chunks)
        found["chunks_reused"] = dg.MetadataValue.int(line.reused_chunks)
    if manifest.git_revision:
        found["git_revision"] = dg.MetadataValue.text(manifest.git_revision)
    if manifest.migrations:
        found["migrations"] = dg.MetadataValue.text(manifest.migrations.told())
        if manifest.migrations.known:
            found["migrations_pending"] = dg.MetadataValue.int(len(manifest.migrations.pending))
    if len(history) > 1:
        found["size_over_time"] = dg.MetadataValue.md(size_over_time(history))
    if manifest.left_out:
        found["left_out"] = left_out_table(manifest.left_out)
    if manifest.findings:
        found["findings"] = findings_table(manifest.findings)
    return found


def _content(manifest: Manifest, line: Listed) -> str:
    """The line that a person reads; the bare numbers are there for the plots."""
    files = f", {sum(tree.files for tree in manifest.files):,} files" if manifest.files else ""
    return (
        f"{len(manifest.tables):,} tables, {manifest.rows:,} rows{files}, {as_size(line.bytes)}; "
        f"{as_size(line.stored)} in the vault"
    )


def size_over_time(history: Sequence[Listed]) -> str:
    """A line of bars and the last few backups as a table; the UI draws `bytes` as a plot besides."""
    lines = [
        f"`{bars([line.bytes for line in history])}` {as_size(history[0].bytes)} → {as_size(history[-1].bytes)}",
        "",
        "| backup | rows | size | stored | seconds |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {line.id} | {_count(line.rows)} | {as_size(line.bytes)} | {as_size(line.stored)} | {line.seconds:.1f} |"
        for line in reversed(history[-10:])
    ]
    return "\n".join(lines)


def _count(number: int | None) -> str:
    """None: it is encrypted, and this host cannot look."""
    return "encrypted" if number is None else f"{number:,}"


def bars(values: Sequence[int]) -> str:
    """From nothing to the largest: a database that did not change is a flat line at the top."""
    top = max(values, default=0)
    if top == 0:
        return _BARS[0] * len(values)
    return "".join(_BARS[round(value / top * (len(_BARS) - 1))] for value in values)


def figures(facts: Mapping[str, str | int | float]) -> Metadata:
    """The figures of an act, under the names that its line in the log of acts has."""
    return {name: _FIGURES[type(fact)](fact) for name, fact in facts.items()}


def findings_metadata(findings: Sequence[Finding], counted: Mapping[str, int], seconds: float) -> Metadata:
    """What a check shows: what it found and, so that nothing found cannot mean nothing looked at, what it counted."""
    found: Metadata = {}
    if findings:
        found["findings"] = findings_table(findings)
    if len(findings) > MOST_FINDINGS:
        found["not_shown"] = dg.MetadataValue.int(len(findings) - MOST_FINDINGS)
    found |= {f"checked_{name}": dg.MetadataValue.int(count) for name, count in sorted(counted.items())}
    if seconds:
        found["seconds"] = dg.MetadataValue.float(round(seconds, 3))
    return found


def findings_table(findings: Sequence[Finding]) -> dg.MetadataValue:
    order = {"error": 0, "warning": 1, "info": 2}
    shown = sorted(findings, key=lambda finding: order[finding.severity])[:MOST_FINDINGS]
    # The UI gives the table a third of the page: two columns are shown. The others are for what reads a record.
    return dg.MetadataValue.table(
        [dg.TableRecord(_line(finding)) for finding in shown],
        schema=_columns(severity="string", finding="string"),
    )


def _line(finding: Finding) -> dict[str, str]:
    # With its examples: in a column of their own, names without a blank leave no room for anything else.
    examples = () if finding.marked("shows_rows") else finding.examples[:3]
    what = ": ".join([finding.message, *filter(None, ["; ".join(examples)])])
    return {
        "severity": finding.severity,
        "finding": f"{what}{f' → {finding.remedy}' if finding.remedy else ''} [{finding.code}]",
        "about": finding.table or finding.tree or "",
        "what": what,
        "remedy": finding.remedy,
        "code": finding.code,
    }


def left_out_table(left_out: Sequence[LeftOut]) -> dg.MetadataValue:
    return dg.MetadataValue.table(
        [
            dg.TableRecord({"what": f"{one.schema}.{one.name}", "kind": one.kind, "why": one.reason})
            for one in left_out[:MOST_TABLES]
        ],
        schema=_columns(what="string", kind="string", why="string"),
    )


def _columns(**types: str) -> dg.TableSchema:
    return dg.TableSchema(columns=[dg.TableColumn(name=name, type=kind) for name, kind in types.items()])


def as_size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
