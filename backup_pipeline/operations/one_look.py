"""The same project, for one look at many backups; see `vault.once`."""

from __future__ import annotations

from backup_pipeline.operations.project import Project
from backup_pipeline.vault.once import once


def one_look(project: Project) -> Project:
    look = Project(project.settings, clock=project.clock, place=project.place)
    look.__dict__["vault"] = once(project.vault)
    return look
