"""The shape of a database, as it was in the snapshot that a backup was read from.

Definitions that only an engine can judge (a view's query, a trigger, a policy) are kept as its own SQL
text in `SchemaObject`; what the product reasons about (columns, keys, references, sequences) is spelled out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal


@dataclass(frozen=True, order=True, slots=True)
class TableId:
    """`public.orders`; for SQLite the schema is always `main`."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str
    nullable: bool = True
    default: str | None = None
    #: "always" | "by default" | None
    identity: str | None = None
    #: The expression of a generated column; its values are computed again, never exported.
    generated: str | None = None
    #: Of a generated column: False for one that is computed when it is read (PostgreSQL 18, SQLite).
    stored: bool = True
    collation: str | None = None
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """A primary key or a unique constraint."""

    name: str
    columns: tuple[str, ...]
    definition: str = ""
    deferrable: bool = False

    @property
    def nulls_equal(self) -> bool:
        """NULLS NOT DISTINCT: the constraint takes one NULL only. PostgreSQL writes the definition in this form."""
        return self.definition.startswith("UNIQUE NULLS NOT DISTINCT")


@dataclass(frozen=True, slots=True)
class ForeignKey:
    name: str
    columns: tuple[str, ...]
    references: TableId
    referenced: tuple[str, ...]
    on_delete: str = "NO ACTION"
    on_update: str = "NO ACTION"
    match: str = "SIMPLE"
    deferrable: bool = False
    initially_deferred: bool = False
    #: False for NOT VALID (Postgres): the engine itself does not promise that every row obeys.
    validated: bool = True


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    expression: str


@dataclass(frozen=True, slots=True)
class IndexPart:
    """One column or one expression of an index."""

    #: Empty: an expression.
    column: str = ""
    expression: str = ""
    #: Where it is another than the column's own.
    collation: str | None = None


@dataclass(frozen=True, slots=True)
class Index:
    name: str
    definition: str
    unique: bool = False
    #: Empty in a backup that an older version made.
    parts: tuple[IndexPart, ...] = ()
    #: The condition of a partial index.
    predicate: str | None = None
    #: NULLS NOT DISTINCT: a unique index takes one NULL only.
    nulls_equal: bool = False


#: table: rows of its own · partitioned: a root, its rows live in leaves · foreign: rows live elsewhere
#: virtual: a SQLite virtual table (FTS, R-tree) · shadow: the tables that such a one keeps its rows in
TableKind = Literal["table", "partitioned", "foreign", "virtual", "shadow"]


@dataclass(frozen=True, slots=True)
class Table:
    id: TableId
    kind: TableKind = "table"
    columns: tuple[Column, ...] = ()
    primary_key: Key | None = None
    uniques: tuple[Key, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    checks: tuple[Check, ...] = ()
    indexes: tuple[Index, ...] = ()
    inherits: tuple[TableId, ...] = ()
    partition_of: TableId | None = None
    partition_key: str | None = None
    partition_bound: str | None = None
    unlogged: bool = False
    row_security: bool = False
    owner: str | None = None
    comment: str | None = None
    #: Words that the engine puts behind the definition: STRICT, WITHOUT ROWID, storage parameters.
    options: tuple[str, ...] = ()

    @property
    def exported_columns(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.generated is None)

    @property
    def computed_columns(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.generated is not None)

    @property
    def has_rows(self) -> bool:
        """Whether rows are read from this table itself (and not from its partitions or another server)."""
        return self.kind in ("table", "virtual", "shadow")


@dataclass(frozen=True, slots=True)
class Sequence:
    id: TableId
    type: str = "bigint"
    start: int = 1
    increment: int = 1
    minimum: int = 1
    maximum: int = 2**63 - 1
    cache: int = 1
    cycle: bool = False
    #: The column whose default or identity it feeds.
    owned_by: TableId | None = None
    owned_by_column: str | None = None


@dataclass(frozen=True, slots=True)
class SchemaObject:
    """Everything else: enum, domain, composite, range, view, materialized view, function, trigger, policy,
    extension, rule, grant, comment …"""

    kind: str
    name: str
    definition: str
    schema: str | None = None
    #: The table that it hangs on (a trigger, a policy, a rule).
    table: TableId | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """ALTER DATABASE … SET, ALTER ROLE … [IN DATABASE …] SET."""

    name: str
    #: As the server keeps it: of a list of names, with its quotes.
    value: str
    #: Of a database: for this role only.
    role: str = ""


@dataclass(frozen=True, slots=True)
class Right:
    """A right on the database."""

    privilege: str
    #: An empty text is everybody.
    role: str = ""
    grantable: bool = False


@dataclass(frozen=True, slots=True)
class Membership:
    role: str
    admin: bool = False
    #: PostgreSQL 16 and newer: a member may have the rights only when it asks for them (SET ROLE), or only without that.
    inherits: bool = True
    settable: bool = True


@dataclass(frozen=True, slots=True)
class Role:
    """Without a password."""

    name: str
    #: The words of CREATE ROLE that are not its defaults.
    attributes: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = ()
    comment: str | None = None
    member_of: tuple[Membership, ...] = ()


@dataclass(frozen=True, slots=True)
class Database:
    """What a database has besides its objects."""

    owner: str
    comment: str | None = None
    #: -1: as many as the server takes.
    connection_limit: int = -1
    #: Of everybody but the owner.
    rights: tuple[Right, ...] = ()
    settings: tuple[Setting, ...] = ()


@dataclass(frozen=True)  # no slots: the index is made when it is first asked for
class Schema:
    engine: str
    tables: tuple[Table, ...] = ()
    sequences: tuple[Sequence, ...] = ()
    objects: tuple[SchemaObject, ...] = ()
    #: Names of the roles that own or are granted something.
    roles: tuple[str, ...] = ()
    #: encoding, collation, page_size, application_id … what the engine needs to make an equal database.
    settings: dict[str, str] = field(default_factory=dict)
    #: None: of a backup from before this was kept, or of SQLite.
    database: Database | None = None
    #: What the `roles` are, and the roles that they are members of.
    role_definitions: tuple[Role, ...] = ()

    def table(self, identifier: TableId) -> Table | None:
        return self._by_id.get(identifier)

    @cached_property
    def _by_id(self) -> dict[TableId, Table]:
        """A scan for each of 25,000 tables took minutes."""
        return {table.id: table for table in reversed(self.tables)}


def with_ancestors(tables: Mapping[TableId, str], schema: Schema) -> dict[TableId, str]:
    """And the partitioned tables that one of them is a partition of, with the same word."""
    parents = {table.id: table.partition_of for table in schema.tables if table.partition_of}
    found = dict(tables)
    for table, word in tables.items():
        parent = parents.get(table)
        while parent is not None:
            found.setdefault(parent, word)
            parent = parents.get(parent)
    return found
