"""What no restore will have as it is, told by the doctor and by the backup while the source can still be mended."""

from __future__ import annotations

from collections.abc import Iterator

from backup_pipeline.model.findings import Finding
from backup_pipeline.sources.postgres import connect

_SHOWN = 20

_INVALID = """
SELECT i.indexrelid::pg_catalog.regclass::text FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
 WHERE NOT i.indisvalid AND c.relkind IN ('r', 'm') AND i.indexrelid >= 16384 ORDER BY 1
"""


def invalid_indexes(connection: connect.Connection) -> Iterator[Finding]:
    found = connect.rows(connection, _INVALID)
    if found:
        yield Finding(
            "warning",
            "invalid-index",
            f"{len(found)} indexes are invalid, so they are in no backup (pg_dump leaves them out as well)",
            remedy="a CREATE INDEX CONCURRENTLY that failed left them: REINDEX INDEX CONCURRENTLY …, or DROP INDEX …",
            examples=tuple(row[0] for row in found[:_SHOWN]),
        )
