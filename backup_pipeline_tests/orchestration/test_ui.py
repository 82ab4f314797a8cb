"""The three processes of the UI: they come up, load the graph, and end with the one that started them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backup_pipeline.errors import ConfigError, ServerFailed
from backup_pipeline.orchestration.ui import serve
from backup_pipeline_tests.harness.engines import wait_for
from backup_pipeline_tests.harness.ports import free_port
from backup_pipeline_tests.harness.processes import kill_tree, tree
from backup_pipeline_tests.orchestration.conftest import Shop

QUERY = """{ repositoriesOrError { ... on RepositoryConnection { nodes {
  jobs { name } schedules { name scheduleState { status } } sensors { name sensorState { status } } } } }
  instance { daemonHealth { allDaemonStatuses { daemonType healthy required } } } }"""


BROKEN = """{ workspaceOrError { ... on Workspace { locationEntries {
  locationOrLoadError { ... on PythonError { errorChain { error { message } } } } } } } }"""


def ask(port: int, query: str = QUERY) -> dict[str, object]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps({"query": query}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return dict(json.loads(answer.read())["data"])


@contextmanager
def served(shop: Shop, number: signal.Signals, *, then: str = "") -> Iterator[int]:
    """The port of a UI in a process of its own; at the end of the block the signal ends all of its processes. `then` is
    what the configuration says when it has been read."""
    port = free_port()
    code = (
        "import sys\nfrom pathlib import Path\nfrom backup_pipeline.operations import Site\nfrom backup_pipeline.orchestration.ui import serve\n"
        "site = Site.load(sys.argv[1])\n"
        "sys.argv[3] and Path(sys.argv[1]).write_text(sys.argv[3])\n"
        "serve(site, port=int(sys.argv[2]))\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "DAGSTER_HOME"}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(shop.config), str(port), then],
        env={**environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
        # As from a script that is not a terminal's, where `dagster dev` ignored both signals.
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert f"http://127.0.0.1:{port}" in process.stdout.readline()
            yield port
            below = tree(process.pid)
            assert len(below) >= 4
            process.send_signal(number)
            assert process.wait(30) == 0
        finally:
            # Leaving the block waits for the process: a failed assertion would wait for ever.
            if process.poll() is None:
                kill_tree(process)
    assert wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below))


@pytest.mark.slow
@pytest.mark.server
def test_the_graph_is_served_and_everything_ends_with_sigterm(shop: Shop) -> None:
    shop.configure('schedule: "0 2 * * *"')
    with served(shop, signal.SIGTERM) as port:
        (repository,) = ask(port)["repositoriesOrError"]["nodes"]  # type: ignore[index]
        assert {job["name"] for job in repository["jobs"]} >= {"backup_shop", "drill_shop"}
        # That of the shop's backup, and the monthly scrub.
        assert [one["scheduleState"]["status"] for one in repository["schedules"]] == ["RUNNING", "RUNNING"]


@pytest.mark.slow
@pytest.mark.server
def test_a_graph_that_does_not_load_is_shown_with_its_remedy_and_everything_ends_with_sigint(
    shop: Shop,
) -> None:
    """The UI comes up, so that the person who broke the configuration sees what is wrong."""
    with served(shop, signal.SIGINT, then="vault: ./vault\nsystems: {shop: {databse: x}}\n") as port:
        said = json.dumps(ask(port, BROKEN))
    assert "databse" in said
    assert "did you mean" in said


def test_a_port_that_is_taken_is_said_before_anything_starts(shop: Shop) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="cannot listen"):
            serve(shop.site, port=taken.getsockname()[1])


def test_a_configuration_elsewhere_has_to_be_named(shop: Shop) -> None:
    site = shop.site
    shop.config.rename(shop.folder / "other.yaml")
    with pytest.raises(ConfigError, match="--config"):
        serve(site, port=free_port())


def test_a_child_that_ends_is_said_with_its_last_words(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ServerFailed, match="code process ended with 1"):
        serve(shop.site, port=free_port())
