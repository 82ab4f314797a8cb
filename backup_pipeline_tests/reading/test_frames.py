"""A table of a backup as a data frame or as rows: every value exact, or text and a warning."""

from __future__ import annotations

import json
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.backups.making import Order, back_up
from backup_pipeline.databases.postgres.export import PostgresSource
from backup_pipeline.databases.sqlite.export import SqliteSource
from backup_pipeline.errors import ConfigError, Damaged, NotFound
from backup_pipeline.model.manifest import LeftOut, Manifest
from backup_pipeline.model.row_text import unescape
from backup_pipeline.model.schema import Schema, SchemaObject
from backup_pipeline.reading import NotExact, read_table, rows_of
from backup_pipeline.reading.values import interval, parse_array
from backup_pipeline.vault import layout
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.harness.handmade import back_up_by_hand, prepared, shop, table

POSTGRES = r"""
CREATE TYPE state AS ENUM ('new', 'it''s', 'paid');
CREATE DOMAIN email AS text CHECK (VALUE LIKE '%@%');
CREATE TABLE kinds (i smallint, big bigint, b bool, f float8, r real, n numeric, money numeric(10,2), t text, v varchar(9),
  c char(4), e state, m email, ts timestamp, tz timestamptz, d date, tm time, iv interval, u uuid, j json, jb jsonb,
  by bytea, a int[], words text[], p point, "Weird ""na""me" int, g int GENERATED ALWAYS AS (1) STORED);
INSERT INTO kinds VALUES (1, 9223372036854775807, true, 1.5, 0.1, 1.50, 2.50, E'a\tb\\n\n\\N', 'ä', 'ab', 'it''s', 'a@b',
  '2020-01-01 12:00:00.5', '2020-01-01 12:00:00.5+02', '2020-02-29', '12:00:01.25', '1 day 02:00:00',
  '00000000-0000-0000-0000-000000000001', '{"a": [1, null]}', '{"b": "x\ty"}', '\x00ff5c', '{1,2,NULL}',
  '{{a,"b c"},{"NULL",NULL}}', '(1,2)', 7);
INSERT INTO kinds (i) VALUES (NULL);
INSERT INTO kinds (f, n) VALUES ('NaN', 'NaN'), ('-Infinity', 123456789012345678901234567890.123);
CREATE TABLE edges (d date, tz timestamptz, iv interval, tm time);
INSERT INTO edges VALUES ('infinity', '0044-03-15 00:00:00+00 BC', '1 mon 2 days', '24:00'),
                         ('2020-01-01', '2020-01-01', '-1 days +02:03:00', '1:00');
CREATE TABLE zero (); INSERT INTO zero DEFAULT VALUES; INSERT INTO zero DEFAULT VALUES;
CREATE TABLE nothing (i int, b bool, f float8, n numeric, t text, e state, tz timestamptz, d date, iv interval, u uuid);
CREATE SCHEMA other; CREATE TABLE other.twin (id int); CREATE TABLE twin (id int); INSERT INTO other.twin VALUES (4);
CREATE TABLE "Order Items" (id int); INSERT INTO "Order Items" VALUES (5);
CREATE TABLE root (id int, part int, t text) PARTITION BY RANGE (part);
CREATE TABLE leaf_a PARTITION OF root FOR VALUES FROM (0) TO (10);
CREATE TABLE leaf_b (t text, part int, id int); ALTER TABLE root ATTACH PARTITION leaf_b FOR VALUES FROM (10) TO (20);
INSERT INTO root SELECT g, g % 20, 't' || g FROM generate_series(1, 40) g;
"""


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return prepared(tmp_path / "vault")


@pytest.fixture
def kinds(vault: Vault, pg_database: str) -> Manifest:
    import psycopg2

    with closing(psycopg2.connect(pg_database)) as connection:
        connection.cursor().execute(POSTGRES)
        connection.commit()
    return back_up(vault, PostgresSource(pg_database), Order("shop"))


