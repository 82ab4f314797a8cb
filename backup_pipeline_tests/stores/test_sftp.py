"""The SFTP store against real servers: OpenSSH's, and rclone's, which lacks hard links and insists on order."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.stores.base import Store
from backup_pipeline.stores.sftp import SftpStore
from backup_pipeline_tests.contracts.store_contract import StoreContract
from backup_pipeline_tests.harness.sftp_server import SftpServer


class TestOpenSsh(StoreContract):
    @pytest.fixture
    def store(self, openssh: SftpServer, tmp_path: Path) -> SftpStore:
        return SftpStore(openssh.options(openssh.fresh(), tmp_path / "staging"))

    def test_it_creates_conditionally(self, store: Store) -> None:
        assert store.features.conditional_create


class TestRclone(StoreContract):
    @pytest.fixture
    def store(self, rclone_sftp: SftpServer, tmp_path: Path) -> SftpStore:
        return SftpStore(rclone_sftp.options(rclone_sftp.fresh(), tmp_path / "staging"))

    def test_it_does_not_claim_to_create_conditionally(self, store: Store) -> None:
        assert not store.features.conditional_create
