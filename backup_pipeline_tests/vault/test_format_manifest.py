"""FORMAT.md, rule by rule: the manifest, its seal and the chain."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from backup_pipeline.backups.making import Order, back_up
from backup_pipeline.databases.postgres.export import PostgresSource
from backup_pipeline.errors import Damaged
from backup_pipeline.model import canonical
from backup_pipeline.model.findings import Report
from backup_pipeline.model.ids import parse_timestamp
from backup_pipeline.model.manifest import LeftOut, Manifest, SequenceState
from backup_pipeline.model.schema import Column, Schema
from backup_pipeline.vault import layout, records
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.verify import verify, verify_all
from backup_pipeline_tests.harness.damage import rewrite
from backup_pipeline_tests.harness.handmade import back_up_by_hand, prepared, shop_vault, table

FORMAT = Path(__file__).resolve().parents[2] / "backup_pipeline" / "vault" / "FORMAT.md"


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return shop_vault(tmp_path / "vault", nights=3)


def path_of(vault: Vault, key: str) -> Path:
    return Path(vault.store.address) / key


def newest(vault: Vault) -> Manifest:
    return vault.backup("shop", vault.ids("shop")[-1]).manifest


def rewritten(vault: Vault, manifest: Manifest, *, folder: str | None = None) -> Report:
    """Put a manifest, and a seal (and newest.json) that fits it, in the place of the one that is there."""
    identifier = folder or manifest.id
    data = canonical.encode(manifest)
    rewrite(path_of(vault, layout.manifest_key("shop", identifier)), data)
    seal = f"{hashlib.sha256(data).hexdigest()}  manifest.json\n"
    rewrite(path_of(vault, layout.seal_key("shop", identifier)), seal.encode())
    if identifier == vault.ids("shop")[-1]:
        records.set_newest(vault.store, "shop", vault.backup("shop", identifier).link)
    return verify(vault.backup("shop", identifier))


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.errors}


@pytest.mark.rule("M1")
def test_the_same_data_is_the_same_bytes(vault: Vault) -> None:
    data = vault.backup("shop", vault.ids("shop")[-1]).data
    plain = json.loads(data)
    again = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    assert again == data
    assert "findings" not in plain
    assert "image" not in plain
    assert plain["format"] == 1
    assert canonical.encode(Schema("postgres", settings={"ü": "日本"})) == (
        '{"engine":"postgres","settings":{"ü":"日本"}}\n'.encode()
    )


@pytest.mark.rule("M1", "M2")
@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b'"format":1', b'"format": 1'),
        lambda data: data.rstrip(b"\n"),
        lambda data: data + b"\n",
        lambda data: b'{"format":1,' + data[1:],
        lambda data: data.replace(b'"format":1', b'"format":1,"findings":[]'),
        lambda data: data.replace(b'"kind":"manual"', b'"kind":"m\\u0061nual"'),
    ],
    ids=["blank", "no line feed", "two line feeds", "a key twice", "a default spelled out", "an escape"],
)
def test_another_spelling_of_the_same_data_is_found(vault: Vault, change: Callable[[bytes], bytes]) -> None:
    identifier = vault.ids("shop")[-1]
    before = vault.backup("shop", identifier).manifest
    data = change(vault.backup("shop", identifier).data)
    path = path_of(vault, layout.manifest_key("shop", identifier))
    assert data != path.read_bytes()
    rewrite(path, data)
    assert vault.backup("shop", identifier).claimed == before
    with pytest.raises(Damaged, match="altered since it was sealed"):
        _ = vault.backup("shop", identifier).manifest
    assert "manifest-not-canonical" in codes(verify(vault.backup("shop", identifier), quick=True))


@pytest.mark.rule("M2")
def test_the_description_names_every_field_and_no_other() -> None:
    rows = re.findall(r"^\| (`.*?) \|(.*?)\|", FORMAT.read_text(encoding="utf-8"), re.MULTILINE)
    described = {name for cell, _ in rows for name in re.findall(r"`([a-z_0-9]+)`", cell)}
    own = {field.name for field in fields(Manifest)}
    assert own <= described
    mentioned = {name for cell, text in rows for name in re.findall(r"`([a-z_0-9]+)`", cell + text)}

    def nested(kind: Any) -> set[str]:
        found: set[str] = set()
        for hint in get_type_hints(kind).values():
            for part in (hint, *getattr(hint, "__args__", ())):
                if is_dataclass(part) and isinstance(part, type):
                    found |= {field.name for field in fields(part)} | nested(part)
        return found

    assert nested(Manifest) - mentioned == set(), "fields that the description does not name"
    required = {f.name for f in fields(Manifest) if f.default is MISSING and f.default_factory is MISSING}
    never = {
        name
        for line in FORMAT.read_text(encoding="utf-8").splitlines()
        if line.endswith("| never |") and "[]" not in line
        for name in re.findall(r"`([a-z_0-9]+)`", line.split("|")[1])
    }
    assert never == required | {"format", "recover_sha256"}


@pytest.mark.rule("M3")
def test_a_manifest_in_another_folder_is_found(vault: Vault) -> None:
    _, two, three = vault.ids("shop")
    report = rewritten(
        vault,
        replace(vault.backup("shop", two).manifest, previous=vault.backup("shop", two).link),
        folder=three,
    )
    assert "manifest-misplaced" in codes(report)


@pytest.mark.rule("M4")
def test_nothing_but_what_the_manifest_names_is_needed(vault: Vault) -> None:
    made = newest(vault)
    needed = {layout.object_key(reference) for reference in made.objects()}
    folder = layout.backup_prefix("shop", made.id)
    for stat in list(vault.store.list()):
        if (
            stat.key.startswith(("objects/", "shop/"))
            and stat.key not in needed
            and not stat.key.startswith(folder)
        ):
            vault.store.delete(stat.key)
    report = verify(vault.backup("shop", made.id))
    assert codes(report) == {"chain-broken"}
    assert report.counted["objects"] == len(needed)


@pytest.mark.rule("M5")
def test_the_schema_is_canonical_and_whole(vault: Vault) -> None:
    made = newest(vault)
    data = vault.content(made.schema)
    schema = vault.backup_of(made).schema
    assert canonical.encode(schema) == data
    assert {t.id for t in schema.tables} == {t.id for t in made.tables}


@pytest.mark.rule("M6")
def test_nothing_is_left_out_silently(vault: Vault) -> None:
    made = newest(vault)
    orders = made.tables[1]
    reason = LeftOut("public", "orders", "table", "because")
    without = tuple(entry for entry in made.tables if entry != orders)
    assert "table-missing" in codes(rewritten(vault, replace(made, tables=without)))
    assert codes(rewritten(vault, replace(made, tables=without, left_out=(reason,)))) == set()
    assert "table-both" in codes(rewritten(vault, replace(made, left_out=(reason,))))
    assert "table-twice" in codes(rewritten(vault, replace(made, tables=(*made.tables, orders))))
    stranger = replace(orders, name="strangers")
    assert "table-unknown" in codes(rewritten(vault, replace(made, tables=(*made.tables, stranger))))
    assert "sequence-missing" in codes(rewritten(vault, replace(made, sequences=())))
    twice = (*made.sequences, *made.sequences)
    assert "sequence-missing" in codes(rewritten(vault, replace(made, sequences=twice)))
    other = SequenceState("public", "nobodys", 1, is_called=True)
    assert "sequence-unknown" in codes(rewritten(vault, replace(made, sequences=(*made.sequences, other))))
    left = LeftOut("public", "orders_id_seq", "sequence", "because")
    assert codes(rewritten(vault, replace(made, sequences=(), left_out=(left,)))) == set()
    assert codes(rewritten(vault, made)) == set()


@pytest.mark.rule("M7")
def test_columns_are_those_of_the_schema(tmp_path: Path) -> None:
    vault = prepared(tmp_path / "v")
    made = table("t", {"id": "integer", "name": "text"}, b"1\tx\n")
    columns = (*made.table.columns, Column("twice", "integer", generated="id * 2"))
    made.table = replace(made.table, columns=columns)
    manifest = back_up_by_hand(vault, [made])
    assert manifest.tables[0].columns == ("id", "name")
    assert verify(vault.backup("shop", manifest.id)).findings == ()
    entry = replace(manifest.tables[0], columns=("name", "id"))
    assert "columns" in codes(rewritten(vault, replace(manifest, tables=(entry,))))


@pytest.mark.rule("M8")
def test_numbers_add_up(vault: Vault) -> None:
    made = newest(vault)
    orders = made.tables[1]
    for change, code in (
        (replace(orders, rows=orders.rows + 1), "row-count"),
        (replace(orders, bytes=orders.bytes - 1), "byte-count"),
        (replace(orders, chunks=orders.chunks[:1]), "row-count"),
        (
            replace(
                orders,
                rows=orders.rows + 1,
                chunks=(replace(orders.chunks[0], rows=orders.chunks[0].rows + 1), orders.chunks[1]),
            ),
            "row-count",
        ),
    ):
        report = rewritten(vault, replace(made, tables=(made.tables[0], change, *made.tables[2:])))
        assert (code, "public.orders") in {(finding.code, finding.table) for finding in report.errors}


@pytest.mark.rule("M9")
def test_times_are_utc_to_the_microsecond(vault: Vault) -> None:
    made = newest(vault)
    assert parse_timestamp(made.snapshot_at).microsecond == 500000
    for wrong in ("", "2026-11-03 02:00:00", "2026-11-03T02:00:00Z", "2026-11-03T02:00:00.000000+01:00"):
        assert "manifest-time" in codes(rewritten(vault, replace(made, snapshot_at=wrong)))


@pytest.mark.rule("M10", "M11")
def test_no_secret_is_in_a_vault_and_recover_lies_beside_the_manifest(
    tmp_path: Path, pg_database: str
) -> None:
    import psycopg2

    with closing(psycopg2.connect(pg_database)) as connection:
        connection.cursor().execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1)")
        connection.cursor().execute(
            "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"
            "CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (password 's3cr3t')"
        )
        connection.commit()
    url = pg_database.replace("postgres@", "postgres:s3cr3t-and-long@", 1)
    assert url != pg_database
    vault = prepared(tmp_path / "vault")
    made = back_up(vault, PostgresSource(url), Order("shop"))
    for path in (tmp_path / "vault").rglob("*"):
        if path.is_file():
            assert b"s3cr3t" not in path.read_bytes(), path
    for reference in made.objects():
        assert b"s3cr3t" not in vault.content(reference)
    assert [one.code for one in made.findings] == ["password-taken-out"]
    recover = (tmp_path / "vault" / layout.recover_key("shop", made.id)).read_bytes()
    assert hashlib.sha256(recover).hexdigest() == made.recover_sha256
    assert b"psql" in recover
    rewrite(tmp_path / "vault" / layout.recover_key("shop", made.id), recover + b" ")
    assert codes(verify(vault.backup("shop", made.id), quick=True)) == {"recover-altered"}
    vault.store.delete(layout.recover_key("shop", made.id))
    assert codes(verify(vault.backup("shop", made.id), quick=True)) == {"recover-missing"}


# ── seal and chain


@pytest.mark.rule("C1")
def test_the_seal_is_what_sha256sum_prints_and_checks(vault: Vault) -> None:
    identifier = vault.ids("shop")[0]
    folder = path_of(vault, layout.backup_prefix("shop", identifier))
    subprocess.run(["sha256sum", "--quiet", "-c", "manifest.json.sha256"], cwd=folder, check=True)
    printed = subprocess.run(
        ["sha256sum", "manifest.json"], cwd=folder, check=True, capture_output=True
    ).stdout
    assert printed == (folder / "manifest.json.sha256").read_bytes()
    rewrite(folder / "manifest.json.sha256", printed.upper())
    assert codes(verify(vault.backup("shop", identifier), quick=True)) == {"seal-broken"}


@pytest.mark.rule("C2")
@pytest.mark.parametrize("trace", ["seal", "proof"])
def test_a_lost_manifest_is_damage_and_not_an_interruption(vault: Vault, trace: str) -> None:
    from backup_pipeline.model.manifest import Proof

    identifier = vault.ids("shop")[-1]
    if trace == "proof":
        at = "2026-11-05T00:00:00.000000Z"
        digest = vault.backup("shop", identifier).link.sha256
        vault.backup("shop", identifier).remember(Proof("drill", at, True, 1.0, manifest_sha256=digest))
        vault.store.delete(layout.seal_key("shop", identifier))
    vault.store.delete(layout.manifest_key("shop", identifier))
    assert codes(verify(vault.backup("shop", identifier))) == {"manifest-missing"}
    assert "manifest-missing" in codes(verify_all(vault, "shop", quick=True))
    vault.forget_interrupted("shop", before="2027")
    assert "manifest-missing" in codes(verify_all(vault, "shop", quick=True))


@pytest.mark.rule("C3")
def test_an_unsealed_manifest_is_a_backup_and_is_sealed_by_the_next_writer(tmp_path: Path) -> None:
    import sqlite3

    from backup_pipeline.databases.sqlite.export import SqliteSource

    vault = prepared(tmp_path / "vault")
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("CREATE TABLE t (id INTEGER)")
    source = SqliteSource(f"sqlite:///{tmp_path / 'a.db'}")
    first = back_up(vault, source, Order("shop"))
    vault.store.delete(layout.seal_key("shop", first.id))
    report = verify(vault.backup("shop", first.id))
    assert report.ok
    assert [finding.code for finding in report.findings] == ["not-sealed"]
    back_up(vault, source, Order("shop"))
    assert vault.backup("shop", first.id).is_sealed()
    assert verify_all(vault, "shop").findings == ()


@pytest.mark.rule("C4")
def test_every_manifest_names_the_one_before_it(vault: Vault) -> None:
    one, two, three = (vault.backup("shop", identifier).manifest for identifier in vault.ids("shop"))
    assert one.previous is None
    assert two.previous == vault.backup("shop", one.id).link
    assert three.previous == vault.backup("shop", two.id).link


@pytest.mark.rule("C5")
def test_a_broken_chain_is_reported_from_both_of_its_ends(vault: Vault) -> None:
    one, two, three = vault.ids("shop")
    made = vault.backup("shop", two).manifest
    report = rewritten(vault, replace(made, git_revision="f" * 40))
    assert codes(report) == {"chain-broken"}, "the next manifest gives it away"
    assert codes(verify(vault.backup("shop", three), quick=True)) == {"chain-broken"}
    assert codes(verify(vault.backup("shop", one), quick=True)) == set()
    rewritten(vault, made)
    assert verify_all(vault, "shop").findings == ()
    last = vault.backup("shop", three).manifest
    assert codes(rewritten(vault, replace(last, previous=vault.backup("shop", one).link))) == {"chain-broken"}
    assert codes(rewritten(vault, replace(last, previous=None))) == {"chain-broken"}
    rewritten(vault, last)
    for name in ("manifest.json", "manifest.json.sha256", "RECOVER.md"):
        vault.store.delete(f"shop/{two}/{name}")
    assert codes(verify_all(vault, "shop", quick=True)) == {"chain-broken"}
