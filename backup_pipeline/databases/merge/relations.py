"""The tables of a merge as SQLAlchemy knows them: staging, target, and the map from the rows of one to those of the other.

A staging table has the columns n, c0, c1 … A map has one line a staged row: what it is (`act`), how that is known (`how`), and the
key of its row in the target (k0, k1 …). Names of people's columns stand in the target alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from backup_pipeline.databases.merge.asked import Asked
from backup_pipeline.databases.merge.constructs import Raw, as_text, of_type
from backup_pipeline.databases.merge.graph import Reference
from backup_pipeline.databases.merge.json_paths import plain_json
from backup_pipeline.databases.merge.keys import KeyCandidate
from backup_pipeline.databases.merge.rules import ValueRule
from backup_pipeline.databases.merge.session import Memory, Session
from backup_pipeline.databases.merge.shape import Shape
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.progress import Listener, silent
from backup_pipeline.model.schema import TableId

Column = sa.ColumnElement[Any]


class Act(IntEnum):
    MATCH = 1
    NEW = 2
    SKIP = 3
    CONFLICT = 4


class How(IntEnum):
    REMEMBERED = 1
    SAME_KEY = 2
    NATURAL = 3
    UUID = 4
    CONTENT = 5
    NEW = 6


class Part(IntEnum):
    """Why a staged row takes part."""

    ASKED = 1
    ENSURED = 2


#: Rows that have a row in the target, or will have one.
LIVING = (Act.MATCH, Act.NEW)


@dataclass(frozen=True)
class Relation:
    shape: Shape
    session: Session

    @cached_property
    def target(self) -> sa.Table:
        columns = [sa.Column(name, Raw(kind)) for name, kind in self.shape.types.items()]
        if not self.shape.key:
            columns.append(sa.Column(self.row_name, Raw("tid")))
        table = self.shape.table
        return sa.Table(table.name, sa.MetaData(), *columns, schema=table.schema)

    @cached_property
    def row_name(self) -> str:
        return self.session.row_name(self.shape.table)

    @property
    def key_names(self) -> tuple[str, ...]:
        return self.shape.key or (self.row_name,)

    @cached_property
    def staged(self) -> sa.Table:
        columns = [sa.Column(f"c{at}", Raw(one.type)) for at, one in enumerate(self.shape.columns)]
        return self._made("s", sa.Column("n", sa.BigInteger), *columns)

    @cached_property
    def parts(self) -> sa.Table:
        """The rows that take part, where not all do."""
        return self._made(
            "w",
            sa.Column("n", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("part", sa.SmallInteger),
        )

    @cached_property
    def turn(self) -> sa.Table:
        """The rows that are matched in one turn."""
        return self._made("t", sa.Column("n", sa.BigInteger, primary_key=True, autoincrement=False))

    @cached_property
    def answers(self) -> sa.Table:
        """Each row of the target that a step names for a staged row."""
        return self._made("a", sa.Column("n", sa.BigInteger), sa.Column("how", sa.SmallInteger), *self.keys())

    @cached_property
    def disputed(self) -> sa.Table:
        """The rows of the target that rows in conflict name."""
        return self._made("q", sa.Column("n", sa.BigInteger), *self.keys())

    @cached_property
    def doomed(self) -> sa.Table:
        """The rows of the target that are deleted."""
        return self._made("z", *self.keys())

    @cached_property
    def map(self) -> sa.Table:
        return self._made(
            "m",
            sa.Column("n", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("part", sa.SmallInteger),
            sa.Column("act", sa.SmallInteger),
            sa.Column("how", sa.SmallInteger),
            sa.Column("why", sa.Text),
            *self.keys(),
        )

    def of_map(self, source: sa.FromClause) -> list[Column]:
        return [source.c[f"k{at}"] for at in range(len(self.key_names))]

    def keys(self) -> list[sa.Column[Any]]:
        types = self.shape.types
        kinds = [types[name] for name in self.shape.key] or [self.row_type]
        return [sa.Column(f"k{at}", Raw(kind)) for at, kind in enumerate(kinds)]

    @property
    def row_type(self) -> str:
        return "tid" if self.session.connection.dialect.name == "postgresql" else "INTEGER"

    def _made(self, kind: str, *columns: sa.Column[Any]) -> sa.Table:
        return sa.Table(f"{kind}{self.shape.number}", sa.MetaData(), *columns, schema=self.session.staging)

    def scratch(self, kind: str, *columns: sa.Column[Any]) -> sa.Table:
        return self._made(kind, *columns)

    def at(self, staged: sa.FromClause, column: str) -> Column:
        """The staged value that belongs to a column of the target, in the target's type."""
        number = self.shape.source(column)
        assert number is not None, (self.shape.table, column)
        one = self.shape.columns[number]
        value: Column = staged.c[f"c{number}"]
        if one.lost_labels:  # such a row is not written, and no cast may fail
            value = sa.case((value.in_(one.lost_labels), sa.null()), else_=value)
        value = sa.cast(value, Raw(one.cast)) if one.cast else value
        return sa.func.coalesce(value, of_type(one.fill, self.shape.types[column])) if one.fill else value

    def same_key(self, map: sa.FromClause, target: sa.FromClause) -> sa.ColumnElement[bool]:
        return sa.and_(*(map.c[f"k{at}"] == target.c[name] for at, name in enumerate(self.key_names)))

    def named(self, staged: sa.FromClause) -> sa.Subquery:
        """Staged rows under the names of the target, for SQL that the engine or the user wrote."""
        columns = [self.at(staged, name).label(name) for name in self.shape.written]
        return numbered(staged.c.n, columns, self.shape.table.name)

    def meeting(self, key: KeyCandidate) -> sa.Select[Any]:
        """The staged rows that meet the condition of a partial index. The engine wrote it, on bare names."""
        named = self.named(self.staged)
        return sa.select(named.c[0]).where(sa.literal_column(f"({key.where})"))

    def target_of(self, key: KeyCandidate) -> sa.FromClause:
        """The rows of the target that a natural key is about."""
        if not key.where:
            return self.target.alias()
        return sa.select(*self.target.c).where(sa.literal_column(f"({key.where})")).subquery()

    def comparable(self, column: str) -> bool:
        number = self.shape.source(column)
        return number is None or self.shape.columns[number].comparable

    def differs(self, column: str, one: Column, other: Column) -> sa.ColumnElement[bool]:
        if column in self.shape.json:
            one, other = plain_json(one), plain_json(other)
        elif not self.comparable(column):
            one, other = as_text(one), as_text(other)
        return one.is_distinct_from(other)


