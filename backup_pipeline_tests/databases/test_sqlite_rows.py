"""The row text of SQLite: every storage class can be told from every other, in a column of every declaration."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backup_pipeline.databases.sqlite.export import columns_of, fingerprint_table, read_lines, read_rows
from backup_pipeline.databases.sqlite.export.rows import RowRange, reading_file
from backup_pipeline.errors import NotFound
from backup_pipeline.model.affinity import affinity
from backup_pipeline_tests.harness.sqlite_rows import connect

DECLARED = ("TEXT", "INTEGER", "REAL", "NUMERIC", "BLOB", "", "VARCHAR(20)", "ANY")


def written(path: Path, table: str = "t") -> list[bytes]:
    with reading_file(path) as connection:
        return b"".join(read_lines(connection, table)).split(b"\n")[:-1]


def stored(path: Path, declared: str, values: list[Any]) -> None:
    with closing(connect(path)) as connection:
        connection.execute(f"CREATE TABLE t (v {declared})")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO t VALUES (?)", [(value,) for value in values])
        connection.execute("COMMIT")


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("TEXT", [r"\N", "1", "1.0", "1", r"\B31", "a"]),
        ("INTEGER", [r"\N", "1", "1", "1", r"\B31", r"\Ta"]),
        ("REAL", [r"\N", "1.0", "1.0", "1.0", r"\B31", r"\Ta"]),
        ("NUMERIC", [r"\N", "1", "1", "1", r"\B31", r"\Ta"]),
        ("BLOB", [r"\N", r"\I1", r"\R1.0", r"\T1", r"\\x31", r"\Ta"]),
        ("", [r"\N", r"\I1", r"\R1.0", r"\T1", r"\\x31", r"\Ta"]),
    ],
)
def test_a_class_is_announced_where_the_type_does_not_imply_it(
    tmp_path: Path, declared: str, expected: list[str]
) -> None:
    stored(tmp_path / "a.db", declared, [None, 1, 1.0, "1", b"1", "a"])
    assert [line.decode() for line in written(tmp_path / "a.db")] == expected


def decoded(line: str, kind: str) -> Any:
    """What the documentation of `rows` says, the other way round."""
    if line == r"\N":
        return None
    letter = line[1] if line.startswith("\\") and line[1:2] in ("I", "R", "T", "B") else None
    if letter is None and kind == "BLOB":
        assert line.startswith(r"\\x")
        return bytes.fromhex(line[3:])
    body = line[2:] if letter else line
    letter = (
        letter
        or {"TEXT": "T", "INTEGER": "I", "REAL": "R"}.get(kind)
        or ("I" if body.lstrip("-").isdigit() else "R")
    )
    if letter == "B":
        return bytes.fromhex(body)
    if letter == "I":
        return int(body)
    if letter == "R":
        return float(body)
    for character, escape in ((c, e) for c, e in zip("\t\n\r\b\f\v", "tnrbfv", strict=True)):
        body = body.replace("\\\\", "\0\0").replace(f"\\{escape}", character).replace("\0\0", "\\\\")
    return body.replace("\\\\", "\\")


VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20),
    st.binary(max_size=20),
    st.sampled_from(["\\N", "\\T1", "\\x31", "\\\\x31", "\t", "\\t", "\n", "", "1", "1.0", "Infinity", "\\"]),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(DECLARED), st.lists(VALUES, min_size=1, max_size=30))
def test_every_value_can_be_read_back_from_its_line(
    tmp_path_factory: pytest.TempPathFactory, declared: str, values: list[Any]
) -> None:
    path = tmp_path_factory.mktemp("values") / "a.db"
    stored(path, declared, values)
    kept = [row[0] for row in read_rows(path, "t")]
    lines = [line.decode() for line in written(path)]
    found = [decoded(line, affinity(declared)) for line in lines]
    assert [(type(value), value) for value in found] == [(type(value), value) for value in kept]


def test_rows_come_as_sqlite_stores_them(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    values = [None, 1, 1.5, "ünï", b"\x00\xff", math.inf, 2**63 - 1]
    stored(path, "", values)
    assert [row[0] for row in read_rows(path, "t")] == values


def test_text_that_is_not_utf8_is_kept_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(connect(path)) as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)"
            " INSERT INTO t SELECT i, 'row ' || i FROM n"
        )
        connection.execute("UPDATE t SET v = CAST(x'ff00e9' AS TEXT) WHERE id IN (1, 3333, 5000)")
    lines = written(path)
    assert len(lines) == 5000
    assert [line for line in lines if b"row" not in line] == [
        b"%d\t\xff\x00\xe9" % n for n in (1, 3333, 5000)
    ]
    assert lines[1] == b"2\trow 2"


def test_a_range_of_rowids_is_a_part_of_the_table(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    stored(path, "INTEGER", list(range(1000)))
    parts = [
        fingerprint_table(path, "t", RowRange(1, 400)),
        fingerprint_table(path, "t", RowRange(401, 2000)),
    ]
    assert parts[0].rows == 400
    assert parts[0].combine(parts[1]).hexdigest() == fingerprint_table(path, "t").hexdigest()


def test_wide_rows_do_not_pile_up_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    stored(path, "BLOB", [bytes(4_000_000)] * 8)
    with reading_file(path) as connection:
        assert max(map(len, read_lines(connection, "t"))) <= 2 * 8_000_000 + 100


def test_columns_are_those_of_the_row_text(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(connect(path)) as connection:
        connection.execute('CREATE TABLE t (a INT, "b b" TEXT, c AS (a + 1), d)')
        connection.execute("CREATE VIRTUAL TABLE f USING fts5 (x, y)")
    with reading_file(path) as connection:
        assert [(c.name, c.affinity) for c in columns_of(connection, "t")] == [
            ("a", "INTEGER"),
            ("b b", "TEXT"),
            ("d", "BLOB"),
        ]
        assert [c.name for c in columns_of(connection, "f")] == ["x", "y"]
        with pytest.raises(NotFound):
            columns_of(connection, "nope")


@pytest.mark.parametrize(
    "declared",
    [
        "INT",
        "BIGINT",
        "CHARINT",
        "VARCHAR(9)",
        "CLOB",
        "BLOB",
        "",
        "REAL",
        "DOUBLE",
        "FLOAT",
        "DECIMAL(1,2)",
        "BOOLEAN",
        "FLOATING POINT",
        "STRING",
    ],
)
def test_affinity_is_what_sqlite_makes_of_it(declared: str) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE TABLE t (v {declared})")
        connection.execute("INSERT INTO t VALUES ('1'), (1), (1.0), (0.5)")
        classes = [row[0] for row in connection.execute("SELECT typeof(v) FROM t ORDER BY rowid")]
    expected = {
        "INTEGER": ["integer", "integer", "integer", "real"],
        "NUMERIC": ["integer", "integer", "integer", "real"],
        "REAL": ["real"] * 4,
        "TEXT": ["text"] * 4,
        "BLOB": ["text", "integer", "real", "real"],
    }
    assert classes == expected[affinity(declared)]
