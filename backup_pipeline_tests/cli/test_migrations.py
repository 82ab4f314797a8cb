"""What is known of a project's migrations, as the commands say it."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from backup_pipeline.model.manifest import Migrations
from backup_pipeline_tests.cli.conftest import CONFIG, Folder


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
