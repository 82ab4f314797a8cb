"""Every foreign key is checked in the data, and a healthy one is never reported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backup_pipeline.backups.making import Order, back_up
from backup_pipeline.databases.postgres.export import PostgresSource
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.model.manifest import LeftOut
from backup_pipeline.model.schema import Column, Schema, SchemaObject, TableId
from backup_pipeline.model.selection import Selection
from backup_pipeline.reading import columns
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.verify import verify, verify_all
from backup_pipeline_tests.harness.handmade import Made, back_up_by_hand, foreign_key, prepared, table


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return prepared(tmp_path / "vault")


def report_on(vault: Vault, *made: Made, schema: Schema | None = None) -> Report:
    number = len(vault.ids("shop")) + 1
    return verify(vault.backup("shop", back_up_by_hand(vault, made, number, schema=schema).id))


def dangling(report: Report) -> tuple[Finding, ...]:
    return tuple(finding for finding in report.findings if finding.code == "dangling-reference")


def pair(child: str, parent: str, children: bytes, parents: bytes) -> tuple[Made, Made]:
    """One column of a child that refers to one column of a parent."""
    return (
        table("parents", {"id": parent}, parents),
        table("children", {"id": child}, children, key=(), references=[foreign_key("id", "parents")]),
    )


def test_a_dangling_reference_is_reported_with_count_and_examples(vault: Vault) -> None:
    children = b"".join(b"%d\n" % number for number in range(1, 20))
    report = report_on(vault, *pair("integer", "integer", children + b"\\N\n", b"1\n2\n3\n"))
    (finding,) = dangling(report)
    assert (finding.severity, finding.table) == ("error", "public.children")
    assert "16 rows" in finding.message
    assert "public.parents" in finding.message
    assert finding.examples == tuple(f"(id) = ({number})" for number in range(4, 9))
    assert report.counted["references"] == 1


@pytest.mark.parametrize(
    ("child", "parent", "children", "parents"),
    [
        ("smallint", "bigint", b"1\n", b"1\n"),
        ("integer", "numeric", b"1\n", b"1.000\n"),
        ("numeric", "numeric(10,2)", b"1\n0.5\n10\n", b"1.00\n0.50\n10.00\n"),
        ("numeric", "numeric", b"NaN\n-3.0\n", b"NaN\n-3\n"),
        ("character(3)", "character(5)", b"ab \n", b"ab   \n"),
        ("character varying(9)", "text", b"a\\tb\\\\\n", b"a\\tb\\\\\n"),
        ("double precision", "double precision", b"0\n1.5\n", b"-0\n1.5\n"),
        (
            "uuid",
            "uuid",
            b"00000000-0000-0000-0000-000000000001\n",
            b"00000000-0000-0000-0000-000000000001\n",
        ),
        ("bytea", "bytea", b"\\\\x00ff\n", b"\\\\x00ff\n"),
        ("text", "text", "ä日\n\n".encode(), "ä日\n\n".encode()),
        ("text", "text", b'"q,\n', b'"q,\n'),
        ("timestamp with time zone", "timestamp with time zone", b"infinity\n", b"infinity\n"),
    ],
)
def test_equal_values_are_equal_however_they_are_written(
    vault: Vault, child: str, parent: str, children: bytes, parents: bytes
) -> None:
    report = report_on(vault, *pair(child, parent, children, parents))
    assert report.findings == ()
    assert report.counted["references"] == 1
    orphans = report_on(vault, *pair(child, parent, children, b""))
    assert len(dangling(orphans)) == 1, "without the parents it is reported"


@pytest.mark.parametrize(
    ("child", "parent"),
    [
        ("public.citext", "public.citext"),
        ("interval", "interval"),
        ("jsonb", "jsonb"),
        ("real", "double precision"),
        ("date", "timestamp without time zone"),
        ("daterange", "daterange"),
        ("public.unknown", "public.unknown"),
    ],
)
def test_what_only_the_engine_can_compare_is_never_an_error(vault: Vault, child: str, parent: str) -> None:
    report = report_on(vault, *pair(child, parent, b"Ada\n", b"ADA\n"))
    (finding,) = report.findings
    assert (finding.severity, finding.code) == ("info", "reference-not-checked")
    assert finding.examples == ("(id) = (Ada)",)
    assert report_on(vault, *pair(child, parent, b"Ada\n", b"Ada\n")).findings == (), "equal text is equal"


def test_enums_and_domains_are_compared_as_what_they_are(vault: Vault) -> None:
    objects = (
        SchemaObject("enum", "State", "CREATE TYPE public.\"State\" AS ENUM ('new', 'it''s');", "public"),
        SchemaObject("domain", "amount", "CREATE DOMAIN public.amount AS numeric(9,2) NOT NULL;", "public"),
        SchemaObject(
            "domain",
            "price",
            "CREATE DOMAIN public.price AS public.amount CONSTRAINT c CHECK (true);",
            "public",
        ),
        SchemaObject("domain", "word", "CREATE DOMAIN public.word AS text COLLATE public.ci;", "public"),
    )
    for kind, children, parents, code in (
        ('public."State"', b"it's\n", b"it's\n", None),
        ('public."State"', b"it's\n", b"new\n", "dangling-reference"),
        ("public.price", b"1.50\n", b"1.5\n", None),
        ("public.price", b"1.50\n", b"1.6\n", "dangling-reference"),
        ("public.word", b"A\n", b"a\n", "reference-not-checked"),
    ):
        made = pair(kind, kind, children, parents)
        schema = Schema("postgres", tuple(one.table for one in made), objects=objects)
        found = {finding.code for finding in report_on(vault, *made, schema=schema).findings}
        assert found == ({code} if code else set()), kind


def test_a_collation_of_a_user_may_know_better(vault: Vault) -> None:
    parents, children = pair("text", "text", b"A\n", b"a\n")
    children.table = replace(children.table, columns=(Column("id", "text", collation="public.ci"),))
    assert {finding.code for finding in report_on(vault, parents, children).findings} == {
        "reference-not-checked"
    }


@pytest.mark.parametrize(
    ("match", "row", "held"),
    [
        ("SIMPLE", b"1\t1\n", True),
        ("SIMPLE", b"1\t9\n", False),
        ("SIMPLE", b"9\t\\N\n", True),
        ("SIMPLE", b"\\N\t\\N\n", True),
        ("FULL", b"1\t1\n", True),
        ("FULL", b"9\t\\N\n", False),
        ("FULL", b"\\N\t\\N\n", True),
    ],
)
def test_keys_of_several_columns_obey_their_match_rule(
    vault: Vault, match: str, row: bytes, held: bool
) -> None:
    parents = table("parents", {"a": "integer", "b": "text"}, b"1\t1\n2\t2\n", key=("a", "b"))
    key = foreign_key("x y", "parents", "a b", match=match)
    children = table(
        "children", {"n": "text", "x": "integer", "y": "text"}, b"-\t" + row, key=(), references=[key]
    )
    found = dangling(report_on(vault, parents, children))
    assert len(found) == (0 if held else 1)
    if not held:
        assert found[0].examples[0].startswith("(x, y) = (")


def test_a_table_may_refer_to_itself(vault: Vault) -> None:
    key = foreign_key("up", "tree")
    rows = b"1\t\\N\n2\t1\n3\t3\n"
    assert report_on(vault, table("tree", {"id": "integer", "up": "integer"}, rows, references=[key])).ok
    made = table("tree", {"id": "integer", "up": "integer"}, rows + b"4\t5\n", references=[key])
    assert [finding.examples for finding in dangling(report_on(vault, made))] == [("(up) = (5)",)]


def test_a_key_that_the_database_does_not_enforce_is_a_warning(vault: Vault) -> None:
    parents = table("parents", {"id": "integer"}, b"1\n")
    key = foreign_key("id", "parents", validated=False)
    children = table("children", {"id": "integer"}, b"2\n", key=(), references=[key])
    report = report_on(vault, parents, children)
    assert report.ok
    (finding,) = dangling(report)
    assert finding.severity == "warning"
    assert "NOT VALID" in finding.message


def test_a_parent_that_was_left_out_is_said_and_not_missed(vault: Vault) -> None:
    parents, children = pair("integer", "integer", b"7\n", b"")
    left = LeftOut("public", "parents", "table", "excluded")
    made = back_up_by_hand(vault, [children], left_out=[left], unlisted=[parents.table])
    report = verify(vault.backup("shop", made.id))
    (finding,) = report.findings
    assert (finding.severity, finding.code) == ("info", "reference-not-checked")
    assert "public.parents is not in this backup" in finding.message
    assert report.counted["references_not_checked"] == 1


def test_a_damaged_table_is_not_also_accused_of_dangling(vault: Vault) -> None:
    parents, children = pair("integer", "integer", b"1\n", b"1\n")
    made = back_up_by_hand(vault, [parents, children])
    from backup_pipeline.vault import layout

    vault.store.delete(layout.object_key(made.tables[0].chunks[0].object))
    report = verify(vault.backup("shop", made.id))
    assert {finding.code for finding in report.findings} == {"object-missing", "reference-not-checked"}


def test_the_same_data_is_joined_once(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 4):
        back_up_by_hand(vault, pair("integer", "integer", b"1\n9\n", b"1\n"), number)
    opened: list[int] = []
    inner = columns.open_columns

    def counting(*args: Any, **more: Any) -> Iterator[Any]:
        opened.append(1)
        return inner(*args, **more)

    monkeypatch.setattr("backup_pipeline.references.joining.open_columns", counting)
    report = verify_all(vault, "shop")
    (finding,) = dangling(report)
    assert "3 backups" in finding.message
    assert report.counted["references"] == 3
    assert len(opened) == 2


def test_a_key_beside_a_very_long_value_is_read(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "LONG", 5000)
    monkeypatch.setattr(columns, "BLOCK", 1000)
    children = b"".join(b"%s\t%d\t\n" % (b"x" * (40_000 if n == 3 else 5), n) for n in range(1, 9))
    made = (
        table("parents", {"id": "integer"}, b"".join(b"%d\n" % n for n in range(1, 8))),
        table(
            "children",
            {"v": "text", "p": "integer", "w": "text"},
            children,
            key=(),
            references=[foreign_key("p", "parents")],
        ),
    )
    (finding,) = dangling(report_on(vault, *made))
    assert finding.examples == ("(p) = (8)",)


def test_many_keys_are_joined_some_at_a_time(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backup_pipeline.references.joining._AT_ONCE", 7)
    children = b"".join(b"%d\t%d.0\n" % (n, n) for n in range(1, 100)) + b"\\N\t1\n5\t\\N\n"
    parents = table(
        "parents",
        {"a": "integer", "b": "numeric"},
        b"".join(b"%d\t%d\n" % (n, n) for n in range(1, 90)),
        key=("a", "b"),
    )
    for match, count in (("SIMPLE", 10), ("FULL", 12)):
        key = foreign_key("x y", "parents", "a b", match=match)
        made = table("children", {"x": "integer", "y": "numeric"}, children, key=(), references=[key])
        (finding,) = dangling(report_on(vault, parents, made))
        assert f" {count} rows" in finding.message
        assert len(finding.examples) == 5


def test_tables_that_many_keys_share_are_not_mixed_up(vault: Vault) -> None:
    """Loaded, dropped and loaded again under other names."""
    one = table("one", {"id": "integer"}, b"1\n")
    two = table("two", {"id": "integer"}, b"2\n")
    made = [
        table(
            name,
            {"a": "integer", "b": "integer"},
            b"1\t2\n",
            key=(),
            references=[foreign_key("a", "one"), foreign_key("b", "two")],
        )
        for name in ("c", "d", "e")
    ]
    assert report_on(vault, one, two, *made).findings == ()


# ── a real database


@contextmanager
def session(url: str) -> Iterator[Any]:
    import psycopg2

    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        yield connection.cursor()


SCHEMA = """
CREATE DOMAIN email AS text CHECK (VALUE LIKE '%@%');
CREATE TYPE state AS ENUM ('new', 'paid');
CREATE TABLE customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mail email UNIQUE, rate numeric UNIQUE, c char(9) UNIQUE);
CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, mail email REFERENCES customers (mail),
  rate numeric(20,3) REFERENCES customers (rate), c char(9) REFERENCES customers (c));
