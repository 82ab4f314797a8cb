"""`doctor`: what stands in the way of the next backup, and what to paste to remove it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from backup_pipeline.alerts import routes as alerts
from backup_pipeline.cli.app import as_verb, system_argument
from backup_pipeline.cli.call import Call, Outcome
from backup_pipeline.cli.page import Page
from backup_pipeline.cli.report import show_report
from backup_pipeline.cli.units import plural
from backup_pipeline.errors import BackupError, NotReady
from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.operations.examining import examine_machine, examine_system

if TYPE_CHECKING:
    from backup_pipeline.operations import Site


@dataclass(frozen=True, slots=True)
class Examination:
    ready: bool
    machine: Report
    systems: dict[str, Report]
    alerts: Report


@as_verb(
    "doctor",
    system_argument(required=False),
    click.Option(
        ["--mend"],
        is_flag=True,
        help="Close to other accounts what doctor names as open: the vault, the copies, the state folder, the history, key files.",
    ),
    examples="""
    backup-pipeline doctor
    backup-pipeline doctor shop
    backup-pipeline doctor --mend
    backup-pipeline doctor --json | jq -r '.data.systems.shop.findings[].remedy'
    """,
)
def verb(call: Call, system: str | None, mend: bool) -> Outcome:
    """Of SYSTEM, or of all.

    The vault and its copies (a probe is written and removed), their disks, the clock, the tools; what other
    accounts of this machine can read, which --mend closes; of each database whether it answers,
    which rights are missing (with the GRANTs, ready to paste), and what cannot be copied faithfully; of each address under
    `alerts:` whether its server answers (no message is sent). Exit code 14 when a finding is an error.
    """
    site = call.site
    names = (system,) if system else site.systems
    for name in names:
        site.system(name)
    reports = {name: _examined(call, site, name) for name in names}
    machine = examine_machine(site, mend=mend)
    told = alerts.report(site.settings)
    everything = (*reports.values(), machine, told)
    examination = Examination(all(one.ok for one in everything), machine, reports, told)

    def page(page: Page) -> None:
        for report in everything:
            show_report(page, report)

    failure = None
    if not examination.ready:
        count = sum(len(report.errors) for report in everything)
        failure = NotReady(
            f"{plural(count, 'thing stands', 'things stand')} in the way of the next backup",
            remedy="each finding says what to do",
        )
    return Outcome(examination, page, failure, answer=False)


def _examined(call: Call, site: Site, name: str) -> Report:
    """A database that does not even answer is a finding like any other: the doctor goes on to the next one."""
    try:
        report = examine_system(site, name)
    except BackupError as error:
        finding = Finding(
            "error", error.code, call.redacted(error.message), remedy=call.redacted(error.remedy)
        )
        return Report(name, (finding,))
    return Report(f"{name}: {report.subject}", report.findings, report.counted, report.seconds)
