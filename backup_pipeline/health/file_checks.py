"""`files`, `references` and `file_policy` of a fresh backup: is every file in it, do its rows find their files, and are
these what they may be?

They read findings, listings and the columns that name files, and no file: they are asked after every backup, of any
size. None of them blocks: a backup that lacks a file is degraded, and a copy of it is better than none.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from backup_pipeline.config.trees import FilesSettings
from backup_pipeline.errors import BackupError
from backup_pipeline.health.losses import Losses, subject
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.outcome import Outcome
from backup_pipeline.model.progress import silent
from backup_pipeline.vault.backup import Backup

_LOCKED = "not looked at for want of the key: `verify` and the drill do that"

Trees = Mapping[str, FilesSettings]


def judge_files(backup: Backup, trees: Trees, lost: Losses | None = None) -> tuple[Outcome, ...]:
    """files, references, file_policy; nothing of a system without file trees."""
    if not trees:
        return ()
    manifest = backup.manifest
    taken = _taken(manifest, lost or Losses())
    if not backup.vault.can_open:
        references = Outcome("references", _impossible(manifest), good=_LOCKED)
        return taken, references, Outcome("file_policy", good=_LOCKED)
    return taken, _references(backup, trees), _policy(backup, trees)


def _taken(manifest: Manifest, lost: Losses) -> Outcome:
    """What the backup itself had to say of its trees, and what they lost since an earlier one."""
    shrunk = tuple(one for one in lost.findings if one.topic == "files")
    known = {(one.code, subject(one)) for one in shrunk}
    own = (
        one
        for one in manifest.findings
        if one.tree is not None
        and not one.marked("cannot_be_asked")
        and (one.code, subject(one)) not in known
    )
    found = (*own, *shrunk)
    trees = manifest.files
    counted = {
        "files": sum(tree.files for tree in trees),
        "file_bytes": sum(tree.bytes for tree in trees),
        "new_files": sum(tree.new_files for tree in trees),
        "missed_files": sum(tree.missed for tree in trees),
    }
    good = f"all {counted['files']:,} files of {len(trees)} trees"
    notes = tuple(one for one in found if one.severity == "info")
    return Outcome("files", tuple(one for one in found if one not in notes), counted, good=good, notes=notes)


def _references(backup: Backup, trees: Trees) -> Outcome:
    began, manifest = time.monotonic(), backup.manifest
    try:
        _ = backup.schema  # a damaged one is told here
        if not any(tree.refs for tree in trees.values()):
            return Outcome(
                "references", _impossible(manifest), good="no column is said to name files (`refs:`)"
            )
        # Arrow and DuckDB load in 0.3 s. A backup without `refs:` does not need them.
        from backup_pipeline.references import file_references

        found = file_references.check(backup, trees, listener=silent)
    except BackupError as error:
        return _failed("references", error, began)
    notes = tuple(one for one in found.findings if one.severity == "info")
    bad = tuple(one for one in found.findings if one.severity != "info")
    bad = tuple(dict.fromkeys((*_impossible(manifest), *bad)))
    count = found.counted.get("file_values", 0)
    good = f"{count:,} values find their files" if count else "no row names a file yet"
    return Outcome("references", bad, found.counted, time.monotonic() - began, good, notes)


def _impossible(manifest: Manifest) -> tuple[Finding, ...]:
    """What `refs:` asks for and the database does not have."""
    return tuple(one for one in manifest.findings if one.marked("cannot_be_asked"))


def _policy(backup: Backup, trees: Trees) -> Outcome:
    nothing = "no tree says what its files may be (`types`, `max_size`)"
    if not any(tree.types or tree.max_size is not None for tree in trees.values()):
        return Outcome("file_policy", good=nothing)
    from backup_pipeline.references import file_policy

    began = time.monotonic()
    try:
        found = file_policy.check(backup, trees)
    except BackupError as error:
        return _failed("file_policy", error, began)
    notes = tuple(one for one in found.findings if one.severity == "info")
    bad = tuple(one for one in found.findings if one.severity != "info")
    count = found.counted.get("policy_files", 0)
    good = f"{count:,} files are what they may be" if count else nothing
    return Outcome("file_policy", bad, found.counted, time.monotonic() - began, good, notes)


def _failed(name: str, error: BackupError, began: float) -> Outcome:
    """That it could not be asked is no reason to lose the backup; and no reason for a green check."""
    finding = Finding.of_error(error)
    return Outcome(name, (finding,), seconds=time.monotonic() - began)
