"""Ctrl-C while DuckDB works. DuckDB lets Python's handler run and then raises an error of its own without a cause, so an
interruption would look like a full disk, wrong SQL, or a defect. Every block that runs DuckDB stands in `interruptible`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

_INTERRUPTIONS = ("KeyboardInterrupt", "DagsterExecutionInterruptedError")
#: The last line of a traceback that Arrow writes into its message: the handler ran while DuckDB asked for rows.
_IN_PYTHON = re.compile(
    rf"Python exception: Traceback .*^([\w.]+\.)?({'|'.join(_INTERRUPTIONS)})\b",
    re.DOTALL | re.MULTILINE,
)


@contextmanager
def interruptible() -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, RuntimeError) as error:
        if any(map(_was_interrupted, _with_causes(error))):
            raise KeyboardInterrupt from error
        raise


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    """An interrupted query leaves its connection in use. The clean-up after the query then fails with an error of its own."""
    while error is not None:
        yield error
        error = error.__context__


def _was_interrupted(error: BaseException) -> bool:
    if isinstance(error, duckdb.Error):
        return isinstance(error, duckdb.InterruptException) or bool(_IN_PYTHON.search(str(error)))
    return type(error).__name__ in _INTERRUPTIONS or str(error) == "Query interrupted"
