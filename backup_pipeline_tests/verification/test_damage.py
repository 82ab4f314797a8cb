"""Every bit counts: `verify` tells each change of a vault and names the tables."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from backup_pipeline.backups.making import Order, back_up
from backup_pipeline.databases.sqlite.export import SqliteSource
from backup_pipeline.model.findings import Report
from backup_pipeline.model.selection import Selection
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.verify import verify_all
from backup_pipeline_tests.harness.damage import Damage, copy_vault, plan, state
from backup_pipeline_tests.harness.handmade import shop_vault

DEFAULT = range(60)
ALL = range(60, 250)


@pytest.fixture(scope="module")
def postgres_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "vault"
    shop_vault(folder)
    assert verify_all(Vault(LocalStore(folder)), "shop").findings == ()
    return folder


@pytest.fixture(scope="module")
def sqlite_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("whole")
    folder, database = base / "vault", base / "shop.db"
    vault = Vault(LocalStore(folder))
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(
            "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT);"
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INT REFERENCES customers, note BLOB);"
        )
        connection.executemany(
            "INSERT INTO customers VALUES (?, ?)", [(n, f"Customer {n}") for n in range(99)]
        )
        for night in range(3):
            # Large enough that later nights store changed blocks and a map.
            rows = [(None, n % 99, bytes([n % 251]) * 700) for n in range(2500 if night == 0 else 40)]
            connection.executemany("INSERT INTO orders VALUES (?, ?, ?)", rows)
            connection.commit()
            made = back_up(vault, SqliteSource(f"sqlite:///{database}"), Order("shop", selection=Selection()))
    assert made.image is not None
    assert any(segment.map for segment in made.image.segments), "maps and digests are to be damaged as well"
    assert verify_all(vault, "shop").findings == ()
    return folder


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "vault"


def examine(whole: Path, copy: Path, seed: int) -> tuple[Damage, Report]:
    damage = plan(whole, seed)
    copy_vault(whole, copy)
    damage.change(copy)
    assert state(copy) != state(whole), f"{damage}: no byte was changed"
    return damage, verify_all(Vault(LocalStore(copy)), "shop", quick=not damage.full)


def check(whole: Path, copy: Path, seed: int) -> None:
    before = state(whole)
    damage, report = examine(whole, copy, seed)
    found = [finding for finding in report.findings if finding.severity != "info"]
    assert found, f"{damage}: not found"
    if damage.tables is not None:
        assert not report.ok, damage
        named = {name for finding in report.errors for name in (finding.table, *finding.examples) if name}
        assert named == damage.tables, f"{damage}: {report.errors}"
    assert state(whole) == before, f"{damage}: it reached the original"


@pytest.mark.parametrize("seed", DEFAULT)
def test_a_damage_to_a_postgres_vault_is_found(postgres_like: Path, copy: Path, seed: int) -> None:
    check(postgres_like, copy, seed)


@pytest.mark.parametrize("seed", DEFAULT)
def test_a_damage_to_a_sqlite_vault_is_found(sqlite_like: Path, copy: Path, seed: int) -> None:
    check(sqlite_like, copy, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", ALL)
def test_every_damage_to_a_postgres_vault_is_found(postgres_like: Path, copy: Path, seed: int) -> None:
    check(postgres_like, copy, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", ALL)
def test_every_damage_to_a_sqlite_vault_is_found(sqlite_like: Path, copy: Path, seed: int) -> None:
    check(sqlite_like, copy, seed)
