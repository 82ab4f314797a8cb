"""Which table refers to which: the order of tables, circles, and what hangs above and below a table.

Belongs here: pure functions on references. Not here: reading them from a schema and from rules (`references`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from backup_pipeline.databases.merge.plan import Cycle
from backup_pipeline.databases.merge.rules import Missing, Policy
from backup_pipeline.model.schema import TableId

Sign = tuple[TableId, tuple[str, ...], TableId, tuple[str, ...], str, tuple[str, ...]]
NaturalKeys = Mapping[TableId, tuple[tuple[str, ...], ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    #: The child.
    table: TableId
    columns: tuple[str, ...]
    parent: TableId
    #: Of the parent, in the order of `columns`.
    referenced: tuple[str, ...]
    #: For people: "orders.customer_id".
    name: str
    #: The name of the foreign key; "": the database does not enforce the reference.
    constraint: str = ""
    enforced: bool = False
    #: The columns that become NULL where the parent is not to be had; empty: no column takes a NULL.
    nulls: tuple[str, ...] = ()
    match: str = "SIMPLE"
    on_delete: str = "NO ACTION"
    deferrable: bool = False
    policy: Policy = "ensure"
    missing: Missing = "null"
    #: Only rows where this column of the child has one of these values.
    when: str = ""
    values: tuple[str, ...] = ()
    #: The rows of a tenant are found over it.
    owned: bool = True
    #: The rule that makes or changes it.
    source: str = ""

    @property
    def mandatory(self) -> bool:
        return not self.nulls

    @property
    def to_itself(self) -> bool:
        return self.table == self.parent


def named(table: TableId) -> str:
    return table.name if table.schema in ("public", "main") else str(table)


def name_of(table: TableId, columns: Sequence[str]) -> str:
    """`orders.customer_id`, `orders.(tenant, customer)`."""
    inside = columns[0] if len(columns) == 1 else f"({', '.join(columns)})"
    return f"{named(table)}.{inside}"


def sign(one: Reference) -> Sign:
    """Two references with one sign are one reference. References are sorted by it."""
    return one.table, one.columns, one.parent, one.referenced, one.when, one.values


def order(tables: Iterable[TableId], references: Iterable[Reference]) -> tuple[tuple[TableId, ...], ...]:
    """Parents first. Tables that refer to each other in a circle stand together; each group is sorted by name.

    A table that refers to itself stands alone: `cycles` tells it.
    """
    above: dict[TableId, set[TableId]] = {table: set() for table in tables}
    for one in references:
        if one.table in above and one.parent in above and not one.to_itself:
            above[one.table].add(one.parent)
    return tuple(_components({table: sorted(above[table]) for table in sorted(above)}))


def identity_order(
    tables: Iterable[TableId], references: Iterable[Reference], keys: NaturalKeys
) -> tuple[tuple[TableId, ...], ...]:
    """The order in which natural keys can be compared: a reference in a key is translated before."""
    return order(tables, identity_references(references, keys))


def identity_references(references: Iterable[Reference], keys: NaturalKeys) -> tuple[Reference, ...]:
    """The references with a column in a natural key of their table."""
    return tuple(
        one for one in references if any(set(one.columns) & set(key) for key in keys.get(one.table, ()))
    )


#: Engine → how rows of tables in a circle get in, where the database enforces a reference of the circle.
_BROKEN = {
    "postgres": "inserted in one statement: foreign keys are checked at its end",
    "sqlite": "checked at the end of the transaction",
}
_ITSELF = "the rows refer to rows of the same table: inserted in one statement"
_NOT_ENFORCED = "no foreign key in the circle: the order does not matter"


def cycles(
    ordered: Iterable[tuple[TableId, ...]], references: Sequence[Reference], engine: str
) -> tuple[Cycle, ...]:
    """The groups of `order` that are circles, tables that refer to themselves among them, and how each is broken."""
    groups = {table: group for group in ordered for table in group}
    enforced: dict[tuple[TableId, ...], bool] = {}
    for one in references:
        group = groups.get(one.table, ())
        if group and group == groups.get(one.parent):
            enforced[group] = enforced.get(group, False) or one.enforced
    how = {True: _BROKEN[engine], False: _NOT_ENFORCED}
    return tuple(
        Cycle(group, _ITSELF if len(group) == 1 and enforced[group] else how[enforced[group]])
        for group in dict.fromkeys(groups.values())
        if group in enforced
    )


def parents_needed(asked: Collection[TableId], references: Iterable[Reference]) -> dict[TableId, str]:
    """The tables that come along because rows of `asked` refer to them, each with the reference that needs it.

    A foreign key is the better reason: a reference that a rule has found may have no row.
    """
    needs: dict[TableId, str] = {}
    heeded = [one for one in references if one.policy != "never"]
    for followed in (heeded, [one for one in heeded if one.enforced]):
        above: dict[TableId, list[tuple[TableId, Reference]]] = {}
        for one in followed:
            above.setdefault(one.table, []).append((one.parent, one))
        needs |= {table: one.name for table, one, _ in _reached(asked, above)}
    return needs


def below(tenant: TableId, references: Iterable[Reference]) -> dict[TableId, str]:
    """The tables that hang below a row of `tenant` over owned references, each with the way up to it."""
    under: dict[TableId, list[tuple[TableId, Reference]]] = {}
    for one in references:
        if one.owned:
            under.setdefault(one.parent, []).append((one.table, one))
    why: dict[TableId, str] = {}
    for table, one, parent in _reached([tenant], under):
        why[table] = " → ".join([one.name, *([why[parent]] if parent in why else [])])
    return why


def _reached(
    start: Collection[TableId], steps: Mapping[TableId, list[tuple[TableId, Reference]]]
) -> Iterator[tuple[TableId, Reference, TableId]]:
    """The tables that are not in `start`, the nearest first: with the reference, and the table that it was reached from."""
    seen = set(start)
    at = sorted(seen)
    while at:
        reached = []
        for table in at:
            for other, reference in sorted(steps.get(table, ()), key=lambda step: (step[0], sign(step[1]))):
                if other not in seen:
                    seen.add(other)
                    reached.append(other)
                    yield other, reference, table
        at = reached


def _components(above: Mapping[TableId, Sequence[TableId]]) -> Iterator[tuple[TableId, ...]]:
    """Tarjan's strongly connected components. A stack of our own: a chain of 25,000 tables is no deep recursion."""
    number: dict[TableId, int] = {}
    low: dict[TableId, int] = {}
    open_ones: dict[TableId, None] = {}
    for start in above:
        work = [] if start in number else [(start, iter(above[start]))]
        while work:
            table, parents = work[-1]
            if table not in number:
                number[table] = low[table] = len(number)
                open_ones[table] = None
            for parent in parents:
                if parent not in number:
                    work.append((parent, iter(above[parent])))
                    break
                if parent in open_ones:
                    low[table] = min(low[table], low[parent])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[table])
                if low[table] == number[table]:
                    group = [open_ones.popitem()[0]]
                    while group[-1] != table:
                        group.append(open_ones.popitem()[0])
                    yield tuple(sorted(group))
