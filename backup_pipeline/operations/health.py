"""Judging and accepting, for a caller that has a Site."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.operations import diagnosing

if TYPE_CHECKING:
    from backup_pipeline.model.manifest import Manifest
    from backup_pipeline.model.outcome import Outcome
    from backup_pipeline.model.overview import Broken, Listed
    from backup_pipeline.model.vault_records import Ack
    from backup_pipeline.operations.site import Site
    from backup_pipeline.retention.prune import Rules


def judge(site: Site, manifest: Manifest) -> tuple[Outcome, ...]:
    """The checks of a fresh backup, remembered beside it."""
    from backup_pipeline.health.judging import Wanted
    from backup_pipeline.health.judging import judge as judge_backup

    chosen = site.system(manifest.system)
    wanted = Wanted(chosen.files, chosen.expected_empty)
    found = judge_backup(site.vault.one_look().backup_of(manifest), wanted, now=site.clock())
    return tuple(
        replace(one, findings=diagnosing.exact_findings(site, manifest.system, one.findings)) for one in found
    )


def deadline(site: Site, system: str) -> float | None:
    """How old, in seconds, the newest backup may be."""
    from backup_pipeline.health import freshness

    return freshness.deadline(site.system(system), site.settings.zone_of(system), site.clock())


def rules(site: Site, system: str) -> Rules | None:
    from backup_pipeline.operations.prune import rules_of

    return rules_of(site.settings, site.clock()).get(system)


def acks(site: Site, system: str) -> tuple[Ack, ...]:
    """Those that hold now."""
    from backup_pipeline.health import acknowledgements

    return acknowledgements.read(site.vault, system, site.clock())


def accepted(site: Site, system: str, report: Report) -> Report:
    """A proof keeps what was found as it is; the caller is told which of it is accepted, and the remedies that fit here."""
    exact = diagnosing.exact(site, system, report)
    return replace(exact, findings=accepted_findings(site, system, exact.findings))


def accepted_findings(site: Site, system: str, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    from backup_pipeline.health import acknowledgements

    return acknowledgements.applied(findings, acks(site, system))


def errors_of(site: Site, system: str, identifier: str) -> tuple[Finding, ...]:
    """Every error that a backup, or a look at it, has told, and that no person accepted."""
    from backup_pipeline.health import open_findings

    backup = site.vault.backup(system, identifier)
    told = open_findings.of_backup(backup, backup.proofs(), acks(site, system))
    return tuple(finding for finding in told if finding.severity == "error")


def missing(
    site: Site, system: str, whole: Iterable[Listed], broken: Iterable[Broken]
) -> tuple[Finding, ...]:
    """Backups that are gone without a record, beside those that are there."""
    from backup_pipeline.health import open_findings

    previous = {line.id: line.previous for line in whole} | {line.id: None for line in broken}
    return accepted_findings(site, system, open_findings.lost_backups(site.vault, system, previous))
