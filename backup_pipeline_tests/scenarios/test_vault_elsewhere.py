"""A vault on an SFTP server and in Dropbox from end to end: the commands, the worker processes, a cut line."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import psycopg
import pytest

from backup_pipeline.operations import Site
from backup_pipeline_tests.harness.commands import PROGRAM, Ended, environment, invoke
from backup_pipeline_tests.harness.engines import MakePgDatabase, MakeSqliteFile
from backup_pipeline_tests.harness.fake_dropbox import DROPBOX_VARIABLES, HOME, FakeDropbox
from backup_pipeline_tests.harness.fake_dropbox_files import Namespace
from backup_pipeline_tests.harness.sftp_server import SftpServer

pytestmark = pytest.mark.usefixtures("one_writer")

SCRIPT = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers (id), note TEXT);
INSERT INTO customers VALUES (1, 'Ann'), (2, 'Bob');
INSERT INTO orders VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 2, 'c');
"""


def configure(folder: Path, vault: str, database: str) -> None:
    (folder / "backup.yaml").write_text(
        f"vault:\n{vault}systems:\n  shop:\n    database: {database}\n    chunk_size: 1MiB\n"
    )


def on(server: SftpServer) -> str:
    path = server.fresh()
    given = server.options(path, path)
    return f"  url: {given.url}\n  key_file: {given.key_file}\n  known_hosts: {given.known_hosts}\n"


def good(folder: Path, *arguments: str) -> Ended:
    # Where the fake is, and who vouches for it; `invoke` begins with an empty environment.
    env = {name: value for name, value in os.environ.items() if name in DROPBOX_VARIABLES}
    ended = invoke(*arguments, cwd=folder, env=env)
    assert ended.code == 0, str(ended)
    assert "secret" not in ended.stdout + ended.stderr
    return ended


def there_and_back(folder: Path, target: str) -> None:
    good(folder, "backup", "shop", "--json")
    good(folder, "backup", "shop", "--json")
    assert good(folder, "list", "shop", "--json").data
    good(folder, "verify", "shop", "--json")
    good(folder, "drill", "shop", "--json")
    good(folder, "restore", "shop", "--to", target, "--json")
    good(folder, "doctor", "--json")
    # Nothing of a lock, a draft or a broken upload stays.
    keys = {stat.key for stat in Site.load(folder / "backup.yaml").vault.store.list()}
    assert not [key for key in keys if "lock.json" in key or "/drafts/" in key or "/journal/" in key]


@pytest.mark.parametrize("kind", ["openssh", "rclone_sftp"])
def test_a_sqlite_database_to_an_sftp_server_and_back(
    kind: str, tmp_path: Path, sqlite_file: MakeSqliteFile, request: pytest.FixtureRequest
) -> None:
    sqlite_file("app.sqlite3", script=SCRIPT)
    configure(tmp_path, on(request.getfixturevalue(kind)), "sqlite:///app.sqlite3")
    there_and_back(tmp_path, "sqlite:///restored.db")


@pytest.fixture
def orders(make_pg_database: MakePgDatabase) -> str:
    url = make_pg_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SCRIPT.encode())
        connection.execute(
            "INSERT INTO orders SELECT n, 1, repeat(md5(n::text), 15) FROM generate_series(10, 9000) n"
        )
    return url


@pytest.mark.server
def test_a_postgres_database_to_an_sftp_server_and_back(
    openssh: SftpServer, tmp_path: Path, orders: str, make_pg_database: MakePgDatabase
) -> None:
    configure(tmp_path, on(openssh), orders)
    there_and_back(tmp_path, make_pg_database())


@pytest.mark.server
def test_a_backup_whose_line_is_cut_again_and_again_is_whole(
    openssh: SftpServer, tmp_path: Path, orders: str
) -> None:
    configure(tmp_path, on(openssh), orders)
    done = threading.Event()
    cuts: list[int] = []

    def cut() -> None:
        # Again and again, with growing pauses: however slow the machine is, the work gets on.
        pause = 0.05
        while not done.wait(pause):
            if killed := openssh.cut():
                cuts.append(killed)
                pause += 0.4

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        good(tmp_path, "backup", "shop", "--json")
    finally:
        done.set()
        cutter.join()
    assert sum(cuts) > 0, "no line was ever cut"
    good(tmp_path, "verify", "shop", "--json")


def test_a_sqlite_database_to_dropbox_and_back(
    fake_dropbox: FakeDropbox, tmp_path: Path, sqlite_file: MakeSqliteFile
) -> None:
    sqlite_file("app.sqlite3", script=SCRIPT)
    fake_dropbox.page = 500
    fake_dropbox.namespaces["2000"] = Namespace()
    fake_dropbox.members["dbmid:me"] = [HOME, "2000"]
    fake_dropbox.refresh_tokens["refresh-secret"] = ("key", "app-secret")
    fake_dropbox.retry_after = 0
    fake_dropbox.plan("429", "files/upload", after=3)
    fake_dropbox.plan("lost", "files/upload", after=5)
    fake_dropbox.plan("cut", "files/download", after=2)
    vault = (
        "  url: dropbox:///DATABASE-BACKUPS\n  refresh_token: refresh-secret\n  app_key: key\n"
        "  app_secret: app-secret\n  select_user: dbmid:me\n  namespace: '2000'\n"
    )
    configure(tmp_path, vault, "sqlite:///app.sqlite3")
    there_and_back(tmp_path, "sqlite:///restored.db")
    assert fake_dropbox.home.files == {}


