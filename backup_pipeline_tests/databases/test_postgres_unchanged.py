"""The unchanged-chunk rule: after every change of a database, an incremental backup equals a full one.

Random rounds move rows about or change them. A backup on top of an earlier one follows each round, and is compared with
the live database row for row. The seed is in the test's name.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
import pytest

from backup_pipeline.databases.base import Baseline, Options
from backup_pipeline.databases.postgres.export import unchanged
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.model.schema import TableId
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.contracts.source_contract import Taken
from backup_pipeline_tests.harness.engines import NEWEST
from backup_pipeline_tests.harness.postgres_rows import (
    LivePostgres,
    ask,
    columns_of,
    live_lines,
    run,
    stored_lines,
)
from backup_pipeline_tests.harness.soak import SEED, in_time, time_is_over

TABLES = ("log", "state", "orders")
CHUNK = Options(workers=1, chunk_bytes=8 * 8192)
LEAST_OF_USE = 10 if (NEWEST or 14) >= 14 else 25  # before, any change of a table is a change of all


def make_vault(folder: Path) -> Vault:
    folder.mkdir()
    vault = Vault(LocalStore(folder))
    vault.prepare()
    return vault


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return make_vault(tmp_path / "vault")


class World:
    """A live database to which things happen, on a server of its own that can be rolled back."""

    def __init__(self, server: EmbeddedPostgres, folder: Path, rng: random.Random) -> None:
        self.server = server
        self.url = server.create_database("world")
        self.copy = folder / "older copy"
        self.rng = rng
        self.open: list[Any] = []
        self.names = 0
        run(self.url, "CREATE TYPE mood AS ENUM ('a0', 'b0', 'c0')")
        for table in TABLES:
            run(self.url, f"CREATE TABLE {table} (id serial PRIMARY KEY, n int DEFAULT 0, m mood, t text)")
            run(
                self.url,
                f"INSERT INTO {table} (m, t) SELECT (enum_range(NULL::mood))[1 + g % 3], repeat(md5(g::text), 2)"
                " FROM generate_series(1, 2500) g",
            )

    # ── what can happen; each is done at most partly when another session is in the way

    def happen(self) -> str:
        name = self.rng.choices(
            [name.removeprefix("do_") for name in dir(self) if name.startswith("do_")],
            weights=[
                WEIGHTS.get(name.removeprefix("do_"), 2) for name in dir(self) if name.startswith("do_")
            ],
        )[0]
        with contextlib.suppress(psycopg2.errors.LockNotAvailable, psycopg2.errors.QueryCanceled):
            getattr(self, f"do_{name}")()
        return name

    def sql(self, *statements: str) -> None:
        run(self.url, "SET lock_timeout = '100ms'", *statements)

    @property
    def table(self) -> str:
        return self.rng.choice(TABLES)

    def change(self) -> str:
        table, start = self.table, self.rng.randrange(2500)
        width = self.rng.choice((1, 10, 300))
        return self.rng.choice(
            (
                f"INSERT INTO {table} (n, t) SELECT {start}, md5(g::text) FROM generate_series(1, {width}) g",
                f"UPDATE {table} SET n = n + 1 WHERE id BETWEEN {start} AND {start + width}",
                f"DELETE FROM {table} WHERE id BETWEEN {start} AND {start + width // 3}",
                # As many as before, but others: only the transaction ids tell.
                f"WITH d AS (DELETE FROM {table} WHERE id BETWEEN {start} AND {start + 5} RETURNING n)"
                f" INSERT INTO {table} (n, t) SELECT n, 'swapped' FROM d",
            )
        )

    def do_change(self) -> None:
        self.sql(*(self.change() for _ in range(self.rng.randrange(1, 4))))

    def do_rollback(self) -> None:
        self.sql("BEGIN", self.change(), self.change(), "ROLLBACK")

    def do_subtransactions(self) -> None:
        self.sql(
            "BEGIN",
            self.change(),
            "SAVEPOINT a",
            self.change(),
            "ROLLBACK TO a",
            "SAVEPOINT b",
            self.change(),
            "COMMIT",
        )

    def do_begin_and_stay_open(self) -> None:
        if len(self.open) < 3:
            connection = psycopg2.connect(self.url)
            self.open.append(connection)
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '100ms'")
                for _ in range(self.rng.randrange(1, 3)):
                    cursor.execute(self.change())
                    cursor.execute("SAVEPOINT s")

    def do_end_an_open_one(self) -> None:
        if self.open:
            connection = self.open.pop(self.rng.randrange(len(self.open)))
            connection.commit() if self.rng.random() < 0.7 else connection.rollback()
            connection.close()

    def do_vacuum(self) -> None:
        options = self.rng.choice(("", "(FREEZE)", "(FULL)", "(FULL, FREEZE)"))
        self.sql(f"VACUUM {options} {self.table}")

    def do_cluster(self) -> None:
        table = self.table
        self.sql(f"CLUSTER {table} USING {table}_pkey")

    def do_truncate(self) -> None:
        table = self.table
        self.sql(
            f"BEGIN; TRUNCATE {table}; INSERT INTO {table} (t) SELECT 'again' FROM generate_series(1, 900) g; COMMIT"
        )

    def do_empty_the_end(self) -> None:
        table = self.table
        self.sql(f"DELETE FROM {table} WHERE ctid > '(9,0)'", f"VACUUM {table}")

    def do_rename_an_enum_value(self) -> None:
        self.names += 1
        label = ask(self.url, "SELECT enumlabel FROM pg_enum ORDER BY random() LIMIT 1")[0][0]
        self.sql(f"ALTER TYPE mood RENAME VALUE '{label}' TO 'name{self.names}'")

    def do_add_a_column(self) -> None:
        self.names += 1
        self.sql(f"ALTER TABLE {self.table} ADD COLUMN c{self.names} text DEFAULT 'default {self.names}'")

    def do_change_the_type(self) -> None:
        self.sql(
            f"ALTER TABLE {self.table} ALTER COLUMN n TYPE {self.rng.choice(('int', 'bigint', 'numeric(12,2)'))}"
        )

    def do_swap_names(self) -> None:
        one, two = self.rng.sample(TABLES, 2)
        self.sql(f"BEGIN; ALTER TABLE {one} RENAME TO aside; ALTER TABLE {two} RENAME TO {one}; ALTER TABLE aside RENAME TO {two};"
                 f" ALTER INDEX {one}_pkey RENAME TO aside; ALTER INDEX {two}_pkey RENAME TO {one}_pkey; ALTER INDEX aside RENAME TO {two}_pkey; COMMIT")  # fmt: skip

    def do_burn_transaction_ids(self) -> None:
        self.sql("DO $$ BEGIN FOR i IN 1..20 LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$")

    def do_restart(self) -> None:
        self.close_all()
        self.server.restart(self.rng.choice(("fast", "immediate")))

    def do_copy_the_files(self) -> None:
        self.close_all()
        self.server.stop()
        if self.copy.exists():
            shutil.rmtree(self.copy)
        subprocess.run(["cp", "-a", str(self.server.data_dir), str(self.copy)], check=True)
        self.server.start()

    def do_roll_the_server_back(self) -> None:
        if self.copy.exists():
            self.close_all()
            roll_back(self.server, self.copy)

    def close_all(self) -> None:
        while self.open:
            self.open.pop().close()


#: How often a thing happens; 2 unless it says otherwise.
WEIGHTS = {"change": 12, "end_an_open_one": 5, "begin_and_stay_open": 4, "subtransactions": 4, "rollback": 4}
WEIGHTS |= {
    "restart": 0.4,
    "copy_the_files": 0.5,
    "roll_the_server_back": 0.7,
    "add_a_column": 0.6,
    "change_the_type": 0.6,
}


def roll_back(server: EmbeddedPostgres, copy: Path) -> None:
    server.stop("immediate")
    subprocess.run(["rm", "-rf", str(server.data_dir)], check=True)
    subprocess.run(["cp", "-a", str(copy), str(server.data_dir)], check=True)
    server.start()


def assert_equal_to_live(url: str, vault: Vault, taken: Taken, what: object) -> None:
    for entry in taken.export.tables:
        live = live_lines(url, entry.id, columns_of(url, entry.id))
        assert stored_lines(vault, taken.export, entry.id) == live, f"{entry.id} after {what}"
    assert not taken.export.findings, what


def play(folder: Path, seed: int, rounds: int) -> tuple[int, int]:
    """(chunks re-used, chunks in all)"""
    folder.mkdir()
    rng = random.Random(seed)
    vault = make_vault(folder / "vault")
    reused = total = 0
    # A crash may not lose what was committed here: the test knows what it did.
    settings = {"autovacuum": "off", "synchronous_commit": "on"}
    with EmbeddedPostgres.create(major=NEWEST, settings=settings) as server:
        world = World(server, folder, rng)
        history: list[dict[TableId, Baseline]] = [{}]
        told: list[str] = []
        for number in in_time(range(rounds)):
            told += [world.happen() for _ in range(rng.randrange(1, 4))]
            # Mostly on the last backup, at times on one of long ago.
            base = history[-1] if rng.random() < 0.8 else rng.choice(history)
            taken = Taken(LivePostgres(world.url), vault, options=CHUNK, baselines=base)
            assert_equal_to_live(world.url, vault, taken, f"seed {seed}, round {number}: {told}")
            reused += sum(entry.reused_chunks for entry in taken.export.tables)
            total += sum(len(entry.chunks) for entry in taken.export.tables)
            history.append(taken.baselines(f"backup {number:04d}"))
        world.close_all()
    return reused, total


@pytest.mark.parametrize("seed", [11, 12])
def test_an_incremental_backup_equals_the_live_database(tmp_path: Path, seed: int) -> None:
    reused, total = play(tmp_path / "world", seed, rounds=25)
    assert reused > total // LEAST_OF_USE, "the rule must also be of use"


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("number", range(6))
def test_an_incremental_backup_equals_the_live_database_for_long(tmp_path: Path, number: int) -> None:
    reused, total = play(tmp_path / "world", SEED * 1000 + number, rounds=120)
    assert reused > total // LEAST_OF_USE or time_is_over()


# ── single promises


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres.create(major=NEWEST, settings={"autovacuum": "off"}) as server:
        yield server


def twice_the_same_transaction_id(server: EmbeddedPostgres, copy: Path, vault: Vault) -> tuple[str, Taken]:
    """A backup of a future that then never happened: other rows, as many, with the very same ids, in the same place."""
    url = server.create_database("twice")
    run(
        url,
        "CREATE TABLE t (id int, v text)",
        "INSERT INTO t SELECT g, 'before' FROM generate_series(1, 100) g",
    )
    server.stop()
    subprocess.run(["cp", "-a", str(server.data_dir), str(copy)], check=True)
    server.start()
    run(url, "INSERT INTO t SELECT g, 'lost future' FROM generate_series(1, 100) g", "SELECT txid_current()")
    lost = Taken(LivePostgres(url), vault)
    roll_back(server, copy)
    run(url, "INSERT INTO t SELECT g, 'real future' FROM generate_series(1, 100) g", "SELECT txid_current()")
    return url, lost


def test_a_server_that_was_rolled_back_to_older_files_is_read_anew(
    own_server: EmbeddedPostgres, tmp_path: Path, vault: Vault
) -> None:
    url, lost = twice_the_same_transaction_id(own_server, tmp_path / "copy", vault)
    taken = Taken(LivePostgres(url), vault, baselines=lost.baselines("lost"))
    assert taken.entry("t").reused_chunks == 0
    assert_equal_to_live(url, vault, taken, "rolling back")


def test_without_the_start_time_only_the_witness_would_notice(
    own_server: EmbeddedPostgres, tmp_path: Path, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why the start time is in the rule, and why there are witnesses: the test above has teeth."""
    url, lost = twice_the_same_transaction_id(own_server, tmp_path / "copy", vault)
    weaker = tuple(key for key in unchanged._SAME_SERVER if key != "postmaster_start")
    monkeypatch.setattr(unchanged, "_SAME_SERVER", weaker)
    taken = Taken(LivePostgres(url), vault, baselines=lost.baselines("lost"))
    assert [finding.code for finding in taken.export.findings] == ["witness-mismatch"]
    monkeypatch.setattr(unchanged, "with_witnesses", lambda tasks: tasks)
    blind = Taken(LivePostgres(url), vault, baselines=lost.baselines("lost"))
    assert "lost future" in str(stored_lines(vault, blind.export, TableId("public", "t")))


