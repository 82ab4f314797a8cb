"""What a user knows of tables and a database does not say: `merge:` of a system. Rule files of frameworks have the same form.

Forms only. `databases/merge/rulebook.py` resolves their patterns on a schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from backup_pipeline.config.strict import Strict
from backup_pipeline.config.values import Glob, GroupName

Name = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Name, ...], Field(min_length=1)]
#: Column → its values, as text.
When = Annotated[Mapping[Name, tuple[str, ...]], Field(min_length=1, max_length=1)]
Missing = Literal["null", "skip", "fail", "keep"]


class MergeTable(Strict):
    """Of the tables that a pattern matches."""

    #: The pattern holds only for tables that have all of these columns.
    having: tuple[Name, ...] = ()
    natural_keys: tuple[Names, ...] = ()
    no_key: tuple[Name, ...] = ()
    tree_path: str = ""
    keep: tuple[Name, ...] = ()
    birth: str = ""
    #: Why its rows are never merged. False: they are, against a rule of a framework.
    never: Annotated[str, Field(min_length=1)] | Literal[False] = False
    group: GroupName | None = None
    fill: Mapping[Name, str] = Field(default_factory=dict)
    renamed: Mapping[Name, Name] = Field(default_factory=dict)


class MergeReference(Strict):
    #: `table.column`, or a list of them: a reference of several columns.
    source: Annotated[tuple[Name, ...], Field(alias="from", min_length=1)]
    #: `{1}` is what the first wildcard of `from` matched. None: where the foreign key of these columns leads.
    to: Glob | None = None
    #: Of the parent; its primary key unless it is said.
    referenced: tuple[Name, ...] = ()
    policy: Literal["ensure", "update", "never"] = "ensure"
    missing: Missing | None = None
    when: When | None = None
    owned: bool | None = None

    @field_validator("source", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("source")
    @classmethod
    def _of_one_table(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any("." not in column.strip(".") for column in value):
            raise ValueError(f"{', '.join(value)} is not table.column")
        if len({column.rpartition(".")[0] for column in value}) > 1:
            raise ValueError("the columns of one reference are of one table")
        return value

    @field_validator("missing", mode="before")
    @classmethod
    def _null_is_a_word(cls, value: object) -> object:
        return "null" if value is None else value

    @model_validator(mode="after")
    def _as_many(self) -> MergeReference:
        if self.referenced and len(self.referenced) != len(self.source):
            raise ValueError("`referenced` has as many columns as `from`")
        return self

    @property
    def table(self) -> str:
        return self.source[0].rpartition(".")[0]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(column.rpartition(".")[2] for column in self.source)


class MergePolymorphic(Strict):
    table: Glob
    #: Two columns. `{name}_type` and `{name}_id`: each pair of columns that is named so.
    type: Name
    id: Name
    #: A table of types. Without it the column `type` holds the name itself.
    types: Glob | None = None
    #: How a name is made: of columns of `types`; as Rails names a class: `{Class}`; or `{table}`.
    spelled: Name
    #: Name → table, where a table is called otherwise.
    tables: Mapping[Name, Glob] = Field(default_factory=dict)
    missing: Missing | None = None

    _null_is_a_word = field_validator("missing", mode="before")(
        lambda value: "null" if value is None else value
    )

    @model_validator(mode="after")
    def _understood(self) -> MergePolymorphic:
        if self.types is None and "{Class}" not in self.spelled and self.spelled != "{table}":
            raise ValueError("`spelled` is {Class} or {table} where there is no table of types")
        if ("{name}" in self.type) != ("{name}" in self.id):
            raise ValueError("`{name}` stands in both of `type` and `id`, or in none")
        return self


class MergeValue(Strict):
    """Ids in a value that is no reference."""

    table: Glob
    column: Name
    to: Glob | None = None
    #: Or: the id is the one of this column of the same row.
    same_as: str = ""
    #: In JSON: `$.blocks[*].image`. Without it the whole value is the id.
    path: Annotated[str, Field(pattern=r'^(\$(\.\w+|\["[^"\\]+"\]|\[(\d+|\*)\])+)?$')] = ""
    when: When | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> MergeValue:
        if (self.to is None) == (not self.same_as):
            raise ValueError("name the table with `to:`, or the column with `same_as:`")
        if self.same_as and not self.path:
            raise ValueError("`same_as` is for a key in JSON: say where with `path:`")
        return self


class MergeDerived(Strict):
    """SQL that computes columns again after a merge."""

    table: Glob
    #: That it computes.
    columns: Names
    #: The pattern holds only for tables that have these columns as well.
    having: tuple[Name, ...] = ()
    #: It is also needed when rows of these were written.
    reads: tuple[Glob, ...] = ()
    #: One text, or one for each engine. `{table}` is the table, `{key}` its primary key, `{NAME}` a table of `reads`.
    sql: Mapping[Literal["postgres", "sqlite"], Name]
    what: str = ""

    @field_validator("sql", mode="before")
    @classmethod
    def _for_both(cls, value: object) -> object:
        return {"postgres": value, "sqlite": value} if isinstance(value, str) else value


class MergeSettings(Strict):
    #: Pattern of tables → what is known of them.
    tables: Mapping[Glob, MergeTable] = Field(default_factory=dict)
    #: References that the database does not enforce, and policies of those that it does.
    references: tuple[MergeReference, ...] = ()
    polymorphic: tuple[MergePolymorphic, ...] = ()
    values: tuple[MergeValue, ...] = ()
    derived: tuple[MergeDerived, ...] = ()
