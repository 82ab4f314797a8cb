"""FORMAT.md, rule by rule: row text, and files in blocks."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import xxhash

from backup_pipeline.backups.making import Order, back_up
from backup_pipeline.databases.postgres.export import PostgresSource
from backup_pipeline.databases.postgres.export.session import row_encoding, session_settings
from backup_pipeline.databases.sqlite.export import SqliteSource
from backup_pipeline.errors import Damaged
from backup_pipeline.model.findings import Report
from backup_pipeline.model.manifest import Engine, FileImage, Manifest
from backup_pipeline.model.selection import Selection
from backup_pipeline.reading import read_table, rows_of
from backup_pipeline.vault.images import read_image
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.verify import verify
from backup_pipeline_tests.harness.handmade import Made, back_up_by_hand, prepared, table


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return prepared(tmp_path / "vault")


def report_on(vault: Vault, *made: Made, **more: object) -> Report:
    manifest = back_up_by_hand(vault, made, **more)  # type: ignore[arg-type]
    return verify(vault.backup("shop", manifest.id))


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.errors}


@pytest.mark.rule("R1", "R2", "R3", "R4")
def test_row_text_is_read_as_it_is_described(vault: Vault) -> None:
    text = b"1\t\\N\t\n2\ta\\tb\\nc\\\\N\\b\\v\\f\\r\t\xc3\xa4\x01\n"
    made = back_up_by_hand(vault, [table("t", {"id": "integer", "a": "text", "b": "text"}, text)])
    assert verify(vault.backup("shop", made.id)).findings == ()
    assert list(rows_of(vault.backup_of(made), "t")) == [(1, None, ""), (2, "a\tb\nc\\N\b\v\f\r", "ä\x01")]
    nothing = back_up_by_hand(vault, [table("z", {}, b"\n\n", key=())], 2)
    assert list(rows_of(vault.backup_of(nothing), "z")) == [(), ()]
    assert read_table(vault.backup_of(nothing), "z").shape == (2, 0)


@pytest.mark.rule("R1", "R2", "R4")
@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"1\tx\n2\ty", "row-cut-off"),
        (b"1\tx\n2\n", "row-columns"),
        (b"1\tx\ty\n", "row-columns"),
        (b"\n", "row-columns"),
        (b"1\ta\\qb\n", "row-text"),
        (b"1\ta\\N\n", "row-text"),
        (b"1\t\\x41\n", "row-text"),
        (b"1\t\\.\n", "row-text"),
        (b"1\ta\rb\n", "row-text"),
        (b"1\ta\0b\n", "row-text"),
        (b"1\ta\\\n2\tb\n", "row-text"),
    ],
)
def test_what_is_no_row_text_is_found(vault: Vault, text: bytes, code: str) -> None:
    assert code in codes(report_on(vault, table("t", {"id": "integer", "a": "text"}, text)))


@pytest.mark.rule("R2")
def test_a_table_without_columns_holds_empty_lines_only(vault: Vault) -> None:
    assert codes(report_on(vault, table("z", {}, b"\nx\n", key=()))) == {"row-columns"}


@pytest.mark.rule("R5")
def test_every_session_writes_values_alike() -> None:
    settings = session_settings(180000)
    assert {
        name: settings[name] for name in ("TimeZone", "IntervalStyle", "bytea_output", "lc_monetary")
    } == {
        "TimeZone": "UTC",
        "IntervalStyle": "postgres",
        "bytea_output": "hex",
        "lc_monetary": "C",
    }
    assert settings["DateStyle"].startswith("ISO")
    assert settings["extra_float_digits"] == "3"
    assert settings["search_path"] == ""


@pytest.mark.rule("R6")
def test_row_text_has_the_encoding_that_the_manifest_names(vault: Vault) -> None:
    latin = table("t", {"a": "text"}, b"caf\xe9\n", key=())
    assert codes(report_on(vault, latin)) == {"row-encoding"}
    made = back_up_by_hand(vault, [latin], 2)
    other = replace(
        made,
        id="2026-11-03T02-00-00-000Z",
        engine=Engine("postgres", "16.1", {"row_encoding": "SQL_ASCII"}),
        previous=vault.backup("shop", made.id).link,
    )
    vault.commit(other, "# Recover shop 2\n")
    assert verify(vault.backup("shop", other.id)).findings == ()
    assert list(rows_of(vault.backup_of(other), "t")) == [("caf\udce9",)]
    assert row_encoding("LATIN1") == "UTF8"
    assert row_encoding("SQL_ASCII") == "SQL_ASCII"


@pytest.mark.rule("R7")
def test_a_table_is_its_chunks_in_the_order_of_their_pages(vault: Vault) -> None:
    made = back_up_by_hand(vault, [table("t", {"id": "integer"}, b"1\n2\n", b"3\n", b"4\n")])
    assert [row for (row,) in rows_of(vault.backup_of(made), "t")] == [1, 2, 3, 4]
    entry = made.tables[0]
    assert [(chunk.first_page, chunk.end_page) for chunk in entry.chunks] == [(0, 10), (10, 20), (20, None)]
    one, two, three = entry.chunks
    for number, chunks in enumerate(((two, one, three), (one, replace(two, first_page=9), three)), start=2):
        wrong = replace(
            made,
            id=f"2026-11-0{number}T02-00-00-000Z",
            tables=(replace(entry, chunks=chunks),),
            previous=vault.backup("shop", vault.ids("shop")[-1]).link,
        )
        vault.commit(wrong, "# Recover shop 1\n")
        assert "page-ranges" in codes(verify(vault.backup("shop", wrong.id), quick=True))


@pytest.mark.rule("R7", "R8", "R9")
def test_generated_columns_stay_out_and_leaves_are_tables(vault: Vault, pg_database: str) -> None:
    import psycopg2

    with closing(psycopg2.connect(pg_database)) as connection:
        cursor = connection.cursor()
        cursor.execute(
            "CREATE TABLE g (id int, twice int GENERATED ALWAYS AS (id * 2) STORED, name text);"
            "CREATE TABLE root (id int, part int) PARTITION BY LIST (part);"
            "CREATE TABLE leaf PARTITION OF root FOR VALUES IN (1);"
            "CREATE TABLE parent (id int); CREATE TABLE child () INHERITS (parent);"
            "INSERT INTO g VALUES (4, DEFAULT, 'x'); INSERT INTO root VALUES (5, 1);"
            "INSERT INTO parent VALUES (6); INSERT INTO child VALUES (7);"
        )
        connection.commit()
    made = back_up(vault, PostgresSource(pg_database), Order("shop"))
    assert verify(vault.backup("shop", made.id)).findings == ()
    rows = {table.name: list(rows_of(vault.backup_of(made), table.name)) for table in made.tables}
    assert rows == {"g": [(4, "x")], "leaf": [(5, 1)], "parent": [(6,)], "child": [(7,)]}
    assert list(rows_of(vault.backup_of(made), "root")) == [(5, 1)]
    for entry in made.tables:
        content = "\n".join(entry.columns).encode()
        content += b"".join(bytes.fromhex(chunk.object.plain_sha256) for chunk in entry.chunks)
        assert entry.fingerprint == hashlib.sha256(content).hexdigest()


# ── files in blocks


@pytest.fixture
def nights(vault: Vault, tmp_path: Path) -> tuple[Path, Manifest, Manifest]:
    """A database file, its first backup, and one after a few rows changed."""
    database = tmp_path / "shop.db"
    source = SqliteSource(f"sqlite:///{database}")
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", ((n, b"%d" % n * 300) for n in range(2500)))
        connection.commit()
        first = back_up(vault, source, Order("shop"))
        connection.execute("UPDATE t SET v = x'00' WHERE id IN (7, 1700)")
        connection.commit()
        second = back_up(vault, source, Order("shop"))
    return database, first, second


def image_of(manifest: Manifest) -> FileImage:
    assert manifest.image is not None
    return manifest.image


def plain_of(vault: Vault, image: FileImage) -> bytes:
    """The file by the rules alone, without the product's reader."""
    out = b""
    for segment in image.segments:
        packs = {pack.sha256: vault.content(pack) for pack in segment.packs}
        assert segment.offset == len(out)
        if segment.map is None:
            (part,) = packs.values()
        else:
            lines = [line.split(b"\t") for line in vault.content(segment.map).splitlines()]
            part = b"".join(packs[name.decode()][int(at) : int(at) + int(size)] for name, at, size in lines)
        assert hashlib.sha256(part).hexdigest() == segment.sha256
        assert len(part) == segment.size
        out += part
    return out


