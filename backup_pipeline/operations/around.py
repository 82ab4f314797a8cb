"""`around`: a backup, then work of another's making, then the difference of the rows; and the way back.

The difference is the plan of a merge that would make the database what it was: what that merge would delete was created by the
work, what it would update was changed, what it would create was deleted. Its doing is the undo.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from backup_pipeline.databases.merge.plan import MergePlan, TableMerge, Verb
from backup_pipeline.errors import BackupError, ErrorsFound
from backup_pipeline.model.merge_orders import ALL, AroundOrder, MergeOrder
from backup_pipeline.model.plural import plural
from backup_pipeline.model.progress import Listener, silent
from backup_pipeline.model.schema import TableId
from backup_pipeline.operations import merge, trees
from backup_pipeline.operations.audit import Facts
from backup_pipeline.operations.before_restore import back_up_before
from backup_pipeline.operations.choosing_tables import split
from backup_pipeline.operations.merge import Merged
from backup_pipeline.operations.merge_sections import Section, differing
from backup_pipeline.operations.site import Site


@dataclass(frozen=True, slots=True)
class TableChange:
    """What the work did to the rows of a table."""

    table: TableId
    #: Before the work.
    rows: int
    created: int
    changed: int
    deleted: int

    @property
    def part(self) -> float:
        """Of the rows that there were: how many are gone or not as they were, in percent."""
        return 100 * (self.changed + self.deleted) / self.rows if self.rows else 0.0


@dataclass(frozen=True, slots=True)
class Change:
    """What became of the rows. The undo would be `plan`."""

    #: Of before the work.
    backup: str
    #: Those with a difference.
    tables: tuple[TableChange, ...]
    plan: MergePlan
    #: What was undone; None: nothing.
    undone: Merged | None = None

    @property
    def counts(self) -> dict[str, int]:
        return {
            "created": sum(table.created for table in self.tables),
            "changed": sum(table.changed for table in self.tables),
            "deleted": sum(table.deleted for table in self.tables),
        }

    @property
    def summary(self) -> str:
        parts = [f"{plural(count, 'row')} {what}" for what, count in self.counts.items() if count]
        return ", ".join(parts) or "no row is another one"

    def beyond(self, percent: float | None) -> TableChange | None:
        """The table that lost most, where that is more than allowed. None: all is within."""
        worst = max(self.tables, key=lambda table: table.part, default=None)
        return worst if worst is not None and percent is not None and worst.part > percent else None


def before(site: Site, order: AroundOrder, listener: Listener = silent) -> str:
    """The id of a backup of how it is now. Unchanged chunks cost nothing."""
    system, names = order.system, split(order.only)
    tables = trees.named_tables(site, system, names, listener) or [
        one.id for one in site.inventory(system).taken
    ]
    return back_up_before(site, system, site.url(system), tables, listener).id


def compare(site: Site, order: AroundOrder, backup: str, listener: Listener = silent) -> Change:
    plan = merge.plan(site, way_back(order, backup), listener)
    tables = tuple(_change(table) for table in plan.tables if table.writes)
    return Change(backup, tables, plan)


def undo(site: Site, order: AroundOrder, change: Change, listener: Listener = silent) -> Change:
    """Exactly what was compared, or nothing where rows were written since."""
    approved = merge.Approved(change.plan.digest, change.plan.target)
    asked = way_back(order, change.backup)
    return replace(change, undone=merge.merge(site, asked, listener, approved=approved))


def way_back(order: AroundOrder, backup: str) -> MergeOrder:
    return MergeOrder(
        order.system,
        backup,
        live=True,
        only=tuple(order.only),
        update=ALL,
        delete=True,
        show=tuple(order.show),
        lineage="same",
        remember=False,
    )


def sections(change: Change) -> list[Section]:
    """A line for each table with a difference, then rows where they are shown."""
    rows = tuple(
        (
            str(one.table),
            f"{one.rows:,}",
            *(f"{count:,}" if count else "–" for count in (one.created, one.changed, one.deleted)),
            f"{one.part:.1f}%",
        )
        for one in change.tables
    )
    headers = ("TABLE", "ROWS BEFORE", "CREATED", "CHANGED", "DELETED", "PART")
    first = Section("", headers if rows else (), rows, (1, 2, 3, 4, 5), (change.summary,))
    return [first, *(differing(_inverse(table)) for table in change.plan.tables if table.differences)]


def failure_of(change: Change, beyond: TableChange | None) -> BackupError | None:
    """What a script must hear of. That rows were changed is what the command is for."""
    if change.plan.refusal is not None:
        return change.plan.refusal
    if beyond is None:
        return merge.lacking(change.plan)
    return ErrorsFound(
        f"{beyond.part:.1f}% of the rows of {beyond.table} were changed or deleted, so all of it is undone",
        remedy="look at the difference; to do it all the same, allow more with --undo-over",
    )


def figures(change: Change) -> Facts:
    """For the log of acts."""
    return {**change.counts, "restore": change.undone.restore_id if change.undone else ""}


def _change(table: TableMerge) -> TableChange:
    return TableChange(table.table, table.staged, table.delete, table.update, table.create)


_INVERSE: Mapping[Verb, Verb] = {"create": "delete", "delete": "create", "update": "update", "keep": "keep"}


def _inverse(table: TableMerge) -> TableMerge:
    """The rows as the work changed them, and not as the way back would."""
    return replace(
        table,
        differences=tuple(
            replace(
                one,
                verb=_INVERSE[one.verb],
                columns={name: (after, before) for name, (before, after) in one.columns.items()},
            )
            for one in table.differences
        ),
    )
