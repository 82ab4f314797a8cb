"""`pin` and `unpin`: a pinned backup stays, against every rule."""

from __future__ import annotations

from backup_pipeline.model.ids import is_backup_id
from backup_pipeline.model.orders import PinOrder, UnpinOrder
from backup_pipeline.model.vault_records import Pin
from backup_pipeline.operations import stores
from backup_pipeline.operations.site import Site
from backup_pipeline.retention import byhand


def pin(site: Site, order: PinOrder) -> tuple[str, Pin]:
    """The id of the backup that is meant, and its pin."""
    place = stores.open_place(site.settings, order.copy)
    id = place.resolve(order.system, order.id)
    return id, byhand.pin(place.backup(order.system, id), order.reason, site.clock())


def unpin(site: Site, order: UnpinOrder) -> tuple[str, Pin | None]:
    place, id = stores.open_place(site.settings, order.copy), order.id
    if not is_backup_id(id):
        id = place.resolve(order.system, id)
    return id, byhand.unpin(place.backup(order.system, id))
