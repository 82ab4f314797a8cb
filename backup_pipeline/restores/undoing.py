"""The way in to an undo: the rows that a restore touched become as they were."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from backup_pipeline.databases.engines import engine_at
from backup_pipeline.databases.merge.plan import Did, MergeResult
from backup_pipeline.databases.merge.session import SessionOptions
from backup_pipeline.errors import Damaged, RestoreError, TargetChanged
from backup_pipeline.model.schema import Schema, TableId
from backup_pipeline.model.vault_records import RowImage
from backup_pipeline.vault.restores import REMEDY, Restore

if TYPE_CHECKING:
    from backup_pipeline.config.merging import MergeSettings
    from backup_pipeline.databases.merge.undoing import Image


def undo(
    restore: Restore,
    url: str,
    options: SessionOptions,
    did: Did,
    rules: MergeSettings | None = None,
    *,
    except_changed: bool = False,
) -> MergeResult:
    """All of it, or nothing. Rows that were changed since are refused by name, or left with `except_changed`. `rules`: those
    of the configuration."""
    from backup_pipeline.databases.merge import deriving, remembering, undoing
    from backup_pipeline.databases.merge.rulebook import resolve

    begin = time.monotonic()
    restore.vault.need_identity()
    record = restore.prepared
    if (engine := engine_at(url)).name != record.engine.name:
        raise RestoreError(
            f"{restore} changed a {record.engine.name} database, and the target is {engine.name}",
            remedy="undo it in the database that it changed",
        )
    sides = tuple(_images(restore, "before")), tuple(_images(restore, "after"))
    options = replace(options, read_only=did == "plan")
    with engine.merging(url, options) as session:
        _demand_keys(session.schema, [image for side in sides for image in side])
        why = f"takes {restore.id} back, of {record.began}"
        base = undoing.base_plan((restore.system, restore.id), session, did, why)
        known = resolve(session.schema, rules)[0]
        prepared = undoing.prepare(session, sides, base, known, except_changed=except_changed)
        if did != "plan":
            prepared.plan.raise_if_refused()
            tables = [one.table for one in prepared.touched]
            findings = session.ready_to_write(tables, "auto") if prepared.plan.writes else ()
            keeper = options.keeper if did == "merge" and prepared.plan.writes else None
            undoing.write(prepared, keeper)
            written = {one.table for one in prepared.plan.tables if one.writes}
            due = deriving.due(known, session.schema, written)
            deriving.again(session, due)
            findings = (*findings, *due.findings)
            if did == "merge":
                remembering.undone(session, restore.id, options.memory)
            session.written()
            if did == "merge":
                session.raise_sequences([one.table for one in prepared.plan.tables if one.create])
                if keeper is not None:
                    keeper.prepared()
                session.commit()
            else:
                session.rollback()
        else:
            findings = ()
    seconds = time.monotonic() - begin
    plan = replace(prepared.plan, seconds=seconds)
    return MergeResult(plan, seconds={"total": seconds}, findings=findings)


def happened(restore: Restore, url: str) -> bool | None:
    """Whether this restore was committed in its database; None: the database does not tell."""
    from backup_pipeline.databases.merge import remembering

    with engine_at(url).merging(url, SessionOptions(read_only=True)) as session:
        # Another database cannot tell what this one did.
        same = session.address == restore.prepared.target
        return remembering.happened(session, restore.id) if same else None


def _demand_keys(schema: Schema, images: Iterable[Image]) -> None:
    """Rows are found by the key that their table has now."""
    for image in images:
        table = schema.table(image.table)
        key = table.primary_key.columns if table and table.primary_key else ()
        if lacking := [name for name in key if name not in image.columns]:
            raise TargetChanged(
                f"{image.table}: the key has the column {', '.join(lacking)} by now, and the record of the restore lacks it",
                remedy="rows of the pre-restore backup can be merged with `restore --live`",
            )


def _images(restore: Restore, which: str) -> Iterator[Image]:
    from backup_pipeline.databases.merge.undoing import Image

    # A table has two images of one side where SQL of a rule has changed more rows than the merge.
    parts: dict[TableId, list[RowImage]] = {}
    columns: dict[TableId, tuple[str, ...]] = {}
    for image in restore.prepared.images:
        table = TableId(image.schema, image.table)
        known = columns.setdefault(table, image.columns)
        if known != image.columns or len(set(known)) < len(known):
            raise _damaged(restore, f"its rows of {table} have columns that do not fit together")
        if image.which == which:
            parts.setdefault(table, []).append(image)
    for table, some in parts.items():
        yield Image(table, columns[table], partial(_rows, restore, some))


def _rows(restore: Restore, images: Iterable[RowImage]) -> Iterator[bytes]:
    for image in images:
        count = 0
        for block in restore.rows(image):
            count += block.count(b"\n")
            yield block
        if count != image.rows:
            what = f"it says {image.rows:,} rows of {image.schema}.{image.table}, and holds {count:,}"
            raise _damaged(restore, what)


def _damaged(restore: Restore, why: str) -> Damaged:
    return Damaged(f"the record of {restore} is damaged: {why}", remedy=REMEDY)
