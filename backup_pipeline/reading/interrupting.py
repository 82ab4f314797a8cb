"""Errors of Python while DuckDB works. DuckDB lets Python's handler run and then raises an error of its own without a cause. An
interruption or unreadable rows would look like a full disk or wrong SQL. Every block that runs DuckDB stands in `interruptible`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from backup_pipeline.errors import Damaged

#: DuckDB 2 draws a progress bar on stdout after two seconds, also into a file or a pipe.
QUIET = "SET enable_progress_bar = false"
_INTERRUPTIONS = ("KeyboardInterrupt", "DagsterExecutionInterruptedError")
#: The last line of a traceback that Arrow writes into its message: Python failed while DuckDB asked for rows.
_IN_PYTHON = re.compile(
    r"Python exception: Traceback .*^(?:\w+\.)*(?P<type>\w+)\b(?:: (?P<message>.*?))?$",
    re.DOTALL | re.MULTILINE,
)
_UNREADABLE = ("ArrowInvalid", "Damaged", "NotATime")


@contextmanager
def interruptible() -> Iterator[None]:
    """An interruption raises KeyboardInterrupt, and rows that cannot be read raise Damaged."""
    try:
        yield
    except (duckdb.Error, RuntimeError) as error:
        chain = tuple(_with_causes(error))
        if any(map(_was_interrupted, chain)):
            raise KeyboardInterrupt from error
        for one in chain:
            failed = _IN_PYTHON.search(str(one))
            if failed and failed["type"] in _UNREADABLE:
                raise Damaged(failed["message"] or failed["type"]) from error
        raise


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    """An interrupted query leaves its connection in use. The clean-up after the query then fails with an error of its own."""
    while error is not None:
        yield error
        error = error.__context__


def _was_interrupted(error: BaseException) -> bool:
    failed = _IN_PYTHON.search(str(error))
    return (
        isinstance(error, duckdb.InterruptException)
        or (failed["type"] if failed else type(error).__name__) in _INTERRUPTIONS
        or str(error) == "Query interrupted"
    )
