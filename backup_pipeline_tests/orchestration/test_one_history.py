"""One history: what the commands, Python and the daemon did is seen in the UI."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from backup_pipeline.orchestration.instance import open_instance
from backup_pipeline.orchestration.launch import run_backup, run_drill
from backup_pipeline.orchestration.ui import serve
from backup_pipeline_tests.harness.ports import free_port
from backup_pipeline_tests.orchestration.conftest import Shop
from backup_pipeline_tests.orchestration.test_ui import ask

#: What the page that opens first asks for (CompletedRunTimelineQuery); it leaves out runs without a repositoryOrigin.
TIMELINE = """{ runsOrError(filter: {statuses: [SUCCESS, FAILURE, CANCELED]}, limit: 500) { ... on Runs { results {
  id pipelineName startTime endTime repositoryOrigin { repositoryName repositoryLocationName } } } }
  repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } jobs { name } } } } }"""


@pytest.fixture(autouse=True)
def no_dagster_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


@pytest.mark.slow
@pytest.mark.server
def test_runs_of_the_commands_are_in_the_timeline(shop: Shop) -> None:
    run_backup(shop.project, "shop")
    run_drill(shop.project, "shop")
    stop, port = threading.Event(), free_port()
    answers: list[Any] = []

    def announced(_: str) -> None:
        answers.append(ask(port, TIMELINE))
        stop.set()

    serve(shop.project, port=port, say=announced, stop=stop)
    (answer,) = answers
    (repository,) = answer["repositoriesOrError"]["nodes"]
    place = {
        "repositoryName": repository["name"],
        "repositoryLocationName": repository["location"]["name"],
    }
    shown = {run["pipelineName"]: run["repositoryOrigin"] for run in answer["runsOrError"]["results"]}
    assert shown == {"backup_shop": place, "drill_shop": place}, json.dumps(answer)
    assert shown.keys() <= {job["name"] for job in repository["jobs"]}
    with open_instance(shop.project) as instance:
        # The daemon would otherwise start a run again whose process was killed, behind the back of whoever killed it.
        assert {run.tags["dagster/max_retries"] for run in instance.get_runs()} == {"0"}
