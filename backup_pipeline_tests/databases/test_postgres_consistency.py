"""One moment, also beside writers: money that moves is never counted twice and never lost."""

from __future__ import annotations

import random
import threading
from collections import Counter
from pathlib import Path

import pytest

from backup_pipeline.databases.base import Options
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.model.schema import TableId
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.contracts.source_contract import Taken
from backup_pipeline_tests.harness.postgres_rows import LivePostgres, ask, run, session, stored_lines

ACCOUNTS, TOTAL = 3000, 3000 * 100


def move_money(url: str, stop: threading.Event, seed: int, moved: Counter[int]) -> None:
    """Between two accounts of two tables, with a line in the ledger, in one transaction. Locks are always taken in the
    same order, so that no session waits for ever."""
    rng = random.Random(seed)
    with session(url, autocommit=False) as connection, connection.cursor() as cursor:
        while not stop.wait(0.003):  # many sessions, not a busy machine
            one, other, amount = rng.randrange(ACCOUNTS), rng.randrange(ACCOUNTS), rng.randrange(1, 50)
            cursor.execute("UPDATE checking SET balance = balance - %s WHERE id = %s", (amount, one))
            cursor.execute("UPDATE savings SET balance = balance + %s WHERE id = %s", (amount, other))
            cursor.execute("INSERT INTO ledger (amount) VALUES (%s)", (amount,))
            if rng.random() < 0.1:
                connection.rollback()
            else:
                connection.commit()
                moved[seed] += 1


def test_ten_backups_while_money_moves_all_sum_to_the_same(
    pg_server: EmbeddedPostgres, pg_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backup_pipeline.databases.postgres.export.export.IN_PROCESS_BYTES", 0)
    (tmp_path / "vault").mkdir()
    vault = Vault(LocalStore(tmp_path / "vault"))
    for table, start in (("checking", 100), ("savings", 0)):
        run(
            pg_database,
            f"CREATE TABLE {table} (id int PRIMARY KEY, balance int NOT NULL) WITH (fillfactor = 50)",
            f"INSERT INTO {table} SELECT g, {start} FROM generate_series(0, {ACCOUNTS - 1}) g",
        )
    run(pg_database, "CREATE TABLE ledger (id bigserial PRIMARY KEY, amount int NOT NULL)")
    stop = threading.Event()
    moved: Counter[int] = Counter()
    writers = [
        threading.Thread(target=move_money, args=(pg_database, stop, seed, moved)) for seed in range(4)
    ]
    for writer in writers:
        writer.start()
    seen = []
    try:
        taken = None
        for number in range(10):
            taken = Taken(
                LivePostgres(pg_database),
                vault,
                options=Options(workers=2, chunk_bytes=32 * 1024),
                baselines=taken.baselines(str(number)) if taken else {},
            )
            assert len(taken.entry("checking").chunks) > 2 or pg_server.major < 14
            sums = {
                table: sum(
                    int(line.split("\t")[1]) * count
                    for line, count in stored_lines(vault, taken.export, TableId("public", table)).items()
                )
                for table in ("checking", "savings", "ledger")
            }
            assert sums["checking"] + sums["savings"] == TOTAL
            assert sums["savings"] == sums["ledger"]
            seen.append(sums["ledger"])
            highest = max(
                (
                    int(line.split("\t")[0])
                    for line in stored_lines(vault, taken.export, TableId("public", "ledger"))
                ),
                default=0,
            )
            assert taken.export.sequences[0].last_value >= highest
            assert not taken.export.findings
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert seen == sorted(seen)
    assert seen[-1] > seen[0], "nobody moved any money"
    assert all(moved[seed] for seed in range(4))
    assert ask(pg_database, "SELECT sum(balance) FROM (TABLE checking UNION ALL TABLE savings) b") == [
        (TOTAL,)
    ]
