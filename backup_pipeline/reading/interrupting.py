"""Ctrl-C while DuckDB works. DuckDB lets Python's handler run and then raises an error of its own without a cause, so an
interruption would look like a full disk, wrong SQL, or a defect. Every block that runs DuckDB stands in `interruptible`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

#: The last line of a traceback that Arrow writes into its message: the handler ran while DuckDB asked for rows.
_IN_PYTHON = re.compile(
    r"Python exception: Traceback .*^([\w.]+\.)?(KeyboardInterrupt|DagsterExecutionInterruptedError)\b",
    re.DOTALL | re.MULTILINE,
)


@contextmanager
def interruptible() -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, RuntimeError) as error:
        if _was_interrupted(error):
            raise KeyboardInterrupt from error
        raise


def _was_interrupted(error: Exception) -> bool:
    if isinstance(error, duckdb.Error):
        return isinstance(error, duckdb.InterruptException) or bool(_IN_PYTHON.search(str(error)))
    return str(error) == "Query interrupted"
