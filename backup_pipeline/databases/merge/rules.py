"""What is known of tables beyond their definitions: rules of frameworks, and of the user's configuration. Plain data.

`rulebook` reads them from `rules/*.yaml` and from `merge:` in backup.yaml, and resolves their patterns on a schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from backup_pipeline.model.schema import TableId

#: ensure: the parent is created where it is missing · update: it is updated as well · never: it is not created
Policy = Literal["ensure", "update", "never"]
#: What becomes of a reference whose parent cannot be had. keep: the value stays, as in the history of a row that is gone.
Missing = Literal["null", "skip", "fail", "keep"]


@dataclass(frozen=True, slots=True)
class TableRule:
    #: Each is a key by which a row is known in any database. They come before the inferred ones.
    natural_keys: tuple[tuple[str, ...], ...] = ()
    #: A unique key with one of these columns names no row: it says which row has a place now (a path, the first address).
    no_key: tuple[str, ...] = ()
    #: A column that holds the place of a row in a tree: the path of its parent, and one step. No database refers to it by a
    #: foreign key, so it is a reference to the parent all the same (django-treebeard's MP_Node).
    tree_path: str = ""
    #: Columns that are never changed in a live row: passwords, flags.
    keep: tuple[str, ...] = ()
    #: A column that is set when a row is made and never changes; "": found by its name.
    birth: str = ""
    #: Why rows of this table are never merged; "": they are.
    never: str = ""
    #: Column that the backup has not, and that takes no NULL → the value of new rows, as text.
    fill: Mapping[str, str] = field(default_factory=dict)
    #: Column of the backup → what the target calls it.
    renamed: Mapping[str, str] = field(default_factory=dict)
    #: The names of the rule files, for the plan.
    source: str = ""


@dataclass(frozen=True, slots=True)
class ReferenceRule:
    """A reference that the database does not enforce, or the policy of one that it does."""

    table: TableId
    columns: tuple[str, ...]
    parent: TableId
    #: Empty: the primary key of the parent.
    referenced: tuple[str, ...] = ()
    policy: Policy = "ensure"
    missing: Missing | None = None
    #: Only where this column of the child has one of these values: a polymorphic reference.
    when: str = ""
    values: tuple[str, ...] = ()
    #: The child belongs to the parent: a tenant's rows are found over it. None: yes, unless `policy` is never.
    owned: bool | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class PolymorphicRule:
    """`id` names a row of the table that `type` means."""

    table: TableId
    type: str
    id: str
    #: `type` refers to a row of this table of types (Django's content types). Its columns spell the name of a table with
    #: `spelled`: "{app_label}_{model}". None: `type` holds the name itself (Rails), and `spelled` is empty.
    types: TableId | None
    spelled: str
    #: Spelled name → table, where the table is called otherwise.
    tables: Mapping[str, str] = field(default_factory=dict)
    missing: Missing | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class ValueRule:
    """Ids inside of a value: at a path of JSON ("$.blocks[*].image"), or a plain text value of a key/value row."""

    table: TableId
    column: str
    #: None: `same_as`.
    parent: TableId | None
    #: "": the whole value is the id.
    path: str = ""
    #: The id is the one of this column, which is a reference: a serialized row repeats the key that stands beside it.
    same_as: str = ""
    #: Only rows where this column has one of these values.
    when: str = ""
    values: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class DerivedRule:
    """SQL that computes derived data again, after rows of `tables` were written. One statement for each engine."""

    tables: tuple[TableId, ...]
    #: Columns that the SQL computes: they are no difference between a row and its backup.
    columns: Mapping[TableId, tuple[str, ...]]
    #: Engine → SQL. The names of tables stand in it, quoted.
    sql: Mapping[str, str]
    #: For the plan: "the tree of wagtailcore_page".
    what: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """Resolved on one schema: no pattern is left."""

    tables: Mapping[TableId, TableRule] = field(default_factory=dict)
    references: tuple[ReferenceRule, ...] = ()
    polymorphic: tuple[PolymorphicRule, ...] = ()
    values: tuple[ValueRule, ...] = ()
    derived: tuple[DerivedRule, ...] = ()
    #: Preset → its tables: admin, images, analytics.
    groups: Mapping[str, tuple[TableId, ...]] = field(default_factory=dict)
    #: Lines of rule files that do not fit this schema, in words: an application has another version.
    skipped: tuple[str, ...] = ()

    def computed(self, table: TableId) -> frozenset[str]:
        """The derived columns of a table."""
        return frozenset(name for one in self.derived for name in one.columns.get(table, ()))

    def of(self, table: TableId) -> TableRule:
        return self.tables.get(table, TableRule())
