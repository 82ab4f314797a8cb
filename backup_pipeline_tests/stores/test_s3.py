"""A bucket as a store, on a server that checks signatures (rclone) and on one with conditional creates (moto)."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.stores import s3
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
    """It compares no body with its digest: everything arrives aside, and nothing is conditional."""

    @pytest.fixture
    def store(self, tmp_path: Path, moto_server: S3Server) -> Store:
        return open_store(moto_server.options(f"s3://{moto_server.make_bucket()}", tmp_path / "staging"))


class TestConditionally(StoreContract):
    """As on AWS and R2, which check bodies and create conditionally: moto, trusted."""

    @pytest.fixture
    def store(self, tmp_path: Path, moto_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Store:
        trust(monkeypatch)
        store = open_store(moto_server.options(f"s3://{moto_server.make_bucket()}/b", tmp_path / "staging"))
        assert store.features.conditional_create
        return store


def trust(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "checks_bodies", lambda *_: True)
