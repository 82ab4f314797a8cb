"""`verify` finds what a key and NOT NULL do not hold any more, without a server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from backup_pipeline.model.findings import Finding
from backup_pipeline.model.schema import Key, Schema, SchemaObject, TableId
from backup_pipeline.references import uniqueness
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.verify import verify, verify_all
from backup_pipeline_tests.harness.backups import backed_up, run_sql
from backup_pipeline_tests.harness.handmade import Made, back_up_by_hand, prepared, table

TEXTS = {"id": "integer", "word": "text"}


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return prepared(tmp_path / "vault")


def found(vault: Vault, *made: Made, schema: Schema | None = None) -> list[tuple[str, str]]:
    number = len(vault.ids("shop")) + 1
    report = verify(vault.backup("shop", back_up_by_hand(vault, made, number, schema=schema).id))
    return [(one.code, one.message) for one in report.findings]


@pytest.mark.parametrize(
    ("definition", "rows", "shared"),
    [
        ("UNIQUE (word)", b"1\ta\n2\ta\n3\tb\n", "2 rows share 1 values"),
        ("UNIQUE (word)", b"1\t\n2\t\n3\tb\n4\tb\n5\tb\n", "5 rows share 2 values"),
        ("UNIQUE (word)", b"1\t\\N\n2\t\\N\n", ""),
        ("UNIQUE NULLS NOT DISTINCT (word)", b"1\t\\N\n2\t\\N\n", "2 rows share 1 values"),
        ("UNIQUE (word)", b"1\ta\n2\tA\n3\t a\n", ""),
    ],
)
def test_a_value_that_is_there_twice_is_found_in_every_chunk(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, definition: str, rows: bytes, shared: str
) -> None:
    monkeypatch.setattr(uniqueness, "_AT_ONCE", 2)
    chunks = [line + b"\n" for line in rows.splitlines()]
    said = found(vault, table("words", TEXTS, *chunks, uniques=(Key("once", ("word",), definition),)))
    assert [code for code, _ in said] == (["key-not-unique"] if shared else [])
    assert all(f"public.words: {shared} of the unique constraint once (word)" in text for _, text in said)


def test_a_null_that_may_not_be_is_found_also_where_a_domain_forbids_it(vault: Vault) -> None:
    objects = (
        SchemaObject("domain", "sure", "CREATE DOMAIN public.sure AS text NOT NULL;", "public"),
        SchemaObject(
            "domain", "over", "CREATE DOMAIN public.over AS public.sure DEFAULT ''::text;", "public"
        ),
        SchemaObject(
            "domain",
            "free",
            "CREATE DOMAIN public.free AS text CONSTRAINT c CHECK (VALUE IS NOT NULL OR true);",
            "public",
        ),
    )
    made = table(
        "t",
        {"id": "integer", "a": "text", "b": "public.over", "c": "public.free"},
        b"1\t\\N\t\\N\t\\N\n2\tx\ty\tz\n",
    )
    columns = tuple(replace(column, nullable=column.name != "a") for column in made.table.columns)
    made.table = replace(made.table, columns=columns, primary_key=None)
    said = found(vault, made, schema=Schema("postgres", (made.table,), objects=objects))
    assert {(code, text.split(", which")[0]) for code, text in said} == {
        ("null-not-allowed", "public.t: 1 rows have no value in a"),
        ("null-not-allowed", "public.t: 1 rows have no value in b"),
    }


def test_a_key_of_a_partitioned_table_is_one_over_all_partitions(vault: Vault) -> None:
    root = table("root", {"id": "integer"}, kind="partitioned", partition_key="LIST (id)")
    parts = [
        table(f"part{number}", {"id": "integer"}, b"7\n", partition_of=TableId("public", "root"))
        for number in (1, 2)
    ]
    schema = Schema("postgres", tuple(made.table for made in (root, *parts)))
    assert found(vault, *parts, schema=schema) == [
        ("key-not-unique", "public.root: 2 rows share 1 values of the primary key root_pkey (id)")
    ]


def test_what_several_backups_share_is_looked_at_once(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    words = table("words", TEXTS, b"1\ta\n1\tb\n")
    for number in (1, 2):
        back_up_by_hand(vault, [words], number)
    looked: list[object] = []
    real = uniqueness._look

    def counting(*given: object) -> object:
        looked.append(given)
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(uniqueness, "_look", counting)
    report = verify_all(vault, "shop")
    assert [one.code for one in report.findings if one.severity == "error"] == ["key-not-unique"]
    assert report.counted["keys"] == 2
    assert len(looked) == 1


def test_duplicates_that_got_past_an_index_are_found_and_healthy_tables_are_not(
    pg_database: str, tmp_path: Path
) -> None:
    run_sql(
        pg_database,
        """CREATE TABLE good (id int PRIMARY KEY, a text UNIQUE, b int[] UNIQUE);
        INSERT INTO good SELECT n, n::text, array[n] FROM generate_series(1, 1000) n; INSERT INTO good VALUES (0, NULL, NULL);
        CREATE TABLE bad (id int PRIMARY KEY, a text);
        UPDATE pg_index SET indisunique = false WHERE indexrelid = 'bad_pkey'::regclass;
        INSERT INTO bad VALUES (1, 'one'), (1, 'another'), (2, 'two');""",
    )
    backed = backed_up(pg_database, tmp_path / "vault")
    findings: tuple[Finding, ...] = verify(backed.vault.backup("shop", backed.manifest.id)).findings
    assert [(one.severity, one.code, one.table) for one in findings] == [
        ("error", "key-not-unique", "public.bad")
    ]
    assert "2 rows share 1 values of the primary key bad_pkey (id)" in findings[0].message


def test_values_that_cannot_be_read_are_an_error_and_no_lack_of_disk(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = table("words", TEXTS, b"1\ta\n", primary_key=Key("pk", ("id",), "PRIMARY KEY (id)"))
    rows = uniqueness.open_columns

    def broken(*given: Any) -> Iterator[Any]:
        yield from rows(*given)
        raise pa.ArrowInvalid("'a' is no number")

    monkeypatch.setattr(uniqueness, "open_columns", broken)
    assert found(vault, made) == [
        ("keys-unreadable", "public.words: the values of its keys cannot be read: 'a' is no number")
    ]
