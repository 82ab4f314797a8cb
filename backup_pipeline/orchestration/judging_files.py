"""`files`, `references` and `file_policy` of a fresh backup: is every file in it, do its rows find their files, and are
these what they may be?

They read findings, listings and the columns that name files, and no file: they are asked after every backup, whatever its
size. None of them blocks: a backup that lacks a file is degraded, and a copy of it is better than none.
"""

from __future__ import annotations

import time

from backup_pipeline.checks import asked
from backup_pipeline.errors import BackupError
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.orchestration.asset_checks import CheckText, Outcome
from backup_pipeline.project import Project, files

#: Of systems that have file trees; evaluated in the step that commits the backup.
FILES = (
    CheckText("files", "Every file of the trees is in the backup, as it was at one moment."),
    CheckText(
        "references", "Every row that names a file finds it in the same backup, as the row says it is."
    ),
    CheckText("file_policy", "No file is larger, of another type or under another name than it may be."),
)


def file_checks(project: Project, system: str) -> tuple[CheckText, ...]:
    return FILES if files.settings_of(project, system) else ()


def judge_files(project: Project, manifest: Manifest) -> tuple[Outcome, ...]:
    """In the order of FILES; nothing of a system without file trees."""
    if not file_checks(project, manifest.system):
        return ()
    if not project.vault.can_open:
        note = "not looked at for want of the key: `verify` and the drill do that"
        references = Outcome("references", _impossible(manifest), good=note)
        return _taken(manifest), references, Outcome("file_policy", good=note)
    return _taken(manifest), _references(project, manifest), _policy(project, manifest)


def is_about_files(finding: Finding) -> bool:
    """What these two checks say, where a full verification said it as well."""
    return finding.code in files.FILE_CHECK_CODES


def _taken(manifest: Manifest) -> Outcome:
    """What the backup itself had to say of its trees."""
    found = tuple(one for one in manifest.findings if one.tree is not None and one.code not in asked.CODES)
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


def _references(project: Project, manifest: Manifest) -> Outcome:
    began = time.monotonic()
    try:
        found = files.check_references(project, manifest)
    except BackupError as error:
        return _failed("references", error, began)
    notes = tuple(one for one in found.findings if one.severity == "info")
    bad = tuple(one for one in found.findings if one.severity != "info")
    bad = tuple(dict.fromkeys((*_impossible(manifest), *bad)))
    count = found.counted.get("file_values", 0)
    good = f"{count:,} values find their files"
    if not count:
        some = any(tree.refs for tree in files.settings_of(project, manifest.system).values())
        good = "no row names a file yet" if some else "no column is said to name files (`refs:`)"
    return Outcome("references", bad, found.counted, time.monotonic() - began, good, notes)


def _impossible(manifest: Manifest) -> tuple[Finding, ...]:
    """What `refs:` asks for and the database does not have."""
    return tuple(one for one in manifest.findings if one.code in asked.CODES)


def _policy(project: Project, manifest: Manifest) -> Outcome:
    began = time.monotonic()
    try:
        found = files.check_policy(project, manifest)
    except BackupError as error:
        return _failed("file_policy", error, began)
    notes = tuple(one for one in found.findings if one.severity == "info")
    bad = tuple(one for one in found.findings if one.severity != "info")
    count = found.counted.get("policy_files", 0)
    good = (
        f"{count:,} files are what they may be"
        if count
        else "no tree says what its files may be (`types`, `max_size`)"
    )
    return Outcome("file_policy", bad, found.counted, time.monotonic() - began, good, notes)


def _failed(name: str, error: BackupError, began: float) -> Outcome:
    """That it could not be asked is no reason to lose the backup; and no reason for a green check."""
    finding = Finding("error", error.code, error.message, remedy=error.remedy)
    return Outcome(name, (finding,), seconds=time.monotonic() - began)
