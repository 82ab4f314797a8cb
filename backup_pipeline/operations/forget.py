"""`forget`: one backup, now. A record of the backup stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backup_pipeline.model.orders import ForgetOrder
from backup_pipeline.operations import stores
from backup_pipeline.operations.prune import locked_in
from backup_pipeline.operations.site import Site
from backup_pipeline.retention import byhand
from backup_pipeline.retention.byhand import ForgetReport

if TYPE_CHECKING:
    pass

__all__ = ["ForgetReport", "forget"]


def forget(site: Site, order: ForgetOrder) -> ForgetReport:
    return byhand.forget_one(
        stores.open_vault_for_pruning(site.settings, order.copy).backup(order.system, order.id),
        why=order.reason,
        now=site.clock(),
        force=order.force,
        policy=site.settings.retention_of(order.system),
        locked=locked_in(site, order.copy),
    )
