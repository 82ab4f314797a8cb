"""SQL over a backup: right types, and no way out of it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from backup_pipeline.backups.making import Order, back_up
from backup_pipeline.databases.sqlite.export import SqliteSource
from backup_pipeline.errors import ConfigError, NotFound
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.reading import NotExact, query, running
from backup_pipeline.reading.sql import _names
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.harness.handmade import back_up_by_hand, prepared, shop, table


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return prepared(tmp_path / "vault")


@pytest.fixture
def made(vault: Vault) -> Manifest:
    kinds = table(
        "kinds",
        {
            "i": "integer",
            "b": "boolean",
            "r": "real",
            "n": "numeric",
            "money": "numeric(10,2)",
            "t": "text",
            "ts": "timestamp without time zone",
            "tz": "timestamp with time zone",
            "d": "date",
            "tm": "time without time zone",
            "iv": "interval",
            "u": "uuid",
            "j": "jsonb",
            "by": "bytea",
            "a": "integer[]",
            "w": "text[]",
            "p": "point",
        },
        b"1\tt\t0.1\t1.50\t2.50\ta\\tb\\\\\t2020-01-01 12:00:00.5\t2020-01-01 10:00:00+00\t2020-02-29\t12:00:01\t"
        b'1 day 02:00:00\t00000000-0000-0000-0000-000000000001\t{"a": 1}\t\\\\x00ff\t{1,2,NULL}\t{{a,"b c"},{NULL,d}}\t(1,2)\n'
        + b"\t".join([b"\\N"] * 17)
        + b"\n",
        key=(),
    )
    edges = table(
        "edges",
        {
            "d": "date",
            "tz": "timestamp with time zone",
            "n": "numeric",
            "iv": "interval",
            "a": "integer[]",
            "tm": "time without time zone",
        },
        b"infinity\t0044-03-15 00:00:00+00 BC\tNaN\t1 mon 2 days\t{{1},{2}}\t24:00:00\n"
        b"2020-01-01\t2020-01-01 00:00:00+00\t1.5\t-1 days +02:03:00\t{1}\t01:00:00\n",
        key=(),
    )
    weird = table('We"ird. name', {"a": "integer", "A": "integer", "co l": "text"}, b"1\t2\tx\n", key=())
    twin = table("orders", {"id": "integer"}, b"7\n", schema="other")
    empty = table("empty", {"a": "integer"}, key=())
    return back_up_by_hand(vault, [*shop(1), kinds, edges, weird, twin, empty])


def test_tables_are_found_by_their_names_and_joined(vault: Vault, made: Manifest) -> None:
    frame = query(
        vault.backup_of(made),
        "SELECT c.name, count(*) AS n, sum(l.price) AS total FROM public.orders o JOIN customers c ON c.id = o.customer_id "
        "JOIN lines l ON l.order_id = o.id GROUP BY ALL ORDER BY total DESC, name LIMIT 3",
    )
    assert [str(dtype) for dtype in frame.dtypes] == ["string", "Int64", "object"]
    assert all(isinstance(value, Decimal) for value in frame["total"])
    assert query(vault.backup_of(made), "SELECT count(*) AS n FROM public.orders")["n"].tolist() == [
        made.tables[1].rows
    ]
    assert query(vault.backup_of(made), "WITH lines AS (SELECT 1 AS a) FROM lines")["a"].tolist() == [1]
    assert query(vault.backup_of(made), 'SELECT "co l", a, "A_1" FROM "We""ird. name"').iloc[0].tolist() == [
        "x",
        1,
        2,
    ]
    assert len(query(vault.backup_of(made), "FROM nothing")) == 3
    assert len(query(vault.backup_of(made), "FROM empty")) == 0
    assert query(vault.backup_of(made), "SELECT id FROM OTHER.Orders")["id"].tolist() == [7]


def test_only_the_tables_that_the_sql_names_are_read(vault: Vault, made: Manifest) -> None:
    from backup_pipeline.vault import layout

    vault.store.delete(layout.object_key(made.tables[2].chunks[0].object))
    assert query(vault.backup_of(made), "SELECT count(*) AS n FROM customers")["n"].tolist() == [39]


def test_values_have_their_types(vault: Vault, made: Manifest) -> None:
    with running(vault.backup_of(made), "FROM kinds") as answer:
        types = dict(zip(answer.columns, answer.types, strict=True))
        rows = list(answer.rows())
    assert types == {
        "i": "INTEGER",
        "b": "BOOLEAN",
        "r": "FLOAT",
        "n": "DECIMAL(3,2)",
        "money": "DECIMAL(10,2)",
        "t": "VARCHAR",
        "ts": "TIMESTAMP",
        "tz": "TIMESTAMP WITH TIME ZONE",
        "d": "DATE",
        "tm": "TIME",
        "iv": "INTERVAL",
        "u": "UUID",
        "j": "JSON",
        "by": "BLOB",
        "a": "INTEGER[]",
        "w": "VARCHAR[][]",
        "p": "VARCHAR",
    }
    first = dict(zip(types, rows[0], strict=True))
    assert (first["money"], first["t"], first["d"]) == (Decimal("2.50"), "a\tb\\", date(2020, 2, 29))
    assert (first["tm"], first["iv"], first["by"]) == ("12:00:01", timedelta(days=1, hours=2), b"\x00\xff")
    assert (first["a"], first["w"]) == ([1, 2, None], [["a", "b c"], [None, "d"]])
    assert str(first["u"]) == "00000000-0000-0000-0000-000000000001"
    assert rows[1] == (None,) * 17
    frame = query(vault.backup_of(made), "FROM kinds")
    assert [str(frame.dtypes[name]) for name in ("i", "b", "r", "n", "t", "ts", "tz", "d", "iv")] == [
        *("Int64", "boolean", "Float64", "object", "string"),
        *("datetime64[us]", "datetime64[us, UTC]", "datetime64[s]", "timedelta64[us]"),
    ]
    sums = query(
        vault.backup_of(made),
        "SELECT sum(i) AS s, sum(i::HUGEINT) * 10::HUGEINT ** 20 AS h, 1.50::DECIMAL(5,2) AS d FROM kinds",
    )
    assert sums["s"].tolist() == [1]
    assert sums["d"].tolist() == [Decimal("1.50")]


def test_the_ends_of_time_are_not_the_year_9999(vault: Vault, made: Manifest) -> None:
    with pytest.warns(NotExact) as caught:
        frame = query(vault.backup_of(made), "FROM edges ORDER BY n DESC")
    said = " ".join(str(warning.message) for warning in caught)
    assert "public.edges.n is read as DOUBLE" in said
    assert "public.edges.a is read as JSON text" in said
    assert frame["d"].tolist() == ["infinity", date(2020, 1, 1)]
    assert str(frame["tz"][0]).startswith("-0043-03-15")
    assert frame["iv"].tolist() == ["1 mons 2 days", timedelta(days=-1, hours=2, minutes=3)]
    assert frame["tm"].tolist() == ["24:00:00", "01:00:00"]
    with pytest.warns(NotExact):
        assert query(vault.backup_of(made), "SELECT count(*) AS n FROM edges WHERE d > DATE '9000-01-01'")[
            "n"
        ].tolist() == [1]


def test_a_long_answer_streams_and_may_be_left_early(vault: Vault, made: Manifest) -> None:
    with running(
        vault.backup_of(made), "SELECT o.id, r.range FROM customers o, range(100000) r ORDER BY 1, 2"
    ) as answer:
        rows = answer.rows()
        assert [next(rows) for _ in range(3)] == [(1, 0), (1, 1), (1, 2)]
    with running(vault.backup_of(made), "SELECT count(*) FROM customers o, range(1000)") as answer:
        assert list(answer.rows()) == [(39000,)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM '/etc/hostname'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT count(*) FROM glob('/*')",
        "SELECT * FROM made",
        "SELECT * FROM vault",
        "ATTACH '/tmp/x.db'",
        "COPY customers TO '/tmp/x.csv'",
        "EXPORT DATABASE '/tmp/x'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "PRAGMA enable_profiling",
        "CREATE TABLE x (a int)",
        "INSERT INTO customers VALUES (1)",
        "UPDATE customers SET id = 1",
        "DROP TABLE customers",
        "SELECT 1; SELECT 2",
        "",
        "SELEC 1",
        "SELECT nonsense FROM customers",
        "SELECT * FROM customers c JOIN customers d",
    ],
)
def test_sql_cannot_reach_out_or_change_anything(vault: Vault, made: Manifest, sql: str) -> None:
    before = {(stat.key, stat.size, stat.modified) for stat in vault.store.list()}
    with pytest.raises((ConfigError, NotFound)) as caught:
        query(vault.backup_of(made), sql)
    assert caught.value.remedy
    assert {(stat.key, stat.size, stat.modified) for stat in vault.store.list()} == before


def test_a_table_that_is_not_there_gets_near_names(vault: Vault, made: Manifest) -> None:
    with pytest.raises(NotFound) as caught:
        query(vault.backup_of(made), "SELECT * FROM custmers")
    assert caught.value.remedy == "did you mean public.customers?"
    with pytest.raises(ConfigError, match=r"other\.orders or public\.orders"):
        query(vault.backup_of(made), "SELECT * FROM orders")


def test_names_that_differ_in_case_only_are_refused_together(vault: Vault) -> None:
    made = back_up_by_hand(
        vault, [table("t", {"a": "integer"}, b"1\n"), table("T", {"a": "integer"}, b"2\n")]
    )
    with pytest.raises(ConfigError, match="upper and lower case"):
        query(vault.backup_of(made), 'SELECT * FROM t, "T"')


def test_names_are_found_in_any_statement() -> None:
    assert _names('SELECT * FROM a x, "b c".d AS y WHERE EXISTS (FROM e)') == ('"b c".d AS y', "a AS x", "e")
    assert _names("DESCRIBE t") == _names("SUMMARIZE t") == _names("EXPLAIN FROM t") == ("t",)


def test_sqlite_is_queried_by_the_types_of_its_values(vault: Vault, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.executescript(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, v REAL, x NUMERIC, name TEXT, raw BLOB, mixed);"
            "INSERT INTO t VALUES (1, 1.5, 2, 'Zoë', x'00ff', 1), (2, NULL, 2.5, NULL, NULL, 'two');"
            "CREATE TABLE c (t_id INT); INSERT INTO c VALUES (1), (1), (2);"
        )
    made = back_up(vault, SqliteSource(f"sqlite:///{tmp_path / 'a.db'}"), Order("app"))
    with pytest.warns(NotExact, match=r"main\.t\.mixed holds integer, text"):
        types, rows = _answer(vault, made, "FROM t ORDER BY id")
    assert types == ("BIGINT", "DOUBLE", "DOUBLE", "VARCHAR", "BLOB", "VARCHAR")
    assert rows == [(1, 1.5, 2.0, "Zoë", b"\x00\xff", "1"), (2, None, 2.5, None, None, "two")]
    frame = query(vault.backup_of(made), "SELECT t_id, count(*) AS n FROM main.c GROUP BY 1 ORDER BY 1")
    assert frame.to_numpy().tolist() == [[1, 2], [2, 1]]


def _answer(vault: Vault, made: Manifest, sql: str) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    with running(vault.backup_of(made), sql) as answer:
        return answer.types, list(answer.rows())


def test_nothing_is_said_on_stderr_when_the_process_ends(vault: Vault, made: Manifest) -> None:
    """The driver complains about connections that were not closed in order."""
    script = (
        "import sys; from pathlib import Path\n"
        "from backup_pipeline.reading import query, running\n"
        "from backup_pipeline.stores.local import LocalStore\n"
        "from backup_pipeline.vault.vault import Vault\n"
        "vault = Vault(LocalStore(Path(sys.argv[1])))\n"
        "made = vault.backup('shop', sys.argv[2]).manifest\n"
        "print(query(vault.backup_of(made), 'SELECT count(*) AS n FROM customers')['n'][0])\n"
        "try:\n"
        "    query(vault.backup_of(made), 'SELECT nonsense FROM customers')\n"
        "except Exception as error:\n"
        "    print(type(error).__name__)\n"
        "with running(vault.backup_of(made), 'FROM customers, range(100000)') as answer:\n"
        "    print(len(next(answer.rows())))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, vault.store.address, made.id],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert done.stdout.split() == ["39", "ConfigError", "4"]
    assert done.stderr == ""
