"""What verification promises as a whole; rules of the format are in vault/test_format*, damages in test_damage."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_pipeline.backups.making import Order, back_up
from backup_pipeline.databases.sqlite.export import SqliteSource
from backup_pipeline.errors import NotFound, StoreUnavailable
from backup_pipeline.health.drift import drift
from backup_pipeline.model.ids import backup_id, moment_of
from backup_pipeline.model.progress import Advance
from backup_pipeline.model.schema import Schema
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault import layout
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification import integrity
from backup_pipeline.verification.verify import verify, verify_all, verify_each
from backup_pipeline_tests.harness.damage import rewrite
from backup_pipeline_tests.harness.handmade import (
    back_up_by_hand,
    foreign_key,
    prepared,
    shop,
    shop_vault,
    table,
)


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return shop_vault(tmp_path / "vault", nights=3)


def test_a_whole_backup_has_no_findings_and_says_what_was_looked_at(vault: Vault) -> None:
    made = vault.backup("shop", vault.ids("shop")[-1]).manifest
    report = verify(vault.backup("shop", made.id))
    assert report.findings == ()
    assert report.counted == {
        "manifests": 1,
        "tables": 5,
        "objects": len(made.objects()),
        "bytes": sum(reference.size for reference in made.objects()),
        "plain_bytes": sum(reference.plain_size for reference in made.objects()),
        "rows": made.rows,
        "references": 2,
        "keys": 3,
    }
    quick = verify(vault.backup("shop", made.id), quick=True)
    assert quick.findings == ()
    assert quick.counted["bytes"] == report.counted["bytes"]
    assert "rows" not in quick.counted


def test_what_several_backups_share_is_read_once(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    inner = integrity.look

    def look(store: Any, reference: Any, **more: Any) -> Any:
        read.append(reference.sha256)
        return inner(store, reference, **more)

    monkeypatch.setattr(integrity, "look", look)
    report = verify_all(vault, "shop")
    manifests = [vault.backup("shop", identifier).manifest for identifier in vault.ids("shop")]
    everything = {reference.sha256 for made in manifests for reference in made.objects()}
    assert sorted(read) == sorted(everything)
    assert report.counted["objects"] == len(everything) < sum(len(made.objects()) for made in manifests)
    assert report.counted["manifests"] == 3


def test_one_damage_in_many_backups_is_one_finding_that_says_so(vault: Vault) -> None:
    shared = vault.backup("shop", vault.ids("shop")[0]).manifest.tables[1].chunks[0].object
    vault.store.delete(layout.object_key(shared))
    report = verify_all(vault, "shop", quick=True)
    (finding,) = report.findings
    assert (finding.code, finding.table) == ("object-missing", "public.orders")
    assert "in 3 backups" in finding.message
    each = dict(verify_each(vault, "shop", quick=True))
    assert [report.ok for report in each.values()] == [False] * 3
    assert tuple(each) == vault.ids("shop")


def test_a_backup_that_never_was_is_not_found(vault: Vault) -> None:
    for identifier in ("2026-12-01T00-00-00-000Z", "nonsense"):
        with pytest.raises(NotFound):
            verify(vault.backup("shop", identifier))
    with pytest.raises(NotFound):
        verify_all(vault, "office")


class _Failing(LocalStore):
    """A disk with a bad sector under one object, or one that is gone altogether."""

    bad = ""
    gone = False

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> Any:
        if self.bad and self.bad in key:
            raise StoreUnavailable(f"cannot read {key}: Input/output error")
        return super().get(key, offset=offset, length=length)

    def stat(self, key: str) -> Any:
        if self.gone:
            raise StoreUnavailable("the share is not mounted")
        return super().stat(key)


def test_an_object_that_cannot_be_read_is_a_finding_and_a_vault_that_is_gone_is_an_error(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = vault.backup("shop", vault.ids("shop")[-1]).manifest
    failing = Vault(_Failing(Path(vault.store.address)))
    monkeypatch.setattr(_Failing, "bad", made.tables[0].chunks[0].object.sha256)
    (finding,) = [f for f in verify(failing.backup("shop", made.id)).findings if f.severity == "error"]
    assert (finding.code, finding.table) == ("object-unreadable", "public.customers")
    assert "Input/output error" in finding.message
    monkeypatch.setattr(_Failing, "gone", True)
    with pytest.raises(StoreUnavailable):
        verify(failing.backup("shop", made.id))


def test_an_object_that_is_a_folder_is_missing(vault: Vault) -> None:
    made = vault.backup("shop", vault.ids("shop")[-1]).manifest
    path = Path(vault.store.address) / layout.object_key(made.schema)
    path.unlink()
    path.mkdir()
    assert "object-missing" in {finding.code for finding in verify(vault.backup("shop", made.id)).errors}


@pytest.mark.parametrize("harm", [b"", b"{}", b"[1]", b"\xff", b'{"format":1}', b"null"])
def test_another_thing_in_the_place_of_a_manifest_is_a_finding(vault: Vault, harm: bytes) -> None:
    one, _, three = vault.ids("shop")
    rewrite(Path(vault.store.address) / layout.manifest_key("shop", three), harm)
    codes = {finding.code for finding in verify(vault.backup("shop", three)).errors}
    assert {"manifest-unreadable", "seal-broken"} <= codes
    assert verify(vault.backup("shop", one)).ok
    assert not verify_all(vault, "shop").ok


@pytest.mark.parametrize("harm", [b"", b"garbage", b"null"])
def test_a_proof_that_cannot_be_read_is_a_warning(vault: Vault, harm: bytes) -> None:
    identifier = vault.ids("shop")[-1]
    vault.store.put(f"shop/{identifier}/proofs/drill-x.json", harm)
    report = verify(vault.backup("shop", identifier))
    assert report.ok
    assert [finding.code for finding in report.findings] == ["proof-unreadable"]


def test_the_top_of_the_vault_is_looked_at_too(vault: Vault) -> None:
    root = Path(vault.store.address)
    identifier = vault.ids("shop")[-1]
    text = (root / "FORMAT.md").read_bytes()
    rewrite(root / "FORMAT.md", text.replace(b"must not", b"may", 1))
    report = verify(vault.backup("shop", identifier), quick=True)
    assert report.ok
    assert [finding.code for finding in report.findings] == ["description-unknown"]
    rewrite(root / "vault.json", b'{"format":1,"product":"backup_pipelinf"}\n')
    assert {f.code for f in verify(vault.backup("shop", identifier), quick=True).errors} == {
        "vault-file-altered"
    }


def test_progress_adds_up_to_what_there_is(vault: Vault) -> None:
    heard: list[Advance] = []
    report = verify(vault.backup("shop", vault.ids("shop")[-1]), listener=heard.append)
    assert sum(step.bytes for step in heard) == report.counted["bytes"]
    assert {step.total_bytes for step in heard if step.bytes} == {report.counted["bytes"]}
    assert sum(step.rows for step in heard) == report.counted["rows"]
    assert {"public.orders", "public.lines"} <= {step.subject for step in heard}


def test_a_sqlite_file_that_was_damaged_before_the_backup_is_told_from_one_that_was_damaged_after(
    tmp_path: Path,
) -> None:
    """The stored bytes are those of the manifest, and still the database in them is broken."""
    database = tmp_path / "shop.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
        connection.execute("CREATE INDEX i ON t (v)")
        connection.executemany("INSERT INTO t (v) VALUES (?)", [(f"value {n}",) for n in range(3000)])
        connection.execute("CREATE TABLE c (id INT REFERENCES t, w TEXT)")
        connection.execute("INSERT INTO c VALUES (1, 'x'), (9999, 'y')")
        connection.commit()
    vault = prepared(tmp_path / "vault")
    made = back_up(vault, SqliteSource(f"sqlite:///{database}"), Order("shop"))
    report = verify(vault.backup("shop", made.id))
    assert report.ok
    (finding,) = report.findings
    assert (finding.code, finding.severity, finding.table) == ("dangling-reference", "warning", "main.c")
    assert finding.examples == ("(id) = (9999), rowid 2",)
    assert report.counted["rows"] == 3002

    broken = tmp_path / "broken.db"
    # In the table and in its index, where it now stands in the wrong place.
    broken.write_bytes(database.read_bytes().replace(b"value 2000", b"VALUE 2000"))
    assert made.image is not None
    image = vault.writer.write_file(broken, made.image.name, made.image.block_size, None)
    identifier = backup_id(moment_of(made.id) + timedelta(days=1))
    later = replace(made, id=identifier, image=image, previous=vault.backup("shop", made.id).link)
    recover = (tmp_path / "vault" / layout.recover_key("shop", made.id)).read_text()
    vault.commit(later, recover)
    codes = {(finding.code, finding.table) for finding in verify(vault.backup("shop", later.id)).errors}
    assert ("fingerprint", "main.t") in codes
    assert any(code == "integrity-check" for code, _ in codes)
    assert verify(vault.backup("shop", later.id), quick=True).ok


def test_a_huge_value_is_verified_in_bounded_memory(tmp_path: Path) -> None:
    """A value of 200 MB, which packs to a few kilobytes, in a table that a foreign key leads out of."""
    vault = prepared(tmp_path / "vault")

    def rows() -> Any:
        yield b"1\t"
        for _ in range(200):
            yield b"x" * (1 << 20)
        yield b"\t7\n2\tsmall\t7\n"

    parents = table("parents", {"id": "integer"}, b"7\n")
    made = table(
        "big",
        {"id": "integer", "v": "text", "p": "integer"},
        b"0\t\t7\n",
        references=[foreign_key("p", "parents")],
    )
    manifest = back_up_by_hand(vault, [parents, made])
    from backup_pipeline.model.manifest import Chunk
    from backup_pipeline.verification.structure import fingerprint_of_chunks

    reference = vault.writer.write(rows(), ".tsv.zst")
    entry = replace(manifest.tables[1], rows=2, bytes=reference.plain_size, chunks=(Chunk(reference, 2),))
    entry = replace(entry, fingerprint=fingerprint_of_chunks(entry))
    later = replace(
        manifest,
        id="2026-11-02T02-00-00-000Z",
        tables=(manifest.tables[0], entry),
        previous=vault.backup("shop", manifest.id).link,
    )
    vault.commit(later, "# Recover shop 1\n")
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from backup_pipeline.verification.verify import verify\n"
        "from backup_pipeline.stores.local import LocalStore\n"
        "from backup_pipeline.vault.vault import Vault\n"
        "report = verify(Vault(LocalStore(Path(sys.argv[1]))).backup('shop', sys.argv[2]))\n"
        "assert report.findings == (), report\n"
        "assert report.counted['references'] == 1\n"
        # Not ru_maxrss: Linux hands down that of the test process, which may be large.
        "status = Path('/proc/self/status').read_text()\n"
        "print(int(status.split('VmHWM:')[1].split()[0]) // 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "vault"), later.id],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert int(done.stdout) < 300
    assert done.stderr == ""


def test_drift_says_in_words_what_changed() -> None:
    from backup_pipeline.model.schema import Column, Key, SchemaObject, Sequence, TableId

    orders, lines = shop(1)[1].table, shop(1)[2].table
    old = Schema(
        "postgres",
        (orders, lines, shop(1)[3].table),
        sequences=(Sequence(TableId("public", "s")),),
        objects=(SchemaObject("view", "v", "SELECT 1", "public"),),
        settings={"encoding": "UTF8"},
    )
    assert drift(old, old) == ()
    changed = replace(
        orders,
        columns=(
            orders.columns[0],
            Column("customer_id", "bigint", nullable=False),
            Column("total", "numeric", nullable=False),
        ),
        primary_key=Key("orders_pkey", ("id", "customer_id")),
        foreign_keys=(replace(orders.foreign_keys[0], on_delete="CASCADE"),),
    )
    new = replace(
        old,
        tables=(changed, lines, shop(1)[0].table),
        sequences=(Sequence(TableId("public", "s"), increment=2),),
        objects=(SchemaObject("view", "v", "SELECT 2", "public"), SchemaObject("enum", "e", "…", "public")),
        settings={"encoding": "LATIN1"},
    )
    found = {finding.message: finding.severity for finding in drift(old, new)}
    assert found == {
        "the table public.audit is gone": "warning",
        "the table public.customers is new (3 columns)": "info",
        "public.orders: the column note is gone": "warning",
        "public.orders: the column total (numeric, NOT NULL and without a default) is new": "warning",
        "public.orders.customer_id was integer and is bigint": "warning",
        "public.orders.customer_id must not be NULL any more": "warning",
        "public.orders: its primary key was (id) and is (id, customer_id)": "warning",
        "public.orders: the foreign key customer_id_fkey was changed": "info",
        "the sequence public.s was changed": "info",
        "the enum public.e was added": "info",
        "the view public.v was changed": "info",
        "the database's encoding was UTF8 and is LATIN1": "info",
    }
    assert [finding.code for finding in drift(old, Schema("sqlite"))] == ["engine-changed"]
