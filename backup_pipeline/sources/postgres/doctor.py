"""Can this database be backed up as it should be? Every missing right, every danger, each with what to do."""

from __future__ import annotations

from collections.abc import Mapping

from backup_pipeline.model.findings import Report
from backup_pipeline.model.selection import Selection


def diagnose(parameters: Mapping[str, str], address: str, selection: Selection) -> Report:
    return Report(address)
