"""Who writes to the store, with a merge or an undo in mind: what a vault says is refused or is text, and never a statement."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backup_pipeline.databases.merge.session import SessionOptions
from backup_pipeline.errors import BackupError, Damaged
from backup_pipeline.model.schema import TableId
from backup_pipeline.restores.merging import merge_into
from backup_pipeline.restores.undoing import undo
from backup_pipeline.vault.door import Door
from backup_pipeline.vault.restores import Restore, Restores
from backup_pipeline_tests.harness.restoring import wanted
from backup_pipeline_tests.merging.conftest import story
from backup_pipeline_tests.merging.stories import Story

__all__ = ["story"]

EVIL = 'kept"; DROP TABLE kept; --'
SHOP = "CREATE TABLE kept (id $id, t text); INSERT INTO kept VALUES (1, 'a'), (2, 'b');"


@pytest.fixture
def shop(story: Story) -> Story:
    story.begin(SHOP)
    story.run("DELETE FROM kept WHERE id = 1")
    return story


def _untouched(shop: Story) -> None:
    assert shop.ask("SELECT id, t FROM kept ORDER BY id") == [(2, "b")]


# ── an undo


def _record(shop: Story, images: list[tuple[str, tuple[str, ...], str, bytes]], rows: int = 0) -> Restore:
    """Of a restore that has changed these rows, as it says. `rows`: so many more than it has."""
    assert shop.backup is not None
    record = replace(wanted(shop.backup.link), system="shop", engine=shop.backup.manifest.engine)
    restores = Restores(shop.backup.vault, "shop")
    with restores.begin(record) as recording:
        for name, columns, which, text in images:
            table = TableId(shop.table("kept").schema, name)
            recording.image(table, columns, ("id",), which, iter([text]))  # type: ignore[arg-type]
        recording._images[:] = [replace(one, rows=one.rows + rows) for one in recording._images]
        recording.prepared()
        recording.done({})
    return restores.get(recording.id)


KEPT = ("id", "t")
NEW = b"7\tx\n"


@pytest.mark.parametrize(
    "images",
    [
        [(EVIL, KEPT, "before", NEW)],
        [("kept", ("id", EVIL), "before", NEW)],
        [("_backup_pipeline_map", KEPT, "before", NEW)],
        [("kept", KEPT, "before", b"7\tx\ty\n")],
        [("kept", KEPT, "before", b"7\n")],
        [("kept", KEPT, "before", b"\n\n")],
        [("kept", KEPT, "before", b"7')--\tx\n")],
        [("kept", KEPT, "before", b"\\Bzz\tx\n")],
        [("kept", ("t",), "before", b"x\n")],
        [("kept", ("id", "t", "t"), "before", b"7\tx\ty\n")],
        [("kept", KEPT, "before", NEW), ("kept", ("t", "id"), "after", b"x\t7\n")],
        [("kept", KEPT, "before", NEW), ("kept", ("t", "id"), "before", b"x\t8\n")],
    ],
    ids=str,
)
def test_an_undo_of_a_hostile_record_is_refused(shop: Story, images: Any) -> None:
    record = _record(shop, images)
    with pytest.raises(BackupError):
        undo(record, shop.url, SessionOptions(), "merge")
    _untouched(shop)


def test_an_undo_counts_the_rows_of_its_record(shop: Story) -> None:
    images = [("kept", KEPT, "before", NEW)]
    with pytest.raises(Damaged, match="rows"):
        undo(_record(shop, images, rows=1), shop.url, SessionOptions(), "merge")
    _untouched(shop)
    undo(_record(shop, images), shop.url, SessionOptions(), "merge")
    assert shop.ask("SELECT t FROM kept WHERE id = 7") == [("x",)]


# ── a merge


def _merge(shop: Story) -> None:
    assert shop.backup is not None
    merge_into(shop.backup, shop.url, shop.asked, shop.rules)


@pytest.mark.parametrize(
    "kind", ["text); DROP TABLE kept; --", "integer, evil text", EVIL, "kept", "text[", "\0"]
)
def test_a_type_of_a_backup_is_no_part_of_a_statement(shop: Story, kind: str) -> None:
    """It is another type than that of the target, so the rows are refused or go in as text."""
    assert shop.backup is not None
    schema = shop.backup.schema
    tables = tuple(
        replace(one, columns=tuple(replace(c, type=kind) if c.name == "t" else c for c in one.columns))
        for one in schema.tables
    )
    shop.backup.__dict__["schema"] = replace(schema, tables=tables)
    try:
        _merge(shop)
    except BackupError:
        _untouched(shop)
    else:
        assert shop.ask("SELECT id, t FROM kept ORDER BY id") == [(1, "a"), (2, "b")]


def test_a_table_that_the_schema_of_a_backup_lacks_is_damage(shop: Story) -> None:
    assert shop.backup is not None
    shop.backup.__dict__["schema"] = replace(shop.backup.schema, tables=())
    with pytest.raises(Damaged):
        _merge(shop)
    _untouched(shop)


@pytest.mark.parametrize(
    "line", [b"1\ta\tb\n", b"1\n", b"", b"1\ta\n3\tc\n1\ta\n", b"x\ta\n2\tb\n", b"\\.\n"]
)
def test_row_text_with_other_fields_is_refused(
    pg_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: bytes
) -> None:
    """A merge into SQLite reads no row text of a backup."""
    shop = Story("postgres", pg_database, tmp_path / "vault")
    shop.begin(SHOP)
    shop.run("DELETE FROM kept WHERE id = 1")
    rules = shop.rules

    def text(*_: object) -> Iterator[bytes]:
        yield line

    monkeypatch.setattr(Door, "rows", text)
    assert shop.backup is not None
    with pytest.raises(BackupError):
        merge_into(shop.backup, shop.url, shop.asked, rules)
    _untouched(shop)


@pytest.mark.parametrize(
    "script",
    [
        "CREATE VIEW kept AS SELECT 1 AS id, 'a' AS t UNION ALL SELECT 2, 'b'",
        "CREATE VIRTUAL TABLE kept USING fts5(id, t)",
        "CREATE TABLE kept (id INTEGER PRIMARY KEY, t TEXT); INSERT INTO kept VALUES (1, 'a')",
        "CREATE TABLE other (id INTEGER)",
    ],
)
def test_a_file_of_a_backup_that_is_another_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    shop = Story("sqlite", f"sqlite:///{tmp_path / 'app.sqlite3'}", tmp_path / "vault")
    shop.begin(SHOP)
    shop.run("DELETE FROM kept WHERE id = 1")
    with closing(sqlite3.connect(tmp_path / "evil.sqlite3")) as file:
        file.executescript(script)

    def write_image(_: object, __: object, path: Path, *___: object) -> None:
        shutil.copy(tmp_path / "evil.sqlite3", path)

    rules = shop.rules
    monkeypatch.setattr(Door, "write_image", write_image)
    assert shop.backup is not None
    with pytest.raises(BackupError):
        merge_into(shop.backup, shop.url, shop.asked, rules)
    _untouched(shop)
