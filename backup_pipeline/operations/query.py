"""`query`: rows of a backup without a restore, as a table or as the answer to SQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from backup_pipeline.model.orders import QueryOrder
from backup_pipeline.operations import diagnosing
from backup_pipeline.operations.reading import usable
from backup_pipeline.operations.site import Site

if TYPE_CHECKING:
    import pandas as pd

    from backup_pipeline.reading import Answer


@diagnosing.diagnosed
def read_table(site: Site, system: str, id: str | None, table: str) -> pd.DataFrame:
    from backup_pipeline.reading import read_table

    return read_table(usable(site, system, id), table)


@contextmanager
def querying(site: Site, order: QueryOrder) -> Iterator[Answer]:
    """The answer as it is made, a batch at a time."""
    from backup_pipeline.reading import running

    with diagnosing.explained(site, order.system):
        backup = usable(site, order.system, order.id)
        with running(backup, order.sql) as answer:
            yield answer


def query(site: Site, order: QueryOrder) -> pd.DataFrame:
    from backup_pipeline.reading import query

    with diagnosing.explained(site, order.system):
        return query(usable(site, order.system, order.id), order.sql)
