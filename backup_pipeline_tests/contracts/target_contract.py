"""What every target promises (`backup_pipeline/databases/base.py`). A new engine subclasses this and offers `live`, `new`
and `rows`. The types and definitions that an engine brings back are tested beside the engine.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from backup_pipeline.backups.making import Order, back_up
from backup_pipeline.databases.base import RestoreOptions, Target
from backup_pipeline.databases.engines import engine_at
from backup_pipeline.errors import BackupError, TargetNotEmpty
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.progress import Advance, silent
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.contracts.source_contract import Live

NEW = RestoreOptions(create=True)


class TargetContract:
    @pytest.fixture
    def live(self) -> Live:
        raise NotImplementedError("offer an empty database, from which the backup is made")

    @pytest.fixture
    def new(self) -> str:
        raise NotImplementedError("offer the address of a database that does not exist")

    def rows(self, url: str) -> Counter[str] | None:
        """The rows of `people` at an address; None where there is no such database."""
        raise NotImplementedError

    @pytest.fixture
    def target(self, new: str) -> Target:
        return engine_at(new).target(new)

    @pytest.fixture
    def vault(self, tmp_path: Path) -> Vault:
        return Vault(LocalStore(tmp_path / "vault"))

    @pytest.fixture
    def manifest(self, live: Live, vault: Vault) -> Manifest:
        live.run("CREATE TABLE people (id integer PRIMARY KEY, name text)")
        live.run("INSERT INTO people VALUES (1, 'one'), (2, NULL)")
        return back_up(vault, live.source, Order("shop"))

    def test_a_plan_writes_nothing(self, vault: Vault, manifest: Manifest, new: str, target: Target) -> None:
        plan = target.plan(vault.backup_of(manifest), NEW)
        assert (plan.create, plan.refused, plan.rows) == (True, (), 2)
        assert self.rows(new) is None

    def test_a_restore_brings_every_row(
        self, live: Live, vault: Vault, manifest: Manifest, new: str, target: Target
    ) -> None:
        heard: list[Advance] = []
        result = target.restore(vault.backup_of(manifest), NEW, heard.append)
        assert self.rows(new) == live.rows("people")
        assert (result.rows, result.tables, result.dry_run) == (2, 1, False)
        assert heard

    def test_a_database_that_holds_rows_is_refused_and_keeps_them(
        self, live: Live, vault: Vault, manifest: Manifest, new: str, target: Target
    ) -> None:
        target.restore(vault.backup_of(manifest), NEW, silent)
        assert target.plan(vault.backup_of(manifest), RestoreOptions()).refused
        with pytest.raises(TargetNotEmpty):
            target.restore(vault.backup_of(manifest), RestoreOptions(), silent)
        assert self.rows(new) == live.rows("people")

    def test_a_dry_run_keeps_nothing(
        self, vault: Vault, manifest: Manifest, new: str, target: Target
    ) -> None:
        result = target.restore(vault.backup_of(manifest), RestoreOptions(create=True, dry_run=True), silent)
        assert result.dry_run
        assert self.rows(new) is None

    def test_a_restore_that_fails_leaves_the_target_as_it_was(
        self, vault: Vault, manifest: Manifest, new: str, target: Target
    ) -> None:
        for stat in tuple(vault.store.list("objects/")):
            vault.store.delete(stat.key)
        with pytest.raises(BackupError):
            target.restore(vault.backup_of(manifest), NEW, silent)
        assert self.rows(new) is None
