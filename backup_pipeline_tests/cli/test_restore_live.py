"""`restore --live` as a person types it: look, be asked, write, and know what comes next."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from backup_pipeline import config
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.state import acts
from backup_pipeline_tests.cli.conftest import CONFIG, Folder
from backup_pipeline_tests.cli.test_confirming import Person
from backup_pipeline_tests.harness.backups import ask, run_sql

LIVE = ("restore", "shop", "--live")


def run(shop: Folder, *statements: str) -> None:
    with closing(sqlite3.connect(shop.path / "shop.db")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def rows(shop: Folder, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(shop.path / "shop.db")) as connection:
        return connection.execute(query).fetchall()


def orders(shop: Folder) -> list[tuple[object, ...]]:
    return rows(shop, "SELECT id, total FROM orders ORDER BY id")


@pytest.fixture
def spoilt(shop: Folder) -> Folder:
    """A backup; then an order is deleted, one is changed, and one is made."""
    shop.backup()
    run(
        shop,
        "DELETE FROM orders WHERE id = 1",
        "UPDATE orders SET total = 21 WHERE id = 2",
        "INSERT INTO orders (customer_id, total) VALUES (1, 40)",
    )
    return shop


def counts(data: dict[str, object], table: str = "main.orders") -> dict[str, object]:
    tables = data["plan"]["tables"]  # type: ignore[index]
    return next(one for one in tables if one["table"] == table)


def test_lost_rows_come_back_and_what_was_written_since_stays(spoilt: Folder) -> None:
    ended = spoilt.good(*LIVE, "--yes")
    assert orders(spoilt) == [(1, 10), (2, 21), (3, 30), (4, 40)]
    assert "1 row created; 1 kept as they are" in ended.stdout
    assert "to take it back: backup-pipeline undo shop r-" in ended.stdout
    again = spoilt.good(*LIVE, "--yes")
    assert "nothing to write" in again.stdout
    assert "nothing was written" in again.stdout


@pytest.mark.parametrize("look", ["--plan", "--dry-run"])
def test_a_look_counts_and_writes_nothing_and_says_what_to_type_next(spoilt: Folder, look: str) -> None:
    before = orders(spoilt)
    ended = spoilt.good(*LIVE, look, "--update", "--delete")
    assert orders(spoilt) == before
    assert "1 row to create, 1 row to update, 1 row to delete" in ended.stdout
    assert "to do it: backup-pipeline restore shop 2" in ended.stdout
    found = counts(spoilt.good(*LIVE, look, "--update", "--delete", "--json").data)
    assert [found[verb] for verb in ("create", "update", "delete", "unchanged")] == [1, 1, 1, 1]


def test_the_verbs_are_update_and_delete(spoilt: Folder) -> None:
    spoilt.good(*LIVE, "--yes", "--update", "--delete")
    assert orders(spoilt) == [(1, 10), (2, 20), (3, 30)]


def test_where_no_person_can_be_asked_nothing_is_written_without_yes(spoilt: Folder) -> None:
    before = orders(spoilt)
    ended = spoilt.run(*LIVE)
    assert ended.code == 2
    assert "--yes" in ended.stderr
    assert orders(spoilt) == before


def test_an_approved_plan_is_done_and_another_one_is_refused(spoilt: Folder) -> None:
    asked = (*LIVE, "--only", "orders")
    ended = spoilt.good(*asked, "--plan-file", "plan.json")
    assert "--approve plan.json" in ended.stdout
    run(spoilt, "DELETE FROM orders WHERE id = 3")
    refused = spoilt.run(*LIVE, "--approve", "plan.json")
    assert refused.code == 9
    assert "approved" in refused.stderr
    assert orders(spoilt) == [(2, 21), (4, 40)]
    spoilt.good(*asked, "--plan-file", "plan.json")
    looked = spoilt.good(*LIVE, "--approve", "plan.json", "--plan", "--json").data
    assert counts(looked)["create"] == 2
    spoilt.good(*LIVE, "--approve", "plan.json")
    assert orders(spoilt) == [(1, 10), (2, 21), (3, 30), (4, 40)]


def test_only_some_rows_come_back_with_the_parents_that_they_need(spoilt: Folder) -> None:
    run(spoilt, "DELETE FROM orders WHERE id <> 4", "DELETE FROM customers WHERE id = 2")
    found = spoilt.good(*LIVE, "--yes", "--where", "orders: total = 20", "--only", "orders", "--json").data
    assert orders(spoilt) == [(2, 20), (4, 40)]
    assert counts(found, "main.customers")["mode"] == "parents"
    assert rows(spoilt, "SELECT name FROM customers ORDER BY id") == [("Ann",), ("Bob",)]


def test_rows_in_conflict_are_named_and_seen_in_the_exit_code(shop: Folder) -> None:
    run(shop, "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT UNIQUE, mail TEXT UNIQUE)")
    run(shop, "INSERT INTO users VALUES (1, 'ann', 'ann@x')")
    shop.backup()
    run(shop, "DELETE FROM users", "INSERT INTO users VALUES (2, 'ann', 'b@x'), (3, 'c', 'ann@x')")
    for look in ("--plan", "--yes"):
        ended = shop.run(*LIVE, look)
        assert ended.code == 10, str(ended)
        assert "keys-disagree" in ended.stdout
        assert "1 row in conflict" in ended.stderr
    assert rows(shop, "SELECT count(*) FROM users") == [(2,)]


def test_the_difference_of_a_table_is_shown_row_by_row(spoilt: Folder) -> None:
    out = spoilt.good(*LIVE, "--plan", "--update", "--show", "orders").stdout
    shown = [line.split() for line in out.splitlines()]
    assert ["~", "2", "total", "21", "20"] in shown
    assert ["+", "1", "total", "10"] in shown


def test_a_backup_of_another_environment_is_refused_until_it_is_named(spoilt: Folder) -> None:
    (spoilt.path / "backup.yaml").write_text(CONFIG % "sqlite:///shop.db" + "    environment: production\n")
    before = orders(spoilt)
    for look in ("--plan", "--yes"):
        ended = spoilt.run(*LIVE, look)
        assert ended.code == 9, str(ended)
    assert orders(spoilt) == before
    spoilt.good(*LIVE, "--yes", "--from-environment", "none")
    assert orders(spoilt)[0] == (1, 10)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["--live", "--create"], "--create is about"),
        (["--live", "--files", "media"], "--trees is about"),
        (["--live", "--to", "sqlite:///x.db", "--plan"], "which database lives on"),
        (["--only", "orders", "--plan"], "which database lives on"),
        (["--live", "--only", "ordres", "--plan"], "names no table"),
        (["--live", "--update", "latest", "--plan"], "newest:COLUMN"),
        (["--live", "--no-create", "--plan"], "nothing may be written"),
        (["--live", "--approve", "none.json"], "cannot be read"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_is_done(
    spoilt: Folder, typed: list[str], told: str
) -> None:
    ended = spoilt.run("restore", "shop", *typed)
    assert ended.code == 2, str(ended)
    assert told in ended.stderr


def test_another_database_than_the_living_one_takes_rows(spoilt: Folder) -> None:
    (spoilt.path / "other.db").write_bytes((spoilt.path / "shop.db").read_bytes())
    spoilt.good("restore", "shop", "--to", "sqlite:///other.db", "--only", "orders", "--yes")
    with closing(sqlite3.connect(spoilt.path / "other.db")) as connection:
        assert connection.execute("SELECT total FROM orders WHERE id = 1").fetchall() == [(10,)]
    assert orders(spoilt)[0] == (2, 21)


def test_a_restore_is_an_act_and_a_look_is_none(spoilt: Folder) -> None:
    spoilt.good(*LIVE, "--plan")
    spoilt.good(*LIVE, "--dry-run")
    spoilt.good(*LIVE, "--yes")
    (done,) = [one for one in acts.of(config.load(spoilt.path / "backup.yaml")) if one.verb == "restore"]
    assert done.facts["created"] == 1
    assert done.backup


@pytest.fixture
def latin(pg_server: EmbeddedPostgres) -> Iterator[str]:
    """A database that does not have every character of Unicode."""
    name = f"latin_{os.getpid()}"
    locale = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    run_sql(pg_server.url(), f"CREATE DATABASE {name} {locale}")
    yield pg_server.url(name)
    pg_server.drop_database(name)


def test_rows_that_do_not_fit_end_a_restore_or_are_set_aside_with_the_error(
    pg_shop: Folder, latin: str
) -> None:
    url, table = pg_shop.env["SHOP_URL"], "CREATE TABLE notes (id int PRIMARY KEY, note text)"
    run_sql(url, f"{table}; INSERT INTO notes VALUES (1, 'é'), (2, '☃')")
    pg_shop.backup()
    run_sql(latin, table)
    only = ("restore", "shop", "--to", latin, "--only", "notes")
    for look in ("--plan", "--yes"):
        ended = pg_shop.run(*only, look)
        assert ended.code == 9, str(ended)
        assert "do not fit" in ended.stderr
    assert ask(latin, "SELECT id FROM notes") == []
    rest = pg_shop.run(*only, "--yes", "--rejects", "bad.csv")
    assert rest.code == 10, str(rest)
    assert ask(latin, "SELECT id FROM notes") == [(1,)]
    pg_shop.good(*only, "--yes", "--rejects", "bad.csv", "--allow-rejects")
    file = pg_shop.path / "bad.csv"
    with file.open(newline="", encoding="utf-8") as lines:
        (bad,) = csv.DictReader(lines)
    assert (bad["table"], bad["sqlstate"]) == ("public.notes", "22P05")
    assert json.loads(bad["row"]) == {"id": "2", "note": "☃"}
    assert file.stat().st_mode & 0o077 == 0


def test_files_that_rows_name_come_back_with_them(spoilt: Folder) -> None:
    media = spoilt.path / "media"
    media.mkdir()
    for name in ("a.jpg", "b.jpg", "unnamed.jpg"):
        (media / name).write_text(name)
    run(
        spoilt, "ALTER TABLE customers ADD photo TEXT", "UPDATE customers SET photo = char(96 + id) || '.jpg'"
    )
    with (spoilt.path / "backup.yaml").open("a") as file:
        file.write("    files: {media: {path: ./media, refs: {customers.photo: path}}}\n")
    spoilt.backup()
    run(spoilt, "DELETE FROM orders", "DELETE FROM customers WHERE id = 2")
    (media / "b.jpg").unlink()
    (media / "unnamed.jpg").unlink()
    (media / "a.jpg").write_text("another photo by now")
    looked = spoilt.good(*LIVE, "--plan", "--with-files").stdout
    assert "1 file" in looked
    spoilt.good(*LIVE, "--yes", "--with-files")
    assert (media / "b.jpg").read_text() == "b.jpg"
    assert (media / "a.jpg").read_text() == "another photo by now"
    assert not (media / "unnamed.jpg").exists()


@pytest.mark.parametrize(("answer", "code", "first"), [("n\n", 130, (2, 21)), ("y\n", 0, (1, 10))])
def test_a_person_is_shown_the_plan_and_asked(
    spoilt: Folder, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, first: tuple[int, int]
) -> None:
    monkeypatch.setattr("sys.stdin", Person(answer))
    ended = spoilt.run(*LIVE)
    assert ended.code == code, str(ended)
    assert "1 row to create; 1 kept as they are" in ended.stderr
    assert "Write 1 row of sqlite:///" in ended.stderr
    assert ("nothing was written" in ended.stderr) == (code == 130)
    assert orders(spoilt)[0] == first


@pytest.mark.parametrize(
    ("where", "told", "first"),
    [
        ("restores.merging.merge_into", "nothing was written", (2, 21)),
        ("operations.merge.kept_until", "the rows are written; `backup-pipeline undo shop r-", (1, 10)),
    ],
)
def test_a_restore_that_is_interrupted_says_what_is_true(
    spoilt: Folder, monkeypatch: pytest.MonkeyPatch, where: str, told: str, first: tuple[int, int]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"backup_pipeline.{where}", interrupt)
    ended = spoilt.run(*LIVE, "--yes")
    assert ended.code == 130, str(ended)
    assert told in ended.stderr
    assert orders(spoilt)[0] == first
