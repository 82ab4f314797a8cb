"""`alert`: whether a failure would be told to anyone."""

from __future__ import annotations

import click

from backup_pipeline.cli.app import as_verb
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.cli.page import Page


@as_verb(
    "alert",
    click.Argument(["deed"], type=click.Choice(["test"])),
    examples="""
    backup-pipeline alert test
    backup-pipeline alert test --json | jq -r '.data.addresses[] | select(.arrived | not) | .why'
    """,
)
def verb(call: Call, deed: str) -> Reply:
    """One real message to each, and for each whether it arrived at its server. Exit code 14 when one did not, or when
    there is no address. `doctor` looks at the addresses as well, and sends nothing.
    """
    from backup_pipeline.operations.alert import test_alerts

    del deed
    tries = test_alerts(call.site)

    def page(page: Page) -> None:
        for one in tries.addresses:
            page.verdict(
                one.arrived, f"{one.address}: {'arrived' if one.arrived else f'NOT ARRIVED: {one.why}'}"
            )

    return Reply({"addresses": tries.addresses}, page, tries.failure)
