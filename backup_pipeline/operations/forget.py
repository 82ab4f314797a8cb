"""`forget`: one backup, now. A record of the backup stays. The record of a restore goes by its ID as well."""

from __future__ import annotations

from backup_pipeline.model.ids import is_backup_id, is_restore_id
from backup_pipeline.model.orders import ForgetOrder
from backup_pipeline.operations import stores
from backup_pipeline.operations.prune import locked_in
from backup_pipeline.operations.site import Site
from backup_pipeline.retention import byhand
from backup_pipeline.retention.byhand import ForgetReport

__all__ = ["ForgetReport", "forget", "meant"]


def meant(site: Site, order: ForgetOrder) -> str:
    """The id of the backup. A whole id may be of one that is damaged or gone."""
    if is_backup_id(order.id) or is_restore_id(order.id):
        return order.id
    return stores.open_place(site.settings, order.copy).resolve(order.system, order.id)


def forget(site: Site, order: ForgetOrder) -> ForgetReport:
    vault, identifier = stores.open_vault_for_pruning(site.settings, order.copy), meant(site, order)
    if is_restore_id(identifier):
        return byhand.forget_restore_by_hand(vault, order.system, identifier)
    return byhand.forget_one(
        vault.backup(order.system, identifier),
        why=order.reason,
        now=site.clock(),
        force=order.force,
        policy=site.settings.retention_of(order.system),
        locked=locked_in(site, order.copy),
    )
