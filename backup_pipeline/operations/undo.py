"""`undo`: the rows that a restore touched become what they were, by their identity and not by time. An undo is a restore with a
record of its own, so it can be undone."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

from backup_pipeline.databases.merge.plan import Did, MergePlan, MergeResult
from backup_pipeline.databases.merge.session import SessionOptions
from backup_pipeline.errors import Damaged, RestoreError, UsageError
from backup_pipeline.model import canonical
from backup_pipeline.model.ids import timestamp
from backup_pipeline.model.merge_orders import UndoOrder
from backup_pipeline.model.progress import Listener, silent
from backup_pipeline.model.vault_records import Prepared
from backup_pipeline.operations import diagnosing, thawing
from backup_pipeline.operations.merge import Merged, kept_until, memory_of, noted
from backup_pipeline.operations.plan_file import Approved
from backup_pipeline.operations.site import Site
from backup_pipeline.processes.waiting import takes_time
from backup_pipeline.restores import undoing
from backup_pipeline.retention.forgetting import who
from backup_pipeline.vault.recording import Recording
from backup_pipeline.vault.restores import Restore, Restores

LATEST = "latest"


@takes_time
def plan(site: Site, order: UndoOrder, listener: Listener = silent) -> MergePlan:
    """Counts, and writes nothing. `refused` of the plan names the rows that were changed since."""
    with diagnosing.explained(site, order.system):
        return _Undo(site, order, listener).plan()


@takes_time
def undo(
    site: Site, order: UndoOrder, listener: Listener = silent, *, approved: Approved | None = None
) -> Merged:
    """With `dry_run` the real thing, taken back. `approved`: exactly this plan, or nothing."""
    with diagnosing.explained(site, order.system):
        asked = _Undo(site, order, listener)
        if order.dry_run:
            return asked.dry_run()
        first = asked.plan()
        first.raise_if_refused()
        if approved is not None:
            approved.demand(first)
        if not first.writes:
            return Merged(first)
        return asked.write(first)


def _digest(plan: MergePlan) -> str:
    """Of what the plan says will be written; not of the time that it took."""
    said = replace(plan, seconds=0.0, did="plan", digest="")
    return hashlib.sha256(canonical.encode(said)).hexdigest()


def _merged(result: MergeResult) -> Merged:
    return Merged(result.plan, seconds=result.seconds, findings=result.findings)


@dataclass(frozen=True)
class _Undo:
    site: Site
    order: UndoOrder
    listener: Listener

    @cached_property
    def restores(self) -> Restores:
        return Restores(self.site.at(None).vault, self.order.system)

    @cached_property
    def restore(self) -> Restore:
        """The one that is taken back. Its rows can be read."""
        found = self._chosen()
        thawing.ensure_readable(found.vault, found.outline.objects, what=str(found))
        return found

    def _chosen(self) -> Restore:
        found = self._asked(self.restores.get(self.order.id or LATEST))
        while found.state == "failed" and self.order.id in (None, LATEST):
            # It died before its commit, as the database says.
            found = self._asked(self.restores.get(LATEST))
        if found.state == "failed":
            raise RestoreError(
                f"{found} changed nothing",
                remedy=f"`backup-pipeline list {found.system} --restores` shows those that did",
            )
        found.demand_signed()
        self._end_undos()
        while (later := self.restores.undone_by(found)) is not None:
            again = self.restores.undone_by(later)
            if again is None:
                raise RestoreError(
                    f"{found} was undone already, by {later.id}",
                    remedy=f"`backup-pipeline undo {self.order.system} {later.id}` does it again",
                )
            # The undo was undone, so the restore is in force again, by this one.
            found = again
        return found

    def _end_undos(self) -> None:
        """An undo that died at its commit may have taken the restore back already."""
        for one in self.restores.all():
            # One that cannot be read, is of another hand or of another database does not stand in the way.
            with suppress(Damaged, UsageError):
                if one.state == "unknown" and one.outline.undoes:
                    self._asked(one)

    def _asked(self, found: Restore) -> Restore:
        """Where a process died before it noted the end, the database tells it, as long as it remembers the restore."""
        if found.state != "unknown" or not found.prepared.order.get("remember", True):
            return found
        found.demand_signed()
        happened = undoing.happened(found, self._url_of(found))
        until = kept_until(self.site, found)
        forgotten = until and until < timestamp(self.site.clock())
        if happened is None or (not happened and forgotten):
            return found
        return self.restores.resolve(found, happened=happened)

    @property
    def url(self) -> str:
        return self._url_of(self.restore)

    def _url_of(self, restore: Restore) -> str:
        order, record = self.order, restore.prepared
        if record.order.get("live") or order.to:
            return order.to or self.site.url(order.system)
        raise UsageError(
            f"{restore} has changed {record.target}, which is not the system's own database",
            remedy="name that database with --to URL",
        )

    def plan(self) -> MergePlan:
        return self._run("plan").plan

    def dry_run(self) -> Merged:
        return _merged(self._run("dry run"))

    def write(self, first: MergePlan) -> Merged:
        with self.restores.begin(self._record(first)) as recording:
            result = self._run("merge", recording)
            merged = _merged(result)
            return noted(self.site, recording, merged) if result.plan.writes else merged

    def _run(self, did: Did, recording: Recording | None = None) -> MergeResult:
        noted = recording if self._remembers else None
        memory = memory_of(self.site, self.order.system, noted) if noted else None
        options = SessionOptions(listener=self.listener, keeper=recording, memory=memory)
        system = self.site.settings.systems.get(self.order.system)
        rules, spare = system.merge if system else None, self.order.except_changed
        result = undoing.undo(self.restore, self.url, options, did, rules, except_changed=spare)
        return replace(result, plan=replace(result.plan, digest=_digest(result.plan)))

    @property
    def _remembers(self) -> bool:
        """A restore with --no-map left nothing in the target, and neither does its undo."""
        return bool(self.restore.prepared.order.get("remember", True))

    def _record(self, plan: MergePlan) -> Prepared:
        old = self.restore.prepared
        shown = replace(plan, tables=tuple(replace(one, differences=()) for one in plan.tables))
        return replace(
            old,
            id="",
            target=plan.target,
            by=who(),
            began="",
            order={
                "live": not self.order.to,
                "except_changed": self.order.except_changed,
                "remember": self._remembers,
            },
            plan=canonical.plain(shown),
            digest=plan.digest,
            pre_restore=old.pre_restore,
            undoes=self.restore.id,
            images=(),
        )
