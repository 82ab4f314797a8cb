"""`verify`: is every byte of a backup still there and right? The outcome is remembered beside the backup."""

from __future__ import annotations

from dataclasses import replace

from backup_pipeline.errors import NoBackup, UsageError
from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.model.orders import VerifyOrder
from backup_pipeline.model.progress import Listener, silent
from backup_pipeline.operations import files, health
from backup_pipeline.operations.diagnosing import explained
from backup_pipeline.operations.reading import remember
from backup_pipeline.operations.site import Site
from backup_pipeline.processes.waiting import takes_time
from backup_pipeline.verification.verify import verify as verify_one
from backup_pipeline.verification.verify import verify_all


@takes_time
def verify(site: Site, order: VerifyOrder, listener: Listener = silent) -> Report:
    """One backup, or `all`. Of a copy, with `read`: what its store states, and so much of the bytes as `read` says, another
    part at each look; 100 is everything, as in the vault."""
    if order.read is not None and site.place is None:
        raise UsageError(
            "--read is for a copy", remedy="name it with --copy; in the vault, `verify` reads everything"
        )
    with explained(site, order.system):
        if order.read is None or order.quick:
            return _whole(site, order, listener)
        if order.read >= 100:
            return _whole(site, replace(order, id=order.id or "all"), listener)
        return _of_copy(site, order, listener)


def _whole(site: Site, order: VerifyOrder, listener: Listener) -> Report:
    system, trees = order.system, files.settings_of(site, order.system)
    kind = "verify-quick" if order.quick else "verify"
    unkept: dict[Finding, None] = {}
    if order.id == "all":
        report = verify_all(
            site.vault,
            system,
            quick=order.quick,
            trees=trees,
            listener=listener,
            each=lambda id, found: unkept.update(dict.fromkeys(remember(site, system, id, kind, found))),
        )
    else:
        id = site.vault.resolve(system, order.id)
        report = verify_one(site.vault.backup(system, id), quick=order.quick, trees=trees, listener=listener)
        unkept.update(dict.fromkeys(remember(site, system, id, kind, report)))
    return health.accepted(site, system, replace(report, findings=(*report.findings, *unkept)))


def _of_copy(site: Site, order: VerifyOrder, listener: Listener) -> Report:
    from backup_pipeline.operations import reading_back

    system, name = order.system, site.place or ""
    chosen = site.vault.ids(system)
    if order.id not in (None, "all"):
        chosen = (site.vault.resolve(system, order.id),)
    if not chosen:
        raise NoBackup(
            f"there is no backup of {system} in {site.vault.store.address}",
            remedy=f"`backup-pipeline copy {system} --to {name}` brings them over",
        )
    return reading_back.look(site, system, chosen, order.read or 0.0, listener)