def test_every_type_has_its_dtype_and_its_values(vault: Vault, kinds: Manifest) -> None:
    frame = read_table(vault.backup_of(kinds), "kinds")
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
        "i": "Int64",
        "big": "Int64",
        "b": "boolean",
        "f": "Float64",
        "r": "Float64",
        "n": "object",
        "money": "object",
        "t": "string",
        "v": "string",
        "c": "string",
        "e": "category",
        "m": "string",
        "ts": "datetime64[us]",
        "tz": "datetime64[us, UTC]",
        "d": "datetime64[s]",
        "tm": "object",
        "iv": "timedelta64[us]",
        "u": "object",
        "j": "object",
        "jb": "object",
        "by": "object",
        "a": "object",
        "words": "object",
        "p": "string",
        'Weird "na"me': "Int64",
    }
    first = frame.iloc[0]
    assert first["big"] == 2**63 - 1
    assert first["n"].as_tuple() == Decimal("1.50").as_tuple()
    assert first["t"] == "a\tb\\n\n\\N"
    assert first["c"] == "ab  "
    assert first["tz"] == pd.Timestamp("2020-01-01T10:00:00.5Z")
    assert first["d"] == pd.Timestamp("2020-02-29")
    assert (first["tm"], first["iv"]) == (time(12, 0, 1, 250000), pd.Timedelta(hours=26))
    assert (first["u"], first["by"]) == (UUID(int=1), b"\x00\xff\\")
    assert (first["j"], first["jb"]) == ({"a": [1, None]}, {"b": "x\ty"})
    assert (first["a"], first["words"]) == ([1, 2, None], [["a", "b c"], ["NULL", None]])
    assert list(frame["e"].cat.categories) == ["new", "it's", "paid"]
    assert frame.iloc[1].isna().all()
    assert frame["f"].isna().tolist() == [False, True, False, False], "NaN is a value and not NULL"
    assert np.isnan(frame["f"][2])
    assert frame["f"][3] == -np.inf
    assert frame["n"][2].is_nan()
    assert frame["n"][3] == Decimal("123456789012345678901234567890.123")


def test_what_does_not_fit_is_text_and_said(vault: Vault, kinds: Manifest) -> None:
    with pytest.warns(NotExact) as caught:
        frame = read_table(vault.backup_of(kinds), "edges")
    assert len(caught) == 4
    assert frame["d"].tolist() == ["infinity", "2020-01-01"]
    assert frame["tz"].tolist() == ["0044-03-15 00:00:00+00 BC", "2020-01-01 00:00:00+00:00"]
    assert frame["iv"].tolist() == ["1 mon 2 days", timedelta(days=-1, hours=2, minutes=3)]
    assert frame["tm"].tolist() == ["24:00:00", time(1)]


def test_empty_tables_keep_their_dtypes_and_tables_without_columns_their_rows(
    vault: Vault, kinds: Manifest
) -> None:
    frame = read_table(vault.backup_of(kinds), "nothing")
    assert len(frame) == 0
    assert [str(dtype) for dtype in frame.dtypes] == [
        *("Int64", "boolean", "Float64", "object", "string", "category"),
        *("datetime64[us, UTC]", "datetime64[s]", "timedelta64[us]", "object"),
    ]
    assert read_table(vault.backup_of(kinds), "zero").shape == (2, 0)
    assert list(rows_of(vault.backup_of(kinds), "zero")) == [(), ()]


def test_rows_are_python_values_one_by_one(vault: Vault, kinds: Manifest) -> None:
    rows = list(rows_of(vault.backup_of(kinds), "kinds"))
    assert rows[0][:7] == (1, 2**63 - 1, True, 1.5, 0.1, Decimal("1.50"), Decimal("2.50"))
    assert rows[0][12:15] == (
        datetime(2020, 1, 1, 12, 0, 0, 500000),  # noqa: DTZ001 - a timestamp without time zone
        datetime(2020, 1, 1, 10, 0, 0, 500000, tzinfo=UTC),
        date(2020, 2, 29),
    )
    assert rows[1] == (None,) * 25
    assert next(rows_of(vault.backup_of(kinds), "edges"))[:2] == ("infinity", "0044-03-15 00:00:00+00 BC")


def test_a_partitioned_table_is_all_of_its_leaves(vault: Vault, kinds: Manifest) -> None:
    frame = read_table(vault.backup_of(kinds), "root")
    assert list(frame.columns) == ["id", "part", "t"]
    assert sorted(frame["id"]) == list(range(1, 41))
    assert (frame["t"] == "t" + frame["id"].astype("string")).all()
    assert list(read_table(vault.backup_of(kinds), "public.leaf_b").columns) == ["t", "part", "id"]


