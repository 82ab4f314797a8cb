"""Tables and file trees that lost their content. Pure: two manifests and the losses known so far go in.

A loss is measured against the last good state, not against the night before: an emptied table is as empty in the second
backup as in the first. So each judgement carries the losses of the one before it, until the content is back or the loss
is accepted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.schema import TableId
from backup_pipeline.model.selection import matches

#: A table or tree that lost more than this part of its content is worth a look …
LOST = 0.5
#: … unless it is so small that losing half of it is an ordinary day.
FEW = 20
#: Which check shows which loss.
OF_ROWS = frozenset({"table-became-empty", "table-shrank"})
OF_TREES = frozenset({"tree-shrank"})
REMOVED = "table-removed"


@dataclass(frozen=True, slots=True)
class Losses:
    findings: tuple[Finding, ...] = ()
    #: Table or `files.TREE` → how much it had before it was lost.
    had: dict[str, int] = field(default_factory=dict)

    def without(self, names: Sequence[str]) -> Losses:
        """These are accepted for good: later backups are measured against what is there now."""
        kept = {name: count for name, count in self.had.items() if name not in names}
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
    told = {(one.code, subject(one)): one for one in known.findings}
    found: list[Finding] = []
    had: dict[str, int] = {}
    fresh = (
        *_of_tables(manifest, before, known.had, expected_empty),
        *_of_trees(manifest, before, known.had),
    )
    for count, finding in fresh:
        name = subject(finding)
        had[name] = count
        # The text of the first night stays: it names the backup that still has the content.
        found.append(told.get((finding.code, name), finding))
    return Losses(tuple(found), had)


def _of_tables(
    manifest: Manifest, before: Manifest, had: Mapping[str, int], expected_empty: Sequence[str]
) -> Iterator[tuple[int, Finding]]:
    rows = {str(table.id): table.rows for table in manifest.tables}
    ids = {str(table.id): table.id for table in (*before.tables, *manifest.tables)}
    left_out = {str(TableId(one.schema, one.name)) for one in manifest.left_out}
    expected = {**{str(table.id): table.rows for table in before.tables}, **had}
    source = f"`backup-pipeline restore {manifest.system} {before.id}`"
    accept = f"`backup-pipeline ack {manifest.system}"
    for name, count in expected.items():
        if name in left_out or name.startswith("files."):
            continue
        if name not in rows:
            yield (
                count,
                Finding(
                    "error",
                    "table-removed",
                    f"{name} is not in the database any more; {before.id} had it, with {count:,} rows",
                    table=name,
                    remedy=f"if it was dropped or renamed on purpose: {accept} {REMOVED}`; if not: {source}",
                ),
            )
        elif rows[name] == 0 < count:
            if not any(matches(glob, ids[name]) for glob in expected_empty):
                yield (
                    count,
                    Finding(
                        "error",
                        "table-became-empty",
                        f"{name} is empty; {before.id} had {count:,} rows",
                        table=name,
                        remedy="if this is right, name it under `expected_empty`, or once: "
                        f"{accept} table-became-empty`; if not: {source}",
                    ),
                )
        elif rows[name] < LOST * count and count > FEW:
            yield (
                count,
                Finding(
                    "warning",
                    "table-shrank",
                    f"{name} has {rows[name]:,} rows; {before.id} had {count:,}",
                    table=name,
                    remedy=f"if rows were deleted on purpose: {accept} table-shrank`; if not: {source}",
                ),
            )


def _of_trees(manifest: Manifest, before: Manifest, had: Mapping[str, int]) -> Iterator[tuple[int, Finding]]:
    """A tree without any file is an error of the backup itself, every night: see `trees.report`."""
    expected = {f"files.{tree.name}": tree.files for tree in before.files}
    for tree in manifest.files:
        name = f"files.{tree.name}"
        count = max(expected.get(name, 0), had.get(name, 0))
        if 0 < tree.files < LOST * count and count > FEW:
            yield (
                count,
                Finding(
                    "warning",
                    "tree-shrank",
                    f"{tree.name} holds {tree.files:,} files; {before.id} had {count:,}",
                    tree=tree.name,
                    remedy="if files were deleted on purpose: "
                    f"`backup-pipeline ack {manifest.system} tree-shrank`; if not, an earlier backup has them",
                ),
            )
