"""`restore --live`: rows of a backup go back into a database that lives on.

What belongs here: the way from the order to the core (`restores/merging`), the backup of the touched tables before it, and the
record in the vault. How rows are known and written is in `databases/merge`; `undo` takes a merge back.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from backup_pipeline.databases.engines import engine_at, engine_named
from backup_pipeline.databases.merge import rulebook
from backup_pipeline.databases.merge.asked import Asked
from backup_pipeline.databases.merge.plan import MergePlan, MergeResult, Rejected
from backup_pipeline.databases.merge.rules import Rules
from backup_pipeline.databases.merge.session import Memory, SessionOptions
from backup_pipeline.errors import BackupError, ErrorsFound, RestoreError, UsageError
from backup_pipeline.model import canonical
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import restore_id, timestamp
from backup_pipeline.model.merge_orders import MergeOrder
from backup_pipeline.model.orders import options_of
from backup_pipeline.model.plural import plural
from backup_pipeline.model.progress import Listener, silent
from backup_pipeline.model.vault_records import Prepared
from backup_pipeline.operations import diagnosing, environment, merge_files, rejects, thawing
from backup_pipeline.operations.before_restore import back_up_before
from backup_pipeline.operations.merge_asked import asked_of
from backup_pipeline.operations.plan_file import Approved
from backup_pipeline.operations.reading import usable
from backup_pipeline.operations.site import Site
from backup_pipeline.processes.waiting import takes_time
from backup_pipeline.restores import merging
from backup_pipeline.retention.forgetting import who
from backup_pipeline.vault.backup import Backup
from backup_pipeline.vault.recording import Recording
from backup_pipeline.vault.restores import Restore, Restores

if TYPE_CHECKING:
    from backup_pipeline.operations.files import FilesPlan, FilesResult

__all__ = ["Approved", "MergePlan", "Merged", "after_interruption", "lacking", "merge", "plan"]

#: Of an order, for the record: no address, which may hold a password, and no file of this host.
_RECORDED = [one.name for one in options_of(MergeOrder) if one.name not in ("to", "rejects")]


@dataclass(frozen=True, slots=True)
class Merged:
    plan: MergePlan
    #: "": nothing was written.
    restore_id: str = ""
    #: The backup of the touched tables as they were; "": the configuration does not name the system.
    pre_restore: str = ""
    #: Until then `undo` takes it back.
    undo_until: str = ""
    rejected: tuple[Rejected, ...] = ()
    #: What would be done about files, a tree each; and what was done.
    file_plans: tuple[FilesPlan, ...] = ()
    files: tuple[FilesResult, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    @property
    def refusal(self) -> BackupError | None:
        return next((one.refusal for one in (self.plan, *self.file_plans) if one.refusal), None)


def lacking(plan: MergePlan, rejected: int = 0) -> ErrorsFound | None:
    """What was asked for and is not written. A live row that is kept as it is was not asked for."""
    skipped = sum(sum(table.skipped.values()) for table in plan.tables)
    counts = ((plan.conflicts, "in conflict"), (skipped, "skipped"), (rejected, "refused by the database"))
    parts = [f"{plural(count, 'row')} {what}" for count, what in counts if count]
    if not parts:
        return None
    verb = "is" if plan.did == "merge" else "would be"
    return ErrorsFound(
        f"not all that was asked for {verb} restored: {', '.join(parts)}",
        remedy="the plan names them and says why; --json has all figures",
    )


@takes_time
def plan(site: Site, order: MergeOrder, listener: Listener = silent) -> MergePlan:
    """Counts, and writes nothing. `refused` of the plan holds each reason against the merge."""
    with diagnosing.explained(site, order.system):
        return _Question(site, order, listener).plan()


@takes_time
def look(site: Site, order: MergeOrder, listener: Listener = silent) -> Merged:
    """The plan, and that of the files that come with the rows."""
    with diagnosing.explained(site, order.system):
        question = _Question(site, order, listener)
        return Merged(question.plan(), file_plans=question.plan_files())


@takes_time
def merge(
    site: Site, order: MergeOrder, listener: Listener = silent, *, approved: Approved | None = None
) -> Merged:
    """With `dry_run` the real thing, taken back. `approved`: exactly this plan, or nothing."""
    with diagnosing.explained(site, order.system):
        question = _Question(site, order, listener)
        rejects.need_place(order.rejects)
        if order.dry_run:
            return replace(question.dry_run(), file_plans=question.plan_files())
        first = question.plan()
        first.raise_if_refused()
        if approved is not None:
            approved.demand(first)
        for one in question.plan_files():
            one.raise_if_refused()
        written = (
            question.write(first, approved.digest if approved else "") if first.writes else Merged(first)
        )
        return question.with_files(written)


def after_interruption(site: Site, system: str, began: datetime) -> str:
    """What is true of a merge that was interrupted, or of an undo: its record says."""
    newest = next(iter(Restores(site.at(None).vault, system).all()), None)
    if newest is None or newest.id < restore_id(began) or newest.state == "failed":
        return "nothing was written"
    if newest.state == "done":
        return f"the rows are written; `backup-pipeline undo {system} {newest.id}` takes them back"
    return f"whether rows were written is not known; `backup-pipeline undo {system} {newest.id} --plan` looks"


def noted(site: Site, recording: Recording, merged: Merged) -> Merged:
    """The rows are committed, and the record says so. A vault that takes no more makes the commit no less true."""
    merged = replace(merged, restore_id=recording.id)
    try:
        recording.done(merged.plan.written)
        restore = Restores(recording.vault, recording.record.system).get(recording.id)
        return replace(merged, undo_until=kept_until(site, restore))
    except BackupError as error:
        found = Finding.of(
            "restore-end-not-noted",
            id=recording.id,
            why=error.message,
            undo=f"backup-pipeline undo {recording.record.system} {recording.id}",
        )
        return replace(merged, findings=(*merged.findings, found))


def kept_until(site: Site, restore: Restore) -> str:
    """Until then `undo` takes it back. "": for ever."""
    policy = site.settings.retention_of(restore.system)
    return restore.expires_after(timedelta(seconds=policy.pre_restore)) if policy else ""


def memory_of(site: Site, system: str, recording: Recording, lineage: str = "") -> Memory:
    """What the target remembers of this restore, as long as it can be undone."""
    policy = site.settings.retention_of(system)
    until = timestamp(site.clock() + timedelta(seconds=policy.pre_restore)) if policy else ""
    return Memory(lineage, recording.id, until)


@dataclass(frozen=True)
class _Question:
    """What an order comes to: one backup, one database, and what is asked of it."""

    site: Site
    order: MergeOrder
    listener: Listener

    @cached_property
    def home(self) -> Site:
        """Where a restore is recorded, also where its backup is read from a copy."""
        return self.site.at(None)

    @cached_property
    def backup(self) -> Backup:
        found = usable(self.site, self.order.system, self.order.id)
        found.vault.need_identity()
        return found

    @cached_property
    def url(self) -> str:
        order = self.order
        if order.live == bool(order.to):
            raise UsageError(
                "it is not said which database lives on",
                remedy="say --live for the system's own, or --to URL",
            )
        url = self.site.url(order.system) if order.live else order.to
        engine, wanted = engine_at(url).name, self.backup.manifest.engine.name
        if engine != wanted:
            raise RestoreError(
                f"this is a backup of a {wanted} database, and the target is {engine}",
                remedy=f"restore it to {engine_named(wanted).example}",
            )
        return url

    @cached_property
    def rulebook(self) -> tuple[Rules, tuple[str, ...]]:
        """The rules of the tables, and the names of the rule files that hold."""
        settings = self.site.settings.systems.get(self.order.system)
        return rulebook.resolve(self.backup.schema, settings.merge if settings else None)

    @property
    def rules(self) -> Rules:
        return self.rulebook[0]

    @cached_property
    def asked(self) -> Asked:
        settings = self.site.settings.systems.get(self.order.system)
        groups = {
            **{name: [glob.escape(str(one)) for one in tables] for name, tables in self.rules.groups.items()},
            **self.backup.manifest.groups,
            **(settings.groups if settings else {}),
        }
        return asked_of(self.order, self.backup, groups)

    @property
    def options(self) -> SessionOptions:
        return SessionOptions(listener=self.listener, memory=Memory(self._lineage))

    @property
    def _lineage(self) -> str:
        """One for all backups of a database: by its own identity, else by the name of the system."""
        state = self.backup.manifest.state
        known = [state[name] for name in ("system_identifier", "database_oid") if name in state]
        return ":".join(known) or self.order.system

    def plan(self) -> MergePlan:
        return self._checked(merging.plan_merge(self.backup, self.url, self.asked, self.rules, self.options))

    def dry_run(self) -> Merged:
        result = merging.merge_into(self.backup, self.url, self.asked, self.rules, self.options, dry_run=True)
        return self._merged(result)

    def write(self, first: MergePlan, approved: str) -> Merged:
        order, vault = self.order, self.home.vault
        thawing.ensure_readable(self.site.vault, self.backup.manifest.objects(), what=str(self.backup))
        before = self._backup_before(first) if order.system in self.site.settings.systems else ""
        restores = Restores(vault, order.system)
        with restores.begin(self._record(first, before)) as recording:
            memory = memory_of(self.home, order.system, recording, self._lineage)
            options = replace(self.options, keeper=recording, memory=memory)
            asked = replace(self.asked, approved=approved)
            result = merging.merge_into(self.backup, self.url, asked, self.rules, options)
            merged = replace(self._merged(result), pre_restore=before)
            return noted(self.home, recording, merged) if result.plan.writes else merged

    def plan_files(self) -> tuple[FilesPlan, ...]:
        return merge_files.plan(self.site, self.order, self.backup, self.listener)

    def with_files(self, merged: Merged) -> Merged:
        """The rows are committed: what keeps a file away is told, and takes nothing back."""
        try:
            files = merge_files.restore(self.site, self.order, self.backup, self.listener)
        except BackupError as error:
            return replace(merged, findings=(*merged.findings, Finding.of_error(error)))
        told = (finding for one in files for finding in one.findings)
        return replace(merged, files=files, findings=(*merged.findings, *told))

    def _merged(self, result: MergeResult) -> Merged:
        if self.order.rejects is not None and result.rejected:
            rejects.write(self.order.rejects, result.rejected)
        return Merged(
            self._checked(result.plan),
            rejected=result.rejected,
            seconds=result.seconds,
            findings=result.findings,
        )

    def _checked(self, plan: MergePlan) -> MergePlan:
        """With what the core cannot know: whether rows of this environment may go there."""
        order = self.order
        marker = environment.marker_of_target(self.site, order.system, self.url, order.live)
        found = environment.refusal(self.backup.manifest.environment, marker, order.from_environment)
        refused = (*plan.refused, *([found] if found else []))
        named = self.rulebook[1]
        return replace(plan, rules=named, refused=diagnosing.exact_findings(self.site, order.system, refused))

    def _backup_before(self, plan: MergePlan) -> str:
        touched = [table.table for table in plan.tables if table.writes]
        return back_up_before(self.home, self.order.system, self.url, touched, self.listener).id

    def _record(self, plan: MergePlan, before: str) -> Prepared:
        order, manifest = self.order, self.backup.manifest
        # Rows of the plan stand in the images of the record.
        shown = replace(plan, tables=tuple(replace(one, differences=()) for one in plan.tables))
        return Prepared(
            system=order.system,
            id="",
            backup=self.backup.link,
            place=self.site.place or "vault",
            target=plan.target,
            engine=manifest.engine,
            by=who(),
            began="",
            order={name: canonical.plain(getattr(order, name)) for name in _RECORDED},
            plan=canonical.plain(shown),
            digest=plan.digest,
            pre_restore=before,
        )