def numbered(n: Column, columns: Sequence[sa.Label[Any]], name: str) -> sa.Subquery:
    """These columns under their names, after the number of the row. A column of people may be called n, or anything else."""
    taken = {one.name.lower() for one in columns}
    free = next(one for one in map("bp_n{}".format, range(len(taken) + 1)) if one not in taken)
    return sa.select(n.label(free), *columns).subquery(name)


@dataclass
class Run:
    """One merge on its way."""

    session: Session
    relations: Mapping[TableId, Relation]
    asked: Asked
    same_lineage: bool
    listener: Listener = silent
    #: Of references whose condition depends on rows, too.
    references: Mapping[TableId, tuple[Reference, ...]] = field(default_factory=dict)
    #: Where ids stand inside of JSON.
    values: tuple[ValueRule, ...] = ()
    #: What the steps found out, for the plan.
    told: list[Finding] = field(default_factory=list)
    #: Natural keys that are unique in staging and in the target.
    natural_keys: dict[TableId, list[KeyCandidate]] = field(default_factory=dict)
    unused_keys: dict[TableId, list[str]] = field(default_factory=dict)
    #: Tables of which the backup has no row: nothing is asked about them.
    empty: set[TableId] = field(default_factory=set)
    #: Tables with rows that were not looked up, because they wait for one another.
    stuck: set[TableId] = field(default_factory=set)
    #: Tables of which only some rows take part.
    partial: set[TableId] = field(default_factory=set)
    #: What an earlier merge remembers is looked up.
    memory: Memory | None = None
    has_map: bool = False
    #: No table of the target has a row.
    bulk: bool = False
    made: set[str] = field(default_factory=set)
    #: Nothing is committed: numbers of new keys are only counted.
    rehearsal: bool = True

    def do(self, statement: sa.Executable) -> int:
        # Else SQLAlchemy does not keep the number of an INSERT.
        found = self.session.connection.execute(statement, execution_options={"preserve_rowcount": True})
        assert found.rowcount >= 0
        return int(found.rowcount)

    def one(self, query: sa.Select[Any]) -> Any:
        return self.session.connection.execute(query).scalar()

    def all(self, query: sa.Executable) -> Sequence[Sequence[Any]]:
        return self.session.connection.execute(query).all()

    def make(self, table: sa.Table, *indexes: Sequence[str]) -> sa.Table:
        table.create(self.session.connection, checkfirst=False)
        for columns in indexes:
            self.index(table, columns)
        return table

    def make_anew(self, table: sa.Table) -> sa.Table:
        if table.name in self.made:
            table.drop(self.session.connection, checkfirst=False)
        self.made.add(table.name)
        return self.make(table)

    def index(self, table: sa.Table, columns: Sequence[str]) -> None:
        name = f"{table.name}_{'_'.join(columns)}"
        sa.Index(name, *(table.c[column] for column in columns)).create(
            self.session.connection, checkfirst=False
        )

    def rows(self, relation: Relation) -> sa.FromClause:
        """The staged rows that take part, and why."""
        staged, columns = relation.staged, list(relation.staged.c)
        if relation.shape.table not in self.partial:
            return sa.select(*columns, sa.literal(int(Part.ASKED)).label("part")).subquery()
        parts = relation.parts
        joined = staged.join(parts, staged.c.n == parts.c.n)
        return sa.select(*columns, parts.c.part).select_from(joined).subquery()

    def part(self, relation: Relation, n: Column) -> Column:
        if relation.shape.table not in self.partial:
            return sa.literal(int(Part.ASKED))
        parts = relation.parts
        return sa.select(parts.c.part).where(parts.c.n == n).scalar_subquery()

    def matched(self, relation: Relation, chosen: sa.FromClause) -> int:
        """Rows (n, how, key) that are rows of the target; those that are in the map already stay."""
        map = relation.map
        query = sa.select(
            chosen.c.n,
            self.part(relation, chosen.c.n),
            sa.literal(int(Act.MATCH)),
            chosen.c.how,
            *relation.of_map(chosen),
        ).where(~sa.select(map.c.n).where(map.c.n == chosen.c.n).exists())
        names = ["n", "part", "act", "how", *(key.name for key in relation.of_map(map))]
        return self.do(map.insert().from_select(names, query))

    def conflict(self, relation: Relation, rows: sa.Select[Any], why: str) -> int:
        """Rows (n) that are in conflict."""
        map, chosen = relation.map, rows.subquery()
        query = sa.select(
            chosen.c.n,
            self.part(relation, chosen.c.n),
            sa.literal(int(Act.CONFLICT)),
            sa.literal(0),
            sa.literal(why),
        ).distinct()
        return self.do(map.insert().from_select(["n", "part", "act", "how", "why"], query))

    def referenced(self, table: TableId) -> set[str]:
        """The columns that references refer to: no update changes them."""
        return {
            name
            for some in self.references.values()
            for one in some
            if one.parent == table
            for name in one.referenced
        }

    def compared(self, relation: Relation) -> list[str]:
        fixed = self.referenced(relation.shape.table)
        return [name for name in relation.shape.compared if name not in fixed]

    def sure_key(self, relation: Relation) -> bool:
        """Every row has a natural key that needs no reference: its contents are never compared."""
        references = {column for one in self.outgoing(relation.shape.table) for column in one.columns}
        return any(
            not key.where and set(key.columns) <= relation.shape.full - references
            for key in self.natural_keys[relation.shape.table]
        )

    def outgoing(self, table: TableId) -> tuple[Reference, ...]:
        return self.references.get(table, ())

    def condition(self, reference: Reference, staged: sa.FromClause) -> sa.ColumnElement[bool]:
        """Which rows of the child have this reference: those without NULL in it, that meet its condition."""
        relation = self.relations[reference.table]
        found: list[sa.ColumnElement[bool]] = [
            relation.at(staged, column).is_not(None) for column in reference.columns
        ]
        if reference.when:
            found.append(as_text(relation.at(staged, reference.when)).in_(reference.values))
        return sa.and_(*found)

    def parents(self, reference: Reference, acts: Iterable[Act] = LIVING) -> sa.Subquery | None:
        """Old values (o0 …) and new values (v0 …) of what a reference can mean; None: of no row is anything known."""
        parent = self.relations.get(reference.parent)
        if parent is None:
            return self._outside(reference)
        if reference.parent in self.empty:
            return None
        staged, map = parent.staged.alias(), parent.map.alias()
        target = parent.target.alias()
        key = parent.key_names
        joined: sa.FromClause = staged.join(map, staged.c.n == map.c.n)
        if not set(reference.referenced) <= set(key):
            joined = joined.outerjoin(target, sa.and_(map.c.act == Act.MATCH, parent.same_key(map, target)))
        columns: list[Column] = [map.c.n.label("n"), map.c.act.label("act")]
        for at, name in enumerate(reference.referenced):
            old = parent.at(staged, name)
            new: Column
            if name in key:
                new = map.c[f"k{key.index(name)}"]
            else:
                new = sa.case((map.c.act == Act.MATCH, target.c[name]), else_=old)
            columns += [old.label(f"o{at}"), new.label(f"v{at}")]
        found = sa.select(*columns).select_from(joined).where(map.c.act.in_(list(acts)))
        if reference.policy == "never" and reference.parent in self.partial:
            outside = self._outside(reference)
            if outside is not None:  # a parent that is not staged for this reference
                rows = self.rows(parent)
                names = reference.referenced
                pairs = [outside.c[f"o{at}"] == parent.at(rows, name) for at, name in enumerate(names)]
                unstaged = ~sa.select(rows.c.n).where(*pairs).exists()
                return sa.union_all(found, sa.select(*outside.c).where(unstaged)).subquery()
        return found.subquery()

    def _outside(self, reference: Reference) -> sa.Subquery | None:
        """The parent takes no part: its key means the same row only in the same database."""
        parent = self.session.schema.table(reference.parent)
        if not self.same_lineage or parent is None:
            return None
        kinds = {column.name: column.type for column in parent.columns}
        if not set(reference.referenced) <= kinds.keys():
            return None
        columns = [sa.Column(name, Raw(kind)) for name, kind in kinds.items()]
        target = sa.Table(parent.id.name, sa.MetaData(), *columns, schema=parent.id.schema).alias()
        chosen: list[Column] = [sa.literal(0).label("n"), sa.literal(int(Act.MATCH)).label("act")]
        for at, name in enumerate(reference.referenced):
            chosen += [target.c[name].label(f"o{at}"), target.c[name].label(f"v{at}")]
        return sa.select(*chosen).subquery()

    def meets(
        self, reference: Reference, staged: sa.FromClause, parents: sa.FromClause
    ) -> sa.ColumnElement[bool]:
        """The child's staged values are the old values of the parent."""
        return self._equal(reference, staged, [parents.c[f"o{at}"] for at in range(len(reference.columns))])

    def refers(
        self, reference: Reference, staged: sa.FromClause, up: sa.FromClause
    ) -> sa.ColumnElement[bool]:
        """The child's row refers to the parent's row, both as they are staged."""
        parent = self.relations[reference.parent]
        return self._equal(reference, staged, [parent.at(up, name) for name in reference.referenced])

    def _equal(
        self, reference: Reference, staged: sa.FromClause, values: Sequence[Column]
    ) -> sa.ColumnElement[bool]:
        child = self.relations[reference.table]
        pairs = []
        for at, (column, theirs) in enumerate(zip(reference.columns, values, strict=True)):
            mine = child.at(staged, column)
            if self.other_types(reference, at):
                mine, theirs = as_text(mine), as_text(theirs)
            pairs.append(mine == theirs)
        return sa.and_(self.condition(reference, staged), *pairs)

    def other_types(self, reference: Reference, at: int) -> bool:
        """A reference that the database does not enforce may be a text that holds a number."""
        if reference.enforced:
            return False
        child = self.relations[reference.table].shape.types[reference.columns[at]]
        parent = self.session.schema.table(reference.parent)
        assert parent is not None
        kinds = {column.name: column.type for column in parent.columns}
        return child != kinds[reference.referenced[at]]
