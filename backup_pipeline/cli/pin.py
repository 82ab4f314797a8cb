"""`pin`: keep a backup, against every rule."""

from __future__ import annotations

from backup_pipeline.cli.app import as_verb
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.model.orders import PinOrder


@as_verb(
    "pin",
    order=PinOrder,
    examples="""
    backup-pipeline pin shop 2026-11-21T02-00-00-123Z --reason "before the audit"
    backup-pipeline pin shop latest
    """,
)
def verb(call: Call, order: PinOrder) -> Reply:
    """The newest full backup of SYSTEM, or one by its ID.

    The pin lies in the vault beside the backup, and takes no key: in an encrypted vault too, everybody who sees the store
    can read the reason. Pinning again gives a new one.
    """
    from backup_pipeline.operations.pin import pin

    chosen, made = pin(call.site, order)
    return Reply(
        {"system": order.system, "id": chosen, "pin": made},
        lambda page: page.line(f"{order.system} {chosen} is pinned: no rule removes it"),
        answer=False,
        backup=chosen,
    )
