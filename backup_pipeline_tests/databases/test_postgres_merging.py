"""The session of a merge on PostgreSQL: staging, locks, triggers, numbers of sequences, counts; nothing stays after a failure."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from backup_pipeline.databases.engines import engine_at
from backup_pipeline.databases.merge.constructs import InsertWithKeys
from backup_pipeline.databases.merge.session import Counted, Filled, Session, SessionOptions, Staged
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.errors import Damaged, RestoreError, TargetUnavailable
from backup_pipeline.model.progress import silent
from backup_pipeline.model.schema import TableId
from backup_pipeline.processes import interruption
from backup_pipeline.vault.backup import Backup
from backup_pipeline.vault.door import Door
from backup_pipeline_tests.harness.backups import Backed, ask, backed_up, run_sql
from backup_pipeline_tests.harness.engines import wait_for

HOSTILE = 'a "quoted" %s %(x)s :colon; -- \n naïve ☃ '.ljust(48, "x")  # 63 bytes or fewer
ORDERS = TableId("public", "orders")


@contextmanager
def opened(url: str, *, read_only: bool = False, waiting: float = 5.0) -> Iterator[Session]:
    options = SessionOptions(read_only=read_only, waiting=waiting)
    with engine_at(url).merging(url, options) as session:
        yield session


def staged(backup: Backup, table: TableId, *types: str, name: str = "s") -> Staged:
    entry = next(entry for entry in backup.manifest.tables if entry.id == table)
    return Staged(table, entry.columns, types or ("",) * len(entry.columns), name)


def filled(session: Session, backup: Backup, what: Staged) -> Filled:
    return session.stage(backup, what, silent)


def rows(session: Session, query: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in session.connection.exec_driver_sql(query)]


@contextmanager
def database_in(server: EmbeddedPostgres, encoding: str) -> Iterator[str]:
    name = f"in_{encoding.lower()}_{os.getpid()}"
    locale = f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    run_sql(server.url(), f"CREATE DATABASE {name} {locale}")
    try:
        yield server.url(name)
    finally:
        run_sql(server.url(), f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def orders(pg_major_database: str, tmp_path: Path) -> Backed:
    run_sql(
        pg_major_database,
        "CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text, price numeric(8,2),"
        " twice numeric GENERATED ALWAYS AS (price * 2) STORED);"
        " INSERT INTO orders (note, price) SELECT 'note ' || i, i FROM generate_series(1, 1000) i",
    )
    return backed_up(pg_major_database, tmp_path / "vault")


# ── staging


def test_staging_holds_the_rows_of_the_backup_in_their_order_and_is_gone_with_the_session(
    orders: Backed,
) -> None:
    with opened(orders.url) as session:
        done = filled(
            session, orders.backup, staged(orders.backup, ORDERS, "integer", "text", "numeric(8,2)")
        )
        assert done == Filled(1000)
        assert rows(session, "SELECT count(*), min(n), max(n) FROM pg_temp.s WHERE n = c0 AND c2 = c0") == [
            (1000, 1, 1000)
        ]
        assert rows(session, "SELECT reltuples FROM pg_class WHERE relname = 's'") == [(1000,)]
    assert ask(orders.url, "SELECT count(*) FROM pg_class WHERE relname = 's'") == [(0,)]


def test_hostile_names_are_only_names(pg_major_database: str, tmp_path: Path) -> None:
    table = TableId(HOSTILE, HOSTILE)
    name = '"' + HOSTILE.replace('"', '""') + '"'
    run_sql(
        pg_major_database,
        f"CREATE SCHEMA {name}; CREATE TABLE {name}.{name} ({name} serial PRIMARY KEY, v text);"
        f" INSERT INTO {name}.{name} (v) VALUES ('one'), ('100%'), ('two')",
    )
    backed = backed_up(pg_major_database, tmp_path / "vault")
    with opened(pg_major_database) as session:
        session.lock([table], waiting=5)
        session.ready_to_write([table], "off")
        assert filled(session, backed.backup, staged(backed.backup, table, name=HOSTILE)).rows == 3
        key = session.next_keys(table, HOSTILE, above=41)
        assert key is not None
        target = sa.table(HOSTILE, sa.column(HOSTILE), sa.column("v"), schema=HOSTILE)
        source = sa.table(HOSTILE, sa.column("c1"), schema="pg_temp")
        session.write_together(
            [InsertWithKeys(target).from_select([HOSTILE, "v"], sa.select(key, source.c.c1))]
        )
        assert session.counted() == Counted(3, {table: (3, 0, 0)})
        found = sa.select(target.c[HOSTILE], target.c.v).where(target.c.v == "100%").order_by(sa.text("1"))
        assert b"".join(session.out(found)) == b"2\t100%\n43\t100%\n"
        assert b"".join(session.out(sa.select(target.c.v).limit(1))) == b"one\n"
        with session.fast({table: 200_000}):
            pass
        session.commit()
    assert ask(pg_major_database, f"INSERT INTO {name}.{name} (v) VALUES ('x') RETURNING {name}") == [(45,)]


def test_rows_that_do_not_fit_are_told_with_their_values_and_the_others_are_staged(orders: Backed) -> None:
    run_sql(orders.url, "CREATE DOMAIN small AS int CHECK (VALUE <> 500)")
    with opened(orders.url) as session:
        done = filled(session, orders.backup, staged(orders.backup, ORDERS, "public.small", "varchar(8)", ""))
        assert done.rows == 998
        assert [(row.sqlstate, row.values) for row in done.rejected] == [
            ("23514", ("500", "note 500", "500.00")),
            ("22001", ("1000", "note 1000", "1000.00")),
        ]
        assert done.rejected[0].columns == ("id", "note", "price")
        assert "note 1000" not in done.rejected[1].error
        assert rows(session, "SELECT count(*), count(DISTINCT n), bool_and(r = c0 OR c0 > 500) FROM"
                             " (SELECT *, row_number() OVER (ORDER BY n) r FROM pg_temp.s) s") == [(998, 998, True)]  # fmt: skip


def test_a_column_that_no_row_fits_is_no_matter_of_rows(
    orders: Backed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backup_pipeline.databases.postgres.merging.staging.MOST_REJECTED", 20)
    with opened(orders.url) as session:
        with pytest.raises(RestoreError, match="more than 20 rows do not fit the target"):
            filled(session, orders.backup, staged(orders.backup, ORDERS, "", "uuid", ""))


@pytest.mark.parametrize("kind", ["no_such_type", "int); DROP TABLE orders; --", "int, d int"])
def test_a_type_that_is_no_type_is_refused_before_it_is_run(orders: Backed, kind: str) -> None:
    with opened(orders.url) as session, pytest.raises(RestoreError):
        filled(session, orders.backup, staged(orders.backup, ORDERS, kind, "", ""))
    assert ask(orders.url, "SELECT count(*) FROM orders") == [(1000,)]


def test_a_damaged_chunk_stops_the_staging(orders: Backed) -> None:
    chunk = next(e for e in orders.manifest.tables if e.id == ORDERS).chunks[0].object
    (path,) = orders.folder.rglob(f"{chunk.sha256}*")
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-7])
    with opened(orders.url) as session, pytest.raises(Damaged, match=r"public\.orders"):
        filled(session, orders.backup, staged(orders.backup, ORDERS))


def test_a_table_without_columns_has_rows(pg_major_database: str, tmp_path: Path) -> None:
    run_sql(pg_major_database, "CREATE TABLE t (); INSERT INTO t SELECT FROM generate_series(1, 3)")
    backed = backed_up(pg_major_database, tmp_path / "vault")
    with opened(pg_major_database) as session:
        what = staged(backed.backup, TableId("public", "t"))
        assert filled(session, backed.backup, what) == Filled(3)
        assert rows(session, "SELECT n FROM pg_temp.s") == [(1,), (2,), (3,)]


def test_text_goes_between_databases_of_two_encodings(
    pg_major_server: EmbeddedPostgres, pg_major_database: str, tmp_path: Path
) -> None:
    table = "CREATE TABLE orders (id int PRIMARY KEY, note text);"
    run_sql(pg_major_database, table + "INSERT INTO orders VALUES (1, 'é'), (2, '☃'), (3, 'ü')")
    backed = backed_up(pg_major_database, tmp_path / "vault")
    with database_in(pg_major_server, "LATIN1") as latin:
        run_sql(latin, table)
        with opened(latin) as session:
            done = filled(session, backed.backup, staged(backed.backup, ORDERS, "integer", "text"))
            assert [(row.sqlstate, row.values) for row in done.rejected] == [("22P05", ("2", "☃"))]
            kept = sa.table("s", sa.column("c1"), schema="pg_temp")
            assert b"".join(session.out(sa.select(kept.c.c1))) == "é\nü\n".encode()


def test_bytes_of_a_database_without_an_encoding_stay_as_they_are(
    pg_major_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    with database_in(pg_major_server, "SQL_ASCII") as url:
        run_sql(url, "CREATE TABLE orders (note text); INSERT INTO orders VALUES (E'\\xe9'), ('é')")
        backed = backed_up(url, tmp_path / "vault")
        with opened(url) as session:
            filled(session, backed.backup, staged(backed.backup, ORDERS, name="sé"))
            kept = sa.table("sé", sa.column("c0"), schema="pg_temp")
            assert b"".join(session.out(sa.select(kept.c.c0))) == b"\xe9\n\xc3\xa9\n"


_TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE application_name = 'backup_pipeline merge' AND datname = current_database()"
)


@pytest.mark.parametrize("how", ["interrupted", "terminated"])
def test_a_staging_that_is_ended_ends_the_session(
    orders: Backed, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    read = Door.rows
    end: Callable[[], object] = (
        interruption.cancel_all if how == "interrupted" else lambda: ask(orders.url, _TERMINATE)
    )

    def ending(*asked: Any) -> Iterator[bytes]:
        yield from read(*asked)
        end()
        # More than the line holds, so that the end is noticed.
        yield from [b"1\tnote\t1\n" * 100_000] * 50

    with opened(orders.url) as session:
        session.lock([ORDERS], waiting=5)
        monkeypatch.setattr(Door, "rows", ending)
        with pytest.raises(TargetUnavailable if how == "terminated" else RestoreError, match="orders"):
            filled(session, orders.backup, staged(orders.backup, ORDERS))
    left = "SELECT count(*) FROM pg_locks WHERE relation = 'orders'::regclass AND pid <> pg_backend_pid()"
    assert wait_for(lambda: ask(orders.url, left) == [(0,)])
