"""What goes wrong on the server's side: rights, locks, lost connections. Each ends in a clear error or in a right backup."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from backup_pipeline.databases.base import Options
from backup_pipeline.databases.postgres.export import PostgresSource
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.errors import (
    ConfigError,
    PermissionMissing,
    SourceChanged,
    SourceError,
    SourceUnavailable,
)
from backup_pipeline.model.selection import Selection
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.contracts.source_contract import Taken
from backup_pipeline_tests.harness.engines import NEWEST, wait_for
from backup_pipeline_tests.harness.postgres_rows import LivePostgres, ask, run, session


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    (tmp_path / "vault").mkdir()
    vault = Vault(LocalStore(tmp_path / "vault"))
    vault.prepare()
    return vault


@pytest.fixture(autouse=True)
def _workers_for_small_databases_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backup_pipeline.databases.postgres.export.export.IN_PROCESS_BYTES", 0)


def as_role(url: str, role: str) -> str:
    return url.replace("postgresql://postgres@", f"postgresql://{role}@")


@pytest.fixture
def reader(pg_server: EmbeddedPostgres) -> Iterator[str]:
    role = f"reader_{os.getpid()}"
    run(pg_server.url(), f"CREATE ROLE {role} LOGIN")
    yield role
    run(pg_server.url(), f"DROP ROLE {role}")


@contextmanager
def dropping(url: str, role: str) -> Iterator[None]:
    """A role cannot be dropped while it holds rights."""
    try:
        yield
    finally:
        run(url, f"DROP OWNED BY {role}")


# ── rights


def test_the_grant_of_a_closed_database_can_be_pasted(pg_database: str, reader: str) -> None:
    """It ended in `TO the user`."""
    ((name,),) = ask(pg_database, "SELECT current_database()")
    run(pg_database, f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
    with dropping(pg_database, reader):
        source = PostgresSource(as_role(pg_database, reader))
        with pytest.raises(PermissionMissing) as caught:
            source.inventory(Selection())
        assert caught.value.remedy == f'GRANT CONNECT ON DATABASE "{name}" TO "{reader}";'
        run(pg_database, caught.value.remedy)
        assert source.inventory(Selection()).tables == ()


def test_select_on_everything_is_enough(pg_database: str, reader: str, vault: Vault) -> None:
    run(
        pg_database,
        "CREATE SCHEMA other",
        "CREATE TABLE other.a (id serial PRIMARY KEY, t text)",
        "INSERT INTO other.a (t) VALUES ('x')",
        f"GRANT USAGE ON SCHEMA other TO {reader}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA other TO {reader}",
        f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA other TO {reader}",
    )
    with dropping(pg_database, reader):
        live = LivePostgres(as_role(pg_database, reader))
        taken = Taken(live, vault)
        assert taken.entry("a").rows == 1
        assert taken.export.sequences[0].last_value == 1
        assert b"CREATE TABLE other.a" in taken.ddl[0][2]
        assert taken.state["system_identifier"]
        again = Taken(live, vault, baselines=taken.baselines("one"))
        assert (
            again.entry("a").reused_chunks + sum(c.reused_from is None for c in again.entry("a").chunks) == 1
        )
        assert live.source.diagnose(Selection()).ok


def test_every_missing_right_is_named_at_once_and_the_grants_work(
    pg_database: str, reader: str, vault: Vault
) -> None:
    run(
        pg_database,
        'CREATE SCHEMA "Hid den"',
        'CREATE TABLE "Hid den"."t 1" (id serial PRIMARY KEY)',
        "CREATE TABLE t2 (id int)",
        "CREATE TABLE secured (id int)",
        "INSERT INTO secured VALUES (1)",
        "ALTER TABLE secured ENABLE ROW LEVEL SECURITY",
    )
    source = PostgresSource(as_role(pg_database, reader))
    with dropping(pg_database, reader):
        with pytest.raises(PermissionMissing) as caught, source.snapshot(Selection(), Options()):
            pass
        assert "Hid den.t 1" in caught.value.message
        assert "public.t2" in caught.value.message
        assert "row-level security" in caught.value.message
        grants = [line for line in caught.value.remedy.splitlines() if line.startswith(("GRANT", "ALTER"))]
        assert len(grants) == 6
        report = source.diagnose(Selection())
        assert [finding.code for finding in report.errors] == ["missing-rights"]
        assert report.errors[0].remedy.splitlines() == grants
        run(pg_database, *grants)
        taken = Taken(LivePostgres(as_role(pg_database, reader)), vault)
        assert {entry.name: entry.rows for entry in taken.export.tables} == {"t 1": 0, "t2": 0, "secured": 1}


def test_rows_hidden_by_row_security_are_an_error_and_never_left_out(pg_database: str, reader: str) -> None:
    run(
        pg_database,
        "CREATE TABLE secured (id int, owner name)",
        "INSERT INTO secured VALUES (1, 'me'), (2, 'you')",
        "ALTER TABLE secured ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY mine ON secured USING (owner = 'me')",
        f"GRANT SELECT ON secured TO {reader}",
    )
    source = PostgresSource(as_role(pg_database, reader))
    with dropping(pg_database, reader):
        with (
            pytest.raises(PermissionMissing, match="row-level security") as caught,
            source.snapshot(Selection(), Options()),
        ):
            pass
        assert f'ALTER ROLE "{reader}" BYPASSRLS;' in caught.value.remedy


def test_an_excluded_table_needs_no_right(pg_database: str, reader: str, vault: Vault) -> None:
    run(
        pg_database,
        "CREATE TABLE a (id int)",
        'CREATE TABLE "Se.cret*" (id int)',
        f"GRANT SELECT ON a TO {reader}",
    )
    with dropping(pg_database, reader):
        taken = Taken(LivePostgres(as_role(pg_database, reader)), vault, Selection(exclude=("Se*",)))
    assert [entry.name for entry in taken.export.tables] == ["a"]
    assert "ddl-incomplete" in {finding.code for finding in taken.export.findings}
    # Its definition comes from the catalog.
    assert b'CREATE TABLE "public"."Se.cret*"' in taken.ddl[0][2]


# ── tables that change under our hands


def in_background(work: object) -> threading.Thread:
    thread = threading.Thread(target=work)  # type: ignore[arg-type]
    thread.start()
    return thread


def waiting_sessions(url: str) -> int:
    return int(
        ask(
            url,
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()",
        )[0][0]
    )


def test_a_table_altered_before_it_is_locked_is_read_as_it_is_now(pg_database: str, vault: Vault) -> None:
    run(pg_database, "CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)")
    found: list[Taken] = []
    with session(pg_database, autocommit=False) as other:
        other.cursor().execute("ALTER TABLE t ADD COLUMN late text DEFAULT 'new'")
        thread = in_background(lambda: found.append(Taken(LivePostgres(pg_database), vault)))
        assert wait_for(lambda: waiting_sessions(pg_database) == 1)
        other.commit()
    thread.join()
    assert found[0].entry("t").columns == ("id", "late")
    assert b"late text" in found[0].ddl[0][2]


def test_a_table_dropped_before_it_is_locked_is_not_in_the_backup(pg_database: str, vault: Vault) -> None:
    run(pg_database, "CREATE TABLE gone (id int)", "CREATE TABLE stays (id int)")
    found: list[Taken] = []
    with session(pg_database, autocommit=False) as other:
        other.cursor().execute("DROP TABLE gone")
        other.cursor().execute("CREATE TABLE fresh (id int)")
        thread = in_background(lambda: found.append(Taken(LivePostgres(pg_database), vault)))
        assert wait_for(lambda: waiting_sessions(pg_database) == 1)
        other.commit()
    thread.join()
    assert [entry.name for entry in found[0].export.tables] == ["fresh", "stays"]


def test_tables_that_come_and_go_all_the_time_end_in_a_clear_error(
    pg_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(pg_database, "CREATE TABLE t (id int)")
    monkeypatch.setattr("backup_pipeline.databases.postgres.export.snapshot._ATTEMPTS", 1)
    failed: list[BaseException] = []

    def attempt() -> None:
        try:
            with PostgresSource(pg_database).snapshot(Selection(), Options()):
                pass
        except SourceChanged as error:
            failed.append(error)

    with session(pg_database, autocommit=False) as other:
        other.cursor().execute("DROP TABLE t")
        thread = in_background(attempt)
        assert wait_for(lambda: waiting_sessions(pg_database) == 1)
        other.commit()
    thread.join()
    assert failed


def test_a_lock_that_stays_is_named(pg_database: str) -> None:
    run(pg_database, "CREATE TABLE free (id int)", "CREATE TABLE blocked (id int)")
    with session(pg_database, autocommit=False) as other:
        other.cursor().execute("SET application_name = 'the culprit'; LOCK TABLE blocked")
        source = PostgresSource(pg_database, lock_timeout=0.3)
        with pytest.raises(SourceUnavailable) as caught, source.snapshot(Selection(), Options()):
            pass
        assert "public.blocked is locked by process" in caught.value.message
        assert "the culprit" in caught.value.message
        assert "public.free" not in caught.value.message
        assert "locked" in {finding.code for finding in source.diagnose(Selection()).findings}


def test_nothing_locked_can_be_dropped_while_it_is_read(pg_database: str, vault: Vault) -> None:
    run(pg_database, "CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)")
    with PostgresSource(pg_database).snapshot(Selection(), Options()) as snapshot:
        thread = in_background(lambda: run(pg_database, "DROP TABLE t"))
        assert wait_for(lambda: waiting_sessions(pg_database) == 1)
        # The DROP waits for us, and every new session queues behind it: workers must not wait there.
        export = snapshot.export(vault.writer, baselines={})
        assert export.tables[0].rows == 1
        assert thread.is_alive()
    thread.join()


# ── connections


@dataclass
class SlowSink:
    """Keeps a read going until it is told to go on."""

    started: Path
    go_on: Path

    def write(self, blocks, suffix, known=()):  # type: ignore[no-untyped-def]
        for _ in blocks:
            # At once, for another worker may write it as well: its reader finds a whole number.
            fresh = self.started.with_name(f"started by {os.getpid()}")
            fresh.write_text(str(os.getpid()))
            fresh.replace(self.started)
            while not self.go_on.exists():
                time.sleep(0.01)
        raise AssertionError("it was read to its end")

    def write_file(self, *_: object) -> None: ...


@contextmanager
def reading(url: str, folder: Path, *, workers: int = 2) -> Iterator[tuple[list[BaseException], SlowSink]]:
    """An export that is in the middle of a table; the block may do something to it."""
    run(url, "CREATE TABLE big AS SELECT g, repeat(md5(g::text), 30) t FROM generate_series(1, 40000) g")
    sink = SlowSink(folder / "started", folder / "go on")
    failed: list[BaseException] = []

    def export() -> None:
        try:
            with PostgresSource(url).snapshot(Selection(), Options(workers=workers)) as snapshot:
                snapshot.export(sink, baselines={})  # type: ignore[arg-type]
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failed.append(error)

    thread = in_background(export)
    assert wait_for(sink.started.exists)
    yield failed, sink
    sink.go_on.touch()
    thread.join(60)
    assert not thread.is_alive()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_session_is_worth_another_try(pg_database: str, tmp_path: Path, workers: int) -> None:
    with reading(pg_database, tmp_path, workers=workers) as (failed, _):
        run(
            pg_database,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'backup_pipeline' AND datname = current_database() AND query ~ 'COPY'",
        )
    assert isinstance(failed[0], SourceUnavailable), failed
    assert "public.big" in failed[0].message
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'backup_pipeline'"
    # The server sees a little later than we that a session has ended.
    assert wait_for(lambda: ask(pg_database, sessions) == [(0,)])


def test_a_server_that_restarts_is_worth_another_try(tmp_path: Path) -> None:
    with EmbeddedPostgres.create(major=NEWEST) as server:
        url = server.create_database("restarted")
        with reading(url, tmp_path) as (failed, _):
            server.restart("immediate")
        assert isinstance(failed[0], SourceUnavailable), failed
        server.stop()
        with pytest.raises(SourceUnavailable), PostgresSource(url).snapshot(Selection(), Options()):
            pass


def workers_of(pid: int) -> list[psutil.Process]:
    children = psutil.Process(pid).children(recursive=True)
    return [child for child in children if "backup_pipeline.processes.workers" in child.cmdline()]


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False  # it ended between the two questions


def test_a_worker_that_is_killed_names_its_table(pg_database: str, tmp_path: Path) -> None:
    with reading(pg_database, tmp_path) as (failed, sink):
        # Not all of them: another may still be without a table, and its end be noticed first.
        os.kill(int(sink.started.read_text()), signal.SIGKILL)
    assert type(failed[0]) is SourceError, failed
    assert "public.big" in failed[0].message
    assert "memory" in failed[0].message


def test_no_worker_outlives_its_parent_and_none_shows_the_password(
    pg_server: EmbeddedPostgres, pg_database: str, tmp_path: Path
) -> None:
    run(
        pg_database,
        "CREATE TABLE big AS SELECT g, repeat(md5(g::text), 30) t FROM generate_series(1, 40000) g",
    )
    script = tmp_path / "parent.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\n"
        "from backup_pipeline.model.selection import Selection\nfrom backup_pipeline.databases.base import Options\n"
        "from backup_pipeline.databases.postgres.export import PostgresSource, export\n"
        "from backup_pipeline_tests.databases.test_postgres_trouble import SlowSink\n"
        "export.IN_PROCESS_BYTES = 0\n"
        "with PostgresSource(sys.argv[1] + '&password=hunter2-secret').snapshot(Selection(), Options(workers=2)) as snapshot:\n"
        "    snapshot.export(SlowSink(Path('started'), Path('go on')), baselines={})\n"
    )
    root = str(Path(__file__).parents[2])
    parent = subprocess.Popen(
        [sys.executable, script, pg_database], cwd=tmp_path, env={**os.environ, "PYTHONPATH": root}
    )
    try:
        assert wait_for((tmp_path / "started").exists)
        workers = workers_of(parent.pid)
        assert workers
        for worker in workers:
            assert "hunter2" not in " ".join(worker.cmdline())
            assert "hunter2" not in str(worker.environ())
    finally:
        parent.kill()
        parent.wait()
    assert wait_for(lambda: not any(alive(worker) for worker in workers))
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'backup_pipeline' AND datname = current_database()"
    assert wait_for(lambda: ask(pg_database, sessions) == [(0,)])


# ── addresses


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2"])
def test_every_usual_spelling_of_an_address_works(pg_database: str, scheme: str) -> None:
    url = pg_database.replace("postgresql://", f"{scheme}://")
    assert PostgresSource(url).inventory(Selection()).engine.name == "postgres"


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:hunter2@h/d",
        "hunter2",
        "postgresql://u:hunter2%zz@h/d",
        "postgresql://u:hunter2@h/d?nonsense=1",
    ],
)
def test_a_wrong_address_is_a_mistake_in_the_configuration_and_stays_secret(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        assert PostgresSource(url).address
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(PostgresSource(url))


def test_a_password_is_in_no_message_and_in_no_repr(tmp_path: Path) -> None:
    with EmbeddedPostgres.create(major=NEWEST, tcp=True) as server:
        url = server.url()
        assert server.password
        wrong = PostgresSource(url.replace(server.password, "hunter2-wrong"))
        with pytest.raises(SourceError) as caught, wrong.snapshot(Selection(), Options()):
            pass
        report = wrong.diagnose(Selection())
        said = f"{caught.value} {caught.value!r} {wrong!r} {wrong.address} {report}"
        assert "hunter2" not in said
        assert "password" in caught.value.message
        assert not isinstance(caught.value, SourceUnavailable)
        right = PostgresSource(url)
        with right.snapshot(Selection(), Options()) as snapshot:
            assert snapshot.ddl()[0][2]
            assert server.password not in f"{snapshot.engine} {snapshot.tools} {snapshot.state} {right!r}"
