"""What a configuration asks for and the database cannot give: a column of `refs:` that is not there checks nothing, and
looks like success.

Asked by the doctor of the living database, and by every backup of its own tables. What belongs here: names. What does
not: values (`file_references`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from backup_pipeline.config.settings import SystemSettings
from backup_pipeline.config.trees import ReferenceSettings
from backup_pipeline.errors import ConfigError
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.inventory import InventoryTable
from backup_pipeline.model.schema import TableId
from backup_pipeline.model.selection import matches
from backup_pipeline.reading.tables import meant
from backup_pipeline.vault.backup import Backup


@dataclass(frozen=True)
class Tables:
    """The tables that a backup takes, each with the columns whose values are kept; and why it does not take the others."""

    taken: Mapping[TableId, tuple[str, ...]]
    left_out: Mapping[TableId, str]

    @staticmethod
    def of_inventory(tables: Iterable[InventoryTable]) -> Tables:
        found = tuple(tables)
        return Tables(
            {
                one.id: tuple(name for name in one.types if name not in one.computed)
                for one in found
                if one.left_out is None
            },
            {one.id: one.left_out for one in found if one.left_out is not None},
        )

    @staticmethod
    def of_backup(backup: Backup) -> Tables:
        manifest, schema = backup.manifest, backup.schema
        # A partitioned table has no rows of its own: they are those of its leaves.
        roots = {one.id: one.exported_columns for one in schema.tables if one.kind == "partitioned"}
        held = {one.id: one.columns for one in manifest.tables}
        return Tables(
            {**roots, **held}, {TableId(one.schema, one.name): one.reason for one in manifest.left_out}
        )


def of_tree(backup: Backup, tree: str, refs: Mapping[str, ReferenceSettings]) -> tuple[Finding, ...]:
    """Of a backup that is being made."""
    if not refs:
        return ()
    tables = Tables.of_backup(backup)
    found = (of_reference(tree, name, one, tables) for name, one in refs.items())
    partial = backup.manifest.scope == "partial"
    return tuple(one for one in found if one and not (partial and one.marked("lacks_table")))


def of_reference(tree: str, name: str, reference: ReferenceSettings, tables: Tables) -> Finding | None:
    """None: every column that is named has values in the backup."""
    table, _, column = name.rpartition(".")
    said = f"`refs: {name}` of {tree}"
    try:
        found = meant(tables.taken, table)
    except ConfigError as error:  # a name of two schemas
        return _without_table(tree, f"{said}: {error.message}", error.remedy)
    if found is None:
        return _without_table(tree, *_not_taken(said, table, column, tables))
    held = tables.taken[found]
    wanted = {"": column, **{of: other.rpartition(".")[2] for of, other in reference.says.items()}}
    absent = {of: one for of, one in wanted.items() if one not in held}
    if not absent:
        return None
    names = ", ".join(f"{one} (`{of}:`)" if of else one for of, one in absent.items())
    first = next(iter(absent.values()))
    near = get_close_matches(first, held, n=1)
    return Finding.of(
        "reference-without-column",
        table=found,
        tree=tree,
        reference=said,
        columns=names,
        hint=f"did you mean {table}.{near[0]}? " if near else f"it has {', '.join(held[:20])}; ",
    )


def of_patterns(settings: SystemSettings, tables: Iterable[TableId]) -> Iterator[Finding]:
    """`files.media` among the patterns, where there is no such tree (nor a table in a schema of that name)."""
    trees, known = tuple(settings.files), tuple(tables)
    for setting, globs in settings.tree_patterns.items():
        for glob in globs:
            if any(fnmatchcase(f"files.{tree}", glob.replace("/", ".")) for tree in trees):
                continue
            if any(matches(glob, table) for table in known):
                continue
            near = get_close_matches(glob.replace("/", "."), [f"files.{tree}" for tree in trees], n=1)
            yield Finding.of(
                "pattern-without-tree",
                setting=setting,
                glob=glob,
                hint=f"did you mean {near[0]}? " if near else "",
                trees=", ".join(trees) or "none under `files:`",
                severity="warning" if setting == "expected_empty" else "error",
            )


def _not_taken(said: str, table: str, column: str, tables: Tables) -> tuple[str, str]:
    left_out = meant(tables.left_out, table)
    if left_out is not None:
        why = f"the table {left_out} is left out of the backups ({tables.left_out[left_out]})"
        return f"{said}: {why}", "take it into the backups, or remove it under `refs:`"
    # The nearest table that has such a column is most likely the one.
    known = [one for one, names in tables.taken.items() if column in names] or list(tables.taken)
    spelt = {text: one for one in known for text in (str(one), one.name)}
    near = get_close_matches(table, spelt, n=1)
    remedy = f"did you mean {near[0]}.{column}? " if near else ""
    remedy += "`backup-pipeline inventory` shows the names that there are"
    return f"{said}: the table {table} is not in the database", remedy


def _without_table(tree: str, message: str, remedy: str) -> Finding:
    return Finding.of("reference-without-table", tree=tree, message=message, remedy=remedy)
