"""What came of a verb, as acts for the log: the same for the CLI and the Python API."""

from __future__ import annotations

from collections.abc import Sequence

from backup_pipeline.acts import Act
from backup_pipeline.errors import BackupError, CopyFailed
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.project import copying
from backup_pipeline.project.copying import Copied


def of_backup(made: Manifest, failure: BackupError | None, copies: Sequence[Copied]) -> tuple[Act, ...]:
    """A backup, and its copies: one that could not be made is no failure of the backup."""
    act = Act("backup", system=made.system, backup=made.id)
    if failure is not None and not isinstance(failure, CopyFailed):
        act = act.failed(failure)
    return (act, *of_copies(copies))


def of_copies(done: Sequence[Copied]) -> tuple[Act, ...]:
    return tuple(_copy(one) for one in done)


def _copy(one: Copied) -> Act:
    act = Act("copy", system=one.system, place="" if one.name == copying.VAULT else one.name)
    failure = copying.failure_of([one])
    return act if failure is None else act.failed(failure)
