"""What is wrong with a system now, from everything that this machine can see: for `status` and `ack`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from backup_pipeline.errors import Damaged, VaultError
from backup_pipeline.health import accepting
from backup_pipeline.health.overview import SystemStatus
from backup_pipeline.health.promises import Runner, failures, kept
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import moment_of
from backup_pipeline.orchestration.daemon_sqlite import daemon
from backup_pipeline.vault import layout

if TYPE_CHECKING:
    from backup_pipeline.operations import Project


def all_standing(project: Project, systems: Iterable[str], runner: Runner) -> tuple[SystemStatus, ...]:
    """What is wrong with one system does not hide the others."""

    def one(system: str) -> SystemStatus:
        try:
            return standing_of(project, system, runner)
        except (Damaged, VaultError) as error:
            told = Finding.of_error(error)
            return SystemStatus(
                system, None, None, 0, None, False, (told,), zone=project.settings.zone_of(system)
            )

    return tuple(one(system) for system in systems)


def standing_of(project: Project, system: str, runner: Runner) -> SystemStatus:
    """The vault, the copies, what is kept; what will make the next backup, who is told of failures, what failed last."""
    from backup_pipeline.alerts import routes
    from backup_pipeline.operations import keeping
    from backup_pipeline.operations.copying import with_copies
    from backup_pipeline.orchestration.failures_sqlite import last_failures

    found = keeping.with_retention(project, with_copies(project, project.status_of(system)))
    if system not in project.systems:
        return found
    latest = found.latest.id if found.latest else ""
    more = (
        *_without_its_mark(project, latest),
        *kept(
            system,
            project.system(system),
            zone=project.settings.zone_of(system),
            latest_at=moment_of(latest) if latest else None,
            scheduled_at=moment_of(found.scheduled) if found.scheduled else None,
            runner=runner,
            now=project.clock(),
        ),
        *failures(last_failures(project, system), latest, project.settings.zone_of(system)),
        *routes.findings(project.settings),
    )
    return replace(found, findings=accepting.applied((*found.findings, *more), found.accepted))


def _without_its_mark(project: Project, latest: str) -> Iterator[Finding]:
    """No backup is written into a place that is no vault: known tonight, and not when it is due."""
    if latest and project.vault.store.stat(layout.VAULT) is None:
        yield Finding(
            "error",
            "vault-mark-missing",
            f"{layout.VAULT} is gone from {project.vault.store.address}: backups are there, and no new one can be made",
            remedy="`backup-pipeline repair SYSTEM` brings it back from a copy",
        )


def runner_of(project: Project) -> Runner:
    """What runs the schedules. An instance that lies elsewhere is asked, which takes a second."""
    found = daemon(project)
    if found.state != "unknown":
        return found
    from backup_pipeline.orchestration.instance import last_heartbeat

    return last_heartbeat(project)