@pytest.mark.rule("B1", "B2", "B3")
def test_a_file_is_put_together_by_the_rules_alone(
    vault: Vault, nights: tuple[Path, Manifest, Manifest]
) -> None:
    _, first, second = nights
    assert all(segment.map is None for segment in image_of(first).segments)
    assert any(segment.map is not None for segment in image_of(second).segments)
    for manifest in (first, second):
        image = image_of(manifest)
        data = plain_of(vault, image)
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (image.sha256, image.size)
        assert b"".join(read_image(vault.store, image)) == data
        assert verify(vault.backup("shop", manifest.id)).findings == ()


@pytest.mark.rule("B3")
def test_a_map_that_leads_astray_is_damage(vault: Vault, nights: tuple[Path, Manifest, Manifest]) -> None:
    image = image_of(nights[2])
    segment = next(segment for segment in image.segments if segment.map)
    assert segment.map is not None
    lines = vault.content(segment.map).splitlines(keepends=True)
    name = lines[0].split(b"\t")[0]
    for wrong in (
        b"".join(lines[:-1]),
        b"".join([b"0" * 64 + lines[0][64:], *lines[1:]]),
        name + b"\t0\t999999999\n",
    ):
        other = replace(segment, map=vault.writer.write_bytes(wrong, ".map.zst"))
        with pytest.raises(Damaged):
            b"".join(read_image(vault.store, replace(image, segments=(other,))))


