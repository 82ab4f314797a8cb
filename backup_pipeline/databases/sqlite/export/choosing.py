"""Of which tables of a SQLite file the rows are taken. What hangs together is taken or left together:

- the shadow tables of a virtual table go where it goes;
- a full-text index over another table (`content=`) holds that table's words, and a vocabulary table those of its index:
  they are left out with it, or the excluded rows would be in the backup after all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from backup_pipeline.databases.sqlite.export.definitions import VirtualSql
from backup_pipeline.databases.sqlite.export.inspection import owner_of_shadow
from backup_pipeline.errors import NotSupported
from backup_pipeline.model.manifest import LeftOut
from backup_pipeline.model.schema import Schema, Table, TableId
from backup_pipeline.model.selection import Selection, matches

_VOCABULARIES = ("fts5vocab", "fts4aux")


@dataclass(frozen=True, slots=True)
class Choice:
    selected: tuple[TableId, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def dropped(self) -> frozenset[str]:
        return frozenset(item.name for item in self.left_out)


def choose(
    schema: Schema,
    selection: Selection,
    virtual: Mapping[str, VirtualSql],
    views: Mapping[str, frozenset[str]],
) -> Choice:
    """`virtual`: the definitions of the virtual tables; `views`: what each view reads, in lower case."""
    reasons: dict[str, str] = {}
    for table in schema.tables:
        if table.kind != "shadow":
            reason = _reason(table, schema, selection, virtual)
            if reason is not None:
                reasons[table.id.name] = reason
    kinds = {table.id.name: table.kind for table in schema.tables}
    _spread(reasons, virtual, views)
    for table in schema.tables:
        owner = _owner(table, virtual)
        if owner is not None:
            _refuse_half_a_table(table, owner, reasons, selection)
            if owner in reasons:
                reasons[table.id.name] = (
                    f"keeps the rows of main.{owner}, which is left out ({reasons[owner]})"
                )
    selected = tuple(table.id for table in schema.tables if table.id.name not in reasons)
    left_out = tuple(
        LeftOut("main", name, _kind(kinds[name]), reason) for name, reason in sorted(reasons.items())
    )
    return Choice(selected, left_out)


def _kind(kind: str) -> str:
    return "table" if kind == "table" else f"{kind} table"


def _owner(table: Table, virtual: Iterable[str]) -> str | None:
    return owner_of_shadow(table.id.name, virtual) if table.kind == "shadow" else None


def _reason(
    table: Table, schema: Schema, selection: Selection, virtual: Mapping[str, VirtualSql]
) -> str | None:
    reason = selection.reason_to_leave_out(table.id)
    if reason is None or table.kind != "virtual":
        return reason
    # A virtual table is also asked for by asking for one of its shadow tables.
    shadows = [other for other in schema.tables if _owner(other, virtual) == table.id.name]
    excluded = any(matches(glob, table.id) for glob in selection.exclude)
    if not excluded and any(selection.reason_to_leave_out(shadow.id) is None for shadow in shadows):
        return None
    return reason


def _refuse_half_a_table(table: Table, owner: str, reasons: Mapping[str, str], selection: Selection) -> None:
    glob = next((glob for glob in selection.exclude if matches(glob, table.id)), None)
    if owner not in reasons and glob is not None:
        raise NotSupported(
            f"`exclude: {glob}` names {table.id}, a part of the virtual table main.{owner}, which is not excluded",
            remedy=f"exclude {owner} itself (its parts go with it), or write the glob more narrowly",
        )


def _spread(
    reasons: dict[str, str], virtual: Mapping[str, VirtualSql], views: Mapping[str, frozenset[str]]
) -> None:
    """Add the virtual tables that hold words of what is left out, until no more do. A view holds no rows: it stays, and
    matters here because the words of a full-text index may come through it."""
    hidden = {name.lower(): name for name in reasons}
    growing = True
    while growing:
        growing = False
        for view, read in views.items():
            cause = next((hidden[name] for name in sorted(read) if name in hidden), None)
            if view.lower() not in hidden and cause is not None:
                hidden[view.lower()] = cause
                growing = True
        for name, definition in virtual.items():
            content = definition.options.get("content", "").lower()
            if definition.module in _VOCABULARIES and definition.arguments:
                # (table, type), or (schema, table, type)
                content = definition.arguments[len(definition.arguments) > 2].lower()
            if name not in reasons and content in hidden:
                reasons[name] = f"holds the words of main.{hidden[content]}, which is left out"
                hidden[name.lower()] = name
                growing = True
