"""Tables that are divided into partitions: their rows come out of the partitions, and go in through the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.databases.merge.asked import Asked
from backup_pipeline.errors import RestoreError
from backup_pipeline.model.merge_orders import MergeOrder
from backup_pipeline.operations.merge_asked import asked_of
from backup_pipeline_tests.harness.engines import MakePgDatabase
from backup_pipeline_tests.merging.stories import Story

SCHEMA = """
CREATE TABLE shops (id $id, name text NOT NULL UNIQUE);
CREATE TABLE sales (id bigint, day date, shop_id integer NOT NULL REFERENCES shops, total integer, PRIMARY KEY (id, day, shop_id))
  PARTITION BY RANGE (day);
CREATE TABLE sales_1 PARTITION OF sales FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE sales_2 PARTITION OF sales FOR VALUES FROM ('2026-02-01') TO ('2026-03-01') PARTITION BY LIST (shop_id);
CREATE TABLE sales_2_north PARTITION OF sales_2 FOR VALUES IN (1);
CREATE TABLE sales_2_other (total integer, shop_id integer NOT NULL, day date NOT NULL, id bigint NOT NULL);
ALTER TABLE sales_2 ATTACH PARTITION sales_2_other DEFAULT;
CREATE TABLE refunds (id $id, sale_id bigint, day date, shop_id integer, FOREIGN KEY (sale_id, day, shop_id) REFERENCES sales);
INSERT INTO shops VALUES (1, 'north'), (2, 'south');
INSERT INTO sales VALUES (1, '2026-01-10', 1, 10), (2, '2026-02-10', 1, 20), (3, '2026-02-11', 2, 30), (4, '2026-02-12', 2, 40);
INSERT INTO refunds VALUES (1, 3, '2026-02-11', 2);
"""
TOTALS = "SELECT tableoid::regclass::text, id, total FROM sales ORDER BY id"


@pytest.fixture
def divided(make_pg_database: MakePgDatabase, tmp_path: Path) -> Story:
    story = Story("postgres", make_pg_database(), tmp_path / "vault")
    story.begin(SCHEMA)
    return story


def test_rows_of_nested_partitions_come_back_as_rows_of_the_table(divided: Story) -> None:
    divided.run(
        "DELETE FROM refunds; DELETE FROM sales WHERE id IN (1, 3); UPDATE sales SET total = 0 WHERE id = 4"
    )
    result = divided.play(update=True)
    assert [one.table.name for one in result.plan.tables] == ["refunds", "sales", "shops"]
    assert (divided.of(result, "sales").create, divided.of(result, "sales").update) == (2, 1)
    assert [one.code for one in result.findings] == []
    assert divided.ask(TOTALS) == [
        ("sales_1", 1, 10),
        ("sales_2_north", 2, 20),
        ("sales_2_other", 3, 30),
        ("sales_2_other", 4, 40),
    ]
    assert divided.ask("SELECT sale_id FROM refunds") == [(3,)]


def test_an_undo_takes_rows_of_partitions_back(divided: Story) -> None:
    divided.run(
        "DELETE FROM refunds; DELETE FROM sales WHERE id IN (1, 3); UPDATE sales SET total = 0 WHERE id = 4"
    )
    before = divided.ask(TOTALS)
    assert divided.merge_and_undo(update=True).plan.writes == 4
    assert divided.ask(TOTALS) == before


def test_rows_find_partitions_that_were_made_anew(divided: Story) -> None:
    divided.run(
        "DELETE FROM refunds; ALTER TABLE sales DETACH PARTITION sales_2; ALTER TABLE sales DETACH PARTITION sales_1;"
        " CREATE TABLE sales_all PARTITION OF sales DEFAULT; INSERT INTO sales VALUES (9, '2027-01-01', 1, 90)"
    )
    divided.play()
    assert divided.ask(TOTALS) == [("sales_all", at, at * 10) for at in (1, 2, 3, 4, 9)]


def test_a_table_that_is_divided_since_takes_its_rows(
    make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    story = Story("postgres", make_pg_database(), tmp_path / "vault")
    story.begin(
        "CREATE TABLE logs (id bigint PRIMARY KEY, text text); INSERT INTO logs VALUES (1, 'a'), (200, 'b')"
    )
    story.run(
        "DROP TABLE logs; CREATE TABLE logs (id bigint PRIMARY KEY, text text) PARTITION BY RANGE (id);"
        " CREATE TABLE logs_0 PARTITION OF logs FOR VALUES FROM (0) TO (100); CREATE TABLE logs_more PARTITION OF logs DEFAULT"
    )
    story.play()
    assert story.ask("SELECT tableoid::regclass::text, text FROM logs ORDER BY id") == [
        ("logs_0", "a"),
        ("logs_more", "b"),
    ]


def test_a_row_that_lies_in_another_partition_by_now_is_known_by_the_key_of_a_rule(divided: Story) -> None:
    divided.merge = {"tables": {"sales": {"natural_keys": [["id"]]}}}
    divided.run("DELETE FROM refunds; UPDATE sales SET day = '2026-02-20', total = 0 WHERE id = 1")
    result = divided.play(update=True)
    assert divided.of(result, "sales").update == 1
    assert divided.ask("SELECT tableoid::regclass::text, total FROM sales WHERE id = 1") == [
        ("sales_2_north", 10)
    ]


def test_a_row_without_a_partition_is_refused_and_nothing_is_written(divided: Story) -> None:
    divided.run("DELETE FROM refunds; ALTER TABLE sales DETACH PARTITION sales_2; DELETE FROM sales")
    with pytest.raises(RestoreError, match=r"no partition of relation .?sales.? found"):
        divided.play()
    assert divided.ask("SELECT count(*) FROM sales") == [(0,)]


def test_a_divided_table_without_a_key_is_refused(make_pg_database: MakePgDatabase, tmp_path: Path) -> None:
    story = Story("postgres", make_pg_database(), tmp_path / "vault")
    story.begin(
        "CREATE TABLE logs (text text) PARTITION BY RANGE (text); CREATE TABLE l0 PARTITION OF logs DEFAULT"
    )
    assert [one.message for one in story.plan().refused] == [
        "logs is divided into partitions and has no primary key, so that no row of it has a name"
    ]


def test_the_table_is_named_and_not_its_partitions(divided: Story) -> None:
    assert divided.backup is not None
    asked = asked_of(MergeOrder(system="shop", only=("sales*",)), divided.backup, {})
    assert asked.only == frozenset({divided.table("sales")})
    assert Asked(only=asked.only).skip == frozenset()
