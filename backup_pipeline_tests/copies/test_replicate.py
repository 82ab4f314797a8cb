"""What a copy holds after a replication: the same bytes, whole backups only, and nothing that was damaged."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from backup_pipeline.copies.compare import compare
from backup_pipeline.copies.history import NOT_COPIED
from backup_pipeline.copies.replicate import replicate
from backup_pipeline.errors import ConfigError, NotFound, VaultBusy, VaultError
from backup_pipeline.model.manifest import Proof
from backup_pipeline.model.vault_records import Forgotten, Pin
from backup_pipeline.retention.forgetting import Denied, finish
from backup_pipeline.stores.base import Features
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault import layout, lock, records
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.verify import verify_all
from backup_pipeline_tests.harness.damage import alter, rewrite, state
from backup_pipeline_tests.harness.handmade import back_up_by_hand, identifier_of, prepared, shop, shop_vault


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return shop_vault(tmp_path / "vault")


@pytest.fixture
def copy(tmp_path: Path) -> Vault:
    return Vault(LocalStore(tmp_path / "copy"))


@dataclass(frozen=True)
class FarStore(LocalStore):
    """A folder that answers like a bucket: a request for each look."""

    @property
    def features(self) -> Features:
        return replace(super().features, cheap_stat=False, moves_staged_files=False)


def root(vault: Vault) -> Path:
    return Path(vault.store.address)


def contents(vault: Vault) -> dict[str, str]:
    return {key: digest for key, digest in state(root(vault)).items() if not key.startswith("tmp/")}


@pytest.mark.rule("D1")
def test_a_copy_is_a_vault_with_the_same_bytes(vault: Vault, copy: Vault) -> None:
    report = replicate(vault, copy, "shop")
    assert report.ok
    assert report.copied == vault.ids("shop") == copy.ids("shop")
    assert contents(vault).items() <= contents(copy).items()
    assert verify_all(copy, "shop").ok
    assert compare(vault, copy, "shop").same
    assert report.bytes == sum(stat.size for stat in vault.store.list(layout.OBJECTS))


def test_a_copy_shares_no_file_with_the_vault(vault: Vault, copy: Vault) -> None:
    replicate(vault, copy, "shop")
    inodes = {path.stat().st_ino for path in root(vault).rglob("*") if path.is_file()}
    assert not inodes & {path.stat().st_ino for path in root(copy).rglob("*") if path.is_file()}


def test_what_is_there_is_not_sent_again(vault: Vault, copy: Vault) -> None:
    replicate(vault, copy, "shop")
    back_up_by_hand(vault, shop(4), 4)
    report = replicate(vault, copy, "shop")
    assert report.copied == (identifier_of(4),)
    assert (report.present, report.objects) == (
        3,
        len(vault.backup("shop", identifier_of(4)).manifest.objects()) - report.skipped,
    )
    assert report.skipped > 0
    again = replicate(vault, copy, "shop")
    assert (again.copied, again.objects, again.present) == ((), 0, 4)


def test_a_store_that_is_far_away_is_listed_and_gets_the_same(vault: Vault, tmp_path: Path) -> None:
    far = Vault(FarStore(tmp_path / "far"))
    assert replicate(vault, far, "shop").ok
    assert verify_all(far, "shop").ok
    near = Vault(LocalStore(tmp_path / "near"))
    assert replicate(far, near, "shop").copied == vault.ids("shop")


@pytest.mark.rule("D2")
def test_an_object_that_is_damaged_in_the_vault_is_named_and_never_copied(vault: Vault, copy: Vault) -> None:
    manifest = vault.backup("shop", identifier_of(3)).manifest
    own = [
        o for o in manifest.objects() if o not in vault.backup("shop", identifier_of(2)).manifest.objects()
    ]
    path = root(vault) / layout.object_key(own[0])
    alter(path)
    report = replicate(vault, copy, "shop")
    assert (report.copied, report.refused) == (vault.ids("shop")[:2], (identifier_of(3),))
    (finding,) = report.findings
    assert finding.code == "not-copied"
    assert own[0].sha256[:12] in finding.message
    assert copy.store.stat(layout.object_key(own[0])) is None
    assert verify_all(copy, "shop").ok


@pytest.mark.parametrize("what", ["missing", "short", "long"])
def test_an_object_that_is_gone_or_of_another_length_keeps_its_backups_from_being_listed(
    vault: Vault, copy: Vault, what: str
) -> None:
    shared = vault.backup("shop", identifier_of(1)).manifest.table(shop(1)[0].table.id)
    assert shared is not None
    path = root(vault) / layout.object_key(shared.chunks[0].object)
    data = path.read_bytes()
    path.unlink()
    if what != "missing":
        path.write_bytes(data[:-3] if what == "short" else data + b"more")
    report = replicate(vault, copy, "shop")
    assert report.refused == vault.ids("shop")
    assert copy.ids("shop") == ()
    assert not list(copy.store.staging().iterdir())


@pytest.mark.rule("D2")
def test_a_manifest_that_was_edited_is_not_copied(vault: Vault, copy: Vault) -> None:
    path = root(vault) / layout.manifest_key("shop", identifier_of(2))
    rewrite(path, path.read_bytes().replace(b'"manual"', b'"scheduled"', 1))
    report = replicate(vault, copy, "shop")
    assert report.refused == (identifier_of(2),)
    assert identifier_of(2) not in copy.ids("shop")


@pytest.mark.rule("D2")
def test_commands_that_were_edited_are_not_copied_and_the_data_is(vault: Vault, copy: Vault) -> None:
    rewrite(root(vault) / layout.recover_key("shop", identifier_of(1)), b"rm -rf /\n")
    report = replicate(vault, copy, "shop")
    assert report.copied == vault.ids("shop")
    assert [finding.code for finding in report.findings] == ["not-copied-beside"]
    assert copy.store.stat(layout.recover_key("shop", identifier_of(1))) is None


@pytest.mark.rule("D4")
def test_drills_and_pins_travel_and_what_was_verified_in_one_place_does_not(
    vault: Vault, copy: Vault
) -> None:
    last = identifier_of(3)
    digest = vault.backup("shop", last).link.sha256
    for kind in ("drill", "verify"):
        vault.backup("shop", last).remember(
            Proof(kind, "2026-11-04T00:00:00.000000Z", True, 1.0, manifest_sha256=digest)
        )
    records.pin(vault.backup("shop", last), Pin("2026-11-04T00:00:00.000000Z"))
    replicate(vault, copy, "shop")
    assert [proof.kind for proof in copy.backup("shop", last).proofs()] == ["drill"]
    assert records.pin_of(copy.backup("shop", last)) is not None


def test_what_was_proven_since_comes_with_the_next_copy(vault: Vault, copy: Vault) -> None:
    replicate(vault, copy, "shop")
    last = identifier_of(3)
    proof = Proof(
        "drill",
        "2026-11-04T00:00:00.000000Z",
        True,
        1.0,
        manifest_sha256=vault.backup("shop", last).link.sha256,
    )
    vault.backup("shop", last).remember(proof)
    replicate(vault, copy, "shop")
    assert copy.backup("shop", last).proofs() == (proof,)


def _forget(vault: Vault, identifier: str) -> None:
    link = vault.backup("shop", identifier).link
    previous = vault.backup("shop", identifier).manifest.previous
    record = Forgotten(
        "shop", identifier, link.sha256, "2026-11-05T00:00:00.000000Z", "prune", previous=previous
    )
    records.write_forgotten(vault.store, record)
    manifest, rest = records.keys_of(vault.backup("shop", identifier))
    for key in (*manifest, *rest):
        vault.store.delete(key)


@pytest.mark.rule("D3", "D4")
def test_the_history_holds_over_backups_that_the_vault_has_forgotten(vault: Vault, copy: Vault) -> None:
    _forget(vault, identifier_of(1))
    _forget(vault, identifier_of(2))
    assert replicate(vault, copy, "shop").copied == (identifier_of(3),)
    assert verify_all(copy, "shop").ok


@pytest.mark.rule("D3", "D5")
def test_a_copy_keeps_what_the_vault_forgets(vault: Vault, copy: Vault) -> None:
    replicate(vault, copy, "shop")
    _forget(vault, identifier_of(1))
    back_up_by_hand(vault, shop(4), 4)
    replicate(vault, copy, "shop")
    assert copy.ids("shop") == tuple(identifier_of(night) for night in (1, 2, 3, 4))
    assert verify_all(copy, "shop").ok


def test_what_the_copy_has_forgotten_is_not_brought_back_unless_it_is_named(
    vault: Vault, copy: Vault
) -> None:
    replicate(vault, copy, "shop")
    _forget(copy, identifier_of(1))
    assert replicate(vault, copy, "shop").copied == ()
    assert compare(vault, copy, "shop").same
    assert replicate(vault, copy, "shop", [identifier_of(1)]).copied == (identifier_of(1),)
    assert verify_all(copy, "shop").ok


@pytest.mark.rule("D3")
def test_one_backup_alone_can_be_copied_and_the_others_later(vault: Vault, copy: Vault) -> None:
    assert replicate(vault, copy, "shop", [identifier_of(3)]).copied == (identifier_of(3),)
    assert verify_all(copy, "shop").ok
    record = records.forgotten(copy.backup("shop", identifier_of(2)))
    assert record is not None
    assert record.why == NOT_COPIED
    assert compare(vault, copy, "shop").missing == (identifier_of(1), identifier_of(2))
    assert replicate(vault, copy, "shop").copied == (identifier_of(1), identifier_of(2))
    assert verify_all(copy, "shop").ok
    newest = records.newest(copy.store, "shop")
    assert newest is not None
    assert newest.id == identifier_of(3)


def test_a_backup_that_is_not_there_cannot_be_copied(vault: Vault, copy: Vault) -> None:
    with pytest.raises(NotFound, match="there is no backup"):
        replicate(vault, copy, "shop", ["2026-01-01T00-00-00-000Z"])


def test_a_damaged_object_of_the_copy_is_replaced_when_its_length_shows_it(vault: Vault, copy: Vault) -> None:
    reference = vault.backup("shop", identifier_of(1)).manifest.schema
    prepared(root(copy))
    copy.store.put(layout.object_key(reference), b"half of it")
    assert replicate(vault, copy, "shop").ok
    assert verify_all(copy, "shop").ok


def test_a_vault_is_not_copied_onto_itself_nor_onto_something_else(vault: Vault, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root(vault))
    with pytest.raises(ConfigError, match="the place that it would be copied to"):
        replicate(vault, Vault(LocalStore(tmp_path / "link")), "shop")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"miaow")
    with pytest.raises(ConfigError, match="not a vault and not empty"):
        replicate(vault, Vault(LocalStore(tmp_path / "photos")), "shop")


def test_nothing_is_copied_from_where_no_vault_is(copy: Vault, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="--from NAME --to vault"):
        replicate(Vault(LocalStore(tmp_path / "nowhere")), copy, "shop")
    assert not root(copy).exists()


def test_two_copies_to_one_place_wait_for_each_other_and_a_backup_waits_for_none(
    vault: Vault, copy: Vault
) -> None:
    prepared(root(copy))
    with lock.hold(copy.store, "shop", "copy of shop"), pytest.raises(VaultBusy):
        replicate(vault, copy, "shop")
    with lock.hold(vault.store, "shop", "backup of shop"):
        assert replicate(vault, copy, "shop").ok


def test_an_empty_vault_is_filled_again_from_its_copy(vault: Vault, copy: Vault, tmp_path: Path) -> None:
    replicate(vault, copy, "shop")
    fresh = Vault(LocalStore(tmp_path / "fresh"))
    assert replicate(copy, fresh, "shop").ok
    assert contents(vault).items() <= contents(fresh).items()


@dataclass(frozen=True)
class FullStore(LocalStore):
    """A disk that takes so many files and no more."""

    room: int = 10

    def put(self, key: str, data: bytes | Path, *, overwrite: bool = False) -> None:
        if key.startswith(layout.OBJECTS) and sum(1 for _ in self.list(layout.OBJECTS)) >= self.room:
            raise VaultError(f"cannot write {key}: the disk is full", remedy="free space")
        super().put(key, data, overwrite=overwrite)


def test_a_copy_whose_disk_is_full_lists_what_was_whole_and_goes_on_when_there_is_room(
    vault: Vault, tmp_path: Path
) -> None:
    first = len(vault.backup("shop", identifier_of(1)).manifest.objects())
    with pytest.raises(VaultError, match="the disk is full"):
        replicate(vault, Vault(FullStore(tmp_path / "full", room=first + 1)), "shop")
    copy = Vault(LocalStore(tmp_path / "full"))
    assert copy.ids("shop") == (identifier_of(1),)
    assert verify_all(copy, "shop").ok
    report = replicate(vault, copy, "shop")
    assert report.copied == vault.ids("shop")[1:]
    assert compare(vault, copy, "shop").same


def test_big_objects_go_through_a_file_beside_the_copy(
    vault: Vault, copy: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backup_pipeline.copies.transfer.IN_MEMORY", 10)
    monkeypatch.setattr("backup_pipeline.copies.transfer.READ_SIZE", 7)
    assert replicate(vault, copy, "shop").ok
    assert verify_all(copy, "shop").ok
    assert not list(copy.store.staging().iterdir())


def test_progress_adds_up_to_what_was_sent(vault: Vault, copy: Vault) -> None:
    steps: list[int] = []
    report = replicate(vault, copy, "shop", listener=lambda step: steps.append(step.bytes))
    assert sum(steps) == report.bytes


def test_every_object_of_the_copy_bears_its_own_name(vault: Vault, copy: Vault) -> None:
    replicate(vault, copy, "shop")
    for path in (root(copy) / "objects").rglob("*.zst"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name.partition(".")[0]


@pytest.mark.rule("C3")
def test_a_backup_whose_writer_was_stopped_before_the_seal_is_sealed_in_the_copy(
    vault: Vault, copy: Vault
) -> None:
    (root(vault) / layout.seal_key("shop", identifier_of(3))).unlink()
    assert replicate(vault, copy, "shop").ok
    assert copy.backup("shop", identifier_of(3)).is_sealed()
    for night in (1, 3):
        (root(copy) / layout.seal_key("shop", identifier_of(night))).unlink()
    _forget(vault, identifier_of(1))
    assert replicate(vault, copy, "shop").ok
    assert copy.backup("shop", identifier_of(3)).is_sealed()
    assert copy.backup("shop", identifier_of(1)).is_sealed(), (
        "its vault has forgotten it, and the copy was stopped before its seal"
    )


def test_a_prune_of_the_copy_beside_it_takes_nothing_of_a_backup_that_is_coming(
    vault: Vault, copy: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    replicate(vault, copy, "shop", [identifier_of(3)])
    # 2 is recorded as "not copied here": until its manifest is there, its folder is what a killed prune leaves.
    put = LocalStore.put

    def pruned(store: LocalStore, key: str, data: bytes | Path, *, overwrite: bool = False) -> None:
        if key == layout.manifest_key("shop", identifier_of(2)):
            assert finish(copy, "shop", Denied()) == (identifier_of(2),)
        put(store, key, data, overwrite=overwrite)

    monkeypatch.setattr(LocalStore, "put", pruned)
    assert replicate(vault, copy, "shop").ok
    assert verify_all(copy, "shop").ok


def test_an_object_that_the_copy_has_lost_is_brought_there_again(vault: Vault, copy: Vault) -> None:
    replicate(vault, copy, "shop")
    gone, cut, never = vault.backup("shop", identifier_of(3)).manifest.objects()[:3]
    (root(copy) / layout.object_key(gone)).unlink()
    rewrite(root(copy) / layout.object_key(cut), b"cut off")
    report = replicate(vault, copy, "shop")
    assert [finding.code for finding in report.findings] == ["copy-healed", "copy-healed"]
    assert report.ok
    assert report.objects == 2
    assert verify_all(copy, "shop").ok
    (root(copy) / layout.object_key(never)).unlink()
    (root(vault) / layout.object_key(never)).unlink()
    report = replicate(vault, copy, "shop")
    assert [finding.code for finding in report.findings] == ["copy-not-whole"]
    assert not report.ok
