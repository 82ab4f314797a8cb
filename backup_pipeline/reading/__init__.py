"""Reading a backup without restoring it.

Belongs here: tables as data frames, rows as tuples, SQL over any of them. Not here: the judgement of rows (`references`,
`verification`), and restores.

The parts load when they are first used: pandas costs 50 MB and half a second. A verification, which only needs `columns`
and `tables`, should pay for neither.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backup_pipeline.reading.answers import Answer
    from backup_pipeline.reading.frames import NotExact, read_table, rows_of
    from backup_pipeline.reading.sql import query, running

__all__ = ["Answer", "NotExact", "query", "read_table", "rows_of", "running"]

_MODULES = {
    "Answer": "answers",
    "NotExact": "frames",
    "query": "sql",
    "read_table": "frames",
    "rows_of": "frames",
    "running": "sql",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