@pytest.mark.server
def test_a_postgres_database_to_dropbox_and_back(
    fake_dropbox: FakeDropbox, tmp_path: Path, orders: str, make_pg_database: MakePgDatabase
) -> None:
    fake_dropbox.page = 500
    vault = f"  url: dropbox:///DATABASE-BACKUPS\n  token: {fake_dropbox.token}\n"
    configure(tmp_path, vault, orders)
    there_and_back(tmp_path, make_pg_database())


def test_a_folder_of_a_team_is_backed_up_with_the_database_and_brought_back(
    fake_dropbox: FakeDropbox, tmp_path: Path, sqlite_file: MakeSqliteFile
) -> None:
    sqlite_file("app.sqlite3", script=SCRIPT)
    fake_dropbox.namespaces["2000"] = team = Namespace()
    fake_dropbox.members["dbmid:me"] = [HOME, "2000"]
    fake_dropbox.refresh_tokens["refresh-secret"] = ("key", "")
    contents = {f"Projects/Ordner {n}/ü-{n}.bin": bytes([n]) * (n * 7000) for n in range(1, 13)}
    for path, data in contents.items():
        team.place(f"/{path}", data)
    (tmp_path / "backup.yaml").write_text(
        "vault: vault\nsystems:\n  shop:\n    database: sqlite:///app.sqlite3\n    files:\n      renders:\n"
        "        dropbox: /Projects\n        namespace: '2000'\n        select_user: dbmid:me\n"
        "        refresh_token: refresh-secret\n        app_key: key\n"
    )
    good(tmp_path, "backup", "shop", "--json")
    assert fake_dropbox.routes().count("files/download") == 12
    team.touch("/Projects/Ordner 5/ü-5.bin", b"changed")
    contents["Projects/Ordner 5/ü-5.bin"] = b"changed"
    fake_dropbox.seen.clear()
    good(tmp_path, "backup", "shop", "--json")
    assert fake_dropbox.routes().count("files/download") == 1, "what did not change is not fetched"
    good(tmp_path, "verify", "shop", "--json")
    good(tmp_path, "restore", "shop", "--files", "renders", "--to", "back", "--json")
    back = {path: path.read_bytes() for path in (tmp_path / "back").rglob("*") if path.is_file()}
    assert {
        f"Projects/{path.relative_to(tmp_path / 'back')}": data for path, data in back.items()
    } == contents


@pytest.mark.parametrize("kind", ["openssh", "fake_dropbox"])
def test_a_copy_elsewhere_heals_the_vault_and_replaces_it(
    kind: str, tmp_path: Path, sqlite_file: MakeSqliteFile, request: pytest.FixtureRequest
) -> None:
    sqlite_file("app.sqlite3", script=SCRIPT)
    server = request.getfixturevalue(kind)
    if isinstance(server, FakeDropbox):
        offsite = f"  url: dropbox:///OFFSITE\n  token: {server.token}\n"
    else:
        offsite = on(server)
    copies = offsite.replace("  ", "    ")
    (tmp_path / "backup.yaml").write_text(
        f"vault: vault\ncopies:\n  offsite:\n{copies}systems:\n  shop:\n    database: sqlite:///app.sqlite3\n"
    )
    good(tmp_path, "backup", "shop", "--json")
    good(tmp_path, "copy", "shop", "--json")
    good(tmp_path, "copy", "shop", "--json")
    assert good(tmp_path, "list", "shop", "--copy", "offsite", "--json").data
    good(tmp_path, "verify", "shop", "--copy", "offsite", "--json")
    damaged = next((tmp_path / "vault" / "objects").rglob("*.zst"))
    damaged.chmod(0o644)
    damaged.write_bytes(b"rot")
    good(tmp_path, "repair", "shop", "--json")
    good(tmp_path, "verify", "shop", "--json")
    shutil.rmtree(tmp_path / "vault")
    good(tmp_path, "restore", "shop", "--from", "offsite", "--to", "sqlite:///back.db", "--json")
    assert (tmp_path / "back.db").exists()


@pytest.mark.slow
@pytest.mark.server
def test_ctrl_c_ends_a_backup_to_a_slow_server_at_once_and_the_next_one_is_whole(
    openssh: SftpServer, tmp_path: Path, orders: str
) -> None:
    configure(tmp_path, on(openssh) + "  max_rate: 20kB\n", orders)
    argv = [*PROGRAM, "backup", "shop", "--json"]
    process = subprocess.Popen(argv, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True)
    store = Site.load(tmp_path / "backup.yaml").vault.store

    def sent() -> int:
        return sum(path.stat().st_size for path in openssh.served.rglob("*") if path.is_file())

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and next(store.list("objects/"), None) is None:
        time.sleep(0.1)
    had = sent()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert sent() - had < 15 * 20_000, "it went on with what it had to send"
    assert process.returncode == 130, out
    assert not [stat.key for stat in store.list() if stat.key.endswith("manifest.json")]
    configured = (tmp_path / "backup.yaml").read_text()
    (tmp_path / "backup.yaml").write_text(configured.replace("  max_rate: 20kB\n", ""))
    good(tmp_path, "backup", "shop", "--json")
    good(tmp_path, "verify", "shop", "--json")
