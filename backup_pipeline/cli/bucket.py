"""`bucket`: make the bucket of the vault, or of a copy, what a bucket of backups should be."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from backup_pipeline.cli.app import as_verb
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.cli.page import Page, clean
from backup_pipeline.model.orders import BucketOrder

if TYPE_CHECKING:
    from backup_pipeline.operations.buckets import BucketPlan

_WORDS = {
    "right": ("ok", "green"),
    "change": ("change", "yellow"),
    "done": ("done", "green"),
    "not-offered": ("-", None),
    "stuck": ("STUCK", "red"),
}


@as_verb(
    "bucket",
    click.Argument(["deed"], type=click.Choice(["setup"])),
    order=BucketOrder,
    examples="""
    backup-pipeline bucket setup vault --dry-run
    backup-pipeline bucket setup offsite --profile admin
    backup-pipeline bucket setup offsite --policies --json | jq .data.plan.policies.writer > writer.json
    """,
)
def verb(call: Call, order: BucketOrder, deed: str) -> Reply:
    """Create the bucket of the vault or of a COPY, or bring an existing one into order.

    Versions, no public access, TLS only, encryption at rest, the lifecycle of `lifecycle:`, and object lock where
    `object_lock_days` is set. Right settings stay as they are, and so does every statement and rule that is not
    ours. A second run changes nothing. A setting that the server does not offer is named and left out. The policies
    are the least that each role needs: a writer that adds and cannot delete, a pruner, a reader, and the role that
    runs this. Exit code 14 when
    something could not be made right, or a setting asks for what the server does not offer.
    """
    del deed
    from backup_pipeline.operations.buckets import bucket

    call.interrupted = lambda: "what was set up until then stays; run again, it goes on"
    plan = bucket(call.site, order)
    only_shows = order.dry_run or order.policies

    def page(page: Page) -> None:
        if not order.policies:
            _steps(page, plan)
        if only_shows:
            _policies(page, plan)

    return Reply({"dry_run": only_shows, "plan": plan}, page, plan.failure, answer=only_shows)


def _steps(page: Page, plan: BucketPlan) -> None:
    where = f" at {plan.endpoint}" if plan.endpoint else f" in {plan.region}" if plan.region else ""
    page.heading(f"{plan.name}: s3://{plan.bucket}/{plan.prefix}{where}")
    for step in plan.steps:
        word, colour = _WORDS[step.state]
        page.line(f"{page.style(f'{word:<7}', colour, bold=True)}{step.part:<15}{clean(step.said)}")
        if step.remedy:
            page.line(f"{'':7}→ {clean(step.remedy)}")


def _policies(page: Page, plan: BucketPlan) -> None:
    if plan.endpoint is not None:
        page.line()
        page.line(
            "These policies are AWS's. Another provider has its own way to the same (R2: an API token for this bucket alone)."
        )
    for role, policy in plan.policies.items():
        page.heading(f"IAM policy: {role}")
        page.line(json.dumps(policy, indent=2))