def filled(url: str, rows: int = 3000) -> LivePostgres:
    run(
        url,
        "CREATE TABLE t (id int, v text)",
        f"INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, {rows}) g",
    )
    return LivePostgres(url)


def test_an_untouched_table_is_not_read_but_for_the_witnesses(
    pg_major_server: EmbeddedPostgres, pg_major_database: str, vault: Vault
) -> None:
    live = filled(pg_major_database)
    run(pg_major_database, *(f"CREATE TABLE t{n} AS SELECT {n} AS n" for n in range(4)))
    first = Taken(live, vault, options=CHUNK)
    again = Taken(live, vault, options=CHUNK, baselines=first.baselines("first"))
    chunks = [chunk for entry in again.export.tables for chunk in entry.chunks]
    assert [chunk.reused_from for chunk in chunks].count("first") == len(chunks) - 2
    assert again.entry("t").fingerprint == first.entry("t").fingerprint


def test_where_the_bytes_were_last_read_is_carried_on_and_every_chunk_has_its_turn(
    pg_database: str, vault: Vault
) -> None:
    live = filled(pg_database)
    taken = Taken(live, vault, options=CHUNK)
    read_at: dict[int | None, str] = {chunk.first_page: "0" for chunk in taken.entry("t").chunks}
    for number in range(1, len(read_at) + 1):
        taken = Taken(live, vault, options=CHUNK, baselines=taken.baselines(str(number - 1)))
        for chunk in taken.entry("t").chunks:
            if chunk.reused_from is None:
                read_at[chunk.first_page] = str(number)
            assert chunk.reused_from in (None, read_at[chunk.first_page])
    assert "0" not in read_at.values(), "a chunk was never read again"


