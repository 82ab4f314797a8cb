"""Polymorphic references of one backup: what each value of a type column means there."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from backup_pipeline.databases.merge.constructs import as_text
from backup_pipeline.databases.merge.graph import Reference, named
from backup_pipeline.databases.merge.references import polymorphic_references
from backup_pipeline.databases.merge.rules import PolymorphicRule, Rules
from backup_pipeline.databases.merge.session import Session, Staged
from backup_pipeline.model.progress import silent
from backup_pipeline.model.schema import TableId
from backup_pipeline.vault.backup import Backup


def found(session: Session, backup: Backup, rules: Rules) -> tuple[tuple[Reference, ...], tuple[str, ...]]:
    """The references, and what is not rewritten because its type means no table."""
    references: list[Reference] = []
    unknown: list[str] = []
    read: dict[tuple[TableId, str], Mapping[str, str]] = {}
    for rule in rules.polymorphic:
        if rule.types is None:
            spelled: Mapping[str, str] = {name: name for name in rule.tables}
        else:
            about = (rule.types, rule.spelled)
            if about not in read:
                read[about] = _spelled(session, backup, rule, f"types{len(read)}")
            spelled = read[about]
        meant = polymorphic_references(rule, spelled, session.schema, rules)
        references += meant.references
        if rule.types is not None:  # else a name too many is a name that no row holds
            unknown += [
                f"{named(rule.table)}.{rule.id}: {why}" for why in sorted(set(meant.unknown.values()))
            ]
    return tuple(references), tuple(unknown)


def _spelled(session: Session, backup: Backup, rule: PolymorphicRule, name: str) -> Mapping[str, str]:
    """Key of a type in the backup → the name of its table. The table of types is small."""
    assert rule.types is not None
    entry, table = backup.manifest.table(rule.types), backup.schema.table(rule.types)
    if entry is None or table is None or table.primary_key is None or len(table.primary_key.columns) != 1:
        return {}
    columns = table.exported_columns
    session.stage(backup, Staged(rule.types, columns, ("",) * len(columns), name), silent)
    staged = sa.Table(
        name, sa.MetaData(), *(sa.Column(f"c{at}") for at in range(len(columns))), schema=session.staging
    )
    key = columns.index(table.primary_key.columns[0])
    rows = session.connection.execute(sa.select(*(as_text(column) for column in staged.c))).all()
    return {row[key]: rule.spelled.format_map(dict(zip(columns, row, strict=True))) for row in rows}
