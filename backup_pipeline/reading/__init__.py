"""Reading a backup without restoring it: tables as data frames, rows as tuples, SQL over any of them."""

from backup_pipeline.reading.frames import NotExact, read_table, rows_of
from backup_pipeline.reading.query import query, running

__all__ = ["NotExact", "query", "read_table", "rows_of", "running"]
