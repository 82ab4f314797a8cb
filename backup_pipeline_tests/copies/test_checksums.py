"""What a store states of a copy's objects is compared, without a byte of them being read back."""

from __future__ import annotations

import hashlib
import random
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backup_pipeline.copies.replicate import replicate
from backup_pipeline.copies.sampling import Arc, sample
from backup_pipeline.copies.transfer import Item, items
from backup_pipeline.model.findings import Report
from backup_pipeline.model.progress import Advance
from backup_pipeline.stores.base import Store
from backup_pipeline.stores.dropbox.store import DropboxStore
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.stores.opening import open_store
from backup_pipeline.stores.s3.checksums import attestation
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.harness.damage import alter
from backup_pipeline_tests.harness.fake_dropbox import FakeDropbox
from backup_pipeline_tests.harness.handmade import shop_vault
from backup_pipeline_tests.harness.stores import S3Server
from backup_pipeline_tests.stores.test_dropbox import options

MIB = 1 << 20


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return shop_vault(tmp_path / "vault")


@pytest.fixture(params=["rclone", "moto", "dropbox"])
def copy(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    vault: Vault,
    rclone_server: S3Server,
    moto_server: S3Server,
    fake_dropbox: FakeDropbox,
) -> Vault:
    if request.param == "dropbox":
        copy = Vault(DropboxStore(options(fake_dropbox, tmp_path)))
    else:
        server = rclone_server if request.param == "rclone" else moto_server
        copy = Vault(open_store(server.options(f"s3://{server.make_bucket()}/copy", tmp_path / "staging")))
    assert replicate(vault, copy, "shop").ok
    return copy


def look(copy: Vault, vault: Vault | None, **more: Any) -> Report:
    trusted = None if vault is None else vault.store
    return sample(("copy", copy), "shop", copy.ids("shop"), trusted=trusted, **more)


def named(vault: Vault) -> list[Item]:
    return sorted(
        {item for each in vault.ids("shop") for item in items(vault.backup("shop", each).outline.objects)},
        key=lambda item: item.key,
    )


def test_every_object_of_a_whole_copy_has_the_checksum_that_it_should(vault: Vault, copy: Vault) -> None:
    steps: list[Advance] = []
    report = look(copy, vault, listener=steps.append)
    assert report.ok
    assert not report.findings
    assert report.counted["objects_by_checksum"] == report.counted["objects"] == len(named(vault))
    assert report.counted["objects_read"] == 0
    assert sum(step.bytes for step in steps) == sum(item.size for item in named(vault))


def test_an_object_that_was_replaced_by_another_of_its_length_is_found_unread(
    vault: Vault, copy: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = named(vault)[0]
    copy.store.put(victim.key, bytes(victim.size), overwrite=True)
    read = _watched(copy.store, monkeypatch)
    report = look(copy, vault)
    assert [finding.code for finding in report.errors] == ["object-altered"]
    assert victim.name in report.errors[0].message
    assert not [key for key in read if key.startswith("objects/")]


def _watched(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that are read from now on."""
    read: list[str] = []
    get: Callable[..., Any] = type(store).get

    def watched(self: Store, key: str, **more: Any) -> Any:
        read.append(key)
        return get(self, key, **more)

    monkeypatch.setattr(type(store), "get", watched)
    return read


def test_what_is_read_back_is_not_asked_for_its_checksum(vault: Vault, copy: Vault) -> None:
    report = look(copy, vault, arc=Arc(0.0, 0.5))
    counted = report.counted
    assert 0 < counted["objects_read"] < counted["objects"]
    assert counted["objects_read"] + counted["objects_by_checksum"] == counted["objects"]


def test_the_vault_that_is_hurt_is_not_held_against_the_copy(vault: Vault, copy: Vault) -> None:
    victim = named(vault)[0]
    alter(Path(vault.store.address) / victim.key)
    report = look(copy, vault)
    assert report.ok
    (finding,) = report.findings
    assert (finding.severity, finding.code) == ("warning", "vault-object-altered")
    assert victim.name in finding.message
    assert report.counted["objects_by_checksum"] == report.counted["objects"] - 1


def test_without_right_bytes_at_hand_nothing_is_claimed(vault: Vault, copy: Vault) -> None:
    report = look(copy, None)
    assert report.ok
    assert report.counted["objects_by_checksum"] == 0


def test_a_folder_states_nothing(vault: Vault, tmp_path: Path) -> None:
    folder = Vault(LocalStore(tmp_path / "copy"))
    assert replicate(vault, folder, "shop").ok
    assert look(folder, vault).counted["objects_by_checksum"] == 0


# ── what a HEAD says


def head(data: bytes, etag: str, **more: Any) -> dict[str, Any]:
    return {"ContentLength": len(data), "ETag": f'"{etag}"', **more}


def judged(said: dict[str, Any] | None, data: bytes, part_size: int = 5 * MIB) -> tuple[bool, str]:
    """Whether bytes were needed, and the judgement."""
    found = attestation(said, hashlib.sha256(data).hexdigest(), len(data), part_size)
    if found.needs_bytes:
        found.update(data)
    return found.needs_bytes, found.judge()


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def sha(data: bytes) -> str:
    return b64encode(hashlib.sha256(data).digest()).decode()


def parts(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


DATA = random.Random(7).randbytes(12 * MIB + 1)
IN_PARTS = md5(b"".join(hashlib.md5(part, usedforsecurity=False).digest() for part in parts(DATA, 5 * MIB)))
SHA_IN_PARTS = sha(b"".join(hashlib.sha256(part).digest() for part in parts(DATA, 5 * MIB)))
KMS = {"ServerSideEncryption": "aws:kms"}


def test_a_sha256_is_compared_with_the_name_and_needs_no_bytes() -> None:
    assert judged(head(DATA, "anything", ChecksumSHA256=sha(DATA)), DATA) == (False, "same")
    assert judged(head(DATA, "anything", ChecksumSHA256=sha(b"other")), DATA) == (False, "other")
    assert judged(head(DATA, "anything", ChecksumSHA256=sha(DATA), **KMS), DATA) == (False, "same")


def test_checksums_of_parts_are_compared_where_the_parts_are_ours() -> None:
    """AWS writes the number of parts behind a SHA-256 of parts; moto does not."""
    for stated in (SHA_IN_PARTS, f"{SHA_IN_PARTS}-3"):
        assert judged(head(DATA, f"{IN_PARTS}-3", ChecksumSHA256=stated, **KMS), DATA) == (True, "same")
    assert judged(head(DATA, f"{IN_PARTS}-3"), DATA) == (True, "same")
    assert judged(head(DATA, f"{md5(b'')}-3"), DATA) == (True, "unknown")
    assert judged(head(DATA, f"{IN_PARTS}-2"), DATA) == (False, "unknown")


def test_an_etag_says_something_where_it_is_an_md5_only() -> None:
    assert judged(head(DATA, md5(DATA)), DATA) == (True, "same")
    assert judged(head(DATA, md5(b"other")), DATA) == (True, "other")
    for odd in (KMS, {"SSECustomerAlgorithm": "AES256"}):
        assert judged(head(DATA, md5(b"other"), **odd), DATA) == (False, "unknown")
    assert judged(head(DATA, "0x8D9"), DATA) == (False, "unknown")


def test_what_is_gone_or_of_another_length_is_other() -> None:
    assert judged(None, DATA) == (False, "other")
    assert judged(head(DATA[1:], md5(DATA)), DATA) == (False, "other")
