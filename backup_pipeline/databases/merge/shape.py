"""What is decided for each table before a row is read: its columns in staging and in the target, its keys, its mode."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from backup_pipeline.databases.merge.asked import Asked
from backup_pipeline.databases.merge.drift import Columns, Schemas, StagedColumn, compare_table, table_gone
from backup_pipeline.databases.merge.graph import Reference, below, named, parents_needed
from backup_pipeline.databases.merge.keys import KeyCandidate, birth_column, generated_key, usable_keys
from backup_pipeline.databases.merge.plan import ColumnDrift, Mode
from backup_pipeline.databases.merge.rules import Rules
from backup_pipeline.databases.merge.session import Staged
from backup_pipeline.errors import Damaged
from backup_pipeline.model.schema import Schema, Table, TableId


@dataclass(frozen=True, slots=True)
class Shape:
    table: TableId
    #: Of its staging tables: s7, m7 …
    number: int
    columns: tuple[StagedColumn, ...]
    #: The primary key of the target; empty: rows have no name but the engine's own.
    key: tuple[str, ...]
    #: identity · sequence · rowid · uuid; "": the key is no generated key.
    generated: str = ""
    #: Type of each column of the target.
    types: Mapping[str, str] = field(default_factory=dict)
    #: Columns that take no NULL, in the backup as in the target.
    full: frozenset[str] = frozenset()
    natural_keys: tuple[KeyCandidate, ...] = ()
    #: Keys that are not used, and why.
    unused_keys: tuple[str, ...] = ()
    birth: str = ""
    #: Columns that no update changes, because a rule keeps them.
    keep: frozenset[str] = frozenset()
    #: Columns that SQL of a rule computes again.
    derived: frozenset[str] = frozenset()
    #: The column with the place of a row in a tree; it is derived as well.
    tree_path: str = ""
    #: Columns with JSON in which a rule finds ids: blanks are no difference.
    json: frozenset[str] = frozenset()
    #: Column of the target that the backup has not → its value in new rows, as text.
    filled: Mapping[str, str] = field(default_factory=dict)
    #: GENERATED ALWAYS AS IDENTITY
    overriding: bool = False
    mode: Mode = "asked"
    why: str = ""
    drift: tuple[ColumnDrift, ...] = ()

    def source(self, column: str) -> int | None:
        """The number of the staged column that fills a column of the target."""
        return next((at for at, one in enumerate(self.columns) if one.target == column), None)

    @property
    def written(self) -> tuple[str, ...]:
        """The columns of the target that get a value from the backup."""
        return tuple(one.target for one in self.columns if one.target is not None)

    @property
    def compared(self) -> tuple[str, ...]:
        """The columns in which two rows may differ."""
        return tuple(name for name in self.written if name not in (*self.key, *self.keep, *self.derived))

    @property
    def keyed(self) -> bool:
        """Rows of the backup and of the target have a primary key that both know."""
        return bool(self.key) and all(self.source(name) is not None for name in self.key)

    @property
    def staged(self) -> Staged:
        names = tuple(one.name for one in self.columns)
        return Staged(self.table, names, tuple(one.type for one in self.columns), f"s{self.number}")


@dataclass(frozen=True, slots=True)
class Drawn:
    shapes: Mapping[TableId, Shape]
    #: Table → why it cannot take part.
    refused: Mapping[TableId, ColumnDrift]
    #: Tables whose rule says that they take no part, and why.
    never: Mapping[TableId, str]


def draw(
    before: Schema,
    now: Schema,
    tables: Collection[TableId],
    rules: Rules,
    asked: Asked,
    references: Sequence[Reference],
) -> Drawn:
    """`tables`: those that the backup has rows of."""
    never = {table: rules.of(table).never for table in tables if rules.of(table).never}
    there = [table for table in tables if table not in never]
    chosen = _chosen(there, asked, references)
    schemas = Schemas(before, now)
    shapes: dict[TableId, Shape] = {}
    refused: dict[TableId, ColumnDrift] = {}
    for number, table in enumerate(sorted(chosen)):
        old, new = before.table(table), now.table(table)
        if old is None:
            raise Damaged(
                f"{table}: the backup has rows of it, and its schema does not know the table",
                remedy="`verify` says whether the backup is whole; restore another one",
            )
        if new is None:
            refused[table] = table_gone(old, schemas)
            continue
        if new.kind == "partitioned" and new.primary_key is None:
            refused[table] = _without_names(table)
            continue
        rule = rules.of(table)
        columns = compare_table(old, new, schemas, rule.renamed, rule.fill)
        if columns.refused:
            refused[table] = next(one for one in columns.drift if one.refused)
            continue
        mode, why = chosen[table]
        shape = _shape(new, columns, number, now, rules, references)
        full = {one.name for one in old.columns if not one.nullable}
        never_null = {one.name for one in new.columns if not one.nullable}
        both = {one.target for one in columns.columns if one.target in never_null and one.name in full}
        shapes[table] = replace(shape, mode=mode, why=why, full=frozenset(filter(None, both)))
    return Drawn(shapes, refused, never)


def _without_names(table: TableId) -> ColumnDrift:
    """What the engine calls a row is unique in one partition only."""
    why = f"{named(table)} is divided into partitions and has no primary key, so that no row of it has a name"
    remedy = f"give it a primary key, or leave it out with --skip {named(table)}"
    return ColumnDrift("", "missing", why, refused=f"{why} → {remedy}")


def asked_tables(tables: Iterable[TableId], asked: Asked) -> set[TableId]:
    wanted = set(tables) if asked.only is None else set(tables) & asked.only
    return wanted - asked.skip


def _chosen(
    tables: Collection[TableId], asked: Asked, references: Sequence[Reference]
) -> dict[TableId, tuple[Mode, str]]:
    """The tables that take part, how, and why. The way down to the rows of a tenant goes over all of its tables."""
    wanted = asked_tables(tables, asked)
    found: dict[TableId, tuple[Mode, str]] = {}
    if asked.tenant is not None:
        under = below(asked.tenant.table, references)
        on_the_way = {asked.tenant.table, *under} & set(tables)
        found = dict.fromkeys(on_the_way, ("parents", "on the way to the rows of the tenant"))
        wanted &= on_the_way
        found |= {table: ("below", under.get(table, "the tenant itself")) for table in wanted}
    else:
        found = dict.fromkeys(wanted, ("asked", ""))
    for table, why in parents_needed(wanted, references).items():
        if table in set(tables):
            found.setdefault(table, ("parents", f"{why} needs it"))
    return found


def _shape(
    now: Table, columns: Columns, number: int, schema: Schema, rules: Rules, references: Sequence[Reference]
) -> Shape:
    rule = rules.of(now.id)
    generated = generated_key(now, schema, references)
    given = {one.target for one in columns.columns if one.target is not None}
    derived = rules.computed(now.id) | {rule.tree_path} - {""}
    # The place in a tree names no row: another one may have it by now.
    no_key = {*rule.no_key, *derived}
    keys = usable_keys(now, given, generated=generated, natural=rule.natural_keys, no_key=no_key)
    return Shape(
        now.id,
        number,
        columns.columns,
        now.primary_key.columns if now.primary_key else (),
        generated,
        {one.name: one.type for one in now.columns},
        natural_keys=keys.found,
        unused_keys=keys.unused,
        birth=birth_column(now, schema, rule.birth),
        keep=frozenset(rule.keep),
        derived=derived,
        json=frozenset(one.column for one in rules.values if one.table == now.id),
        filled=columns.filled,
        overriding=columns.overriding,
        tree_path=rule.tree_path,
        drift=columns.drift,
    )
