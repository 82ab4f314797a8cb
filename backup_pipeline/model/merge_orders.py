"""The orders about a database that lives on: rows come back into it (`restore --live`), `undo`, and `around`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Literal

from backup_pipeline.model.orders import Order, option

if TYPE_CHECKING:
    from pathlib import Path

Strategy = Literal["auto", "merge", "exact", "bulk"]
Triggers = Literal["auto", "fire", "off"]
Lineage = Literal["auto", "same", "other"]

#: `--update` without a value.
ALL = "all"


@dataclass(frozen=True, slots=True)
class MergeOrder(Order):
    """Of rows, into a database that lives on."""

    system: str
    id: str | None = None
    _: KW_ONLY
    live: bool = option(
        False, "Into the system's own database, which lives on: rows that are missing are created, no more."
    )
    to: str = option(
        "", "The database to restore to (a URL); with --files, the folder for the files.", metavar="TARGET"
    )
    only: Sequence[str] = option(
        (),
        "Only rows of this table, pattern or group, and the parents that they need (a list, or more than once).",
        metavar="TABLE|GROUP",
    )
    skip: Sequence[str] = option((), "Not this table, pattern or group.", metavar="TABLE|GROUP")
    where: Sequence[str] = option(
        (),
        "Only rows of this table that meet an SQL condition: 'orders: customer_id = 7'. More than once.",
        metavar="'TABLE: SQL'",
    )
    tenant: str = option("", "One row and everything that hangs below it: accounts:7.", metavar="TABLE:KEY")
    with_files: bool = option(
        False,
        "Also files that rows of the backup name (`refs:`) and that are missing in the folder of their tree.",
    )
    create: bool = option(True, "Create no rows.")
    update: str = option(
        "",
        "Update live rows that differ; they are kept otherwise. newest:COLUMN: only where that column is later in the backup.",
        metavar="[newest:COLUMN]",
        bare=ALL,
        form="newest",
    )
    delete: bool = option(False, "Delete live rows that the backup does not know.")
    dry_run: bool = option(False, "Do it, show what came of it, and take it back.")
    show: Sequence[str] = option(
        (), "Show the difference of this table row by row, before and after.", metavar="TABLE"
    )
    from_environment: str | None = option(
        None,
        "The backup is of this environment (`none`: it has no marker), and the target may be of another.",
        metavar="NAME",
    )
    strategy: Strategy = option(
        "auto",
        "merge: know rows by their keys · exact: keep all keys · bulk: empty tables, without their indexes.",
        choices=("auto", "merge", "exact", "bulk"),
        shows_default=True,
    )
    triggers: Triggers = option(
        "auto",
        "Whether triggers of the target fire.",
        choices=("auto", "fire", "off"),
        shows_default=True,
    )
    lineage: Lineage = option(
        "auto",
        "Whether the target descends from the database of the backup, so that an equal key may mean an equal row.",
        choices=("auto", "same", "other"),
        shows_default=True,
    )
    remember: bool = option(
        True,
        "Leave no map of new keys in the target. A repeated merge then knows rows by natural keys alone.",
        flag="--no-map",
    )
    rejects: Path | None = option(
        None,
        "Set rows aside that do not fit the columns of the target, in this CSV with the errors, and write the others.",
        metavar="FILE",
        form="file",
    )
    allow_rejects: bool = option(False, "With --rejects: rows that were set aside are no failure.")


@dataclass(frozen=True, slots=True)
class UndoOrder(Order):
    system: str
    #: Of a restore. None: the newest that changed something.
    id: str | None = field(default=None, metadata={"word": "[RESTORE_ID|latest]"})
    _: KW_ONLY
    to: str = option(
        "", "The database that was restored to, where it is not the system's own.", metavar="URL"
    )
    dry_run: bool = option(False, "Do it, show what came of it, and take it back.")
    except_changed: bool = option(
        False, "Leave rows that were changed since the restore as they are, and undo the rest."
    )


@dataclass(frozen=True, slots=True)
class AroundOrder(Order):
    system: str
    #: And its arguments. No shell reads them.
    command: Sequence[str] = ()
    _: KW_ONLY
    only: Sequence[str] = option(
        (), "Compare only this table, pattern or group (a list, or more than once).", metavar="TABLE|GROUP"
    )
    undo_over: float | None = option(
        None,
        "Undo by itself, when more than this part of the rows of a table was changed or deleted.",
        metavar="N%",
        form="percent",
    )
    show: Sequence[str] = option(
        (), "Show the difference of this table row by row, before and after.", metavar="TABLE"
    )
