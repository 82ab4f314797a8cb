"""`doctor`: what stands in the way of the next backup, and what to paste to remove it."""

from __future__ import annotations

from backup_pipeline.cli.app import as_verb
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.cli.page import Page
from backup_pipeline.cli.report import show_report
from backup_pipeline.model.orders import DoctorOrder


@as_verb(
    "doctor",
    order=DoctorOrder,
    examples="""
    backup-pipeline doctor
    backup-pipeline doctor shop
    backup-pipeline doctor --mend
    backup-pipeline doctor --json | jq -r '.data.systems.shop.findings[].remedy'
    """,
)
def verb(call: Call, order: DoctorOrder) -> Reply:
    """Of SYSTEM, or of all.

    The vault and its copies (a probe is written and removed), their disks, the clock, the tools; what other
    accounts of this machine can read, which --mend closes; of each database whether it answers,
    which rights are missing (with the GRANTs, ready to paste), and what cannot be copied faithfully; of each address under
    `alerts:` whether its server answers (no message is sent). Exit code 14 when a finding is an error.
    """
    from backup_pipeline.operations.doctor import doctor

    examination = doctor(call.site, order)

    def page(page: Page) -> None:
        for report in examination.reports:
            show_report(page, report)

    return Reply(examination, page, examination.failure, answer=False)