def test_appended_rows_cost_only_the_last_chunks(pg_database: str, vault: Vault) -> None:
    live = filled(pg_database)
    first = Taken(live, vault, options=CHUNK)
    run(pg_database, "INSERT INTO t SELECT g, 'appended' FROM generate_series(1, 200) g")
    again = Taken(live, vault, options=CHUNK, baselines=first.baselines("first"))
    fresh = [chunk for chunk in again.entry("t").chunks if chunk.reused_from is None]
    assert len(fresh) <= 3
    assert_equal_to_live(pg_database, vault, again, "appending")


def test_a_witness_that_disagrees_is_an_error_and_everything_is_read(pg_database: str, vault: Vault) -> None:
    live = filled(pg_database)
    first = Taken(live, vault, options=CHUNK)
    wrong = vault.writer.write_bytes(b"not\twhat is there\n", ".tsv.zst")
    entry = first.entry("t")
    damaged = replace(entry, chunks=tuple(replace(chunk, object=wrong) for chunk in entry.chunks))
    again = Taken(live, vault, options=CHUNK, baselines={entry.id: Baseline("first", first.state, damaged)})
    assert [(finding.severity, finding.code) for finding in again.export.findings] == [
        ("error", "witness-mismatch")
    ] * 2
    assert again.entry("t").reused_chunks == 0
    assert again.entry("t").fingerprint == entry.fingerprint
    assert stored_lines(vault, again.export, entry.id) == live.rows("t")


