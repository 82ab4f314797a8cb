"""`forget`: one backup, now. A record of the backup stays."""

from __future__ import annotations

from backup_pipeline.model.ids import is_backup_id
from backup_pipeline.model.orders import ForgetOrder
from backup_pipeline.operations import stores
from backup_pipeline.operations.prune import locked_in
from backup_pipeline.operations.site import Site
from backup_pipeline.retention import byhand
from backup_pipeline.retention.byhand import ForgetReport

__all__ = ["ForgetReport", "forget", "meant"]


def meant(site: Site, order: ForgetOrder) -> str:
    """The id of the backup. A whole id may be of one that is damaged or gone."""
    if is_backup_id(order.id):
        return order.id
    return stores.open_place(site.settings, order.copy).resolve(order.system, order.id)


def forget(site: Site, order: ForgetOrder) -> ForgetReport:
    return byhand.forget_one(
        stores.open_vault_for_pruning(site.settings, order.copy).backup(order.system, meant(site, order)),
        why=order.reason,
        now=site.clock(),
        force=order.force,
        policy=site.settings.retention_of(order.system),
        locked=locked_in(site, order.copy),
    )
