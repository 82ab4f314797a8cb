"""A SQLite database comes back as it was: every kind of table, value, page and setting."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from backup_pipeline.databases.base import Baseline, Options
from backup_pipeline.databases.sqlite.export import SqliteSource
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import EarlierImage
from backup_pipeline.model.schema import TableId
from backup_pipeline.model.selection import Selection
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.contracts.source_contract import Taken, objects
from backup_pipeline_tests.harness.sqlite_rows import LiveSqlite, connect, lines, new_database, restored

TORTURE = r"""
CREATE TABLE plain (id INTEGER PRIMARY KEY AUTOINCREMENT, t TEXT, r REAL, b BLOB, n NUMERIC, x);
INSERT INTO plain (t, r, b, n, x) VALUES
  ('text', 1.5, x'00ff', 12, 'loose'), (NULL, NULL, NULL, NULL, NULL), (1, 1, 1, 1, 1), (1.0, 1.0, 1.0, 1.0, 1.0),
  ('1', '1', '1', '1', '1'), (x'31', x'31', x'31', x'31', x'31'), ('', 'not a number', '', 'nor this', ''),
  (char(0, 65, 0), 9e999, zeroblob(100000), -9e999, -9223372036854775808), ('tab' || char(9) || 'nl' || char(10), 0.1, x'', 1e-320, '\N'),
  (CAST(x'ff41' AS TEXT), 2.5, x'5c78', 1e16, CAST(x'80' AS TEXT));
