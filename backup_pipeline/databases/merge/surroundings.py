"""What a plan tells of a table beside its rows: triggers, row security, sequences that move."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from backup_pipeline.databases.merge.plan import TableMerge
from backup_pipeline.model.schema import Schema, TableId


def described(schema: Schema, counts: Iterable[TableMerge]) -> tuple[TableMerge, ...]:
    """Only of tables that are written."""
    triggers: dict[TableId, list[str]] = defaultdict(list)
    for one in schema.objects:
        if one.table is not None and one.kind in ("trigger", "rule"):
            triggers[one.table].append(one.name)
    sequences: dict[TableId, list[str]] = defaultdict(list)
    for sequence in schema.sequences:
        if sequence.owned_by is not None:
            sequences[sequence.owned_by].append(str(sequence.id))
    return tuple(_described(schema, one, triggers, sequences) for one in counts)


def _described(
    schema: Schema, one: TableMerge, triggers: dict[TableId, list[str]], sequences: dict[TableId, list[str]]
) -> TableMerge:
    table = schema.table(one.table)
    if not one.writes or table is None:
        return one
    return replace(
        one,
        triggers=tuple(sorted(triggers[one.table])),
        row_security=table.row_security,
        sequences=tuple(sorted(sequences[one.table])) if one.create else (),
    )
