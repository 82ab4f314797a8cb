"""The doctor's look at each copy: the copy can be reached and written to, and would survive the vault."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from backup_pipeline.errors import BackupError
from backup_pipeline.health.machine import inspect_place
from backup_pipeline.model.findings import Finding
from backup_pipeline.vault.object_locks import inspect_locks
from backup_pipeline.vault.vault import Vault


def look_at_places(
    vault: Vault,
    copies: Iterable[tuple[str, Vault | BackupError]],
    *,
    now: datetime,
) -> Iterator[Finding]:
    """For the doctor: whether the copies can be reached, and whether they would survive the vault."""
    some = False
    home = _disk(vault.store.folder)
    for name, copy in copies:
        some = True
        if isinstance(copy, BackupError):
            yield _unreachable(name, copy)
            continue
        yield from _looked_at(name, copy, copy.store.folder, now)
        for finding in inspect_locks(copy, now):
            yield replace(finding, message=f"copy {name}: {finding.message}")
        if home is not None and _disk(copy.store.folder) == home:
            yield Finding.of("copy-on-same-disk", name=name)
    if not some:
        yield Finding.of("no-copies")


def _looked_at(name: str, copy: Vault, folder: Path | None, now: datetime) -> Iterator[Finding]:
    """As the vault is looked at: a copy that can be reached and not written to fails tonight."""
    for finding in inspect_place(copy.store, folder, now):
        message = f"copy {name}: {finding.message}"
        remedy = finding.remedy.replace("`vault:`", f"`copies: {name}:`")
        if finding.marked("before_first_backup"):
            continue  # the first copy makes it
        if finding.marked("unreachable"):
            yield Finding.of("copy-unreachable", name=name, why=finding.message, remedy=remedy)
        elif finding.severity == "error":
            yield Finding.of("copy-not-writable", name=name, why=finding.message, remedy=remedy)
        else:
            yield replace(finding, message=message)


def _unreachable(name: str, error: BackupError) -> Finding:
    return Finding.of("copy-unreachable", why=error.message, remedy=error.remedy, name=name)


def _disk(folder: Path | None) -> int | None:
    """The file system of a folder that may not be there yet."""
    with suppress(OSError):  # a dead mount is told by who looks at it
        for path in (folder, *folder.parents) if folder is not None else ():
            if path.exists():
                return path.stat().st_dev
    return None
