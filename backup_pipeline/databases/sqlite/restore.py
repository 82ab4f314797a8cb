"""Restoring a SQLite file: written beside the target, checked there, and renamed into place.

Until the rename, the target is as it was; after it, everything is there.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backup_pipeline.databases.base import RestoreOptions
from backup_pipeline.databases.restore_plan import (
    RestorePlan,
    RestoreResult,
    missing_objects,
    table_plans,
    without_rows,
)
from backup_pipeline.databases.sqlite.export import soundness
from backup_pipeline.databases.sqlite.export.address import file_of
from backup_pipeline.databases.sqlite.export.left_out import dangling
from backup_pipeline.databases.sqlite.export.rows import quoted, reading_file
from backup_pipeline.errors import ConfigError, RestoreError
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import FileImage, Manifest
from backup_pipeline.model.progress import Advance, Listener
from backup_pipeline.model.schema import TableId
from backup_pipeline.vault.backup import Backup

#: What SQLite keeps beside a database. One that is left of an older file would be played into the new one.
COMPANIONS = ("-wal", "-shm", "-journal")
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class SqliteTarget:
    url: str

    def plan(self, backup: Backup, options: RestoreOptions) -> RestorePlan:
        _only_of_postgres(options)
        return _plan(backup, file_of(self.url))

    def restore(self, backup: Backup, options: RestoreOptions, listener: Listener) -> RestoreResult:
        _only_of_postgres(options)
        return _restore(backup, file_of(self.url), listener=listener, dry_run=options.dry_run)


def _only_of_postgres(options: RestoreOptions) -> None:
    if options.terms is not None and not options.terms.code:
        raise ConfigError(
            "--no-code is about PostgreSQL: a SQLite database is restored as the file that it was",
            remedy="leave it out; no trigger or view of the file runs in the restore",
        )


def _plan(backup: Backup, target: Path) -> RestorePlan:
    manifest = backup.manifest
    return RestorePlan(
        system=manifest.system,
        backup_id=manifest.id,
        engine="sqlite",
        backup_version=manifest.engine.version,
        target_version=sqlite3.sqlite_version,
        target=str(target),
        create=not target.exists(),
        strategy="bulk",
        why="the file is written beside the target, checked, and renamed into place",
        one_transaction=True,
        jobs=1,
        tables=table_plans(manifest, tuple(_hollow(manifest))),
        findings=tuple(_rows_missing(manifest)),
        refused=tuple(_refused(backup, target)),
    )


def _hollow(manifest: Manifest) -> Iterator[TableId]:
    """Tables that the application knows, and whose rows are not in this backup."""
    for left in manifest.left_out:
        if left.kind in ("table", "virtual table"):
            yield TableId(left.schema, left.name)


def _rows_missing(manifest: Manifest) -> Iterator[Finding]:
    hollow = tuple(_hollow(manifest))
    if hollow:
        yield without_rows(hollow)
    for left in manifest.left_out:
        if left.kind in ("view", "trigger"):  # in older backups: they went with the tables that they spoke of
            yield Finding.of("left-out/restore", kind=left.kind, name=left.name, reason=left.reason)


def _restore(backup: Backup, target: Path, *, listener: Listener, dry_run: bool) -> RestoreResult:
    begin, manifest = time.monotonic(), backup.manifest
    prepared = _plan(backup, target)
    prepared.raise_if_refused()
    image = image_of(manifest)
    scratch = target.with_name(f".{target.name}.restoring-{secrets.token_hex(4)}")
    try:
        backup.door.write_image(
            image,
            scratch,
            lambda size: listener(Advance("load", target.name, bytes=size, total_bytes=image.size)),
        )
        loaded = time.monotonic()
        listener(Advance("verify", target.name))
        findings = check(scratch, manifest)
        checked = time.monotonic()
        if not dry_run:
            _put_in_place(scratch, target)
    finally:
        # After the rename there is nothing to remove.
        for path in (scratch, *companions(scratch)):
            path.unlink(missing_ok=True)
    return RestoreResult(
        plan=prepared,
        dry_run=dry_run,
        tables=len(manifest.tables),
        rows=0 if dry_run else manifest.rows,
        bytes=0 if dry_run else image.size,
        seconds={"load": loaded - begin, "check": checked - loaded, "total": time.monotonic() - begin},
        findings=(*prepared.findings, *findings),
    )


def image_of(manifest: Manifest) -> FileImage:
    if manifest.image is None:
        raise RestoreError(
            f"the backup {manifest.id} of {manifest.system} holds no database file",
            remedy="`verify` says what it holds; restore another one",
        )
    return manifest.image


def companions(path: Path) -> tuple[Path, ...]:
    return tuple(path.with_name(path.name + suffix) for suffix in COMPANIONS)


def _refused(backup: Backup, target: Path) -> Iterator[Finding]:
    yield from missing_objects(backup)
    if not target.parent.is_dir():
        yield Finding.of("no-folder", parent=target.parent)
    elif target.exists() or target.is_symlink():
        yield from _not_empty(target)


def _not_empty(target: Path) -> Iterator[Finding]:
    """An empty file and a database without a table may be written over; nothing else may."""
    if not target.is_file():
        yield Finding.of("target-not-empty/no-file", target=target)
        return
    if target.stat().st_size == 0 and not any(path.exists() for path in companions(target)):
        return
    try:
        with contextlib.closing(
            sqlite3.connect(f"{target.absolute().as_uri()}?mode=rw", uri=True)
        ) as connection:
            names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema ORDER BY name")]
    except sqlite3.Error as error:
        yield Finding.of("target-not-empty/no-database", target=target, why=error)
        return
    if names:
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        yield Finding.of("target-not-empty/sqlite", target=target, shown=shown, examples=names[:20])  # fmt: skip
    elif any(path.exists() for path in companions(target)):
        yield Finding.of("target-not-empty/in-use", target=target)


def check(path: Path, manifest: Manifest) -> tuple[Finding, ...]:
    """Raises where the file is not sound; what the source itself held of broken references is reported."""
    sound = soundness.full_check(path, [entry.name for entry in manifest.tables])
    if sound.damage:
        raise RestoreError(
            f"the restored file is not sound: {'; '.join(sound.damage[:_SHOWN])}",
            remedy="restore another backup; `sqlite3 file .recover` saves what can be saved of this one",
        )
    with reading_file(path) as connection:
        for entry in manifest.tables:
            if not entry.fingerprint:
                continue  # a virtual table whose module is not here: it was not counted either
            (count,) = connection.execute(f"SELECT count(*) FROM {quoted(entry.name)}").fetchone()
            if count != entry.rows:
                raise RestoreError(
                    f"{entry.name} has {count} rows, and the manifest says {entry.rows}",
                    remedy="`verify` says whether the backup is whole; restore another one",
                )
        return (
            *sound.findings(),
            *_definitions_missing(connection, manifest),
            *foreign_keys(connection, manifest),
        )


def _definitions_missing(connection: sqlite3.Connection, manifest: Manifest) -> Iterator[Finding]:
    """Older backups hold nothing of a table whose rows are left out, and an application stumbles over that."""
    held = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    absent = [table.name for table in _hollow(manifest) if table.name not in held]
    if absent:
        yield Finding.of("left-out/definitions", count=len(absent), tables=", ".join(absent[:_SHOWN]))


def foreign_keys(connection: sqlite3.Connection, manifest: Manifest) -> tuple[Finding, ...]:
    found: dict[tuple[str, str], list[object]] = {}
    for table, rowid, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        found.setdefault((table, parent), []).append(rowid)
    return tuple(
        dangling(
            manifest.left_out,
            table,
            parent,
            len(rowids),
            tuple(f"rowid {rowid}" for rowid in rowids[:3]),
            "warning",
        )
        for (table, parent), rowids in found.items()
    )


def _put_in_place(scratch: Path, target: Path) -> None:
    if target.exists():
        scratch.chmod(target.stat().st_mode & 0o7777)
    else:
        for path in companions(target):
            path.unlink(missing_ok=True)
    with scratch.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(scratch, target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
