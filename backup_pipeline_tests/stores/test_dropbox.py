"""The Dropbox store: the real SDK against a server that speaks Dropbox's protocol and refuses what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backup_pipeline.stores.dropbox import DropboxStore
from backup_pipeline.stores.options import StoreOptions
from backup_pipeline_tests.contracts.store_contract import StoreContract
from backup_pipeline_tests.harness.fake_dropbox import FakeDropbox


def options(fake: FakeDropbox, folder: Path, **more: Any) -> StoreOptions:
    given: dict[str, Any] = {"token": fake.token, **more}
    return StoreOptions("dropbox:///DATABASE-BACKUPS", folder / "staging", **given)


class TestDropbox(StoreContract):
    @pytest.fixture
    def store(self, fake_dropbox: FakeDropbox, tmp_path: Path) -> DropboxStore:
        return DropboxStore(options(fake_dropbox, tmp_path))
