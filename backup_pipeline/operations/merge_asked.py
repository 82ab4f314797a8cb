"""From what was typed to what a merge is asked: names, groups and patterns become tables, and text becomes a tenant.

Words that fit nothing are errors here, before a database is opened."""

from __future__ import annotations

from collections.abc import Sequence

from backup_pipeline.databases.merge.asked import Asked, Tenant, Verbs
from backup_pipeline.databases.merge.references import root_of
from backup_pipeline.errors import UsageError
from backup_pipeline.model.merge_orders import ALL, MergeOrder
from backup_pipeline.model.schema import Schema, TableId
from backup_pipeline.operations.choosing_tables import Groups, chosen, unknown
from backup_pipeline.vault.backup import Backup


def asked_of(order: MergeOrder, backup: Backup, groups: Groups) -> Asked:
    schema = backup.schema
    # Rows of partitions belong to the table that is divided.
    known = tuple(dict.fromkeys(root_of(backup.schema, entry.id) for entry in backup.manifest.tables))
    only = frozenset(chosen(order.only, known, groups)) if order.only else None
    skip = frozenset(chosen(order.skip, known, groups))
    if only is not None and not only - skip:
        raise UsageError("no table is left", remedy="--skip takes away what --only names")
    return Asked(
        only=only,
        skip=skip,
        where=conditions(order.where, known),
        tenant=tenant_of(order.tenant, known, schema),
        verbs=verbs_of(order),
        strategy=order.strategy,
        triggers=order.triggers,
        lineage=order.lineage,
        remember=order.remember,
        rejects=order.rejects is not None or order.allow_rejects,
        show=tuple(chosen(order.show, known, groups)),
    )


def verbs_of(order: MergeOrder) -> Verbs:
    kind, _, column = str(order.update).partition(":")
    newest = column.strip() if kind == "newest" else ""
    if order.update and order.update != ALL and not newest:
        raise UsageError(
            f"update: {order.update!r} is not newest:COLUMN",
            remedy=f"write {ALL!r} for all that differ, or newest:updated_at",
        )
    verbs = Verbs(create=order.create, update=bool(order.update), newest=newest, delete=order.delete)
    if not (verbs.create or verbs.update or verbs.delete):
        raise UsageError(
            "nothing may be written", remedy="leave --no-create out, or add --update or --delete"
        )
    return verbs


def conditions(where: Sequence[str], known: Sequence[TableId]) -> dict[TableId, str]:
    found: dict[TableId, str] = {}
    for text in where:
        name, colon, condition = text.partition(":")
        if not colon or not condition.strip():
            raise UsageError(
                f"where: {text!r} is no condition of a table", remedy="write it as 'orders: customer_id = 7'"
            )
        table = _one(name.strip(), known)
        if table in found:
            raise UsageError(f"where: {table} has two conditions", remedy="join them with AND")
        found[table] = condition.strip()
    return found


def tenant_of(text: str, known: Sequence[TableId], schema: Schema) -> Tenant | None:
    if not text:
        return None
    name, colon, key = text.partition(":")
    if not colon or not key:
        raise UsageError(f"tenant: {text!r} names no row", remedy="write it as accounts:7")
    table = _one(name.strip(), known)
    primary = next((one.primary_key for one in schema.tables if one.id == table), None)
    if primary is None:
        raise UsageError(f"tenant: {table} has no primary key", remedy="name the row with --where")
    width = len(primary.columns)
    parts = tuple(key.split(",", width - 1))
    if len(parts) != width:
        raise UsageError(
            f"tenant: the key of {table} has {width} columns ({', '.join(primary.columns)})",
            remedy="give their values in this order, with commas between them",
        )
    return Tenant(table, parts)


def _one(name: str, known: Sequence[TableId]) -> TableId:
    """A table by its own name, with or without its schema."""
    fitting = [table for table in known if name in (str(table), table.name)]
    if len(fitting) > 1:
        raise UsageError(
            f"{name} is the name of {len(fitting)} tables",
            remedy=f"write one of {', '.join(map(str, fitting))}",
        )
    if not fitting:
        raise unknown(name, known, {})
    return fitting[0]
