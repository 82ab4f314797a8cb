"""Real applications: damage, life that goes on, a merge; then the frameworks' own checks pass and their pages answer."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from backup_pipeline.databases.merge.asked import Asked
from backup_pipeline_tests.harness.backups import backed_up
from backup_pipeline_tests.harness.engines import MakePgDatabase
from backup_pipeline_tests.merging.applications.project import act, differing, together
from backup_pipeline_tests.merging.databases import Living, LivingPostgres, LivingSqlite
from backup_pipeline_tests.merging.scenario import Played


@pytest.fixture(params=["postgres", "sqlite"])
def living(request: pytest.FixtureRequest, tmp_path: Path) -> Living:
    if request.param == "sqlite":
        return LivingSqlite(f"sqlite:///{tmp_path / 'app.sqlite3'}")
    make: MakePgDatabase = request.getfixturevalue("make_pg_database")
    return LivingPostgres(make())


def test_a_django_project_gets_back_what_was_deleted(living: Living, tmp_path: Path) -> None:
    old = act("bookshop", living.url, "make")
    backed = backed_up(living.url, tmp_path / "vault")
    new = act("bookshop", living.url, "damage", "live")

    def look() -> None:
        assert differing(act("bookshop", living.url, "check"), together(old, new)) == {}

    Played(living, backed.backup).go(look)


def test_a_shop_on_sqlalchemy_gets_rows_back_from_before_two_migrations(
    living: Living, tmp_path: Path
) -> None:
    act("store", living.url, "make")
    backed = backed_up(living.url, tmp_path / "vault")
    old = act("store", living.url, "upgrade")
    new = act("store", living.url, "damage", "live")

    def look() -> None:
        assert differing(act("store", living.url, "check"), together(old, new)) == {}

    Played(living, backed.backup).go(look)


def test_users_and_rights_come_back_into_a_database_that_was_emptied(living: Living, tmp_path: Path) -> None:
    old = act("bookshop", living.url, "make")
    backed = backed_up(living.url, tmp_path / "vault")
    act("bookshop", living.url, "empty")
    played = Played(living, backed.backup)
    begin = time.monotonic()
    admin = Played(living, backed.backup, Asked(only=frozenset(played.rules.groups["admin"])))
    admin.merge()
    print(f"--only admin: {time.monotonic() - begin:.1f} s")
    found = act("bookshop", living.url)
    assert differing({"users": found["users"]}, {"users": old["users"]}) == {}
    assert {about for about, rows in found.items() if rows} == {"users"}
