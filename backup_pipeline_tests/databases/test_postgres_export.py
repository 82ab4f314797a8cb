"""Full fidelity: every row of every awkward table, by every road that rows are read."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from backup_pipeline.databases.base import Options
from backup_pipeline.databases.postgres.export import PostgresSource, unchanged
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.errors import NotSupported
from backup_pipeline.model.schema import TableId
from backup_pipeline.model.selection import Selection
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.contracts.source_contract import Taken
from backup_pipeline_tests.harness.engines import MakePgDatabase
from backup_pipeline_tests.harness.postgres_rows import (
    LivePostgres,
    ask,
    live_lines,
    quoted,
    run,
    stored_lines,
)
from backup_pipeline_tests.harness.torture_postgres import torture_sql


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    (tmp_path / "vault").mkdir()
    vault = Vault(LocalStore(tmp_path / "vault"))
    vault.prepare()
    return vault


def assert_all_rows(url: str, vault: Vault, taken: Taken, encoding: str = "UTF8") -> None:
    assert taken.export.tables
    for entry in taken.export.tables:
        live = live_lines(url, entry.id, entry.columns, encoding)
        assert stored_lines(vault, taken.export, entry.id) == live, f"{entry.id} is not what it should be"


@pytest.mark.parametrize("workers", [1, 2])
def test_the_torture_database_is_backed_up_exactly(
    pg_major_server: EmbeddedPostgres,
    pg_major_database: str,
    vault: Vault,
    workers: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # So small a database would be read without workers.
    monkeypatch.setattr("backup_pipeline.databases.postgres.export.export.IN_PROCESS_BYTES", 0)
    run(pg_major_database, torture_sql(pg_major_server.major))
    taken = Taken(LivePostgres(pg_major_database), vault, options=Options(workers=workers))
    assert_all_rows(pg_major_database, vault, taken)
    rows = {entry.name: entry.rows for entry in taken.export.tables}
    assert rows["no_columns"] == 7
    assert rows["only_generated"] == 3
    assert rows["no_key"] == 5
    assert rows["measured_2025_a"] == rows["measured_2025_rest"] == rows["measured rest"] == 1
    assert rows["parent"] == rows["child"] == rows["grandchild"] == 1
    assert not {"measured", "measured_2025", "hashed", "summary"} & rows.keys()
    assert taken.left_out == ()
    assert [finding.code for finding in taken.export.findings] == ["unlogged-table"]


def test_the_torture_schema_is_described(
    pg_major_server: EmbeddedPostgres, pg_major_database: str, vault: Vault
) -> None:
    run(pg_major_database, torture_sql(pg_major_server.major))
    schema = Taken(LivePostgres(pg_major_database), vault).schema
    table = {str(table.id): table for table in schema.tables}
    assert table["public.measured"].kind == "partitioned"
    assert table["public.measured"].partition_key == "RANGE (at)"
    assert table["public.measured_2025_a"].partition_of == TableId("public", "measured_2025")
    assert "'it''s'" in (table["public.measured_2025_a"].partition_bound or "")
    assert table["public.grandchild"].inherits == (TableId("public", "child"),)
    assert table["public.secured"].row_security
    assert table["public.unlogged"].unlogged
    assert table["public.generated"].columns[0].identity == "by default"
    assert table["public.times"].columns[0].identity == "always"
    assert table["public.generated"].exported_columns == ("id", "first name", "after")
    assert table["public.accounts"].owner == "torture_owner"
    assert table["public.accounts"].foreign_keys[0].initially_deferred
    checked = {key.name: key for key in table["public.multi_child"].foreign_keys}
    assert not checked["not_checked"].validated
    assert {key.match for key in checked.values()} == {"FULL", "SIMPLE"}
    kinds = {item.kind for item in schema.objects}
    expected = {
        "schema",
        "enum",
        "domain",
        "composite",
        "range",
        "function",
        "view",
        "materialized view",
        "trigger",
    }
    assert (
        expected | {"policy", "rule", "grant", "comment", "statistics", "aggregate", "publication", "owner"}
        <= kinds
    )
    views = {item.name: item.definition for item in schema.objects if item.kind == "materialized view"}
    assert views["summary"].endswith("WITH DATA;")
    assert views["unfilled"].endswith("WITH NO DATA;")
    assert {"torture_owner", "torture_reader"} <= set(schema.roles)
    lonely = next(sequence for sequence in schema.sequences if sequence.id.name == "lonely")
    assert (lonely.increment, lonely.minimum, lonely.maximum, lonely.cycle) == (-3, -100, 10, True)
    owned = next(
        sequence for sequence in schema.sequences if sequence.owned_by == TableId("public", "numbers")
    )
    assert owned.owned_by_column == "id"


def test_sequences_are_read_as_they_are(
    pg_major_server: EmbeddedPostgres, pg_major_database: str, vault: Vault
) -> None:
    run(pg_major_database, torture_sql(pg_major_server.major))
    states = {
        s.name: (s.last_value, s.is_called)
        for s in Taken(LivePostgres(pg_major_database), vault).export.sequences
    }
    assert states["lonely"] == (2, True)
    assert states["never called"] == (1, False)
    assert states["generated_id_seq"] == (105, True)


def test_a_sequence_is_never_behind_the_rows(pg_database: str, vault: Vault) -> None:
    run(pg_database, "CREATE TABLE t (id serial PRIMARY KEY, v text)", "INSERT INTO t (v) VALUES ('a')")
    with PostgresSource(pg_database).snapshot(Selection(), Options()) as snapshot:
        run(pg_database, "INSERT INTO t (v) VALUES ('b'), ('c')")
        export = snapshot.export(vault.writer, baselines={})
    assert export.tables[0].rows == 1
    assert export.sequences[0].last_value == 3


# ── chunks


def fill(url: str, rows: int = 20_000) -> None:
    run(
        url,
        "CREATE TABLE big (id bigint PRIMARY KEY, t text)",
        f"INSERT INTO big SELECT g, repeat(md5(g::text), 3) FROM generate_series(1, {rows}) g",
        "CREATE TABLE little (id int)",
        "INSERT INTO little VALUES (1)",
    )


@pytest.mark.parametrize("workers", [1, 3])
def test_a_big_table_is_read_in_chunks_that_hold_every_row_once(
    pg_major_server: EmbeddedPostgres,
    pg_major_database: str,
    vault: Vault,
    workers: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("backup_pipeline.databases.postgres.export.export.IN_PROCESS_BYTES", 0)
    fill(pg_major_database)
    taken = Taken(
        LivePostgres(pg_major_database), vault, options=Options(workers=workers, chunk_bytes=256 * 1024)
    )
    chunks = taken.entry("big").chunks
    # Before PostgreSQL 14 a range of pages cannot be read without reading the whole table.
    assert len(chunks) > 5 if pg_major_server.major >= 14 else len(chunks) == 1
    assert chunks[0].first_page == 0
    assert [chunk.end_page for chunk in chunks] == [*(chunk.first_page for chunk in chunks[1:]), None]
    assert_all_rows(pg_major_database, vault, taken)
    assert sum(advance.rows for advance in taken.heard) == 20_001
    journalled = [chunk for entry in taken.journal for chunk in entry.chunks if entry.name == "big"]
    assert sorted(journalled, key=lambda chunk: chunk.first_page or 0) == list(chunks)
    # What is noted says, too, which catalog it saw: only the manifest is written after that was compared.
    assert all(unchanged.proven(entry.state) == taken.entry(entry.name).state for entry in taken.journal)
    assert all(entry.state[unchanged.UNPROVEN] for entry in taken.journal)


def test_rows_that_appear_while_it_reads_are_in_no_chunk(pg_database: str, vault: Vault) -> None:
    fill(pg_database)
    options = Options(workers=1, chunk_bytes=256 * 1024)
    with PostgresSource(pg_database).snapshot(Selection(), options) as snapshot:
        run(
            pg_database,
            "INSERT INTO big SELECT g, 'late' FROM generate_series(30000, 60000) g",
            "DELETE FROM big WHERE id < 999",
        )
        export = snapshot.export(vault.writer, baselines={})
    assert export.tables[0].rows == 20_000


def test_a_wide_value_is_handed_on_in_small_pieces(pg_database: str, tmp_path: Path) -> None:
    run(pg_database, "CREATE TABLE t (v text)", "INSERT INTO t SELECT repeat('x', 30000000)")
    sizes: list[int] = []

    class Measuring:
        def write(self, blocks, suffix, known=()):  # type: ignore[no-untyped-def]
            sizes.extend(len(block) for block in blocks)
            raise StopIteration

    with contextlib.suppress(StopIteration, RuntimeError):
        with PostgresSource(pg_database).snapshot(Selection(), Options()) as snapshot:
            snapshot.export(Measuring(), baselines={})  # type: ignore[arg-type]
    assert sum(sizes) == 30_000_001
    assert max(sizes) <= 1024 * 1024


def test_1600_columns(pg_database: str, vault: Vault) -> None:
    columns = ", ".join(f"column_number_{n} int" for n in range(1600))
    run(
        pg_database,
        f"CREATE TABLE broad ({columns})",
        f"INSERT INTO broad VALUES ({', '.join(map(str, range(1600)))})",
    )
    taken = Taken(LivePostgres(pg_database), vault)
    assert len(taken.entry("broad").columns) == 1600
    assert_all_rows(pg_database, vault, taken)


# ── what cannot be taken is named


def test_large_objects_are_refused_with_a_way_out(pg_database: str, vault: Vault) -> None:
    run(
        pg_database, "CREATE TABLE t (id int)", "SELECT lo_from_bytea(0, 'x')", "SELECT lo_from_bytea(0, 'y')"
    )
    live = LivePostgres(pg_database)
    with pytest.raises(NotSupported, match="2 large objects") as caught:
        Taken(live, vault)
    assert "large_objects: exclude" in caught.value.remedy
    taken = Taken(live, vault, options=Options(large_objects="exclude"))
    assert [(item.kind, item.name) for item in taken.left_out] == [("large object", "2 large objects")]
    report = live.source.diagnose(Selection())
    assert [finding.code for finding in report.errors] == ["large-objects"]


def test_foreign_tables_are_left_out_by_name(pg_database: str, vault: Vault) -> None:
    run(
        pg_database,
        "CREATE FOREIGN DATA WRAPPER nothing",
        "CREATE SERVER far FOREIGN DATA WRAPPER nothing",
        "CREATE FOREIGN TABLE elsewhere (id int) SERVER far",
        "CREATE TABLE here (id int)",
    )
    taken = Taken(LivePostgres(pg_database), vault)
    assert [(item.name, item.kind) for item in taken.left_out] == [("elsewhere", "foreign table")]
    assert [entry.name for entry in taken.export.tables] == ["here"]
    assert "foreign-tables" in {f.code for f in PostgresSource(pg_database).diagnose(Selection()).findings}


def test_temporary_tables_of_others_are_none_of_our_business(pg_database: str, vault: Vault) -> None:
    run(pg_database, "CREATE TABLE here (id int)")
    live = LivePostgres(pg_database)
    with live.writer() as other:
        other.run("CREATE TEMPORARY TABLE passing (id int)", "INSERT INTO passing VALUES (1)")
        taken = Taken(live, vault)
    assert [entry.name for entry in taken.export.tables] == ["here"]
    assert taken.left_out == ()


def test_what_an_extension_brings_is_left_out_by_name(pg_database: str, vault: Vault) -> None:
    # The wheel's servers have one of them, all others the other.
    query = "SELECT max(name) FROM pg_available_extensions WHERE name IN ('vector', 'hstore')"
    ((extension,),) = ask(pg_database, query)
    value = {"vector": "[1,2,3.5]", "hstore": "a=>1,b=>NULL"}[extension]
    run(
        pg_database,
        f"CREATE EXTENSION {extension}",
        f"CREATE TABLE items (id int, v {extension})",
        f"INSERT INTO items VALUES (1, '{value}')",
        "CREATE TABLE owned (id int)",
        f"ALTER EXTENSION {extension} ADD TABLE owned",
    )
    taken = Taken(LivePostgres(pg_database), vault)
    assert [(item.name, extension in item.reason) for item in taken.left_out] == [("owned", True)]
    assert_all_rows(pg_database, vault, taken)
    assert taken.entry("items").state
    made = {(item.kind, item.name) for item in taken.schema.objects if item.kind != "grant"}
    assert made == {("extension", extension)}


@pytest.mark.parametrize(
    "selection",
    [
        Selection(include=("events",)),
        Selection(only=frozenset({TableId("public", "events")})),
        Selection(exclude=("other",)),
    ],
)
def test_who_names_a_partitioned_table_gets_its_partitions(
    pg_database: str, vault: Vault, selection: Selection
) -> None:
    run(
        pg_database,
        "CREATE TABLE events (id int, city text) PARTITION BY RANGE (id)",
        "CREATE TABLE low PARTITION OF events FOR VALUES FROM (0) TO (10) PARTITION BY LIST (city)",
        "CREATE TABLE low_all PARTITION OF low DEFAULT",
        "CREATE TABLE high PARTITION OF events DEFAULT",
        "CREATE TABLE other (id int)",
        "INSERT INTO events VALUES (1, 'x'), (20, 'y')",
    )
    taken = Taken(LivePostgres(pg_database), vault, selection)
    assert {entry.name: entry.rows for entry in taken.export.tables} == {"low_all": 1, "high": 1}
    assert [item.name for item in taken.left_out] == ["other"]
    none = Taken(LivePostgres(pg_database), vault, Selection(exclude=("events",)))
    assert [entry.name for entry in none.export.tables] == ["other"]
    assert {item.name for item in none.left_out} == {"high", "low_all"}


# ── encodings


def make_encoded(server: EmbeddedPostgres, name: str, encoding: str) -> str:
    run(server.url(), f"CREATE DATABASE {quoted(name)} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
    return server.url(name)


@pytest.mark.parametrize(
    ("encoding", "kept", "texts"),
    [
        ("LATIN1", "UTF8", ("naïve", "ÿ", "¤")),
        ("WIN1252", "UTF8", ("€uro", "“quoted”")),
        ("EUC_JP", "EUC_JP", ("日本語", "表示\\")),
    ],
)
def test_other_encodings_are_exact(
    pg_server: EmbeddedPostgres, vault: Vault, encoding: str, kept: str, texts: tuple[str, ...]
) -> None:
    name = f"encoded_{encoding.lower()}"
    url = make_encoded(pg_server, name, encoding)
    try:
        run(url, f'CREATE TABLE "{texts[0]}" ("{texts[0]}c" text)')
        for text in texts:
            run(url, f"INSERT INTO \"{texts[0]}\" VALUES ('{text}')")
        taken = Taken(LivePostgres(url), vault)
        assert taken.engine.details["row_encoding"] == kept
        assert taken.entry(texts[0]).rows == len(texts)
        codec = {"UTF8": "utf-8", "EUC_JP": "euc_jp"}[kept]
        stored = b"".join(vault.content(c.object) for c in taken.entry(texts[0]).chunks).decode(codec)
        assert stored.replace("\\\\", "\\").split("\n")[:-1] == list(texts)
        assert texts[0] in taken.ddl[0][2].decode(codec)
    finally:
        pg_server.drop_database(name)


def test_bytes_of_no_encoding_are_kept_as_they_are(pg_server: EmbeddedPostgres, vault: Vault) -> None:
    url = make_encoded(pg_server, "encoded_ascii", "SQL_ASCII")
    try:
        run(url, "CREATE TABLE t (v text)", r"INSERT INTO t VALUES (E'\xe9\xff\x80'), (E'\xc3\xa9')")
        taken = Taken(LivePostgres(url), vault)
        assert taken.engine.details["row_encoding"] == "SQL_ASCII"
        assert vault.content(taken.entry("t").chunks[0].object) == b"\xe9\xff\x80\n\xc3\xa9\n"
        findings = PostgresSource(url).diagnose(Selection()).findings
        assert "encoding" in {finding.code for finding in findings}
    finally:
        pg_server.drop_database("encoded_ascii")


def test_a_text_without_a_place_in_unicode_is_refused(pg_server: EmbeddedPostgres, vault: Vault) -> None:
    url = make_encoded(pg_server, "encoded_win", "WIN1252")
    try:
        run(url, "CREATE TABLE t (v text)", r"INSERT INTO t VALUES (E'\x81')")
        with pytest.raises(NotSupported, match=r"public\.t"):
            Taken(LivePostgres(url), vault)
    finally:
        pg_server.drop_database("encoded_win")


def test_settings_of_the_role_and_the_database_change_nothing(
    make_pg_database: MakePgDatabase, vault: Vault
) -> None:
    url = make_pg_database()
    (name,) = ask(url, "SELECT current_database()")[0]
    run(
        url,
        "CREATE TABLE t (i interval, z timestamptz, b bytea, d float8, da date, m money)",
        "INSERT INTO t VALUES ('1 day 2 hours', '2026-01-01 12:00+05', '\\x00ff', 0.1, '2026-02-03', '$1.50')",
    )
    before = Taken(LivePostgres(url), vault).entry("t").fingerprint
    for setting in (
        "TimeZone = 'Asia/Tokyo'",
        "DateStyle = 'German'",
        "IntervalStyle = 'iso_8601'",
        "bytea_output = 'escape'",
        "extra_float_digits = '-5'",
        "search_path = 'nowhere'",
        "default_transaction_isolation = 'serializable'",
        "client_encoding = 'LATIN1'",
        "standard_conforming_strings = 'off'",
        # Last: none of the others has to be done in that time, on a machine that may be busy.
        "statement_timeout = '5ms'",
    ):
        run(url, f"ALTER DATABASE {quoted(name)} SET {setting}")
    assert Taken(LivePostgres(url), vault).entry("t").fingerprint == before
