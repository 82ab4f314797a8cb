"""`ack`: accept a finding, for some time or for good."""

from __future__ import annotations

from backup_pipeline.cli.app import as_verb
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.cli.page import Page
from backup_pipeline.model.orders import AckOrder
from backup_pipeline.model.vault_records import Ack


@as_verb(
    "ack",
    order=AckOrder,
    examples="""
    backup-pipeline ack shop table-removed --because "dropped by migration 0042"
    backup-pipeline ack shop never-proven --for 7d
    backup-pipeline ack shop                            # what is accepted
    backup-pipeline ack shop table-removed --withdraw
    """,
)
def verb(call: Call, order: AckOrder) -> Reply:
    """CODE is the name of a finding, as `status SYSTEM` shows it. The ack covers what this code is about now: the tables and
    file trees that `status` names with it. The same code about another table is told.

    An accepted finding is information: it fails no backup, no check and no `status`. The record lies in the vault, so that
    every host that looks at the vault knows it; in an encrypted vault it is encrypted.
    """
    from backup_pipeline.cli.status import instance_view
    from backup_pipeline.operations import ack

    site, system, code = call.site, order.system, order.code
    if code is None:
        acks = ack.listed(site, order)
        return Reply({"system": system, "acks": acks}, lambda page: _page(page, system, acks))
    if order.withdraw:
        was = ack.withdraw(site, order)
        said = f"{code} of {system} is told again" if was else f"{code} of {system} was not accepted"
        return Reply(
            {"system": system, "code": code, "withdrawn": was},
            lambda page: page.line(said),
            answer=False,
            facts={"withdrawn": code},
        )
    made = ack.accept(site, order, instance_view(site))
    return Reply(
        {"system": system, "ack": made},
        lambda page: page.line(_line(system, made)),
        answer=False,
        facts={"accepted": code},
    )


def _page(page: Page, system: str, acks: tuple[Ack, ...]) -> None:
    for one in acks:
        page.line(_line(system, one))
    if not acks:
        page.line(f"nothing of {system} is accepted")


def _line(system: str, ack: Ack) -> str:
    about = ", ".join(filter(None, ack.about))
    until = f" until {ack.until[:10]}" if ack.until else ""
    because = f": {ack.because}" if ack.because else ""
    return f"{system} {ack.code}{f' ({about})' if about else ''} is accepted{until}{because}"
