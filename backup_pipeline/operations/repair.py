"""`repair`: heal the vault, or a copy, from the other places that hold the same backups."""

from __future__ import annotations

from dataclasses import replace

from backup_pipeline.copies.repair import RepairReport, unreachable
from backup_pipeline.copies.repair import repair as repair_vault
from backup_pipeline.errors import ConfigError
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.orders import RepairOrder
from backup_pipeline.model.progress import Listener, silent
from backup_pipeline.operations import stores
from backup_pipeline.operations.site import Site
from backup_pipeline.processes.waiting import takes_time
from backup_pipeline.vault.vault import Vault

__all__ = ["RepairReport", "repair"]


@takes_time
def repair(site: Site, order: RepairOrder, listener: Listener = silent) -> RepairReport:
    """Heal the vault, or a copy, from the other places that hold this system."""
    system, place = order.system, order.place
    names = list(order.sources) or [
        name for name in (stores.VAULT, *site.settings.copies_of(system)) if name != place
    ]
    if place in names:
        raise ConfigError(f"{place} cannot be healed from itself", remedy="name another place with --from")
    if not names and not order.set_aside:
        raise ConfigError(
            f"there is no other place that {system} could be healed from",
            remedy=f"name another store under `copies:`. Without one, `backup-pipeline repair {system} --set-aside` takes "
            "what is damaged out of the way, and the next backup stores its content anew",
        )
    others: list[tuple[str, Vault]] = []
    away: list[Finding] = []
    for name in names:
        try:
            others.append((name, stores.open_place(site.settings, name)))
        except ConfigError as error:
            if order.sources:
                raise
            away.append(unreachable(name, error))  # a variable that is not set here, for one
    report = repair_vault(stores.open_place(site.settings, place), others, order, listener)
    return replace(report, findings=(*away, *report.findings))
