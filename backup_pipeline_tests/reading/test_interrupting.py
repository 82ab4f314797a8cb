"""Ctrl-C while DuckDB pulls rows: the error that DuckDB makes of it differs from run to run."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pytest

from backup_pipeline.reading.interrupting import interruptible

SCHEMA = pa.schema([("n", pa.int64())])


def pressed_after_one() -> Iterator[pa.RecordBatch]:
    batch = pa.RecordBatch.from_pydict({"n": [1]}, SCHEMA)
    yield batch
    signal.raise_signal(signal.SIGINT)
    yield from [batch] * 8


def read(connection: duckdb.DuckDBPyConnection) -> None:
    connection.register("arriving", pa.RecordBatchReader.from_batches(SCHEMA, pressed_after_one()))
    try:
        connection.execute("SELECT hash(n) AS h FROM arriving").fetchnumpy()
    finally:
        connection.unregister("arriving")


def test_an_interrupted_query_raises_keyboard_interrupt_each_time() -> None:
    for _ in range(50):
        with (
            duckdb.connect(config={"threads": 2}) as connection,
            pytest.raises(KeyboardInterrupt),
            interruptible(),
        ):
            read(connection)


def fail_twice() -> None:
    try:
        raise RuntimeError("Query interrupted")
    finally:
        raise duckdb.InvalidInputException("connection has an unfinished result")


def test_a_clean_up_that_fails_after_an_interruption_does_not_hide_the_interruption() -> None:
    with pytest.raises(KeyboardInterrupt), interruptible():
        fail_twice()


def test_an_error_without_an_interruption_stays_the_error() -> None:
    with pytest.raises(duckdb.InvalidInputException), interruptible():
        raise duckdb.InvalidInputException("no such column")