@pytest.mark.parametrize(
    "name", ["Order Items", '"Order Items"', "public.Order Items", 'public."Order Items"', '"order items"']
)
def test_a_name_may_be_written_in_every_way_in_which_people_write_it(
    vault: Vault, kinds: Manifest, name: str
) -> None:
    assert read_table(vault.backup_of(kinds), name)["id"].tolist() == [5]


def test_a_name_that_means_two_tables_names_both(vault: Vault, kinds: Manifest) -> None:
    with pytest.raises(ConfigError, match=r"other\.twin or public\.twin"):
        read_table(vault.backup_of(kinds), "twin")
    assert read_table(vault.backup_of(kinds), "other.twin")["id"].tolist() == [4]
    assert read_table(vault.backup_of(kinds), "OTHER.Twin")["id"].tolist() == [4]


def test_a_name_that_means_nothing_gets_near_ones(vault: Vault) -> None:
    left = LeftOut("public", "secrets", "table", "excluded by `exclude: secrets`")
    made = back_up_by_hand(vault, shop(1), left_out=[left])
    with pytest.raises(NotFound) as caught:
        read_table(vault.backup_of(made), "ordrs")
    assert caught.value.remedy == "did you mean public.orders?"
    with pytest.raises(NotFound, match=r"excluded by `exclude: secrets`"):
        read_table(vault.backup_of(made), "secrets")
    with pytest.raises(NotFound) as caught:
        read_table(vault.backup_of(made), "zzz")
    assert "public.customers" in caught.value.remedy


def test_a_damaged_chunk_is_never_a_shorter_table(vault: Vault) -> None:
    made = back_up_by_hand(vault, shop(1))
    vault.store.delete(layout.object_key(made.tables[1].chunks[1].object))
    with pytest.raises(Damaged):
        read_table(vault.backup_of(made), "orders")
    with pytest.raises(Damaged):
        list(rows_of(vault.backup_of(made), "orders"))


def test_bytes_that_are_no_text_are_kept(vault: Vault) -> None:
    made = back_up_by_hand(vault, [table("t", {"a": "text"}, b"caf\xe9\nok\n", key=())])
    with pytest.warns(NotExact, match="UTF-8"):
        frame = read_table(vault.backup_of(made), "t")
    assert [text.encode("utf-8", "surrogateescape") for text in frame["a"]] == [b"caf\xe9", b"ok"]


@pytest.fixture
def files(vault: Vault, tmp_path: Path) -> Manifest:
    database = tmp_path / "app.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, v REAL, amount DECIMAL(10,2), raw BLOB, loose, mixed INTEGER);"
            "INSERT INTO t VALUES (1, 'Zoë', 1.5, 3, x'00ff', 'text', 1), (2, NULL, NULL, 2.25, NULL, NULL, 'two');"
            "CREATE TABLE w (k TEXT PRIMARY KEY, v INT, g INT GENERATED ALWAYS AS (v * 2)) WITHOUT ROWID;"
            "INSERT INTO w (k, v) VALUES ('b', 1), ('a', 9007199254740993);"
            "CREATE TABLE hollow (a INTEGER, b TEXT, c REAL, d BLOB, e NUMERIC);"
            "CREATE VIRTUAL TABLE words USING fts5(body); INSERT INTO words VALUES ('hello world');"
        )
        connection.execute("INSERT INTO w (k, v) VALUES (CAST(x'ff41' AS TEXT), NULL)")
        connection.commit()
    return back_up(vault, SqliteSource(f"sqlite:///{database}"), Order("app"))


def test_sqlite_columns_are_what_they_declare_where_their_values_are(vault: Vault, files: Manifest) -> None:
    with pytest.warns(NotExact, match=r"mixed is declared INTEGER and holds int, str"):
        frame = read_table(vault.backup_of(files), "t")
    assert [str(dtype) for dtype in frame.dtypes] == [
        *("Int64", "string", "Float64", "Float64", "object", "string", "object")
    ]
    assert list(rows_of(vault.backup_of(files), "t")) == [
        (1, "Zoë", 1.5, 3, b"\x00\xff", "text", 1),
        (2, None, None, 2.25, None, None, "two"),
    ]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frame = read_table(vault.backup_of(files), "main.w")
    assert len(caught) == 1, "the text that is no text"
    assert list(frame.columns) == ["k", "v"]
    assert frame["v"].tolist()[:2] == [9007199254740993, 1]
    assert [str(dtype) for dtype in read_table(vault.backup_of(files), "hollow").dtypes] == [
        *("Int64", "string", "Float64", "object", "Float64")
    ]
    assert read_table(vault.backup_of(files), "words")["body"].tolist() == ["hello world"]


