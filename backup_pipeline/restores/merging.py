"""The way in to a merge: rows of a backup go back into a database that has rows."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from backup_pipeline.databases.engines import engine_at, engine_named
from backup_pipeline.databases.merge.asked import Asked
from backup_pipeline.databases.merge.plan import MergePlan, MergeResult
from backup_pipeline.databases.merge.rules import Rules
from backup_pipeline.databases.merge.session import Session, SessionOptions
from backup_pipeline.errors import RestoreError
from backup_pipeline.model.findings import Finding

if TYPE_CHECKING:
    # Not loaded here: SQLAlchemy is half a second, and few verbs merge.
    from contextlib import AbstractContextManager

    from backup_pipeline.vault.backup import Backup


def plan_merge(
    backup: Backup, url: str, asked: Asked, rules: Rules, options: SessionOptions | None = None
) -> MergePlan:
    """What a merge would do. No row of the target is locked or changed."""
    from backup_pipeline.databases.merge.merging import Way, prepare

    options = replace(options or SessionOptions(), read_only=True)
    with _opened(backup, url, options) as session:
        return prepare(session, backup, asked, rules, Way(options, "plan")).plan


def merge_into(
    backup: Backup,
    url: str,
    asked: Asked,
    rules: Rules,
    options: SessionOptions | None = None,
    *,
    dry_run: bool = False,
) -> MergeResult:
    """All of the plan, or nothing. `dry_run` does the work and takes it back."""
    from backup_pipeline.databases.merge import merging
    from backup_pipeline.databases.merge.merging import Way

    begin = time.monotonic()
    options = options or SessionOptions()
    with _opened(backup, url, options) as session:
        prepared = merging.prepare(
            session, backup, asked, rules, Way(options, "dry run" if dry_run else "merge")
        )
        prepared.plan.raise_if_refused()
        if asked.approved and asked.approved != prepared.plan.digest:
            raise RestoreError(
                "the plan is another one than the approved plan: the database, the backup or the order is not as it was",
                remedy="look at a new plan (`--plan --plan-file FILE`), and approve that one",
            )
        keeper = None if dry_run else options.keeper
        findings: tuple[Finding, ...] = ()
        if prepared.plan.writes:
            prepared, findings = merging.write(prepared, keeper)
        if dry_run:
            session.rollback()
        else:
            created = [counts.table for counts in prepared.plan.tables if counts.create]
            findings = (*findings, *session.raise_sequences(created))
            if keeper is not None and prepared.plan.writes:
                keeper.prepared()
            session.commit()
    seconds = time.monotonic() - begin
    plan = replace(prepared.plan, seconds=seconds)
    return MergeResult(
        plan, rejected=prepared.rejected, seconds={"total": seconds}, findings=(*plan.findings, *findings)
    )


def _opened(backup: Backup, url: str, options: SessionOptions) -> AbstractContextManager[Session]:
    backup.vault.need_identity()
    engine, wanted = engine_at(url), backup.manifest.engine.name
    if engine.name != wanted:
        raise RestoreError(
            f"this is a backup of a {wanted} database, and the target is {engine.name}",
            remedy=f"merge it into a {wanted} database, such as {engine_named(wanted).example}",
        )
    return engine.merging(url, options)
