"""Every scenario of a merge, on every engine that it applies to."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline_tests.harness.engines import ENDS, MakePgDatabase, Servers
from backup_pipeline_tests.merging.databases import LivingPostgres, LivingSqlite, ask
from backup_pipeline_tests.merging.scenario import Scenario, load, names, play


@pytest.mark.parametrize(
    ("name", "engine"), [(name, engine) for name in names() for engine in load(name).engines]
)
def test_a_scenario_of_a_merge_keeps_its_promises(
    name: str, engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    scenario = load(name)
    if engine == "postgres":
        make_pg: MakePgDatabase = request.getfixturevalue("make_pg_database")
        play(scenario, _postgres(make_pg, scenario, request), tmp_path / "vault")
    else:
        play(scenario, LivingSqlite(f"sqlite:///{tmp_path / 'app.sqlite3'}"), tmp_path / "vault")


def _postgres(make: MakePgDatabase, scenario: Scenario, request: pytest.FixtureRequest) -> LivingPostgres:
    if not scenario.needs:
        return LivingPostgres(make())
    servers: Servers = request.getfixturevalue("pg_servers")
    for major in ENDS:
        living = LivingPostgres(make(server=servers[major]))
        if ask(living, scenario.needs):
            return living
    pytest.skip(f"no server for this: {scenario.needs}")
