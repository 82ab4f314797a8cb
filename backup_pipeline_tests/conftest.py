"""Fixtures for every test. They live beside what they are about, in `harness/`; this file only offers them."""

import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import settings

from backup_pipeline_tests.harness.backups import torture
from backup_pipeline_tests.harness.dealing import LEAST, deal, name_of, recorded
from backup_pipeline_tests.harness.engines import (
    make_pg_database,
    no_pauses,
    pg_database,
    pg_major_database,
    pg_major_server,
    pg_server,
    pg_servers,
    sqlite_file,
)
from backup_pipeline_tests.harness.fake_dropbox import dropbox_process, fake_dropbox
from backup_pipeline_tests.harness.listening import hook, mailbox
from backup_pipeline_tests.harness.sftp_server import openssh, proftpd, rclone_sftp, whole_files_sftp
from backup_pipeline_tests.harness.soak import SEED, time_is_over
from backup_pipeline_tests.harness.stores import (
    ministack_server,
    moto_server,
    one_writer,
    rclone_server,
    s3_server,
    strict_moto_server,
)

__all__ = [
    "dropbox_process",
    "fake_dropbox",
    "hook",
    "mailbox",
    "make_pg_database",
    "ministack_server",
    "moto_server",
    "no_pauses",
    "one_writer",
    "openssh",
    "pg_database",
    "pg_major_database",
    "pg_major_server",
    "pg_server",
    "pg_servers",
    "proftpd",
    "rclone_server",
    "rclone_sftp",
    "s3_server",
    "sqlite_file",
    "strict_moto_server",
    "torture",
    "whole_files_sftp",
]

# What a shell without job control starts in the background ignores SIGINT, and so would every program that is tested.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Two shared cores: an example's wall time says nothing about the code. The same examples each time: a change does not fail
# by chance. `make soak` tries new ones.
settings.register_profile("backup_pipeline", deadline=None, print_blob=True, derandomize=True, database=None)
settings.load_profile("backup_pipeline")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--soak", action="store_true", help="only the long forms of scenarios, with the seed SEED"
    )


def pytest_report_header(config: pytest.Config) -> str:
    return f"soak: SEED={SEED}" if config.getoption("soak") else ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("soak") is not None and time_is_over():
        pytest.skip("the time is over: MINUTES")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("soak"):
        done = ", ".join(
            f"{len(terminalreporter.getreports(kind))} {kind}"
            for kind in ("passed", "failed", "error", "skipped")
        )
        terminalreporter.line(f"soak: SEED={SEED}: {done}{'; the time was over' if time_is_over() else ''}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Soak tests run only with --soak. Each worker begins with slow tests: a long test at the end leaves the others idle."""
    soak = config.getoption("soak")
    left = [item for item in items if (item.get_closest_marker("soak") is not None) is not soak]
    config.hook.pytest_deselected(items=left)
    seconds = recorded()
    # A slow test without a record counts as one of the shortest in the list; so does one with a time limit of its own.
    taken = {
        item: seconds.get(
            name_of(item.nodeid),
            LEAST if item.get_closest_marker("slow") or item.get_closest_marker("timeout") else 0.0,
        )
        for item in items
        if (item.get_closest_marker("soak") is not None) is soak
    }
    slow = sorted((item for item in taken if taken[item]), key=lambda item: -taken[item])
    quick = [item for item in taken if not taken[item]]
    items[:] = deal(slow, quick, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and item.get_closest_marker("soak") is not None:
        report.sections.append(("again", f"make soak SEED={SEED} ARGS='-k {item.name.partition('[')[0]}'"))
    return report
