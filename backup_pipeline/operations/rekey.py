"""`rekey`: bring the newest backup under the recipients of today."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from backup_pipeline.config import Settings
from backup_pipeline.model.ids import is_restore_id, moment_of
from backup_pipeline.model.orders import RekeyOrder
from backup_pipeline.model.progress import Listener, silent

if TYPE_CHECKING:
    from backup_pipeline.backups.rekey import RekeyReport, UnderOthers
    from backup_pipeline.operations import Site

__all__ = ["RekeyReport", "UnderOthers", "gone_by", "rekey"]


def rekey(site: Site, order: RekeyOrder, listener: Listener = silent) -> RekeyReport:
    """Bring the newest backup under the recipients of today; see `backup_pipeline.backups.rekey`."""
    from backup_pipeline.backups import rekey as rekeying

    return rekeying.rekey(
        site.vault, order.system, dry_run=order.dry_run, listener=listener, clock=site.clock
    )


def gone_by(settings: Settings, system: str, identifier: str) -> datetime | None:
    """When retention has removed a backup, or the record of a restore, at the latest, pins aside; None where nothing ever does."""
    rules = settings.retention_of(system)
    if rules is None:
        return None
    if is_restore_id(identifier):
        return moment_of(identifier) + timedelta(seconds=rules.pre_restore)
    days = max(
        rules.min_age_days,
        rules.daily,
        7 * rules.weekly,
        31 * rules.monthly,
        366 * rules.yearly,
    )
    if rules.last and not days:
        return None  # by number: it depends on how many are made
    return moment_of(identifier) + timedelta(days=days + 1)
