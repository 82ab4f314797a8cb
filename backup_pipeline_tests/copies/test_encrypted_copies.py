"""Copies of an encrypted vault: made, compared and healed by a host that has only public keys, and opened where the key is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backup_pipeline.copies.compare import compare
from backup_pipeline.copies.repair import repair
from backup_pipeline.copies.replicate import replicate
from backup_pipeline.copies.sampling import Arc, sample
from backup_pipeline.drills import drill
from backup_pipeline.errors import ConfigError
from backup_pipeline.model.orders import RepairOrder
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.verify import verify_all
from backup_pipeline_tests.copies.test_replicate import FarStore
from backup_pipeline_tests.harness.damage import alter, rewrite, state
from backup_pipeline_tests.harness.encrypted import Encrypted, change, make_shop


@pytest.fixture
def made(tmp_path: Path) -> Encrypted:
    found = Encrypted.make(tmp_path)
    url = make_shop(tmp_path / "shop.db", rows=300)
    found.back_up(url)
    change(url)
    found.back_up(url)
    return found


@pytest.fixture
def there(made: Encrypted, tmp_path: Path) -> Encrypted:
    """The copy, as seen by the same people."""
    return replace(made, folder=tmp_path / "copy", state=tmp_path / "elsewhere" / "known" / "c")


def test_a_host_with_public_keys_copies_and_the_copy_opens_where_the_identity_is(
    made: Encrypted, there: Encrypted
) -> None:
    report = replicate(made.stranger, there.stranger, "shop")
    assert report.ok
    assert report.copied == made.stranger.ids("shop")
    assert compare(made.stranger, there.stranger, "shop").same
    assert verify_all(there.opened, "shop").ok
    copy = there.opened
    assert drill(copy.backup("shop", copy.resolve("shop", None))).report.ok
    names = {key for key in state(made.folder) if not key.startswith("tmp/")}
    assert names <= set(state(there.folder))


def test_an_encrypted_vault_is_not_copied_onto_a_plain_one(made: Encrypted, tmp_path: Path) -> None:
    plain = Vault(LocalStore(tmp_path / "plain"))
    plain.prepare()
    with pytest.raises(ConfigError):
        replicate(made.stranger, Vault(LocalStore(tmp_path / "plain"), made.stranger.keys), "shop")


def test_a_damaged_object_and_an_edited_outline_are_not_copied(made: Encrypted, there: Encrypted) -> None:
    vault = made.stranger
    first, last = vault.ids("shop")
    outline = made.folder / "shop" / first / "outline.json"
    rewrite(outline, outline.read_bytes().replace(b'"manual"', b'"imported"'))
    shared = {one.sha256 for one in vault.backup("shop", first).outline.objects}
    own = next(one for one in vault.backup("shop", last).outline.objects if one.sha256 not in shared)
    path = made.folder / "objects" / own.sha256[:2] / f"{own.sha256}{own.suffix}"
    alter(path)
    report = replicate(vault, there.stranger, "shop")
    assert report.copied == ()
    assert [finding.code for finding in report.findings] == ["not-copied", "not-copied"]


def test_every_file_of_an_encrypted_backup_is_healed_without_a_key(made: Encrypted, there: Encrypted) -> None:
    assert replicate(made.stranger, there.stranger, "shop").ok
    before = {key: digest for key, digest in state(made.folder).items() if not key.startswith("tmp/")}
    for key in sorted(before):
        path = made.folder / key
        if path.name in ("newest.json", "vault.json", "FORMAT.md"):
            continue
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        rewrite(path, bytes(data))
        report = repair(made.stranger, [("copy", there.stranger)], RepairOrder("shop"))
        assert [one.key for one in report.healed] == [key], (key, report.findings)
        path.unlink()
        report = repair(made.stranger, [("copy", there.stranger)], RepairOrder("shop", quick=True))
        assert [one.key for one in report.healed] == [key], (key, report.findings)
    assert {key: digest for key, digest in state(made.folder).items() if not key.startswith("tmp/")} == before


def test_a_copy_is_looked_at_and_read_without_a_key(made: Encrypted, there: Encrypted) -> None:
    replicate(made.stranger, there.stranger, "shop")
    copy = there.stranger
    assert sample(("copy", copy), "shop", copy.ids("shop"), arc=Arc(0.0, 0.999)).ok
    victim = sorted((there.folder / "objects").rglob("*.age"))[0]
    alter(victim)
    report = sample(("copy", copy), "shop", copy.ids("shop"), arc=Arc(0.0, 1.0))
    assert [finding.code for finding in report.errors] == ["object-altered"]


def test_an_encrypted_copy_is_listed_where_looks_are_requests(made: Encrypted, tmp_path: Path) -> None:
    far = Vault(FarStore(tmp_path / "far"), made.stranger.keys, tmp_path / "known")
    assert replicate(made.stranger, far, "shop").ok
    assert far.ids("shop") == made.stranger.ids("shop")
    back = Vault(LocalStore(tmp_path / "back"), made.stranger.keys, tmp_path / "known2")
    assert replicate(far, back, "shop").copied == made.stranger.ids("shop")
