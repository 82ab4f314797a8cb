"""Dropbox has folders, and tells no upper from lower case: what that means for keys. And what a token may do."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.errors import AlreadyExists, BackupError, VaultError
from backup_pipeline.stores.base import read_all
from backup_pipeline.stores.dropbox.store import DropboxStore
from backup_pipeline.stores.options import StoreOptions
from backup_pipeline_tests.harness.fake_dropbox import SCOPES, FakeDropbox, Token
from backup_pipeline_tests.harness.fake_dropbox_files import content_hash


def opened(token: str, folder: Path) -> DropboxStore:
    return DropboxStore(StoreOptions("dropbox:///DATABASE-BACKUPS", folder / "staging", token=token))


@pytest.fixture
def store(fake_dropbox: FakeDropbox, tmp_path: Path) -> DropboxStore:
    return opened(fake_dropbox.token, tmp_path)


def test_what_differs_only_in_case_is_refused_and_nothing_is_lost(
    store: DropboxStore, fake_dropbox: FakeDropbox
) -> None:
    store.put("Shop/lock.json", b"first")
    for key in ("shop/lock.json", "Shop/LOCK.json"):
        with pytest.raises(VaultError):
            store.put(key, b"second")
        with pytest.raises(VaultError, match="would be the same"):
            store.put(key, b"second", overwrite=True)
    with pytest.raises(VaultError, match="upper from lower") as caught:
        store.put("shop/other.json", b"second")
    assert not isinstance(caught.value, AlreadyExists)
    assert store.stat("Shop/LOCK.json") is None
    with pytest.raises(BackupError):
        read_all(store, "Shop/LOCK.json")
    store.delete("Shop/LOCK.json")
    assert {stat.key for stat in store.list()} == {"Shop/lock.json"}
    assert read_all(store, "Shop/lock.json") == b"first"


def test_a_folder_is_never_deleted_for_a_key(store: DropboxStore) -> None:
    store.put("shop/1/manifest.json", b"x")
    store.delete("shop")
    store.delete("shop/1")
    assert [stat.key for stat in store.list()] == ["shop/1/manifest.json"]


def test_a_folder_is_never_taken_for_a_free_name(store: DropboxStore) -> None:
    store.put("shop/1", b"x")
    for key in ("shop", "shop/1/below"):
        with pytest.raises(VaultError, match="folder is where"):
            store.put(key, b"x")


# ── the fake refuses what Dropbox refuses


def test_bytes_that_were_damaged_on_their_way_are_refused(store: DropboxStore) -> None:
    from dropbox.exceptions import ApiError

    with pytest.raises(ApiError, match="content_hash_mismatch"):
        store._client.files_upload(b"right", "/x", content_hash=content_hash(b"wrong"))


def test_an_empty_folder_that_was_left_behind_is_no_folder_of_the_store(
    store: DropboxStore, fake_dropbox: FakeDropbox
) -> None:
    store.put("gone/1/x", b"x")
    store.put("shop/1/x", b"x")
    store.put("shop/2/x", b"x")
    store.delete("gone/1/x")
    store.delete("shop/2/x")
    assert list(store.folders()) == ["shop"]
    assert list(store.folders("shop/")) == ["1"]


def test_a_token_that_may_only_read_reads(
    fake_dropbox: FakeDropbox, tmp_path: Path, store: DropboxStore
) -> None:
    store.put("k", b"x")
    fake_dropbox.tokens["reader"] = Token(scopes=SCOPES - {"files.content.write"})
    reader = opened("reader", tmp_path)
    assert read_all(reader, "k") == b"x"
    with pytest.raises(VaultError):
        reader.delete("k")