@pytest.mark.parametrize(
    "key",
    [
        "system_identifier", "timeline", "postmaster_start", "database_oid", "database_xmin", "in_recovery", "encoding",
        "snapshot_xmin",
    ],
)  # fmt: skip
@pytest.mark.parametrize("how", ["different", "missing"])
def test_any_doubt_about_the_server_means_reading(pg_database: str, vault: Vault, key: str, how: str) -> None:
    live = filled(pg_database, 100)
    first = Taken(live, vault)
    state = dict(first.state)
    assert (
        unchanged.trusted(state, first.entry("t").state, Baseline("x", state, first.entry("t"))) is not None
    )
    del state[key]
    if how == "different":
        state[key] = "another"
    assert (
        unchanged.trusted(first.state, first.entry("t").state, Baseline("x", state, first.entry("t"))) is None
    )


def test_half_a_circle_of_transaction_ids_means_reading(pg_database: str, vault: Vault) -> None:
    live = filled(pg_database, 10)
    first = Taken(live, vault)
    baseline = first.baselines("first")[first.entry("t").id]
    far = {**first.state, "snapshot_xmax": str(int(first.state["snapshot_xmin"]) + 2**31)}
    assert unchanged.trusted(far, first.entry("t").state, baseline) is None


@pytest.mark.parametrize("kind", ["regclass", "regtype[]", "aclitem", "named", "regs"])
def test_text_that_depends_on_the_catalog_is_always_read(pg_database: str, vault: Vault, kind: str) -> None:
    run(
        pg_database,
        "CREATE TABLE old_name (id int)",
        "CREATE DOMAIN named AS regclass",
        "CREATE TYPE regs AS (a int, b regrole)",
    )
    run(pg_database, f"CREATE TABLE t (id int, c {kind})", "INSERT INTO t (id) VALUES (1)")
    live = LivePostgres(pg_database)
    first = Taken(live, vault)
    assert first.entry("t").state == {}
    assert Taken(live, vault, baselines=first.baselines("first")).entry("t").reused_chunks == 0


def test_a_hidden_change_of_a_type_means_reading(
    pg_database: str, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unchanged, "with_witnesses", lambda tasks: tasks)
    run(
        pg_database,
        "CREATE TYPE mood AS ENUM ('sad')",
        "CREATE DOMAIN moods AS mood[]",
        "CREATE TYPE pair AS (m moods, n int)",
        "CREATE TABLE t (p pair[])",
        "INSERT INTO t VALUES (ARRAY[ROW(ARRAY['sad']::mood[], 1)::pair])",
        "CREATE TABLE other (id int)",
        "INSERT INTO other VALUES (1)",
    )
    live = LivePostgres(pg_database)
    first = Taken(live, vault)
    run(pg_database, "ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'")
    again = Taken(live, vault, baselines=first.baselines("first"))
    assert (again.entry("t").reused_chunks, again.entry("other").reused_chunks) == (0, 1)
    assert_equal_to_live(pg_database, vault, again, "renaming")
