"""References to rows that a backup was asked to leave out, and references that point nowhere for another reason."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Literal

from backup_pipeline.databases.sqlite.export.choosing import Choice
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import LeftOut
from backup_pipeline.model.schema import Schema, TableId


def references_left_out(
    schema: Schema, choice: Choice, severity: Literal["warning", "info"]
) -> Iterator[Finding]:
    reasons = {item.name: item.reason for item in choice.left_out}
    taken = frozenset(choice.selected)
    pointing: dict[TableId, list[str]] = defaultdict(list)
    for table in schema.tables:
        for key in table.foreign_keys if table.id in taken else ():
            if key.references.name in reasons:
                pointing[key.references].append(f"{table.id} ({', '.join(key.columns)})")
    for referred, keys in pointing.items():
        yield Finding.of(
            "reference-left-out/sqlite",
            table=referred,
            count=len(keys),
            s="s refer" if len(keys) != 1 else " refers",
            reasons=reasons[referred.name],
            severity=severity,
            examples=keys[:20],
        )


def dangling(
    left_out: Iterable[LeftOut],
    table: str,
    parent: str,
    rows: int,
    examples: tuple[str, ...],
    asked_for: Literal["warning", "info"],
) -> Finding:
    """Rows that point nowhere: because the backup was asked to leave out the rows that they point to (`asked_for`), or
    because it was so in the source."""
    what = f"main.{table}: {rows:,} {'row refers' if rows == 1 else 'rows refer'} to rows of {parent} that are not there"
    # Names are compared without case: REFERENCES Users means users.
    why = next((left.reason for left in left_out if left.name.lower() == parent.lower()), None)
    if why is not None:
        return Finding.of(
            "reference-left-out/rows",
            table=f"main.{table}",
            subject=what,
            why=why,
            parent=parent,
            severity=asked_for,
            examples=examples,
        )
    return Finding.of("dangling-reference/restored", table=f"main.{table}", subject=what, examples=examples)
