"""What a merge leaves in a database is in no backup, and a backup is as quick with it as without it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import psycopg2
import pytest

from backup_pipeline.backups.making import Order, back_up
from backup_pipeline.databases.base import Options, RestoreOptions
from backup_pipeline.databases.engines import engine_at
from backup_pipeline.databases.merge.asked import Asked
from backup_pipeline.databases.merge.rules import Rules
from backup_pipeline.databases.merge.session import Memory, SessionOptions
from backup_pipeline.databases.own_names import OWN_COMMENT, OWN_PREFIX, OWN_SCHEMA
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.drills import drill
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.progress import silent
from backup_pipeline.model.schema import TableId
from backup_pipeline.model.selection import Selection
from backup_pipeline.restores import merging
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.contracts.source_contract import Live
from backup_pipeline_tests.harness.postgres_rows import LivePostgres
from backup_pipeline_tests.harness.sqlite_rows import LiveSqlite, new_database

#: It stands in every row of the map. So the vault can be searched for it.
MARK = "remembered-by-a-merge"
MAP = f"(id INTEGER PRIMARY KEY, note TEXT DEFAULT '{MARK} {'x' * 200}')"


SQLITE = ("sqlite", "sqlite in WAL mode", "sqlite with auto_vacuum")


@pytest.fixture(params=["postgres", *SQLITE])
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Live:
    live: Live
    if request.param == "postgres":
        live = LivePostgres(request.getfixturevalue("pg_database"))
    else:
        pragmas = {
            "sqlite in WAL mode": ("journal_mode = WAL",),
            "sqlite with auto_vacuum": ("auto_vacuum = FULL",),
        }
        live = LiveSqlite(new_database(tmp_path / "app.db", *pragmas.get(request.param, ())))
    live.run("CREATE TABLE people (id integer PRIMARY KEY, name text)")
    live.run(*(f"INSERT INTO people VALUES ({n}, '{'name ' * 40}{n}')" for n in range(200)))
    return live


@pytest.fixture
def empty(live: Live, tmp_path: Path, make_pg_database: Callable[[], str]) -> tuple[Live, str]:
    """Another database of the same engine, and its address."""
    if isinstance(live, LivePostgres):
        url = make_pg_database()
        return LivePostgres(url), url
    path = new_database(tmp_path / "other.db")
    return LiveSqlite(path), f"sqlite:///{path}"


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(LocalStore(tmp_path / "vault"))


def remember(live: Live, rows: int = 300, *, comment: str = OWN_COMMENT) -> None:
    """What a merge leaves."""
    name = f"{OWN_PREFIX}map"
    if isinstance(live, LivePostgres):
        name = f"{OWN_SCHEMA}.map"
        live.run(f"CREATE SCHEMA {OWN_SCHEMA}", f"COMMENT ON SCHEMA {OWN_SCHEMA} IS '{comment}'")
    live.run(
        f"CREATE TABLE {name} {MAP}",
        f"CREATE INDEX {OWN_PREFIX}notes ON {name} (note)",
        *(f"INSERT INTO {name} (id) VALUES ({n})" for n in range(rows)),
    )


def taken(vault: Vault, live: Live, selection: Selection | None = None) -> Manifest:
    return back_up(vault, live.source, Order("shop", selection=selection or Selection()))


def told(vault: Vault, manifest: Manifest) -> tuple[object, ...]:
    """Everything that a backup says of the database."""
    return (
        [(entry.id, entry.rows, entry.columns, entry.fingerprint) for entry in manifest.tables],
        manifest.left_out,
        manifest.findings,
        manifest.sequences,
        [vault.content(section.object) for section in manifest.ddl],
        vault.backup_of(manifest).schema,
    )


def test_a_backup_says_the_same_with_and_without_what_merges_remember(live: Live, vault: Vault) -> None:
    before = taken(vault, live)
    remember(live)
    for selection in (
        Selection(),
        Selection(include=("*",)),
        Selection(only=frozenset({before.tables[0].id})),
    ):
        assert told(vault, taken(vault, live, selection)) == told(vault, before)
    assert [table.id for table in live.source.inventory(Selection()).tables] == [before.tables[0].id]
    assert MARK.encode() not in b"".join(vault.content(one) for one in taken(vault, live).objects())


def test_a_drill_passes_and_a_restore_does_not_have_it(
    live: Live, vault: Vault, empty: tuple[Live, str]
) -> None:
    remember(live)
    backup = vault.backup_of(taken(vault, live))
    assert [one for one in drill(backup).report.findings if one.severity != "info"] == []
    restored, url = empty
    engine_at(url).target(url).restore(backup, RestoreOptions(), silent)
    assert restored.rows("people") == live.rows("people")
    remember(restored)  # the names are free


@pytest.mark.parametrize("live", SQLITE, indirect=True)
def test_an_unchanged_file_is_not_stored_again(live: Live, vault: Vault) -> None:
    remember(live)
    first, second = taken(vault, live), taken(vault, live)
    assert second.image
    assert [one.reused_from for one in second.image.segments] == [first.id]


def test_unchanged_chunks_are_not_read_again(pg_database: str, vault: Vault) -> None:
    live = LivePostgres(pg_database)
    live.run("CREATE TABLE log AS SELECT n, repeat('x', 200) FROM generate_series(1, 20000) n")
    order = Order("shop", options=Options(chunk_bytes=8 * 8192))
    back_up(vault, live.source, order)
    before = back_up(vault, live.source, order)
    remember(live)
    after = back_up(vault, live.source, order)
    assert after.tables[0].reused_chunks == before.tables[0].reused_chunks > 20


def test_only_the_blocks_that_changed_are_stored_again(vault: Vault, tmp_path: Path) -> None:
    live = LiveSqlite(new_database(tmp_path / "app.db"))
    live.run("CREATE TABLE people (id integer PRIMARY KEY, name text)")
    live.run(*(f"INSERT INTO people VALUES ({n}, hex(randomblob(900)))" for n in range(1000)))
    before = taken(vault, live)
    remember(live)
    known = {one.sha256 for one in before.objects()}
    size = sum(one.size for one in taken(vault, live).objects() if one.sha256 not in known)
    assert size < before.bytes / 10


def test_a_schema_of_the_application_with_that_name_is_backed_up(pg_database: str, vault: Vault) -> None:
    live = LivePostgres(pg_database)
    remember(live, comment="ours")
    manifest = taken(vault, live)
    assert manifest.table(TableId(OWN_SCHEMA, "map")) is not None
    assert OWN_SCHEMA in vault.content(manifest.ddl[0].object).decode()


def test_no_right_on_it_is_asked_for(pg_database: str, pg_server: EmbeddedPostgres, vault: Vault) -> None:
    role = f"lesser_{os.getpid()}"
    live = LivePostgres(pg_database)
    live.run("CREATE TABLE people (id integer PRIMARY KEY)", f"CREATE ROLE {role} LOGIN")
    remember(live)
    try:
        live.run(f"GRANT SELECT ON people TO {role}", f"REVOKE ALL ON SCHEMA {OWN_SCHEMA} FROM PUBLIC")
        lesser = LivePostgres(pg_database.replace("postgres@", f"{role}@"))
        assert "missing-rights" not in {one.code for one in lesser.source.diagnose(Selection()).findings}
        assert [str(table.id) for table in taken(vault, lesser).tables] == ["public.people"]
    finally:
        live.run(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_a_database_that_only_remembers_is_not_empty(
    live: Live, vault: Vault, empty: tuple[Live, str]
) -> None:
    """The map would name rows of the restored database that are other rows."""
    backup = vault.backup_of(taken(vault, live))
    target, url = empty
    remember(target)
    plan = engine_at(url).target(url).plan(backup, RestoreOptions())
    assert [one.code for one in plan.refused] == ["target-not-empty"]


@pytest.mark.parametrize("live", ["postgres", "sqlite"], indirect=True)
def test_what_a_merge_really_leaves_is_in_no_backup(live: Live, vault: Vault) -> None:
    before = taken(vault, live)
    live.run("DELETE FROM people WHERE id = 1")
    url = live.url if isinstance(live, LivePostgres) else live.source.address  # type: ignore[union-attr]
    options = SessionOptions(memory=Memory(lineage="a database", restore_id="r-1"))
    merging.merge_into(vault.backup_of(before), url, Asked(), Rules(), options)
    with pytest.raises((psycopg2.Error, sqlite3.Error), match="exists"):
        live.run(
            f"CREATE TABLE {OWN_SCHEMA + '.' if live.schema == 'public' else OWN_PREFIX}restores (x int)"
        )
    after = taken(vault, live)
    assert told(vault, after)[1:] == told(vault, before)[1:]
    assert [(one.id, one.rows) for one in after.tables] == [(one.id, one.rows) for one in before.tables]
