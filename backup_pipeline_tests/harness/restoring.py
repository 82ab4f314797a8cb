"""Records of restores for tests: one that has changed two tables, without a database."""

from __future__ import annotations

from contextlib import suppress

from backup_pipeline.databases.merge.plan import MergePlan, TableMerge
from backup_pipeline.model import canonical
from backup_pipeline.model.manifest import Engine, Link
from backup_pipeline.model.schema import TableId
from backup_pipeline.model.vault_records import Prepared
from backup_pipeline.vault.recording import Recording
from backup_pipeline.vault.restores import Restore, Restores
from backup_pipeline.vault.vault import Vault

CUSTOMERS = TableId("public", "customers")
BEFORE = b"1\tAda\n2\tBob\n"
AFTER = b"1\tAda Lovelace\n3\tCyd\n"


class Stopped(Exception):
    """The restore ends in the middle."""


PLAN = MergePlan(
    "shop",
    "2026-11-20T02-00-00-123Z",
    "postgres",
    "postgresql://shop@db/shop",
    "merge",
    "merge",
    "the target holds rows",
    tables=(TableMerge(CUSTOMERS, staged=2, matched=1, create=1, update=1, delete=1),),
)


def wanted(backup: Link, *, pre_restore: str = "", undoes: str = "") -> Prepared:
    return Prepared(
        system="shop",
        id="",
        backup=backup,
        place="vault",
        target="postgresql://shop@db/shop",
        engine=Engine("postgres", "16.1", {"row_encoding": "UTF8"}),
        by="ada@desk",
        began="",
        order={"live": True, "only": ["customers"]},
        plan=canonical.plain(PLAN),
        digest="d" * 64,
        pre_restore=pre_restore,
        undoes=undoes,
    )


def touch(recording: Recording, before: bytes = BEFORE, after: bytes = AFTER) -> None:
    recording.image(CUSTOMERS, ("id", "name"), ("id",), "before", iter([before]))
    recording.image(CUSTOMERS, ("id", "name"), ("id",), "after", iter([after]))


def restored(
    vault: Vault, *, pre_restore: str = "", undoes: str = "", ends: str = "done", before: bytes = BEFORE
) -> Restore:
    """The record of a restore from the newest backup. `ends`: done, failed, unknown."""
    backup = vault.backup("shop", vault.ids("shop")[-1]).link
    restores = Restores(vault, "shop")
    with (
        suppress(Stopped),
        restores.begin(wanted(backup, pre_restore=pre_restore, undoes=undoes)) as recording,
    ):
        touch(recording, before)
        recording.prepared()
        if ends == "unknown":
            raise Stopped
        if ends == "failed":
            recording.failed("the connection was lost")
        else:
            recording.done({"update": 1, "create": 1, "delete": 1})
    return restores.get(recording.id)
