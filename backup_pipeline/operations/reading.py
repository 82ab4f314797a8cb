"""One backup of a Site, for the verbs that read it: which one is meant, may it be used, and a look at it remembered."""

from __future__ import annotations

from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.operations.diagnosing import diagnosed
from backup_pipeline.operations.site import Site
from backup_pipeline.vault import signing
from backup_pipeline.vault.backup import Backup


@diagnosed
def show(site: Site, system: str, id: str | None = None) -> Manifest:
    return site.vault.backup(system, site.vault.resolve(system, id)).manifest


@diagnosed
def resolve(site: Site, system: str, id: str | None = None) -> str:
    """The id of the backup that is meant."""
    return site.vault.resolve(system, id)


def usable(site: Site, system: str, id: str | None = None) -> Backup:
    """To restore, drill or query it: signed, where `signers:` says by whom."""
    backup = site.vault.backup_of(show(site, system, id))
    if not site.unsigned:
        signing.demand(site.vault.backup(system, backup.id))
    return backup


def remember(
    site: Site, system: str, id: str, kind: str, report: Report, *, seconds: float | None = None
) -> tuple[Finding, ...]:
    from backup_pipeline.verification.remembering import remember

    return remember(site.vault.backup(system, id), kind, report, now=site.clock(), seconds=seconds)