CREATE TABLE events (id int, part int, s state, PRIMARY KEY (id, part)) PARTITION BY RANGE (part);
CREATE TABLE events_a PARTITION OF events FOR VALUES FROM (0) TO (10);
CREATE TABLE events_b (s state, part int NOT NULL, id int NOT NULL);
ALTER TABLE events ATTACH PARTITION events_b FOR VALUES FROM (10) TO (20);
CREATE TABLE notes (a int, b int, FOREIGN KEY (a, b) REFERENCES events MATCH FULL);
CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree) PARTITION BY HASH (id);
CREATE TABLE tree_0 PARTITION OF tree FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE tree_1 PARTITION OF tree FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE base (id int PRIMARY KEY, customer bigint REFERENCES customers);
CREATE TABLE derived () INHERITS (base);
INSERT INTO customers (mail, rate, c) SELECT 'a' || g || '@x', g, 'c' || g FROM generate_series(1, 300) g;
INSERT INTO orders SELECT g, g % 300 + 1, 'a' || g % 300 + 1 || '@x', g % 300 + 1, 'c' || g % 300 + 1 FROM generate_series(1, 900) g;
INSERT INTO events SELECT g, g % 20, 'new' FROM generate_series(1, 100) g;
INSERT INTO notes SELECT g, g % 20 FROM generate_series(1, 100) g;
INSERT INTO notes VALUES (NULL, NULL);
INSERT INTO tree SELECT g, NULL FROM generate_series(1, 40) g;
UPDATE tree SET up = id % 40 + 1;
INSERT INTO base VALUES (1, 1);
INSERT INTO derived VALUES (2, 12345);
"""

BREAK = """
SET session_replication_role = replica;
DELETE FROM customers WHERE id IN (5, 6);
DELETE FROM events WHERE id = 7;
DELETE FROM tree WHERE id = 9;
INSERT INTO notes VALUES (3, NULL);
"""


def test_the_keys_of_a_real_database_hold_until_they_are_broken(
    vault: Vault, pg_major_server: EmbeddedPostgres, pg_major_database: str
) -> None:
    with session(pg_major_database) as cursor:
        cursor.execute(SCHEMA)
    source = PostgresSource(pg_major_database)
    report = verify(vault.backup("shop", back_up(vault, source, Order("shop")).id))
    assert report.findings == ()
    assert report.counted["references"] == 7
    with session(pg_major_database) as cursor:
        cursor.execute(BREAK)
    made = back_up(vault, source, Order("shop"))
    found = {
        (f.table, f.message.split(" rows")[0].split(" row ")[0])
        for f in dangling(verify(vault.backup("shop", made.id)))
    }
    assert found == {
        ("public.orders", "public.orders: 6"),
        ("public.notes", "public.notes: 2"),
        ("public.tree", "public.tree: 1"),
    }
    assert sum(1 for f in verify(vault.backup("shop", made.id)).errors if f.table == "public.orders") == 4
    partial = back_up(
        vault, source, Order("shop", selection=Selection(only=frozenset({TableId("public", "orders")})))
    )
    report = verify(vault.backup("shop", partial.id))
    assert report.ok
    assert report.counted["references_not_checked"] == 4
