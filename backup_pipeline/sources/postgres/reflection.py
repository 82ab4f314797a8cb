"""The definitions without pg_dump: from the catalog's own texts. Less complete, and loud about it."""

from __future__ import annotations

from backup_pipeline.model.findings import Finding
from backup_pipeline.model.schema import Schema

MADE_BY = "reflection"


def sections(schema: Schema) -> tuple[tuple[str, str, bytes], ...]:
    return ()


def finding(schema: Schema, major: int) -> Finding:
    return Finding("warning", "no-pg-dump", "")
