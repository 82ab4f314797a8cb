"""`undo`: what a restore has written is taken back, row by row, and rows of others stay as they are."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import psycopg
import pytest

import backup_pipeline as bp
from backup_pipeline_tests.cli.conftest import Folder

LIVE = ("restore", "shop", "--live", "--yes")
UNDO = ("undo", "shop", "--yes")


class Shop:
    """The shop and its database, on either engine."""

    def __init__(self, folder: Folder) -> None:
        self.folder, self.good, self.run = folder, folder.good, folder.run

    def sql(self, *statements: str) -> None:
        if url := self.folder.env.get("SHOP_URL"):
            with psycopg.connect(url) as session:
                for statement in statements:
                    session.execute(statement.encode())
            return
        with closing(sqlite3.connect(self.folder.path / "shop.db")) as file, file:
            for statement in statements:
                file.execute(statement)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        if url := self.folder.env.get("SHOP_URL"):
            with psycopg.connect(url) as session:
                return session.execute(query.encode()).fetchall()
        with closing(sqlite3.connect(self.folder.path / "shop.db")) as file:
            return file.execute(query).fetchall()

    @property
    def all(self) -> list[list[tuple[object, ...]]]:
        return [
            self.rows("SELECT id, name FROM customers ORDER BY id"),
            self.rows("SELECT id, customer_id, total FROM orders ORDER BY id"),
            self.rows("SELECT line, count(*) FROM notes GROUP BY line ORDER BY line"),
        ]


def begun(folder: Folder) -> Shop:
    """A backup; then rows of each kind of change, and of a table without a key."""
    shop = Shop(folder)
    shop.sql("CREATE TABLE notes (line TEXT)", "INSERT INTO notes VALUES ('a'), ('a'), ('b')")
    folder.backup()
    shop.sql(
        "DELETE FROM orders WHERE id = 1",
        "DELETE FROM orders WHERE customer_id = 2",
        "DELETE FROM customers WHERE id = 2",
        "UPDATE customers SET name = 'Anna' WHERE id = 1",
        "INSERT INTO customers (id, name) VALUES (9, 'Ida')" if not folder.env
        else "INSERT INTO customers (id, name) OVERRIDING SYSTEM VALUE VALUES (9, 'Ida')",
        "DELETE FROM notes WHERE line = 'a'",
        "INSERT INTO notes VALUES ('b'), ('c')",
    )  # fmt: skip
    return shop


@pytest.fixture(params=["shop", "pg_shop"])
def living(request: pytest.FixtureRequest) -> Shop:
    return begun(request.getfixturevalue(request.param))


@pytest.fixture
def file_shop(shop: Folder) -> Shop:
    return begun(shop)


def test_a_restore_that_creates_updates_and_deletes_is_undone_and_the_undo_as_well(living: Shop) -> None:
    before = living.all
    restored = living.good(*LIVE, "--update", "--delete", "--json").data
    after = living.all
    assert restored["restore_id"].startswith("r-")
    assert restored["pre_restore"]
    assert after != before
    plan = living.good("undo", "shop", "--plan", "--json").data["plan"]
    looked = living.good("undo", "shop", "--dry-run", "--json").data["plan"]
    assert looked["digest"] == plan["digest"]
    assert living.all == after
    undone = living.good(*UNDO, restored["restore_id"], "--json").data
    assert living.all == before
    again = living.run(*UNDO, restored["restore_id"])
    assert again.code == 9
    assert "was undone already" in again.stderr
    living.good(*UNDO, undone["restore_id"])
    assert living.all == after
    living.sql(
        "INSERT INTO orders (customer_id, total) VALUES (1, 5)", "INSERT INTO customers (name) VALUES ('x')"
    )


def test_what_others_wrote_since_stays_and_a_row_that_they_changed_is_refused_by_name(living: Shop) -> None:
    restored = living.good(*LIVE, "--json").data
    living.sql(
        "UPDATE orders SET total = 99 WHERE id = 1", "INSERT INTO orders (customer_id, total) VALUES (1, 7)"
    )
    now = living.all
    refused = living.run(*UNDO)
    assert refused.code == 9, str(refused)
    assert living.all == now
    looked = living.run("undo", "shop", "--plan")
    assert looked.code == 9
    assert "orders 1: it was changed since" in looked.stdout
    rest = living.run(*UNDO, restored["restore_id"], "--except-changed")
    assert rest.code == 10, str(rest)
    # Order 1 of customer 1 stays as it is, and so does every row that it refers to.
    assert [row for row in living.all[1] if row[2] in (99, 7)] == [row for row in now[1] if row[2] in (99, 7)]
    assert len(living.all[1]) == 2
    assert (2, "Bob") not in living.all[0]


def test_a_created_row_that_another_row_refers_to_by_now_is_kept(living: Shop) -> None:
    living.good(*LIVE)
    living.sql("INSERT INTO orders (customer_id, total) VALUES (2, 7)")
    looked = living.run("undo", "shop", "--plan")
    assert ["2", "referred"] in [line.split()[1:3] for line in looked.stdout.splitlines()]
    living.run(*UNDO, "--except-changed")
    assert (2, "Bob") in living.all[0]


def test_what_was_undone_and_done_again_can_be_undone_by_the_name_of_the_restore(file_shop: Shop) -> None:
    before = file_shop.all
    restored = file_shop.good(*LIVE, "--json").data["restore_id"]
    after = file_shop.all
    file_shop.good(*UNDO)
    file_shop.good(*UNDO)
    assert file_shop.all == after
    file_shop.good(*UNDO, restored)
    assert file_shop.all == before


def test_of_a_restore_without_a_known_end_the_database_says_whether_it_happened(file_shop: Shop) -> None:
    before = file_shop.all
    restored = file_shop.good(*LIVE, "--json").data["restore_id"]
    folder = file_shop.folder.path / "vault" / "shop" / "restores" / restored
    for end in folder.glob("done.json*"):
        end.unlink()
    file_shop.good(*UNDO, restored)
    assert file_shop.all == before
    assert (folder / "done.json").exists()


def test_a_restore_that_did_not_happen_is_not_undone(file_shop: Shop) -> None:
    before = file_shop.all
    # An earlier restore has left its place, so this one would be remembered.
    file_shop.good(*LIVE)
    file_shop.good(*UNDO)
    restored = file_shop.good(*LIVE, "--json").data["restore_id"]
    file_shop.good(*UNDO, restored)
    folder = file_shop.folder.path / "vault" / "shop" / "restores" / restored
    (folder / "done.json").unlink()
    ended = file_shop.run(*UNDO, restored)
    assert ended.code == 9
    assert "changed nothing" in ended.stderr
    assert file_shop.all == before


def test_the_same_restore_again_knows_the_rows_that_it_gave_new_keys(file_shop: Shop) -> None:
    file_shop.sql(
        "INSERT INTO orders (id, customer_id, total) VALUES (1, 1, 77)",
        "UPDATE customers SET name = 'Other' WHERE id = 1",
    )
    first = file_shop.good(*LIVE, "--lineage", "other", "--json").data
    assert sum(table["remapped"] for table in first["plan"]["tables"])
    file_shop.sql("UPDATE orders SET total = total + 1")
    again = file_shop.good(*LIVE, "--lineage", "other", "--only", "orders", "--json").data
    assert {table["table"]: table["create"] for table in again["plan"]["tables"]}["main.orders"] == 0


def test_python_undoes_the_newest_restore(file_shop: Shop) -> None:
    before, config = file_shop.all, file_shop.folder.path / "backup.yaml"
    plan = bp.plan_restore("shop", live=True, config=config)
    assert file_shop.all == before
    done = plan.apply()
    assert file_shop.all != before
    assert bp.undo("shop", config=config).plan.writes == done.plan.writes
    assert file_shop.all == before


def test_there_is_nothing_to_undo_before_the_first_restore(file_shop: Shop) -> None:
    ended = file_shop.run(*UNDO)
    assert ended.code == 3
    assert "no restore" in ended.stderr