# ── values

texts = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=12)


@given(st.binary(max_size=20).filter(lambda data: b"\0" not in data))
def test_escapes_are_undone_exactly(value: bytes) -> None:
    written = value.replace(b"\\", b"\\\\")
    for raw, letter in (
        (b"\b", b"b"),
        (b"\f", b"f"),
        (b"\n", b"n"),
        (b"\r", b"r"),
        (b"\t", b"t"),
        (b"\v", b"v"),
    ):
        written = written.replace(raw, b"\\" + letter)
    assert unescape(written) == value


nested = st.recursive(st.none() | texts, lambda inner: st.lists(inner, max_size=3), max_leaves=12)


@given(st.lists(nested, max_size=4))
def test_arrays_of_any_depth_are_read(value: list[object]) -> None:
    def written(item: object) -> str:
        if item is None:
            return "NULL"
        if isinstance(item, list):
            return "{" + ",".join(map(written, item)) + "}"
        return '"' + str(item).replace("\\", "\\\\").replace('"', '\\"') + '"'

    assert parse_array(written(value), str) == value
    assert parse_array("[0:1][2:3]=" + written(value), str) == value


def test_plain_array_elements_are_converted() -> None:
    assert parse_array("{1,NULL,-3}", int) == [1, None, -3]
    assert parse_array("{(1,2),(3,4);(5,6),(7,8)}", str, ";") == ["(1,2),(3,4)", "(5,6),(7,8)"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("00:00:00", timedelta(0)),
        ("-00:00:01.5", timedelta(seconds=-1.5)),
        ("3 days", timedelta(days=3)),
        ("1 day -02:03:04", timedelta(days=1, hours=-2, minutes=-3, seconds=-4)),
        ("-1 days +02:03:00", timedelta(days=-1, hours=2, minutes=3)),
        ("200:00:00.000001", timedelta(hours=200, microseconds=1)),
        ("1 year 2 mons", "1 year 2 mons"),
        ("-1 mons +3 days", "-1 mons +3 days"),
    ],
)
def test_an_interval_is_a_timedelta_only_without_months(text: str, value: object) -> None:
    assert interval(text) == value


def test_documents_survive(vault: Vault) -> None:
    documents = [{"a": "\\ \n \t ü"}, [1, 2.5, None], "x", None]
    text = b"".join(json.dumps(d).encode().replace(b"\\", b"\\\\") + b"\n" for d in documents)
    made = back_up_by_hand(vault, [table("t", {"a": "json"}, text, key=())])
    assert read_table(vault.backup_of(made), "t")["a"].tolist() == documents


def lines(count: int) -> Iterator[bytes]:
    for number in range(count):
        yield b"%d\tsome text that is not short, number %d\n" % (number, number)


def test_many_chunks_come_in_order(vault: Vault) -> None:
    chunks = [b"".join(lines(5000)), b"5000\tx\n", b"".join(lines(7))]
    made = back_up_by_hand(vault, [table("t", {"id": "integer", "v": "text"}, *chunks)])
    assert read_table(vault.backup_of(made), "t")["id"].tolist() == [*range(5001), *range(7)]


def test_the_labels_of_an_enum_are_read_as_they_are_quoted(vault: Vault) -> None:
    definition = r"CREATE TYPE public.odd AS ENUM ('it''s', E'back\\slash', 'a, b', E'\\''q''', '');"
    odd = SchemaObject("enum", "odd", definition, "public")
    text = rb"back\\slash||\N|a, b|\\'q'|unknown|".replace(b"|", b"\n")
    rows = table("t", {"a": "public.odd"}, text, key=())
    made = back_up_by_hand(vault, [rows], schema=Schema("postgres", (rows.table,), objects=(odd,)))
    column = read_table(vault.backup_of(made), "t")["a"]
    assert list(column.cat.categories) == ["it's", r"back\slash", "a, b", r"\'q'", "", "unknown"]
    assert column.tolist()[:2] == [r"back\slash", ""]
    assert column.isna().tolist() == [False, False, True, False, False, False]
