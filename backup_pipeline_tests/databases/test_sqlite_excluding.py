"""What is excluded leaves no byte in the vault, and what is kept is kept as it was."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from backup_pipeline.errors import NotSupported
from backup_pipeline.model.schema import TableId
from backup_pipeline.model.selection import Selection
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.blocks import image_objects
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.contracts.source_contract import Taken
from backup_pipeline_tests.harness.sqlite_rows import LiveSqlite, connect, lines, new_database, restored

MARKER = "zebraword"
SECRET = f"""
CREATE TABLE secret (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, note TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
  INSERT INTO secret SELECT i, '{MARKER} name ' || i, '{MARKER} ' || hex(randomblob(40)) FROM n;
DELETE FROM secret WHERE id % 5 = 0;
CREATE INDEX secret_note ON secret (note);
CREATE TABLE kept (a TEXT, b INT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) INSERT INTO kept SELECT 'k' || i, i FROM n;
DELETE FROM kept WHERE b % 3 = 0;
CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT);
INSERT INTO counted VALUES (41);
DELETE FROM counted;
"""


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    vault = Vault(LocalStore(tmp_path / "vault"))
    vault.store.root.mkdir()  # type: ignore[attr-defined]
    vault.prepare()
    return vault


def database(path: Path, text: str, *pragmas: str) -> LiveSqlite:
    new_database(path, *pragmas)
    with closing(connect(path)) as connection:
        connection.executescript(text)
    return LiveSqlite(path)


def stored_bytes(vault: Vault, taken: Taken) -> bytes:
    """The plain content of every pack: what anyone who holds the vault can read."""
    assert taken.export.image
    return b"".join(vault.content(reference) for reference in image_objects(taken.export.image))


def left_out(taken: Taken) -> set[tuple[str, str]]:
    return {(item.kind, item.name) for item in taken.left_out}


def rowids(path: Path, table: str) -> list[object]:
    with closing(connect(path)) as connection:
        return connection.execute(f"SELECT rowid, * FROM {table} ORDER BY rowid").fetchall()


@pytest.mark.parametrize(
    "pragmas",
    [
        (),
        ("journal_mode = WAL",),
        ("auto_vacuum = FULL", "page_size = 1024", "user_version = 7", "application_id = 9"),
        ("encoding = 'UTF-16le'", "auto_vacuum = INCREMENTAL"),
    ],
    ids=str,
)
def test_no_byte_of_an_excluded_row_is_stored(tmp_path: Path, vault: Vault, pragmas: tuple[str, ...]) -> None:
    live = database(tmp_path / "app.db", SECRET + "ANALYZE;", *pragmas)
    # Free pages and the space between rows hold old versions; they must not come along either.
    live.run(f"UPDATE secret SET note = note || '{MARKER}'", "DELETE FROM secret WHERE id % 2 = 0")
    encoding = "utf-16-le" if "UTF-16le" in str(pragmas) else "utf-8"
    everything = Taken(live, vault)
    assert MARKER.encode(encoding) in stored_bytes(vault, everything)
    taken = Taken(live, vault, Selection(exclude=("secret",)))
    assert MARKER.encode(encoding) not in stored_bytes(vault, taken)
    assert left_out(taken) == {("table", "secret")}
    with restored(vault, taken.export) as path:
        for table in ("kept", "counted"):
            assert rowids(path, table) == rowids(live.path, table)
        with closing(connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            # No new row gets the number of one that was left out, and that rows of others may point to.
            numbers = dict(connection.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
            assert numbers == {"counted": 41, "secret": 500}
            assert lines(path, "secret") == {}
            for name in ("secret", "secret_note"):
                query = f"SELECT sql FROM sqlite_master WHERE name = '{name}'"
                with closing(connect(live.path)) as original:
                    assert connection.execute(query).fetchone() == original.execute(query).fetchone()
            assert (
                connection.execute("SELECT DISTINCT tbl FROM sqlite_stat1 WHERE tbl = 'secret'").fetchall()
                == []
            )
            with closing(connect(live.path)) as original:
                for name in (
                    "page_size",
                    "encoding",
                    "user_version",
                    "application_id",
                    "auto_vacuum",
                    "journal_mode",
                ):
                    query = f"PRAGMA {name}"
                    assert connection.execute(query).fetchone() == original.execute(query).fetchone()
            connection.execute("INSERT INTO counted DEFAULT VALUES")
            assert connection.execute("SELECT id FROM counted").fetchall() == [(42,)]


def test_the_live_database_keeps_what_is_excluded(tmp_path: Path, vault: Vault) -> None:
    live = database(tmp_path / "app.db", SECRET)
    before = live.path.read_bytes()
    Taken(live, vault, Selection(exclude=("secret",)))
    assert live.path.read_bytes() == before


def test_a_virtual_table_goes_with_the_tables_that_hold_its_rows(tmp_path: Path, vault: Vault) -> None:
    live = database(
        tmp_path / "app.db",
        f"""CREATE VIRTUAL TABLE docs USING fts5 (body);
        INSERT INTO docs VALUES ('{MARKER} one'), ('two');
        CREATE VIRTUAL TABLE vocabulary USING fts5vocab ('docs', 'row');
        CREATE TABLE docs_of_mine (x);
        CREATE TABLE other (x);""",
    )
    taken = Taken(live, vault, Selection(exclude=("docs",)))
    assert left_out(taken) == {
        ("virtual table", "docs"),
        ("virtual table", "vocabulary"),
        *(("shadow table", f"docs_{part}") for part in ("data", "idx", "content", "docsize", "config")),
    }
    assert MARKER.encode() not in stored_bytes(vault, taken)
    assert [table.name for table in taken.selected] == ["docs_of_mine", "other"]
    with restored(vault, taken.export) as path, closing(connect(path)) as connection:
        connection.execute("INSERT INTO docs VALUES ('three')")
        assert connection.execute("SELECT body FROM docs WHERE docs MATCH 'three'").fetchall() == [("three",)]
        assert connection.execute("SELECT term FROM vocabulary").fetchall() == [("three",)]
    kept = Taken(live, vault, Selection(include=("docs", "other")))
    assert left_out(kept) == {("table", "docs_of_mine"), ("virtual table", "vocabulary")}
    with restored(vault, kept.export) as path, closing(connect(path)) as connection:
        found = connection.execute("SELECT body FROM docs WHERE docs MATCH 'two'").fetchall()
        assert found == [("two",)]


def test_a_part_of_a_virtual_table_is_not_excluded_alone(tmp_path: Path, vault: Vault) -> None:
    live = database(
        tmp_path / "app.db", "CREATE VIRTUAL TABLE docs USING fts5 (body); CREATE TABLE big_data (x);"
    )
    with pytest.raises(NotSupported, match="docs_data") as caught:
        Taken(live, vault, Selection(exclude=("*_data",)))
    assert "docs" in caught.value.remedy


def test_an_index_of_words_goes_with_the_table_whose_words_they_are(tmp_path: Path, vault: Vault) -> None:
    live = database(
        tmp_path / "app.db",
        f"""CREATE TABLE letters (id INTEGER PRIMARY KEY, body TEXT);
        INSERT INTO letters VALUES (1, '{MARKER}');
        CREATE VIEW opened AS SELECT id, body FROM Letters;
        CREATE VIRTUAL TABLE search5 USING fts5 (body, content = 'letters', content_rowid = 'id');
        CREATE VIRTUAL TABLE search4 USING fts4 (content="letters", body);
        CREATE VIRTUAL TABLE search_view USING fts5 (body, content = opened, content_rowid = id);
        INSERT INTO search5 (search5) VALUES ('rebuild');
        INSERT INTO search4 (search4) VALUES ('rebuild');
        INSERT INTO search_view (search_view) VALUES ('rebuild');
        CREATE VIRTUAL TABLE search_all USING fts4 (content="letters");
        CREATE TABLE kept (x);""",
    )
    # As migrations do it: the table is now younger than the index that asks it for its columns.
    live.run(
        "DROP TABLE letters",
        "CREATE TABLE letters (id INTEGER PRIMARY KEY, body TEXT)",
        f"INSERT INTO letters VALUES (1, '{MARKER}')",
    )
    taken = Taken(live, vault, Selection(exclude=("letters",)))
    assert MARKER.encode() not in stored_bytes(vault, taken)
    assert [table.name for table in taken.selected] == ["kept"]
    assert {name for kind, name in left_out(taken) if kind != "shadow table"} == {
        "letters",
        "search5",
        "search4",
        "search_view",
        "search_all",
    }


def test_what_speaks_of_an_excluded_table_works_in_what_is_restored(tmp_path: Path, vault: Vault) -> None:
    live = database(
        tmp_path / "app.db",
        SECRET
        + """CREATE VIEW direct AS SELECT * FROM secret;
        CREATE VIEW indirect AS SELECT count(*) AS n FROM direct;
        CREATE TRIGGER audit AFTER INSERT ON kept BEGIN INSERT INTO secret (name) VALUES (new.a); END;
        CREATE TRIGGER own AFTER INSERT ON secret WHEN new.note IS NULL BEGIN UPDATE secret SET note = 'own' WHERE id = new.id; END;
        CREATE TRIGGER instead INSTEAD OF INSERT ON direct BEGIN INSERT INTO kept (a) VALUES (new.name); END;
        CREATE TABLE child (id INTEGER PRIMARY KEY, s REFERENCES secret (id));
        INSERT INTO child VALUES (1, 3);""",
    )
    taken = Taken(live, vault, Selection(exclude=("secret",)))
    assert left_out(taken) == {("table", "secret")}
    assert [(one.code, one.severity, one.table) for one in taken.export.findings] == [
        ("reference-left-out", "info", "main.secret")
    ]
    with restored(vault, taken.export) as path, closing(connect(path)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("INSERT INTO kept VALUES ('new', 1)")
        connection.execute("INSERT INTO direct (name) VALUES ('through')")
        assert connection.execute("SELECT n FROM indirect").fetchall() == [(2,)]
        rows = connection.execute("SELECT id, name, note FROM secret").fetchall()
        assert rows == [(501, "new", "own"), (502, "through", "own")]
        connection.execute("INSERT INTO child (s) VALUES (501)")


def test_a_partial_backup_holds_what_was_asked_for(tmp_path: Path, vault: Vault) -> None:
    live = database(tmp_path / "app.db", SECRET + "CREATE VIRTUAL TABLE docs USING fts5 (body);")
    taken = Taken(
        live, vault, Selection(only=frozenset({TableId("main", "kept"), TableId("main", "docs_data")}))
    )
    assert {table.name for table in taken.selected} >= {"kept", "docs", "docs_data", "docs_content"}
    assert MARKER.encode() not in stored_bytes(vault, taken)
    with restored(vault, taken.export) as path:
        assert lines(path, "kept") == lines(live.path, "kept")


def test_excluding_what_cannot_be_taken_out_is_refused(tmp_path: Path, vault: Vault) -> None:
    live = database(
        tmp_path / "app.db", "CREATE VIRTUAL TABLE boxes USING rtree (id, a, b); CREATE TABLE kept (x);"
    )
    with closing(connect(live.path)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'rtree', 'vec0') WHERE name = 'boxes'"
        )
    with pytest.raises(NotSupported, match="boxes"):
        Taken(live, vault, Selection(exclude=("boxes",)))
