"""`around`: a command is run, what it did to the rows is shown, and it is undone when that is too much."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing

import pytest

import backup_pipeline as bp
from backup_pipeline_tests.cli.conftest import Folder

#: Every second order goes, one customer is renamed, one is made.
WORK = """
import sqlite3, sys
with sqlite3.connect("shop.db") as shop:
    shop.execute("DELETE FROM orders WHERE id > 1")
    shop.execute("UPDATE customers SET name = 'Anna' WHERE id = 1")
    shop.execute("INSERT INTO customers (name) VALUES ('Cyd')")
print("the work is done")
sys.exit(int(sys.argv[1]))
"""


def typed(shop: Folder, code: int = 0) -> tuple[str, ...]:
    (shop.path / "work.py").write_text(WORK)
    return ("--", sys.executable, "work.py", str(code))


def content(shop: Folder) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(shop.path / "shop.db")) as connection:
        return [
            *connection.execute("SELECT id, name FROM customers ORDER BY id"),
            *connection.execute("SELECT id, total FROM orders ORDER BY id"),
        ]


BEFORE = [(1, "Ann"), (2, "Bob"), (1, 10), (2, 20), (3, 30)]
AFTER = [(1, "Anna"), (2, "Bob"), (3, "Cyd"), (1, 10)]


def figures(text: str, table: str) -> list[str]:
    return next(line.split()[1:] for line in text.splitlines() if line.startswith(f"{table} "))


def test_the_rows_that_a_command_changed_are_shown_and_the_command_that_undoes_it_works(
    shop: Folder,
) -> None:
    ended = shop.shell("around", "shop", "--show", "customers", *typed(shop))
    assert ended.code == 0, str(ended)
    assert "the work is done" in ended.stdout
    assert figures(ended.stdout, "main.customers") == ["2", "1", "1", "–", "50.0%"]
    assert figures(ended.stdout, "main.orders") == ["3", "–", "–", "2", "66.7%"]
    shown = [line.split() for line in ended.stdout.splitlines()]
    assert ["~", "1", "name", "Ann", "Anna"] in shown
    assert ["+", "3", "name", "Cyd"] in shown
    assert content(shop) == AFTER
    undo = next(line for line in ended.stdout.splitlines() if line.startswith("to undo it: "))
    shop.good(*undo.removeprefix("to undo it: backup-pipeline ").split(), "--yes")
    assert content(shop) == BEFORE


def test_more_than_is_allowed_is_undone_and_the_exit_code_says_so(shop: Folder) -> None:
    ended = shop.shell("around", "shop", "--undo-over", "60%", *typed(shop))
    assert ended.code == 10, str(ended)
    assert "66.7% of the rows of main.orders" in ended.stderr
    assert content(shop) == BEFORE


def test_what_is_allowed_stays(shop: Folder) -> None:
    assert shop.shell("around", "shop", "--undo-over", "70%", *typed(shop)).code == 0
    assert content(shop) == AFTER


def test_a_command_that_fails_keeps_its_exit_code_and_its_difference_is_shown(shop: Folder) -> None:
    ended = shop.shell("around", "shop", "--json", *typed(shop, 3))
    assert ended.code == 3
    assert "the work is done" in ended.stderr
    body = ended.document
    assert body["error"]["code"] == "command-failed"
    assert body["data"]["exit_code"] == 3
    assert {one["table"]: one["deleted"] for one in body["data"]["tables"]}["main.orders"] == 2


def test_a_command_that_is_not_there_is_told(shop: Folder) -> None:
    ended = shop.run("around", "shop", "--", "no-such-program")
    assert ended.code == 2
    assert "no-such-program cannot be run" in ended.stderr


def work(shop: Folder) -> None:
    with closing(sqlite3.connect(shop.path / "shop.db")) as connection, connection:
        connection.execute("DELETE FROM orders WHERE id > 1")


def fail(shop: Folder) -> None:
    work(shop)
    raise ZeroDivisionError


def test_a_block_of_python_is_compared_and_undone(shop: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    with bp.around("shop", config=shop.path / "backup.yaml") as around:
        work(shop)
    assert around.change is not None
    assert around.change.counts == {"created": 0, "changed": 0, "deleted": 2}
    around.show()
    assert figures(capsys.readouterr().out, "main.orders") == ["3", "–", "–", "2", "66.7%"]
    around.undo()
    assert content(shop) == BEFORE


def test_a_block_that_fails_is_undone_as_far_as_it_was_asked(shop: Folder) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        bp.around("shop", config=shop.path / "backup.yaml", undo_over=5),
    ):
        fail(shop)
    assert content(shop) == BEFORE
