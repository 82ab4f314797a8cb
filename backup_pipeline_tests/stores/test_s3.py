"""A bucket as a store, on a server that checks signatures (rclone) and on one with conditional creates (moto)."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.stores.base import Store
from backup_pipeline.stores.opening import open_store
from backup_pipeline_tests.contracts.store_contract import StoreContract
from backup_pipeline_tests.harness.stores import S3Server


class TestOnRclone(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path, rclone_server: S3Server) -> Store:
        return open_store(
            rclone_server.options(f"s3://{rclone_server.make_bucket()}/vaults/a", tmp_path / "staging")
        )


class TestOnMoto(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path, moto_server: S3Server) -> Store:
        return open_store(moto_server.options(f"s3://{moto_server.make_bucket()}", tmp_path / "staging"))
