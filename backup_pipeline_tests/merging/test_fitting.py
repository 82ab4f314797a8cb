"""Values of each type of PostgreSQL get into a column of each other type as ALTER TABLE brings them in, or they are refused."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import psycopg
import pytest

from backup_pipeline.databases.merge.fitting import fit_postgres
from backup_pipeline.databases.postgres.server import EmbeddedPostgres

VALUES = {
    "smallint": ("1", "-5"),
    "integer": ("0", "70000"),
    "bigint": ("1", "1099511627776"),
    "numeric": ("1.5", "100000"),
    "numeric(6,2)": ("12.34",),
    "real": ("0.1", "3"),
    "double precision": ("0.1", "1e300"),
    "text": ("1", "true", "abcdefgh "),
    "character varying(4)": ("ab ",),
    "character varying(8)": ("2020-1-2",),
    "character(6)": ("ab",),
    "public.mood": ("ok",),
    "date": ("2020-01-02",),
    "timestamp without time zone": ("2020-01-02 10:00:00.123456",),
    "timestamp(0) with time zone": ("2020-01-02 10:00:00+02",),
    "time without time zone": ("10:11:12",),
    "interval": ("1 day 02:00:00",),
    "boolean": ("true", "false"),
    "uuid": ("7e9e4b0a-58f4-4d2f-9d3b-8f0a6c8f1b11",),
    "bytea": ("\\x00ff",),
    "json": ('{"b": 1,  "a": 2}', "5"),
    "jsonb": ('{"b": 1,  "a": 2}', "true"),
    "inet": ("10.0.0.1/8",),
    "integer[]": ("{1,2}",),
    "text[]": ("{a,NULL}",),
}  # fmt: skip


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


Answer = tuple[str, str]


class Trying:
    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection

    def run(self, *statements: str) -> Answer:
        """("value", the text of `t.x` after the statements) or ("error", the SQLSTATE)."""
        try:
            with self.connection.transaction(force_rollback=True):
                for statement in statements:
                    self.connection.execute(statement.encode())
                row = self.connection.execute("SELECT x::text FROM t").fetchone()
                assert row
                return "value", row[0]
        except psycopg.Error as error:
            return "error", error.sqlstate or ""

    def altered(self, value: str, before: str, now: str) -> Answer:
        literal = quoted(value)
        made = f"CREATE TEMP TABLE t AS SELECT CAST({literal} AS {before}) AS x"
        found = self.run(made, f"ALTER TABLE t ALTER x TYPE {now}")
        # No cast that happens by itself: the words of its hint are used.
        return (
            self.run(made, f"ALTER TABLE t ALTER x TYPE {now} USING x::{now}")
            if found[1] == "42804"
            else found
        )

    def merged(self, value: str, before: str, now: str) -> Answer:
        """As a merge does it: the row text of the backup, a staging table, one INSERT."""
        fit = fit_postgres(before, now, ())
        literal = quoted(value)
        with self.connection.cursor().copy(
            f"COPY (SELECT CAST({literal} AS {before})) TO STDOUT".encode()
        ) as out:
            text = b"".join(out)
        try:
            with self.connection.transaction(force_rollback=True):
                self.connection.execute(f"CREATE TEMP TABLE s (c {fit.staged or 'text'})".encode())
                self.connection.execute(f"CREATE TEMP TABLE t (x {now})".encode())
                with self.connection.cursor().copy("COPY s FROM STDIN") as into:
                    into.write(text)
                return self.run(
                    f"INSERT INTO t SELECT {f'CAST(c AS {fit.cast})' if fit.cast else 'c'} FROM s"
                )
        except psycopg.Error as error:
            return "error", error.sqlstate or ""


#: No cast.
NONE = ("error", "42846")
#: Casts of PostgreSQL that a merge does not use. The integers are new in PostgreSQL 18, and a text means something else.
UNUSED = {
    *((one, "bytea") for one in ("smallint", "integer", "bigint")),
    *(("bytea", one) for one in ("smallint", "integer", "bigint")),
    *((one, "time without time zone") for one in VALUES if one.startswith("timestamp")),
    ("time without time zone", "interval"),
    ("interval", "time without time zone"),
}


@pytest.fixture(scope="module")
def trying(pg_server: EmbeddedPostgres) -> Iterator[Trying]:
    url = pg_server.create_database("fitting")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TYPE mood AS ENUM ('ok', 'ab', '1')")
        yield Trying(connection)
    pg_server.drop_database("fitting")


@pytest.mark.parametrize("before", VALUES)
def test_values_get_in_as_alter_table_brings_them_in_or_they_are_refused(before: str, trying: Trying) -> None:
    for now, value in product(VALUES, VALUES[before]):
        altered, why = trying.altered(value, before, now), f"{value} of {before} in {now}"
        if fit_postgres(before, now, ()).refused:
            assert altered == NONE or (before, now) in UNUSED, why
        elif altered == NONE:
            # A label may spell a value of any type; this one spells none.
            assert (before, trying.merged(value, before, now)[0]) == ("public.mood", "error"), why
        else:
            assert trying.merged(value, before, now) == altered, why
