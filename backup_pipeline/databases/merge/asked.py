"""What is asked of a merge. Names and groups are resolved already: a merge knows tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from backup_pipeline.model.schema import TableId

Strategy = Literal["auto", "merge", "exact", "bulk"]
Triggers = Literal["auto", "fire", "off"]
Lineage = Literal["auto", "same", "other"]


@dataclass(frozen=True, slots=True)
class Tenant:
    """One row, and everything that hangs below it."""

    table: TableId
    #: Of its primary key, as text.
    key: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verbs:
    """What may be written. A live row that differs is kept unless `update` says otherwise."""

    create: bool = True
    update: bool = False
    #: With `update`: only rows whose value in this column is newer in the backup. "": all that differ.
    newest: str = ""
    #: Remove live rows that the backup does not know.
    delete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    #: None: every table of the backup.
    only: frozenset[TableId] | None = None
    skip: frozenset[TableId] = frozenset()
    #: Table → an SQL condition on its columns, as the backup has them.
    where: Mapping[TableId, str] = field(default_factory=dict)
    tenant: Tenant | None = None
    verbs: Verbs = Verbs()
    strategy: Strategy = "auto"
    triggers: Triggers = "auto"
    #: Whether an equal key may mean an equal row. "auto": the identity of the database, else its rows, tell it.
    lineage: Lineage = "auto"
    #: Remember new keys in the target, so that the same merge again finds its rows.
    remember: bool = True
    #: Rows that the database refuses are set aside, and the others are written.
    rejects: bool = False
    #: The digest of a plan that was looked at: another plan is refused.
    approved: str = ""
    #: For these tables differences are shown row by row.
    show: Sequence[TableId] = ()
