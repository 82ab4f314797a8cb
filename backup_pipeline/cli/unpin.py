"""`unpin`: let the rules decide about a backup again."""

from __future__ import annotations

from backup_pipeline.cli.app import as_verb
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.model.orders import UnpinOrder


@as_verb(
    "unpin",
    order=UnpinOrder,
    examples="""
    backup-pipeline unpin shop 2026-11-21T02-00-00-123Z
    backup-pipeline unpin shop 2026-11-21T02-00-00-123Z --copy offsite
    """,
)
def verb(call: Call, order: UnpinOrder) -> Reply:
    """One backup of SYSTEM by its ID, or as `latest` or a day.

    Where `retention: {pin: […]}` of the configuration names it, it stays pinned.
    """
    from backup_pipeline.operations.pin import unpin

    site, system = call.site, order.system
    identifier, held = unpin(site, order)
    policy = site.settings.retention_of(system)
    named = policy is not None and identifier in policy.pin
    if named:
        call.note("it stays pinned by `retention: pin:` of the configuration")
    said = (
        f"{system} {identifier} is not pinned any more" if held else f"{system} {identifier} was not pinned"
    )
    return Reply(
        {"system": system, "id": identifier, "was_pinned": held is not None, "still_pinned": named},
        lambda page: page.line(said),
        answer=False,
        backup=identifier,
    )
