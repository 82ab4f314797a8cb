"""`ack`: accept a finding, for some time or for good."""

from __future__ import annotations

from backup_pipeline.errors import NotFound, UsageError
from backup_pipeline.health import acknowledgements
from backup_pipeline.model.ids import timestamp
from backup_pipeline.model.orders import AckOrder
from backup_pipeline.model.vault_records import Ack
from backup_pipeline.operations import expected, health, status
from backup_pipeline.operations.site import Site
from backup_pipeline.operations.status import InstanceView
from backup_pipeline.retention.census import demand_a_vault


def listed(site: Site, order: AckOrder) -> tuple[Ack, ...]:
    """What is accepted, where the order names no code."""
    site.system(order.system)
    if order.withdraw or order.because or order.lasting is not None:
        raise UsageError("CODE is missing", remedy=f"`backup-pipeline status {order.system}` shows the codes")
    return health.acks(site, order.system)


def withdraw(site: Site, order: AckOrder) -> bool:
    """False: it was not accepted."""
    site.system(order.system)
    return acknowledgements.withdraw(site.vault, order.system, str(order.code), site.clock())


def accept(site: Site, order: AckOrder, instance: InstanceView) -> Ack:
    """Accept what stands under this code now."""
    system, code = order.system, str(order.code)
    site.system(system)
    told = status.of_system(site, system, instance).findings
    # A place that is gone must not be begun anew by this.
    expected.expect(site.settings, site.vault)
    demand_a_vault(site.vault.store)
    wrong = [one for one in told if one.severity != "info"]
    found = [one for one in wrong if one.code == code]
    if not found:
        codes = ", ".join(sorted({one.code for one in wrong})) or "none"
        raise NotFound(
            f"no finding {code} stands for {system}",
            remedy=f"`backup-pipeline status {system}` shows them; their codes: {codes}",
        )
    now = site.clock()
    until = "" if order.lasting is None else timestamp(now + order.lasting)
    ack = Ack(code, timestamp(now), until=until, because=order.because)
    return acknowledgements.accept(site.vault, system, ack, found)
