from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backup_pipeline.errors import AlreadyExists, ConfigError, Damaged, NotFound
from backup_pipeline.model import canonical
from backup_pipeline.model.manifest import Chunk, Engine, Manifest, Proof, TableEntry
from backup_pipeline.model.schema import Schema
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault import journal, layout
from backup_pipeline.vault.vault import Vault

FIRST, SECOND, THIRD = (f"2026-11-21T0{hour}-00-00-000Z" for hour in (1, 2, 3))


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    vault = Vault(LocalStore(tmp_path / "vault"))
    vault.prepare()
    return vault


def manifest(vault: Vault, identifier: str, *, system: str = "shop", scope: str = "full") -> Manifest:
    rows = vault.writer.write_bytes(b"1\tAda\n", ".tsv.zst")
    return Manifest(
        system=system,
        id=identifier,
        kind="manual",
        scope="full" if scope == "full" else "partial",
        started_at="2026-11-21T01:00:00.000000Z",
        snapshot_at="2026-11-21T01:00:00.000000Z",
        finished_at="2026-11-21T01:00:01.000000Z",
        engine=Engine("postgres", "16.1"),
        schema=vault.writer.write_bytes(canonical.encode(Schema("postgres")), ".json.zst"),
        tables=(TableEntry("public", "people", 1, ("id", "name"), (Chunk(rows, 1),), bytes=6),),
    )


def test_only_what_has_a_manifest_is_a_backup(vault: Vault) -> None:
    vault.commit(manifest(vault, FIRST), "recover")
    vault.store.put(layout.recover_key("shop", SECOND), b"a run that was killed before its manifest")
    journal.Journal(vault.backup("shop", THIRD), {}).note(manifest(vault, THIRD).tables[0])
    vault.store.put(layout.lock_key("shop"), b"{}")
    assert vault.ids("shop") == (FIRST,)
    assert vault.interrupted("shop") == (SECOND,)
    assert vault.systems() == ("shop",)


def test_what_was_committed_is_read_back_equal(vault: Vault) -> None:
    made = manifest(vault, FIRST)
    vault.commit(made, "how to recover")
    assert vault.backup("shop", FIRST).manifest == made
    assert vault.backup_of(made).schema == Schema("postgres")


def test_a_committed_manifest_is_never_replaced(vault: Vault) -> None:
    vault.commit(manifest(vault, FIRST), "x")
    with pytest.raises(AlreadyExists):
        vault.commit(replace(manifest(vault, FIRST), kind="scheduled"), "x")


def test_the_seal_is_what_sha256sum_prints(vault: Vault) -> None:
    vault.commit(manifest(vault, FIRST), "x")
    data = vault.backup("shop", FIRST).data
    assert isinstance(vault.store, LocalStore)
    seal = vault.store.root / layout.seal_key("shop", FIRST)
    assert seal.read_text() == f"{hashlib.sha256(data).hexdigest()}  manifest.json\n"


def test_latest_is_the_newest_full_backup(vault: Vault) -> None:
    with pytest.raises(NotFound, match="no full backup"):
        vault.resolve("shop", None)
    vault.commit(manifest(vault, FIRST), "x")
    vault.commit(manifest(vault, SECOND), "x")
    vault.commit(manifest(vault, THIRD, scope="partial"), "x")
    assert vault.resolve("shop", "latest") == vault.resolve("shop", None) == SECOND
    assert vault.resolve("shop", THIRD) == THIRD


def test_a_backup_that_is_not_there_is_named_with_a_remedy(vault: Vault) -> None:
    with pytest.raises(NotFound, match=FIRST) as caught:
        vault.resolve("shop", FIRST)
    assert "list shop" in caught.value.remedy


@pytest.mark.parametrize("bad", ["../../etc", "latest/..", "x"])
def test_an_id_from_outside_cannot_point_out_of_the_vault(vault: Vault, bad: str) -> None:
    from backup_pipeline.errors import BackupError

    with pytest.raises(BackupError):
        vault.resolve("shop", bad)


def test_a_folder_that_holds_something_else_does_not_become_a_vault(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"holiday\.jpg"):
        Vault(LocalStore(tmp_path)).prepare()


def test_a_vault_of_another_format_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / layout.VAULT).write_text('{"format":99,"product":"backup_pipeline"}\n')
    with pytest.raises(ConfigError, match="format 99"):
        Vault(LocalStore(tmp_path)).prepare()


def test_the_format_lies_in_every_vault(vault: Vault) -> None:
    assert vault.store.stat(layout.FORMAT) is not None
    vault.prepare()


def test_a_manifest_that_is_not_json_is_damage(vault: Vault) -> None:
    vault.store.put(layout.manifest_key("shop", FIRST), b"\x00\xff")
    with pytest.raises(Damaged):
        _ = vault.backup("shop", FIRST).manifest


def test_unknown_fields_of_a_later_version_are_read_over(vault: Vault) -> None:
    data = canonical.encode(manifest(vault, FIRST)).replace(b'{"engine"', b'{"colour":"blue","engine"', 1)
    vault.store.put(layout.manifest_key("shop", FIRST), data)
    assert vault.backup("shop", FIRST).manifest == manifest(vault, FIRST)


def test_a_sealed_folder_without_manifest_is_damage_and_not_swept_away(vault: Vault) -> None:
    vault.commit(manifest(vault, FIRST), "x")
    vault.store.delete(layout.manifest_key("shop", FIRST))
    vault.forget_interrupted("shop", before=SECOND)
    assert vault.interrupted("shop") == ()
    assert vault.backup("shop", FIRST).is_sealed()


def test_a_draft_that_waits_is_not_swept_away(vault: Vault) -> None:
    waiting = manifest(vault, FIRST)
    vault.store.put(layout.draft_key("shop", "run-1"), canonical.encode(waiting))
    vault.store.put(layout.journal_key("shop", FIRST, 1), b"{}")
    vault.store.put(layout.journal_key("shop", SECOND, 1), b"{}")
    vault.forget_interrupted("shop", before=THIRD)
    assert vault.interrupted("shop") == (FIRST,)
    assert vault.draft("shop", "run-1") == waiting


def test_a_proof_of_another_manifest_is_no_proof(vault: Vault) -> None:
    vault.commit(manifest(vault, FIRST), "x")
    at = datetime(2026, 11, 21, 5, tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    good = Proof("drill", at, ok=True, seconds=1.0, manifest_sha256=vault.backup("shop", FIRST).link.sha256)
    vault.backup("shop", FIRST).remember(good)
    assert vault.backup("shop", FIRST).proofs() == (good,)
    later = at.replace("T05", "T06")
    vault.backup("shop", FIRST).remember(replace(good, at=later, manifest_sha256="0" * 64))
    assert vault.backup("shop", FIRST).proofs() == (good,)


def test_the_journal_of_a_killed_run_is_read_back_whole(vault: Vault) -> None:
    ticks = iter(range(0, 1000, 2))
    notes = journal.Journal(vault.backup("shop", FIRST), {"xmin": "7"}, clock=lambda: float(next(ticks)))
    entry = manifest(vault, FIRST).tables[0]
    for page in (128, 0, 256):
        notes.note(replace(entry, chunks=(replace(entry.chunks[0], first_page=page),)))
    notes.flush()
    state, tables = journal.read(vault.backup("shop", FIRST))
    assert state == {"xmin": "7"}
    (found,) = tables.values()
    assert [chunk.first_page for chunk in found.chunks] == [0, 128, 256]
    assert found.rows == 3
    journal.remove(vault.backup("shop", FIRST))
    assert journal.read(vault.backup("shop", FIRST)) == ({}, {})
