"""The drill: a real restore into a scratch database, compared with the backup row for row, and written to.

Belongs here: the order of a drill, and `files`, which drills file trees. Not here: the drill of an engine, which stands in
its folder in `databases`. A drill makes its scratch database itself and always drops it; an existing database is never
touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from backup_pipeline.config.trees import FilesSettings
from backup_pipeline.databases.base import DrillOptions
from backup_pipeline.databases.engines import engine_named
from backup_pipeline.model.drill_report import DrillReport
from backup_pipeline.model.progress import Listener, silent

if TYPE_CHECKING:
    from backup_pipeline.vault.backup import Backup

__all__ = ["DrillReport", "drill"]


def drill(
    backup: Backup,
    options: DrillOptions = DrillOptions(),  # noqa: B008 - it is frozen
    *,
    trees: Mapping[str, FilesSettings] | None = None,
    all_files: bool = False,
    listener: Listener = silent,
) -> DrillReport:
    """`options` are of the database. `trees`: the settings of the file trees. A sample of the files (or `all_files`)
    is restored as well."""
    backup.vault.need_identity()
    backup = backup.vault.without_memory().backup_of(backup.manifest)
    database = engine_named(backup.manifest.engine.name).drill(backup, options, listener)
    if not backup.manifest.files:
        return database
    from backup_pipeline.drills.files import drill_files

    files = drill_files(backup, trees or {}, everything=all_files, listener=listener)
    report = database.report
    return replace(
        database,
        report=replace(
            report,
            findings=(*report.findings, *files.findings),
            counted={**report.counted, **files.counted},
            seconds=report.seconds + files.seconds,
        ),
        # An emergency needs its files, too: all of them were timed only where all were restored.
        recovery_seconds=database.recovery_seconds + (files.seconds if all_files else 0.0),
        seconds={**database.seconds, "files": files.seconds},
    )