@pytest.mark.rule("B4")
def test_digests_are_those_of_the_blocks_and_are_not_needed(
    vault: Vault, nights: tuple[Path, Manifest, Manifest]
) -> None:
    image = image_of(nights[2])
    data = plain_of(vault, image)
    for segment in image.segments:
        assert segment.digests is not None
        part = data[segment.offset : segment.offset + segment.size]
        blocks = [part[at : at + image.block_size] for at in range(0, len(part), image.block_size)]
        assert vault.content(segment.digests) == b"".join(hashlib.sha256(block).digest() for block in blocks)
    bare = replace(image, segments=tuple(replace(segment, digests=None) for segment in image.segments))
    assert b"".join(read_image(vault.store, bare)) == data


@pytest.mark.rule("B5")
def test_what_is_excluded_leaves_no_byte(vault: Vault, tmp_path: Path) -> None:
    database = tmp_path / "app.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE kept (id INTEGER)")
        connection.execute("CREATE TABLE secret (v TEXT)")
        connection.executemany("INSERT INTO secret VALUES (?)", [("hunter2-and-more",)] * 2000)
        connection.execute("DELETE FROM secret WHERE rowid % 2")
        connection.commit()
    order = Order("app", selection=Selection(exclude=("secret",)))
    made = back_up(vault, SqliteSource(f"sqlite:///{database}"), order)
    assert b"hunter2" in database.read_bytes()
    assert b"hunter2" not in plain_of(vault, image_of(made))
    assert [item.name for item in made.left_out] == ["secret"]


@pytest.mark.rule("B6")
def test_a_sqlite_fingerprint_is_computed_as_described(vault: Vault, tmp_path: Path) -> None:
    database = tmp_path / "app.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE t (i INTEGER, r REAL, x TEXT, n NUMERIC, b, w BLOB)")
        connection.execute("INSERT INTO t VALUES (1, 1.0, 'a' || char(9) || 'b', 2.5, x'00ff', NULL)")
        connection.execute("INSERT INTO t VALUES (x'31', 2, '', 3, 7, 'seven')")
        connection.execute("INSERT INTO t VALUES ('one', NULL, x'41', 'x', 0.5, 1e300)")
        connection.commit()
    made = back_up(vault, SqliteSource(f"sqlite:///{database}"), Order("app"))
    lines = (
        b"1\t1.0\ta\\tb\t2.5\t\\\\x00ff\t\\N",
        b"\\B31\t2.0\t\t3\t\\I7\t\\Tseven",
        b"\\Tone\t\\N\t\\B41\t\\Tx\t\\R0.5\t\\R1e+300",
    )
    total = sum(xxhash.xxh3_128_intdigest(line) for line in lines) % 2**128
    assert made.tables[0].fingerprint == f"3:{total:032x}"
