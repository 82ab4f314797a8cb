"""What is wrong with a system now, from everything that this machine can see: for `status` and `ack`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from backup_pipeline.errors import Damaged, VaultError
from backup_pipeline.health import accepting
from backup_pipeline.health.promises import Runner, failures, kept
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import moment_of
from backup_pipeline.operations.listing import SystemStatus, status_of
from backup_pipeline.orchestration.daemon_sqlite import daemon
from backup_pipeline.vault import layout

if TYPE_CHECKING:
    from backup_pipeline.operations import Site


def all_standing(site: Site, systems: Iterable[str], runner: Runner) -> tuple[SystemStatus, ...]:
    """What is wrong with one system does not hide the others."""

    def one(system: str) -> SystemStatus:
        try:
            return standing_of(site, system, runner)
        except (Damaged, VaultError) as error:
            told = Finding.of_error(error)
            return SystemStatus(
                system, None, None, 0, None, False, (told,), zone=site.settings.zone_of(system)
            )

    return tuple(one(system) for system in systems)


def standing_of(site: Site, system: str, runner: Runner) -> SystemStatus:
    """The vault, the copies, what is kept; what will make the next backup, who is told of failures, what failed last."""
    from backup_pipeline.alerts import routes
    from backup_pipeline.operations import keeping
    from backup_pipeline.operations.copying import with_copies
    from backup_pipeline.orchestration.failures_sqlite import last_failures

    found = keeping.with_retention(site, with_copies(site, status_of(site, system)))
    if system not in site.systems:
        return found
    latest = found.latest.id if found.latest else ""
    more = (
        *_without_its_mark(site, latest),
        *kept(
            system,
            site.system(system),
            zone=site.settings.zone_of(system),
            latest_at=moment_of(latest) if latest else None,
            scheduled_at=moment_of(found.scheduled) if found.scheduled else None,
            runner=runner,
            now=site.clock(),
        ),
        *failures(last_failures(site, system), latest, site.settings.zone_of(system)),
        *routes.findings(site.settings),
    )
    return replace(found, findings=accepting.applied((*found.findings, *more), found.accepted))


def _without_its_mark(site: Site, latest: str) -> Iterator[Finding]:
    """No backup is written into a place that is no vault: known tonight, and not when it is due."""
    if latest and site.vault.store.stat(layout.VAULT) is None:
        yield Finding(
            "error",
            "vault-mark-missing",
            f"{layout.VAULT} is gone from {site.vault.store.address}: backups are there, and no new one can be made",
            remedy="`backup-pipeline repair SYSTEM` brings it back from a copy",
        )


def runner_of(site: Site) -> Runner:
    """What runs the schedules. An instance that lies elsewhere is asked, which takes a second."""
    found = daemon(site)
    if found.state != "unknown":
        return found
    from backup_pipeline.orchestration.instance import last_heartbeat

    return last_heartbeat(site)
