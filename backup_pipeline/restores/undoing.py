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
from backup_pipeline.errors import RestoreError
from backup_pipeline.model.schema import TableId
from backup_pipeline.model.vault_records import RowImage
from backup_pipeline.vault.restores import Restore

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


def _images(restore: Restore, which: str) -> Iterator[Image]:
    from backup_pipeline.databases.merge.undoing import Image

    # A table has two images of one side where SQL of a rule has changed more rows than the merge.
    parts: dict[tuple[TableId, tuple[str, ...]], list[RowImage]] = {}
    for image in restore.prepared.images:
        if image.which == which:
            parts.setdefault((TableId(image.schema, image.table), image.columns), []).append(image)
    for (table, columns), some in parts.items():
        rows = partial(_rows, restore, some)
        yield Image(table, columns, rows)


def _rows(restore: Restore, images: Iterable[RowImage]) -> Iterator[bytes]:
    for image in images:
        yield from restore.rows(image)
