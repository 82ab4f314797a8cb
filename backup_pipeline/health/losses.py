"""Tables and file trees that lost their content. Pure: two manifests and the losses known so far go in.

A loss is measured against the last good state, not against the night before: an emptied table is as empty in the second
backup as in the first. So each judgement carries the losses of the one before it, until the content is back or the loss
is accepted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.schema import TableId
from backup_pipeline.model.selection import matches
from backup_pipeline.verification.remembering import Had

#: A table or tree that lost more than this part of its content is worth a look …
LOST = 0.5
#: … unless it is so small that losing half of it is an ordinary day.
FEW = 20
#: Which check shows which loss.
REMOVED = "table-removed"
ANOTHER = "another-database"


@dataclass(frozen=True, slots=True)
class Losses:
    findings: tuple[Finding, ...] = ()
    #: Table or `files.TREE` → what it had before it was lost.
    had: dict[str, Had] = field(default_factory=dict)

    def without(self, names: Sequence[str]) -> Losses:
        """These are accepted for good: later backups are measured against what is there now."""
        kept = {name: had for name, had in self.had.items() if name not in names}
        return Losses(self.findings, kept)


def subject(finding: Finding) -> str:
    """The table, or the tree as `files.NAME`, that a finding is about; "" for the whole backup."""
    return finding.table or (f"files.{finding.tree}" if finding.tree else "")


def losses(
    manifest: Manifest, before: Manifest | None, known: Losses, expected_empty: Sequence[str] = ()
) -> Losses:
    """`before`: the last full backup that was judged. `known`: its losses."""
    if before is None or manifest.scope == "partial":
        return Losses()
    expected = {
        **{str(table.id): Had(table.rows, before.id) for table in before.tables},
        **{f"files.{tree.name}": Had(tree.files, before.id) for tree in before.files},
        **known.had,
    }
    lost = {
        subject(finding): finding
        for finding in (
            *_of_tables(manifest, before, expected, expected_empty),
            *_of_trees(manifest, expected),
        )
    }
    errors = {subject(one) for one in known.findings if one.severity == "error"}
    # What was an error stays one until the content is back: a few new rows in an emptied table mend nothing.
    found = tuple(replace(one, severity="error") if name in errors else one for name, one in lost.items())
    had = {name: expected[name] for name in lost}
    return Losses((*_another(manifest, before, found), *found), had)


def _another(manifest: Manifest, before: Manifest, found: Sequence[Finding]) -> Iterator[Finding]:
    """Most tables are gone at once: `database:` names another database, or the database was replaced by another one."""
    gone = [one for one in found if one.marked("table_removed")]
    whole = len(gone) + len({table.id for table in before.tables} & {table.id for table in manifest.tables})
    if len(gone) > 1 and len(gone) >= LOST * whole:
        yield Finding.of(
            "another-database",
            count=len(gone),
            whole=whole,
            system=manifest.system,
            examples=(str(one.table) for one in gone[:20]),
        )


def _of_tables(
    manifest: Manifest, before: Manifest, expected: Mapping[str, Had], expected_empty: Sequence[str]
) -> Iterator[Finding]:
    rows = {str(table.id): table.rows for table in manifest.tables}
    ids = {str(table.id): table.id for table in (*before.tables, *manifest.tables)}
    left_out = {str(TableId(one.schema, one.name)) for one in manifest.left_out}
    accept = f"`backup-pipeline ack {manifest.system}"
    for name, had in expected.items():
        source = f"`backup-pipeline restore {manifest.system} {had.backup} --to URL --create`"
        if name in left_out or name.startswith("files."):
            continue
        if name not in rows:
            yield Finding.of(
                "table-removed/lost",
                table=name,
                backup=had.backup,
                count=had.count,
                accept=accept,
                source=source,
            )
        elif rows[name] == 0 < had.count:
            if not any(matches(glob, ids[name]) for glob in expected_empty):
                yield Finding.of(
                    "table-became-empty",
                    table=name,
                    backup=had.backup,
                    count=had.count,
                    accept=accept,
                    source=source,
                )
        elif rows[name] < LOST * had.count and had.count > FEW:
            yield Finding.of(
                "table-shrank",
                table=name,
                rows=rows[name],
                backup=had.backup,
                count=had.count,
                accept=accept,
                source=source,
            )


def _of_trees(manifest: Manifest, expected: Mapping[str, Had]) -> Iterator[Finding]:
    """A tree without any file is an error of the backup itself, every night: see `trees.report`."""
    for tree in manifest.files:
        had = expected.get(f"files.{tree.name}")
        if had is not None and 0 < tree.files < LOST * had.count and had.count > FEW:
            yield Finding.of(
                "tree-shrank/earlier",
                tree=tree.name,
                files=tree.files,
                backup=had.backup,
                before=had.count,
                system=manifest.system,
            )