DELETE FROM plain WHERE id = 3;
CREATE TABLE no_rowid (a TEXT COLLATE NOCASE, b INT, c TEXT, PRIMARY KEY (b DESC, a)) WITHOUT ROWID;
INSERT INTO no_rowid VALUES ('x', 1, 'one'), ('Y', 1, 'two'), ('z', -1, NULL);
CREATE TABLE strict_one (id INTEGER PRIMARY KEY, i INT NOT NULL, t TEXT, a ANY, r REAL) STRICT;
INSERT INTO strict_one VALUES (1, 2, 'x', 3, 4.5), (2, 3, NULL, 'any', NULL), (3, 4, 'z', x'00', 1);
CREATE TABLE generated (a INT, v INT GENERATED ALWAYS AS (a * 2) VIRTUAL, s TEXT AS (a || '!') STORED, z);
INSERT INTO generated (a, z) VALUES (1, 'z'), (NULL, NULL);
CREATE TABLE loose (a, b);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) INSERT INTO loose SELECT i, hex(i * 7919) FROM n;
DELETE FROM loose WHERE a % 3 = 0;
CREATE TABLE hidden_rowid (rowid TEXT, _rowid_ TEXT, oid TEXT);
INSERT INTO hidden_rowid VALUES ('a', 'b', 'c');
CREATE TABLE half_hidden (rowid TEXT);
INSERT INTO half_hidden VALUES ('z'), ('a');
CREATE TABLE parent (a INT, b INT, PRIMARY KEY (a, b));
CREATE TABLE child (id INTEGER PRIMARY KEY, a INT, b INT, p REFERENCES plain, self INT REFERENCES child (id) ON DELETE SET NULL,
  CONSTRAINT to_parent FOREIGN KEY (a, b) REFERENCES Parent (a, b) ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO child VALUES (1, 7, 7, 99, 1);
CREATE INDEX plain_t ON plain (t COLLATE NOCASE DESC);
CREATE UNIQUE INDEX plain_partial ON plain (n) WHERE n > 11;
CREATE INDEX plain_expression ON plain (lower(t), length(b));
CREATE VIEW seen AS SELECT p.id, q.c FROM plain p LEFT JOIN no_rowid q ON q.b = p.id;
CREATE TRIGGER noted AFTER INSERT ON child BEGIN INSERT INTO loose VALUES (new.id, 'inserted'); END;
CREATE TRIGGER through INSTEAD OF INSERT ON seen BEGIN INSERT INTO plain (id) VALUES (new.id); END;
CREATE VIRTUAL TABLE fts5_docs USING fts5 (title, body, tokenize = 'porter unicode61');
INSERT INTO fts5_docs VALUES ('first', 'the running fox'), ('second', 'it''s "quoted" — ünï');
CREATE VIRTUAL TABLE fts4_docs USING fts4 (title, body);
INSERT INTO fts4_docs VALUES ('old', 'full text');
CREATE VIRTUAL TABLE contentless USING fts5 (body, content = '');
INSERT INTO contentless (rowid, body) VALUES (5, 'words without a text');
CREATE VIRTUAL TABLE outside USING fts5 (c, content = 'no_rowid_mirror', content_rowid = 'id');
CREATE TABLE no_rowid_mirror (id INTEGER PRIMARY KEY, c TEXT);
INSERT INTO no_rowid_mirror VALUES (1, 'mirrored words');
INSERT INTO outside (outside) VALUES ('rebuild');
CREATE VIRTUAL TABLE vocabulary USING fts5vocab ('fts5_docs', 'row');
CREATE VIRTUAL TABLE boxes USING rtree (id, x0, x1, y0, y1, +label);
INSERT INTO boxes VALUES (1, 0, 1, 2, 3, 'a'), (2, -5.5, 5.5, 0, 0.1, NULL);
"""

PRAGMAS = ("user_version", "application_id", "encoding", "page_size", "auto_vacuum", "journal_mode")


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    vault = Vault(LocalStore(tmp_path / "vault"))
    vault.store.root.mkdir()  # type: ignore[attr-defined]
    vault.prepare()
    return vault


def script(path: Path, text: str) -> None:
    with closing(connect(path)) as connection:
        connection.executescript(text)


def make_torture(path: Path, *pragmas: str) -> LiveSqlite:
    new_database(path, *pragmas)
    script(path, TORTURE)
    return LiveSqlite(path)


def everything(path: Path) -> dict[str, object]:
    """All that there is to see in a database, hidden rowids included."""
    with closing(connect(path)) as connection:
        connection.text_factory = bytes
        found: dict[str, object] = {
            "schema": connection.execute(
                "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY rowid"
            ).fetchall(),
            "sequences": connection.execute("SELECT * FROM sqlite_sequence ORDER BY name").fetchall(),
            "settings": [connection.execute(f"PRAGMA {name}").fetchone() for name in PRAGMAS],
        }
        tables = connection.execute(
            "SELECT name, wr, type FROM pragma_table_list WHERE schema = 'main'"
        ).fetchall()
        for raw, without_rowid, kind in tables:
            name = raw.decode()
            rowid = "" if without_rowid or kind == b"view" or "hidden" in name else "_rowid_, "
            values = connection.execute(f'SELECT {rowid}* FROM "{name}"').fetchall()
            classes = [[(type(value), value) for value in row] for row in values]
            found[name] = sorted(map(repr, classes))
        return found


@pytest.mark.parametrize(
    "pragmas",
    [
        (),
        ("journal_mode = WAL",),
        ("page_size = 512", "encoding = 'UTF-16le'"),
        ("page_size = 65536", "auto_vacuum = FULL", "application_id = 305419896"),
        ("page_size = 1024", "auto_vacuum = INCREMENTAL", "encoding = 'UTF-16be'", "user_version = -7"),
        ("page_size = 8192", "journal_mode = WAL", "user_version = 42"),
    ],
    ids=lambda pragmas: ", ".join(pragmas) or "as it comes",
)
def test_everything_comes_back_and_can_be_written_to(
    tmp_path: Path, vault: Vault, pragmas: tuple[str, ...]
) -> None:
    live = make_torture(tmp_path / "app.db", *pragmas)
    taken = Taken(live, vault)
    with restored(vault, taken.export) as path:
        assert everything(path) == everything(live.path)
        with closing(connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            connection.execute("INSERT INTO plain (t) VALUES ('next')")
            assert connection.execute("SELECT max(id) FROM plain").fetchone() == (11,)
            connection.execute("INSERT INTO child (id) VALUES (2)")
            assert connection.execute("SELECT b FROM loose WHERE a = 2 AND b = 'inserted'").fetchone()
            connection.execute("INSERT INTO fts5_docs VALUES ('third', 'runner runs')")
            found = connection.execute(
                "SELECT title FROM fts5_docs WHERE fts5_docs MATCH 'run' ORDER BY rowid"
            )
            assert found.fetchall() == [("first",), ("third",)]
            connection.execute("INSERT INTO boxes VALUES (3, 1, 2, 3, 4, 'new')")
    assert {entry.name: entry.rows for entry in taken.export.tables if entry.fingerprint} == {
        entry.name: sum(lines(live.path, entry.name).values()) for entry in taken.export.tables
    }


def test_every_page_but_the_first_is_stored_as_it_is(tmp_path: Path, vault: Vault) -> None:
    live = make_torture(tmp_path / "app.db")
    with restored(vault, Taken(live, vault).export) as path:
        original, copy = live.path.read_bytes(), path.read_bytes()
    assert copy[4096:] == original[4096:]
    # Of the first page, SQLite starts its two counters anew: the file's changes and the schema's.
    different = {i for i in range(4096) if copy[i] != original[i]}
    assert different <= {*range(24, 28), *range(40, 44), *range(92, 100)}


def test_reserved_bytes_at_the_end_of_every_page_are_kept(tmp_path: Path, vault: Vault) -> None:
    live = LiveSqlite(new_database(tmp_path / "app.db"))
    header = bytearray(live.path.read_bytes())
    header[20] = 32  # reserve 32 bytes a page, as checksum and encryption extensions do
    header[105:107] = (4096 - 32).to_bytes(2, "big")
    live.path.write_bytes(header)
    live.run("CREATE TABLE t (a, b)")
    live.run(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) INSERT INTO t SELECT i, hex(i) FROM n"
    )
    for selection in (Selection(), Selection(exclude=("nothing",)), Selection(exclude=("u",))):
        live.run("CREATE TABLE IF NOT EXISTS u (x)")
        with restored(vault, Taken(live, vault, selection).export) as path:
            assert path.read_bytes()[20] == 32
            assert lines(path, "t") == lines(live.path, "t")


def test_what_is_in_the_wal_only_is_in_the_backup(tmp_path: Path, vault: Vault) -> None:
    live = LiveSqlite(new_database(tmp_path / "app.db", "journal_mode = WAL"))
    with closing(connect(live.path)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE t (x)")
        connection.execute("INSERT INTO t VALUES ('only in the wal')")
        assert live.path.stat().st_size == 4096
        with restored(vault, Taken(live, vault).export) as path:
            assert lines(path, "t") == {r"\Tonly in the wal": 1}
            assert {p.name for p in path.parent.iterdir()} == {"restored.db"}


def test_the_schema_says_what_is_there(tmp_path: Path, vault: Vault) -> None:
    live = make_torture(tmp_path / "app.db", "user_version = 3")
    schema = Taken(live, vault).schema
    table = {entry.id.name: entry for entry in schema.tables}
    assert schema.settings["user_version"] == "3"
    kinds = {name: entry.kind for name, entry in table.items()}
    assert kinds["plain"] == "table"
    assert kinds["fts5_docs"] == kinds["vocabulary"] == kinds["boxes"] == "virtual"
    assert kinds["fts5_docs_data"] == kinds["fts4_docs_segdir"] == kinds["boxes_node"] == "shadow"
    assert table["fts5_docs_data"].options == ("SHADOW OF fts5_docs",)
    assert table["strict_one"].options == ("STRICT",)
    assert table["no_rowid"].options == ("WITHOUT ROWID",)
    assert table["no_rowid"].primary_key
    assert table["no_rowid"].primary_key.columns == ("b", "a")
    assert table["no_rowid"].columns[0].collation == "NOCASE"
    assert "AUTOINCREMENT" in table["plain"].options
    assert [column.identity for column in table["plain"].columns][:2] == ["by default", None]
    assert {c.name: c.generated for c in table["generated"].columns} == {
        "a": None,
        "v": "a * 2",
        "s": "a || '!'",
        "z": None,
    }
    assert [column.type for column in table["generated"].columns] == ["INT", "INT", "TEXT", ""]
    assert table["fts5_docs"].exported_columns == ("title", "body")
    assert [index.name for index in table["plain"].indexes] == [
        "plain_expression",
        "plain_partial",
        "plain_t",
    ]
    assert [index.unique for index in table["plain"].indexes] == [False, True, False]
    keys = {key.columns: key for key in table["child"].foreign_keys}
    assert keys["a", "b"].name == "to_parent"
    assert keys["a", "b"].references == TableId("main", "parent")
    assert (keys["a", "b"].deferrable, keys["a", "b"].initially_deferred) == (True, True)
    assert keys["p",].referenced == ("id",)
    assert keys["self",].on_delete == "SET NULL"
    assert {(o.kind, o.name, o.table) for o in schema.objects} == {
        ("view", "seen", None),
        ("trigger", "noted", TableId("main", "child")),
        ("trigger", "through", TableId("main", "seen")),
    }
    assert [(s.id.name, s.owned_by_column) for s in schema.sequences] == [("plain", "id")]


def test_where_autoincrement_has_got_to_is_known(tmp_path: Path, vault: Vault) -> None:
    live = make_torture(tmp_path / "app.db")
    (sequence,) = Taken(live, vault).export.sequences
    assert (sequence.name, sequence.last_value) == ("plain", 10)


def test_the_definitions_make_an_equal_schema(tmp_path: Path, vault: Vault) -> None:
    live = make_torture(tmp_path / "app.db")
    taken = Taken(live, vault)
    script(tmp_path / "again.db", b"".join(text for _, _, text in taken.ddl).decode())
    query = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2"
    with closing(connect(tmp_path / "again.db")) as again, closing(connect(live.path)) as original:
        assert again.execute(query).fetchall() == original.execute(query).fetchall()


def test_one_changed_row_stores_little(tmp_path: Path, vault: Vault) -> None:
    live = LiveSqlite(new_database(tmp_path / "app.db"))
    with closing(sqlite3.connect(live.path)) as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
        random_ = random.Random(1)
        connection.executemany(
            "INSERT INTO t (v) VALUES (?)", [(random_.randbytes(200).hex(),) for _ in range(10_000)]
        )
        connection.commit()
    first = Taken(live, vault)
    before = {stat.key: stat.size for stat in vault.store.list("objects/")}
    live.run("UPDATE t SET v = 'changed' WHERE id = 5000")
    second = Taken(live, vault, baseline_image=first.export)
    new = sum(stat.size for stat in vault.store.list("objects/") if stat.key not in before)
    assert new < 0.03 * sum(before.values())
    for taken, value in ((first, None), (second, "5000\tchanged")):
        with restored(vault, taken.export) as path:
            assert (value is None) != (lines(path, "t")["5000\tchanged"] == 1)


class _Counting:
    """Stands in for the listener and remembers which tables were looked at."""

    def __init__(self) -> None:
        self.subjects: list[str] = []

    def __call__(self, advance: object) -> None:
        self.subjects.append(advance.subject)  # type: ignore[attr-defined]


def test_a_file_that_did_not_change_is_not_looked_at_again(tmp_path: Path, vault: Vault) -> None:
    live = make_torture(tmp_path / "app.db")
    first = Taken(live, vault)
    stored, image = objects(vault), first.export.image
    assert image is not None
    baselines = {entry.id: Baseline("one", {}, entry) for entry in first.export.tables}
    for previous, options, looked in (
        ("one", Options(), False),
        ("two", Options(), True),
        ("one", Options(full=True), True),
    ):
        heard = _Counting()
        with live.source.snapshot(Selection(), options) as snapshot:
            export = snapshot.export(
                vault.writer,
                baselines=baselines,
                previous=EarlierImage(image, previous),
                listener=heard,
            )
        assert ("main.plain" in heard.subjects) == looked
        assert export.tables == first.export.tables
        assert objects(vault) == stored
        assert export.image
        assert [s.reused_from for s in export.image.segments] == [None if options.full else previous]


def findings_of(taken: Taken, code: str) -> list[Finding]:
    return [finding for finding in taken.export.findings if finding.code == code]


def test_a_virtual_table_whose_module_is_missing_is_stored_and_named(tmp_path: Path, vault: Vault) -> None:
    live = make_torture(tmp_path / "app.db")
    with closing(connect(live.path)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'rtree', 'vec0') WHERE name = 'boxes'"
        )
    taken = Taken(live, vault)
    assert [finding.table for finding in findings_of(taken, "module-missing")] == ["main.boxes"]
    assert taken.entry("boxes").fingerprint == ""
    assert taken.entry("boxes_node").rows == 1
    with restored(vault, taken.export) as path:
        assert path.read_bytes()[4096:] == live.path.read_bytes()[4096:]


def test_what_only_the_application_defines_does_not_stop_a_backup(tmp_path: Path, vault: Vault) -> None:
    live = LiveSqlite(new_database(tmp_path / "app.db"))
    with closing(connect(live.path)) as connection:
        connection.create_collation("german", lambda a, b: (a > b) - (a < b))
        connection.create_function("shout", 1, str.upper, deterministic=True)
        connection.execute("CREATE TABLE t (a TEXT COLLATE german, b TEXT CHECK (shout(b) = b))")
        connection.execute("CREATE INDEX t_a ON t (a)")
        connection.execute("CREATE INDEX t_b ON t (shout(b))")
        connection.execute("CREATE VIEW v AS SELECT shout(a) FROM t")
        connection.execute("INSERT INTO t VALUES ('ä', 'LOUD')")
    taken = Taken(live, vault)
    assert taken.entry("t").rows == 1
    assert findings_of(taken, "not-checked")[0].table == "main.t"
    assert Taken(live, vault, Selection(exclude=("none",))).entry("t").rows == 1


def test_rows_that_break_a_rule_are_backed_up_and_reported(tmp_path: Path, vault: Vault) -> None:
    live = LiveSqlite(new_database(tmp_path / "app.db"))
    live.run("CREATE TABLE t (a INTEGER, b CHECK (b > 0))")
    with closing(connect(live.path)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO t VALUES (NULL, ?)", [(-n,) for n in range(300)])
        connection.execute("COMMIT")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'INTEGER', 'INTEGER NOT NULL')")
    taken = Taken(live, vault)
    assert taken.entry("t").rows == 300
    (finding,) = findings_of(taken, "rule-broken")
    assert (finding.severity, "300 rows" in finding.message) == ("warning", True)
    with restored(vault, taken.export) as path:
        assert lines(path, "t") == lines(live.path, "t")


def test_what_this_sqlite_says_falsely_of_tables_without_rowid_is_not_repeated(
    tmp_path: Path, vault: Vault
) -> None:
    """SQLite 3.40 finds a NULL in every row where the key of a STRICT table is not its first column."""
    live = LiveSqlite(new_database(tmp_path / "app.db"))
    live.run(
        'CREATE TABLE t ("a.b" INTEGER NOT NULL, k TEXT PRIMARY KEY) STRICT, WITHOUT ROWID',
        "INSERT INTO t VALUES (1, 'x'), (2, 'y')",
        "CREATE TABLE broken (v TEXT)",
        "INSERT INTO broken VALUES (NULL), ('z')",
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = replace(sql, 'v TEXT', 'v TEXT NOT NULL') WHERE name = 'broken'",
    )
    said = [finding.message for finding in findings_of(Taken(live, vault), "rule-broken")]
    assert said == ["1 rows break a rule of the schema: NULL value in broken.v"]
    told = SqliteSource(str(live.path)).diagnose(Selection())
    assert [finding.code for finding in told.errors] == []
    assert [f.message for f in told.findings if f.code == "rule-broken"] == said


@pytest.fixture
def many_rows(tmp_path: Path) -> Iterator[LiveSqlite]:
    """Large enough for worker processes: 1.2 M rows, 30 MB."""
    live = LiveSqlite(new_database(tmp_path / "app.db"))
    with closing(connect(live.path)) as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, n INT)")
        connection.execute("CREATE TABLE sparse (id INTEGER PRIMARY KEY)")
        connection.execute("CREATE INDEX t_n ON t (n)")
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200000)"
            " INSERT INTO t SELECT i, 'row ' || i, i % 97 FROM n"
        )
        connection.execute("INSERT INTO sparse VALUES (-9223372036854775808), (0), (9223372036854775807)")
    yield live
    shutil.rmtree(tmp_path / "vault", ignore_errors=True)


def test_workers_see_what_one_process_sees(many_rows: LiveSqlite, vault: Vault) -> None:
    alone = Taken(many_rows, vault, options=Options(workers=1))
    together = Taken(many_rows, vault, options=Options(workers=2))
    assert alone.export.tables == together.export.tables
    assert alone.entry("t").rows == 1_200_000
    assert alone.entry("sparse").rows == 3
