"""`query`: rows of a backup without a restore, as a table or as the answer to SQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from backup_pipeline.operations import diagnosing
from backup_pipeline.operations.reading import usable
from backup_pipeline.operations.site import Site

if TYPE_CHECKING:
    import pandas as pd

    from backup_pipeline.reading import Answer

__all__ = ["Answer", "query", "querying", "read_table"]


@diagnosing.diagnosed
def read_table(site: Site, system: str, id: str | None, table: str) -> pd.DataFrame:
    from backup_pipeline.reading import read_table

    return read_table(site.vault, usable(site, system, id), table)


@contextmanager
def querying(site: Site, system: str, id: str | None, sql: str) -> Iterator[Answer]:
    """The answer as it is made, a batch at a time."""
    from backup_pipeline.reading import running

    with diagnosing.explained(site, system), running(site.vault, usable(site, system, id), sql) as answer:
        yield answer


@diagnosing.diagnosed
def query(site: Site, system: str, id: str | None, sql: str) -> pd.DataFrame:
    from backup_pipeline.reading import query

    return query(site.vault, usable(site, system, id), sql)
