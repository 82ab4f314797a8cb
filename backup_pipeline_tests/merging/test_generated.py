"""Random schemas, rows, damage and life on both engines. The core writes the rows of the model, and says its numbers."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from sqlalchemy.exc import SQLAlchemyError

from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.errors import BackupError
from backup_pipeline.restores.merging import merge_into, plan_merge
from backup_pipeline.vault.backup import Backup
from backup_pipeline_tests.harness.backups import backed_up
from backup_pipeline_tests.harness.soak import SEED, time_is_over
from backup_pipeline_tests.merging.comparing import differing_numbers, differing_rows
from backup_pipeline_tests.merging.generating import Case, cases
from backup_pipeline_tests.merging.living import Living, LivingPostgres, LivingSqlite
from backup_pipeline_tests.merging.model_writing import expected
from backup_pipeline_tests.merging.reducing import reduced
from backup_pipeline_tests.merging.shapes import Rows

#: Hypothesis does not shrink: `reducing` makes a failing case smaller. Together 100 cases, and 2,000 in `make soak`.
OF_POSTGRES, OF_SQLITE = 30, 70
generated = settings(
    phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@pytest.fixture(scope="module")
def postgres(pg_server: EmbeddedPostgres) -> Iterator[Living]:
    url = pg_server.create_database("generated")
    with psycopg.connect(url, autocommit=True) as connection:
        yield LivingPostgres(url, connection)
    pg_server.drop_database("generated")


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Living:
    return LivingSqlite(tmp_path_factory.mktemp("generated") / "app.db")


def merge(living: Living, case: Case) -> list[str]:
    """What is wrong with the merge of a case."""
    design = case.design
    living.make(design, case.backup)
    living.set_sequences(design, case.backup, reset=False)
    with tempfile.TemporaryDirectory() as folder:
        backup = backed_up(living.url, Path(folder)).backup
        living.become(design, case.live)
        living.set_sequences(design, case.live, reset=case.reset)
        try:
            return list(disagreements(living, case, backup))
        except (BackupError, SQLAlchemyError, psycopg.Error, sqlite3.Error) as error:
            return [f"{type(error).__name__}: {error}"]


def disagreements(living: Living, case: Case, backup: Backup) -> Iterator[str]:
    """Between the core and the model: of a plan, a merge, and the same merge again."""
    design, order = case.design, (living.asked(case.ask), case.design.rules(living.engine))
    wanted = expected(design, case.backup, case.live, case.ask)
    if case.planned:
        yield from told("plan", differing_numbers(wanted, plan_merge(backup, living.url, *order)))
        now = living.rows(design)
        yield from (f"a plan writes to {table}" for table in now if changed(now, case.live, table))
    done = merge_into(backup, living.url, *order).plan
    rows = living.rows(design)
    yield from told("rows", differing_rows(design, wanted, rows))
    yield from told("result", differing_numbers(wanted, done))
    yield from (f"dangling: {one}" for one in living.dangling(design))
    # A sequence that the application had broken is mended where the merge made rows.
    created = {one.table.name for one in done.tables if one.create}
    living.insert_into(one for one in design.shapes if not case.reset or one.name in created)
    if not case.repeated:
        return
    second = expected(design, case.backup, rows, case.ask)
    again = merge_into(backup, living.url, *order).plan
    yield from told("again", differing_numbers(second, again))
    yield from told("rows of again", differing_rows(design, second, living.rows(design)))


def told(about: str, wrong: Mapping[str, str]) -> list[str]:
    return [f"{about}, {table}: {what}" for table, what in wrong.items()]


def changed(before: Rows, after: Rows, table: str) -> bool:
    return sorted(map(repr, before[table])) != sorted(map(repr, after[table]))


def check(living: Living, case: Case) -> None:
    if time_is_over():
        return
    if wrong := merge(living, case):
        kind = wrong[0].partition(",")[0]
        smaller = reduced(case, lambda one: any(w.startswith(kind) for w in merge(living, one)))
        raise AssertionError("\n".join([*merge(living, smaller), repr(smaller)]))


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(generated, max_examples=OF_POSTGRES)
@given(case=cases())
def test_the_core_merges_on_postgresql_as_the_model_does(postgres: Living, case: Case) -> None:
    check(postgres, case)


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(generated, max_examples=OF_SQLITE)
@given(case=cases())
def test_the_core_merges_on_sqlite_as_the_model_does(sqlite: Living, case: Case) -> None:
    check(sqlite, case)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@seed(SEED)
@settings(generated, max_examples=20 * OF_POSTGRES)
@given(case=cases())
def test_the_core_merges_many_cases_on_postgresql_as_the_model_does(postgres: Living, case: Case) -> None:
    check(postgres, case)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@seed(SEED)
@settings(generated, max_examples=20 * OF_SQLITE)
@given(case=cases())
def test_the_core_merges_many_cases_on_sqlite_as_the_model_does(sqlite: Living, case: Case) -> None:
    check(sqlite, case)
