"""What is known of a project's migrations, as the commands say it."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from types import SimpleNamespace

import pytest

from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.model.manifest import Migrations
from backup_pipeline_tests.cli.conftest import CONFIG, Folder
from backup_pipeline_tests.harness.backups import run_sql


@pytest.fixture
def migrated(shop: Folder) -> Folder:
    """Two revisions, and a database at the first."""
    text = "retention: {last: 1}\n" + CONFIG % "sqlite:///shop.db"
    (shop.path / "backup.yaml").write_text(text + "    migrations: {tool: alembic, path: versions}\n")
    (shop.path / "versions").mkdir()
    revision(shop, "a1", None)
    revision(shop, "b2", "a1")
    stamp(shop, "a1")
    return shop


def revision(folder: Folder, name: str, down: str | None) -> None:
    (folder.path / "versions" / f"{name}.py").write_text(f"revision = {name!r}\ndown_revision = {down!r}\n")


def stamp(folder: Folder, name: str) -> None:
    with closing(sqlite3.connect(folder.path / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS alembic_version (version_num TEXT)")
        connection.execute("DELETE FROM alembic_version")
        connection.execute("INSERT INTO alembic_version VALUES (?)", (name,))


SAYS = "the database says zzz, which the folder does not know"


def test_a_revision_that_the_folder_does_not_know_is_unknown_everywhere(migrated: Folder) -> None:
    migrated.backup()
    assert "1 applied; pending: b2" in migrated.good("show", "shop").stdout
    stamp(migrated, "zzz")
    made = migrated.good("backup", "shop", "--no-record", "--json").data["backup"]["id"]
    manifest = migrated.good("show", "shop", "--json").data["manifest"]
    assert [one["code"] for one in manifest["findings"]] == ["migrations-unknown"]
    assert manifest["migrations"]["unknown"] == SAYS
    shown = migrated.good("show", "shop", made).stdout
    assert f"what is pending is not known: {SAYS}" in shown
    assert "none pending" not in shown
    status = migrated.run("status")
    assert status.code == 13
    assert SAYS in status.stdout
    assert SAYS in migrated.run("doctor").stdout
    # Mended: the next backup knows again.
    stamp(migrated, "b2")
    migrated.backup()
    assert "at b2; none pending" in migrated.good("show", "shop").stdout
    assert SAYS not in migrated.run("status").stdout


def test_an_empty_folder_is_unknown_and_not_a_state_without_migrations(migrated: Folder) -> None:
    for path in (migrated.path / "versions").iterdir():
        path.unlink()
    migrated.backup()
    shown = migrated.good("show", "shop").stdout
    assert "1 applied; what is pending is not known: there is no Alembic revision below" in shown
    assert "migrations-unreadable" in migrated.run("status").stdout


@pytest.mark.parametrize("unknown", [True, False], ids=["unknown", "applied"])
def test_an_unknown_state_is_no_reason_to_prune_what_was_made_before_a_migration(
    migrated: Folder, unknown: bool
) -> None:
    before = migrated.good("backup", "shop", "--kind", "pre-migration", "--no-record", "--json").data[
        "backup"
    ]["id"]
    stamp(migrated, "zzz" if unknown else "b2")
    migrated.backup()
    migrated.backup()
    migrated.good("prune")
    left = [one["id"] for one in migrated.good("list", "--json").data["backups"]]
    assert (before in left) is unknown


def test_many_pending_migrations_are_a_number_the_first_and_the_last() -> None:
    names = tuple(f"shop.{number:04}" for number in range(160))
    assert Migrations("django", pending=names).told() == (
        "django: 0 applied; 160 pending: shop.0000 … shop.0159"
    )
    assert (
        Migrations("django", pending=names[:2]).told() == "django: 0 applied; pending: shop.0000, shop.0001"
    )


@contextmanager
def deaf() -> Iterator[int]:
    """A port on which every connection is closed at once, as by a server that fails over."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def close_each() -> None:
            with suppress(OSError):
                while True:
                    server.accept()[0].close()

        thread = threading.Thread(target=close_each, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@pytest.mark.parametrize("only", [(), ("--only", "main.*")], ids=["all", "only"])
def test_a_database_that_fails_over_is_asked_four_times_from_the_first_question_on(
    migrated: Folder, monkeypatch: pytest.MonkeyPatch, only: tuple[str, ...]
) -> None:
    """What came before the snapshot (the migrations, the names of --only) was asked once: the night had no backup."""
    slept: list[float] = []
    monkeypatch.setattr("backup_pipeline.databases.patience.time", SimpleNamespace(sleep=slept.append))
    config = migrated.path / "backup.yaml"
    with deaf() as port:
        config.write_text(
            config.read_text().replace("sqlite:///shop.db", f"postgresql://me@127.0.0.1:{port}/shop")
        )
        ended = migrated.run("backup", "shop", "--no-record", *only)
    assert (ended.code, slept) == (4, [1.0, 3.0, 9.0]), str(ended)
    assert "attempt 4 of 4 in 9 s" in ended.stderr


def test_what_a_login_may_not_read_is_said_with_the_grants(
    migrated: Folder, pg_server: EmbeddedPostgres, pg_database: str
) -> None:
    """`doctor prints the GRANTs`, said a backup that could read nothing."""
    role = f"bare_{os.getpid()}"
    run_sql(
        pg_database,
        f"CREATE ROLE {role} LOGIN; CREATE TABLE alembic_version (version_num text); CREATE TABLE t (id int)",
    )
    config = migrated.path / "backup.yaml"
    url = pg_database.replace("postgresql://postgres@", f"postgresql://{role}@")
    config.write_text(config.read_text().replace("sqlite:///shop.db", url))
    try:
        ended = migrated.run("backup", "shop", "--no-record")
        assert ended.code == 4
        grant = f'GRANT SELECT ON TABLE "public"."%s" TO "{role}";'
        for table in ("alembic_version", "t"):
            assert grant % table in ended.stderr, str(ended)
        # Where it is not to be backed up, it is no reason for a night without a backup.
        run_sql(pg_database, grant % "t")
        config.write_text(re.sub(r"exclude: .*", "exclude: [public.alembic_version]", config.read_text()))
        ended = migrated.run("backup", "shop", "--no-record")
        assert ended.code == 0, str(ended)
        (found,) = [
            one
            for one in migrated.good("show", "shop", "--json").data["manifest"]["findings"]
            if one["code"] == "migrations-unreadable"
        ]
        assert grant % "alembic_version" in found["remedy"]
    finally:
        run_sql(pg_database, f"DROP OWNED BY {role}; DROP ROLE {role}")
