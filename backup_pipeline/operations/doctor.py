"""The doctor, for a caller that has a Site: can each system be backed up as it is asked for, and is this machine ready?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from backup_pipeline.alerts import routes
from backup_pipeline.config import redact
from backup_pipeline.errors import BackupError, NotReady, SourceError, VaultError
from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.model.orders import DoctorOrder
from backup_pipeline.model.plural import plural
from backup_pipeline.model.selection import idle_patterns
from backup_pipeline.operations import diagnosing, keys, migrating, room, trees
from backup_pipeline.references import asked

if TYPE_CHECKING:
    from backup_pipeline.operations.site import Site


@dataclass(frozen=True, slots=True)
class Examination:
    ready: bool
    machine: Report
    systems: dict[str, Report]
    alerts: Report

    @property
    def reports(self) -> tuple[Report, ...]:
        return (*self.systems.values(), self.machine, self.alerts)

    @property
    def failure(self) -> NotReady | None:
        if self.ready:
            return None
        count = plural(sum(len(one.errors) for one in self.reports), "thing stands", "things stand")
        return NotReady(f"{count} in the way of the next backup", remedy="each finding says what to do")


def doctor(site: Site, order: DoctorOrder) -> Examination:
    """Of one system or of all; of this machine; of the addresses of `alerts:`."""
    names = (order.system,) if order.system else site.systems
    for name in names:
        site.system(name)
    systems = {name: _of_system(site, name) for name in names}
    machine = examine_machine(site, mend=order.mend)
    alerts = routes.report(site.settings)
    ready = all(one.ok for one in (*systems.values(), machine, alerts))
    return Examination(ready, machine, systems, alerts)


def _of_system(site: Site, name: str) -> Report:
    """A database that does not even answer is a finding like any other: the doctor goes on to the next one."""
    try:
        report = examine_system(site, name)
    except BackupError as error:
        told, remedy = (redact(text, site.settings.secrets) for text in (error.message, error.remedy))
        return Report(name, (Finding.of_error(error, told, remedy=remedy),))
    return replace(report, subject=f"{name}: {report.subject}")


def examine_system(site: Site, system: str) -> Report:
    """Can the database and the files be backed up as they should be, and what is asked of them be done?"""
    chosen = site.system(system)
    of_trees = trees.diagnose_trees(site, system)
    of_database = site.source(system).diagnose(chosen.selection)
    report = replace(
        of_database,
        findings=(*of_database.findings, *of_trees.findings),
        counted={**of_database.counted, **of_trees.counted},
    )
    if not of_database.ok:
        return report  # asking a database that does not answer again would only take longer
    try:
        more = tuple(_asked(site, system))
    except SourceError:
        return report  # a lock is in the way: the report names it
    return replace(report, findings=(*report.findings, *more, *_migrations(site, system)))


def _migrations(site: Site, system: str) -> Iterator[Finding]:
    """A backup does not fail for a folder that moved; here it can be corrected."""
    for finding in migrating.known(site, system)[1]:
        yield replace(finding, severity="error") if finding.marked("error_in_doctor") else finding


def _asked(site: Site, system: str) -> Iterator[Finding]:
    """What the configuration asks for, and there is nothing of."""
    chosen, source = site.system(system), site.source(system)
    found = site.inventory(system).tables
    names = [table.id for table in found]
    yield from idle_patterns(chosen.patterns, names)
    yield from asked.of_patterns(chosen, names)
    tables = asked.Tables.of_inventory(found)
    for tree, settings in chosen.files.items():
        for name, reference in settings.refs.items():
            finding = asked.of_reference(tree, name, reference, tables)
            if finding is not None:
                yield finding
    for name, why in source.refused(chosen.invariants).items():
        yield Finding.of("invariant-fails/doctor", name=name, why=why)


def examine_machine(site: Site, *, mend: bool = False) -> Report:
    """The vault, its disk, the clock, the tools; the copies; who may read what lies here."""
    from backup_pipeline.health import rights
    from backup_pipeline.health.machine import Expected, inspect_machine
    from backup_pipeline.health.open_findings import set_back
    from backup_pipeline.operations import lag
    from backup_pipeline.operations.rights import places
    from backup_pipeline.vault.object_locks import inspect_locks
    from backup_pipeline.verification.vault_itself import look_for_foreign_folders

    here = tuple(places(site))
    mended = tuple(rights.mend(here)) if mend else ()
    try:
        newest = max((id_ for name in site.systems for id_ in site.vault.ids(name)[-1:]), default=None)
    except VaultError:
        newest = None  # a store that cannot be reached is what the report is going to say
    lost = diagnosing.lost_finding(site)
    report = inspect_machine(
        site.vault.store,
        site.vault.store.folder,
        site.settings.state_folder,
        Expected(newest, lost=lost),
        now=site.clock(),
    )
    locks = () if lost else tuple(inspect_locks(site.vault, site.clock()))
    more = (
        *locks,
        *keys.findings(site),
        *lag.inspect(site),
        *(() if lost else room.findings(site)),
    )
    with suppress(VaultError):
        more = (*more, *look_for_foreign_folders(site.vault))
        more += tuple(one for name in site.systems for one in set_back(site.vault, name))
    return replace(report, findings=(*mended, *report.findings, *rights.look(here), *more))
