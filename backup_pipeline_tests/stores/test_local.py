from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backup_pipeline.errors import NotAllowed, VaultError
from backup_pipeline.stores.local import LocalStore, staging_name
from backup_pipeline.stores.staging import FORGOTTEN
from backup_pipeline_tests.contracts.store_contract import StoreContract


class TestLocalStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> LocalStore:
        return LocalStore(tmp_path / "store")


def test_what_is_stored_is_read_only_and_its_owners_alone(tmp_path: Path) -> None:
    LocalStore(tmp_path).put("objects/x", b"x")
    assert (tmp_path / "objects/x").stat().st_mode & 0o777 == 0o400


def test_a_failed_put_leaves_nothing_behind(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("k", b"x")
    with pytest.raises(VaultError):
        store.put("k", b"y")
    assert list(store.staging().iterdir()) == []


@pytest.mark.parametrize(
    ("link", "chmod"),
    [(errno.EPERM, 0), (errno.EIO, 0), (errno.ENOSYS, errno.ENOSYS)],
    ids=["FAT", "rclone", "fusefat"],
)
def test_a_file_system_without_hard_links_is_told_from_a_missing_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: int, chmod: int
) -> None:
    """FAT and exFAT answer a link with EPERM, which sent people to chmod; a mount of rclone with EIO; fusefat has no chmod
    either. None can be mounted where tests run."""

    def refuse(source: object, target: object, **more: object) -> None:
        raise OSError(link, os.strerror(link))

    def keep_no_rights(path: object, mode: int, **more: object) -> None:
        raise OSError(chmod, os.strerror(chmod))

    store = LocalStore(tmp_path)
    monkeypatch.setattr(os, "link", refuse)
    if chmod:
        monkeypatch.setattr(os, "chmod", keep_no_rights)
    with pytest.raises(VaultError, match="has no hard links") as raised:
        store.put("k", b"x")
    assert not isinstance(raised.value, NotAllowed)
    assert list(store.staging().iterdir()) == []
    assert store.stat("k") is None


def test_what_a_killed_process_staged_is_swept_and_what_a_living_one_staged_is_not(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from backup_pipeline.stores.local import *; "
        "(LocalStore(Path(sys.argv[1])).staging() / staging_name()).write_bytes(b'half')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    store = LocalStore(tmp_path)
    mine = store.staging() / staging_name()
    mine.write_bytes(b"still being written")
    assert store.sweep() == 1
    assert list(store.staging().iterdir()) == [mine]


def test_a_file_of_another_machine_is_not_swept(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    other = store.staging() / "another-host~999999~aa"
    other.write_bytes(b"x")
    assert store.sweep() == 0
    assert other.exists()
    # A killed container never comes back under the same name, and in a week no write is without a step.
    os.utime(other, (0, time.time() - FORGOTTEN - 60))
    assert store.sweep() == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
def test_a_full_disk_is_an_error_with_a_remedy_and_leaves_no_key(tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(tmp_path)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.decode().strip()}")
    try:
        store = LocalStore(tmp_path)
        with pytest.raises(VaultError, match="full") as caught:
            store.put("big", bytes(1 << 20))
        assert "free space" in caught.value.remedy
        assert store.stat("big") is None
        assert list(store.staging().iterdir()) == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_what_is_in_the_making_in_an_open_vault_of_an_older_version_is_closed(tmp_path: Path) -> None:
    """Objects are 0644 by the usual umask until they are whole."""
    tmp_path.chmod(0o755)
    (tmp_path / "tmp").mkdir(mode=0o755)
    store = LocalStore(tmp_path)
    (store.staging() / "made-here").write_bytes(b"x")
    assert (tmp_path / "tmp").stat().st_mode & 0o007 == 0
    store.put("objects/x", store.staging() / "made-here")
    assert (tmp_path / "objects").stat().st_mode & 0o777 == 0o700
