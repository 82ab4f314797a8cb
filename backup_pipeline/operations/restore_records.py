"""What is remembered of restores that changed a database: which there are, what each did, and how long it can be undone."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from backup_pipeline.databases.merge.plan import MergePlan
from backup_pipeline.errors import Damaged, KeyMissing
from backup_pipeline.model import canonical
from backup_pipeline.model.overview import Signature
from backup_pipeline.model.vault_records import Ended, Prepared, RestoreState
from backup_pipeline.operations.listing import systems_of
from backup_pipeline.operations.site import Site
from backup_pipeline.vault import records
from backup_pipeline.vault.restores import Restore, Restores

__all__ = ["Remembered", "Restored", "list_restores", "remembered"]


@dataclass(frozen=True, slots=True)
class Restored:
    """One line of a listing."""

    system: str
    id: str
    #: unknown: its process ended at the moment of the commit, and the database was not asked since.
    state: RestoreState
    backup: str = ""
    pre_restore: str = ""
    undoes: str = ""
    #: The restore that took it back.
    undone_by: str = ""
    #: Until then at least it can be undone; "": no rule ends that.
    until: str = ""
    #: The command that takes it back; "": there is nothing to take back.
    undo: str = ""
    #: Table → how many of its rows were updated or deleted, and how many were created or updated. Empty without a key.
    rows: dict[str, tuple[int, int]] = field(default_factory=dict)
    target: str = ""
    by: str = ""
    signature: Signature | None = None
    #: Why it cannot be read.
    damaged: str = ""


@dataclass(frozen=True, slots=True)
class Remembered:
    """Everything that is remembered of one restore."""

    restore: Restored
    record: Prepared
    ended: Ended | None
    #: None: an older or a newer version wrote the plan.
    plan: MergePlan | None


def list_restores(site: Site, system: str | None = None) -> tuple[Restored, ...]:
    """Of one system or of all, oldest first."""
    if system and system not in site.vault.systems():
        site.system(system)  # a name that means nothing is an error, not an empty list
    found: list[Restored] = []
    for name in systems_of(site, system):
        every = Restores(site.vault, name).all()
        undone = _undone(every)
        found += (_line(site, one, undone.get(one.id, "")) for one in reversed(every))
    return tuple(found)


def remembered(site: Site, system: str, id: str) -> Remembered:
    """Raises KeyMissing where it is encrypted and cannot be opened here."""
    one = Restores(site.vault, system).get(id)
    record = one.prepared
    try:
        plan = canonical.decode(MergePlan, canonical.encode(record.plan), what="the plan")
    except Damaged:
        plan = None
    undone = _undone(Restores(site.vault, system).all())
    return Remembered(_line(site, one, undone.get(one.id, "")), record, one.ended, plan)


def _undone(every: Iterable[Restore]) -> dict[str, str]:
    """Restore → the newest one that took it back."""
    undone: dict[str, str] = {}
    for one in every:
        with suppress(Damaged):  # told in its own line
            if one.state == "done" and one.outline.undoes:
                undone.setdefault(one.outline.undoes, one.id)
    return undone


def _line(site: Site, one: Restore, undone_by: str) -> Restored:
    try:
        outline = one.outline
    except Damaged as error:
        return Restored(one.system, one.id, one.state, damaged=error.message)
    rows: dict[str, tuple[int, int]] = {}
    target = by = damaged = ""
    undo = ["backup-pipeline", "undo", one.system, one.id]
    try:
        record = one.prepared
        target, by = record.target, record.by
        undo += [] if record.order.get("live") else ["--to", target]
        for image in record.images:
            name = f"{image.schema}.{image.table}"
            before, after = rows.get(name, (0, 0))
            is_before = image.which == "before"
            rows[name] = (before + image.rows * is_before, after + image.rows * (not is_before))
    except KeyMissing:
        pass
    except Damaged as error:
        damaged = error.message
    can = one.state != "failed" and not undone_by and bool(outline.objects)
    return Restored(
        one.system,
        one.id,
        one.state,
        outline.backup,
        outline.pre_restore,
        outline.undoes,
        undone_by,
        _until(site, one),
        shlex.join(undo) if can and not damaged else "",
        rows,
        target,
        by,
        one.signature,
        damaged,
    )


def _until(site: Site, one: Restore) -> str:
    policy = site.settings.retention_of(one.system) if one.system in site.systems else None
    pre_restore = one.outline.pre_restore
    if policy is None or not pre_restore or pre_restore in policy.pin:
        return ""
    if records.pin_of(site.vault.backup(one.system, pre_restore)) is not None:
        return ""
    return one.expires_after(timedelta(seconds=policy.pre_restore))
