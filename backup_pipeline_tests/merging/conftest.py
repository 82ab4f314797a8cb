from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline_tests.harness.engines import MakePgDatabase
from backup_pipeline_tests.merging.stories import Story


@pytest.fixture(params=["postgres", "sqlite"])
def story(request: pytest.FixtureRequest, tmp_path: Path) -> Story:
    if request.param == "sqlite":
        return Story("sqlite", f"sqlite:///{tmp_path / 'app.sqlite3'}", tmp_path / "vault")
    make: MakePgDatabase = request.getfixturevalue("make_pg_database")
    return Story("postgres", make(), tmp_path / "vault")
