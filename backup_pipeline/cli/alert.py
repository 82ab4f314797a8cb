"""`alert`: whether a failure would be told to anyone."""

from __future__ import annotations

from dataclasses import dataclass

import click

from backup_pipeline.cli.app import as_verb
from backup_pipeline.cli.call import Call, Outcome
from backup_pipeline.cli.page import Page
from backup_pipeline.cli.units import plural
from backup_pipeline.errors import NotReady


@dataclass(frozen=True, slots=True)
class Tried:
    address: str
    arrived: bool
    #: Why it did not.
    why: str = ""


@as_verb(
    "alert",
    click.Argument(["deed"], type=click.Choice(["test"])),
    examples="""
    backup-pipeline alert test
    backup-pipeline alert test --json | jq -r '.data.addresses[] | select(.arrived | not) | .why'
    """,
)
def verb(call: Call, deed: str) -> Outcome:
    """One real message to each, and for each whether it arrived at its server. Exit code 14 when one did not, or when
    there is no address. `doctor` looks at the addresses as well, and sends nothing.
    """
    from backup_pipeline.alerts.message import Message
    from backup_pipeline.alerts.routes import findings, routes_of
    from backup_pipeline.alerts.sending import send

    settings = call.site.settings
    body = f"This is what an alert of backup-pipeline looks like; nothing failed.\n\nSystems: {', '.join(settings.systems)}"
    message = Message("[backup] test of the alerts", body)
    tried = []
    for route in routes_of(settings):
        sent = send(route, message)
        tried.append(Tried(route.name, sent.arrived, call.redacted(sent.why)))
    lost = [one for one in tried if not one.arrived]
    failure = None
    if not tried:
        none = findings(settings)[0]
        failure = NotReady(none.message, remedy=none.remedy)
    elif lost:
        failure = NotReady(
            f"the message did not arrive at {plural(len(lost), 'address', 'addresses')} of {len(tried)}",
            remedy="look at the address under `alerts:`, and at the server that takes its messages",
        )

    def page(page: Page) -> None:
        for one in tried:
            page.verdict(
                one.arrived, f"{one.address}: {'arrived' if one.arrived else f'NOT ARRIVED: {one.why}'}"
            )

    return Outcome({"addresses": tried}, page, failure, answer=True)
