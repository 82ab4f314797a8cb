"""Another account of the host that backs up: it looks for what it can read.

The attacker is a process of an ordinary account (`find -readable`), beside backups that root makes.
"""

from __future__ import annotations

import grp
import os
import shutil
import sqlite3
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from backup_pipeline_tests.cli.conftest import Folder
from backup_pipeline_tests.harness.sftp_server import SftpServer

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be another account")

#: Ordinary accounts own nothing here.
ACCOUNT = 65534
#: A group that every Debian has. The account above is no member of it.
TEAM = "games"
CONFIG = """\
vault: ./vault
copies: {{second: ./second}}
{more}
systems:
  shop:
    database: sqlite:///private/shop.db
"""


@pytest.fixture
def home() -> Iterator[Folder]:
    """A project in a folder that every account may enter: its database is 0600."""
    folder = Path(tempfile.mkdtemp(prefix="host-"))
    folder.chmod(0o755)
    (folder / "private").mkdir(mode=0o700)
    with closing(sqlite3.connect(folder / "private" / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE t (v TEXT)")
        connection.execute("INSERT INTO t VALUES ('hidden from others')")
    (folder / "private" / "shop.db").chmod(0o600)
    before = os.umask(0o022)
    try:
        configure(folder)
        yield Folder(folder, {})
    finally:
        os.umask(before)
        shutil.rmtree(folder)


def configure(folder: Path, more: str = "") -> None:
    (folder / "backup.yaml").write_text(CONFIG.format(more=more))


def readable(folder: Path, *groups: int) -> set[str]:
    """The files below a folder that another account can read, by their first two names."""
    found = subprocess.run(
        ["find", str(folder), "-type", "f", "-readable"],
        user=ACCOUNT,
        group=ACCOUNT,
        extra_groups=groups,
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    parts = [Path(line).relative_to(folder).parts for line in found.stdout.splitlines()]
    return {"/".join(part[:2]) for part in parts}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def open_up(folder: Path) -> None:
    """As older versions left it."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o444)


def findings(home: Folder, *arguments: str, **env: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = home.run("doctor", *arguments, "--json", **env).document["data"]["machine"][
        "findings"
    ]
    return [one for one in found if one["code"] in ("open-to-others", "rights-mended", "rights-not-mended")]


def test_another_account_reads_nothing_of_a_backup(home: Folder) -> None:
    """It read every row of a 0600 database in vault/objects. It read names of tables, addresses and errors in the
    state folder and in Dagster's history. A vault folder that was there before, open as `mkdir` makes it, is no
    door."""
    for name in ("vault", "second"):
        (home.path / name).mkdir(mode=0o755)
    home.good("backup", "shop")
    home.good("drill", "shop")
    home.good("list")
    assert (home.path / ".backup-pipeline" / "dagster" / "history").is_dir()
    assert readable(home.path) == {"backup.yaml"}
    assert mode(home.path / ".backup-pipeline") == 0o700
    assert {mode(path) for path in (home.path / "vault").rglob("*") if path.is_file()} == {0o400}
    assert {mode(path) for path in (home.path / "vault").rglob("*") if path.is_dir()} == {0o700}


def test_doctor_names_what_is_open_and_mend_closes_it_once(home: Folder) -> None:
    """The vaults, states and histories of older versions, a configuration with a password in it, a key file: all of
    them stayed open without a word."""
    key = home.good("keygen", "--out", "key.txt", "--json").data["recipient"]
    configure(
        home.path,
        f'encryption: {{recipients: [{key}], identity: "${{file:key.txt}}"}}\nalerts: ["json://127.0.0.1/a-token-of-ours"]',
    )
    (home.path / "home").mkdir()
    env = {"DAGSTER_HOME": str(home.path / "home")}
    assert home.run("backup", "shop", **env).code == 0
    names = ("vault", "second", ".backup-pipeline", "home")
    for name in names:
        open_up(home.path / name)
    (home.path / "key.txt").chmod(0o644)
    assert {name.partition("/")[0] for name in readable(home.path)} == {*names, "backup.yaml", "key.txt"}

    told = findings(home, **env)
    assert {one["code"] for one in told} == {"open-to-others"}
    for name in (*names, "backup.yaml"):
        assert any(f"{home.path}/{name}, can be read" in one["message"] for one in told), name
    assert mode(home.path / "vault") == 0o755, "a look changes nothing"
    assert "chmod 600" in str(home.run("doctor", **env).stdout)

    mended = findings(home, "--mend", **env)
    assert {one["code"] for one in mended} == {"rights-mended"}
    assert readable(home.path) == set()
    assert mode(home.path / "key.txt") == 0o600
    assert findings(home, "--mend", **env) == []

    # Existing vaults go on working, and what comes back has the rights that it always had.
    assert home.run("backup", "shop", **env).code == 0
    for verb in (("verify", "shop", "all"), ("copy", "shop"), ("status",), ("list",)):
        assert home.run(*verb, **env).code in (0, 13), verb
    home.good("restore", "shop", "--to", "sqlite:///again.db")
    assert mode(home.path / "again.db") == 0o600
    assert readable(home.path) == set()


def test_what_is_closed_and_a_configuration_without_a_secret_are_neither_named_nor_changed(
    home: Folder,
) -> None:
    configure(home.path, 'alerts: ["json://127.0.0.1:9/x"]')
    home.good("backup", "shop", "--no-record")
    inside = next(path for path in (home.path / ".backup-pipeline").rglob("*") if path.is_file())
    inside.chmod(0o644)
    assert findings(home) == []
    assert findings(home, "--mend") == []
    assert mode(inside) == 0o644
    configure(home.path, 'alerts: ["json://user:a-word@127.0.0.1:9/x"]')
    assert [one["code"] for one in findings(home)] == ["open-to-others"]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_team_reads_with_group_and_others_do_not(home: Folder, umask: int) -> None:
    """A folder that a team shares was one that every account could read."""
    os.umask(umask)
    team = grp.getgrnam(TEAM).gr_gid
    home.good("backup", "shop", "--no-record")
    assert readable(home.path, team) <= {"backup.yaml"}
    assert mode(home.path / ".backup-pipeline") == 0o700
    configure(home.path, f"group: {TEAM}")
    codes = {one["code"] for one in home.run("doctor", "--json").document["data"]["machine"]["findings"]}
    assert "closed-to-the-group" in codes
    assert {one["code"] for one in findings(home, "--mend")} == {"rights-mended"}
    home.good("backup", "shop", "--no-record")
    assert readable(home.path) <= {"backup.yaml"}
    for name in ("vault", "second"):
        folder = home.path / name
        files = {path for path in folder.rglob("*") if path.is_file()}
        assert {(mode(path), path.stat().st_gid) for path in files} == {(0o440, team)}
        assert {mode(path) for path in (folder, *folder.rglob("*")) if path.is_dir()} == {0o2750}
    assert {"vault/shop", "second/shop", ".backup-pipeline/acts"} <= readable(home.path, team)
    # And where nothing is there yet.
    for name in ("vault", "second", ".backup-pipeline"):
        shutil.rmtree(home.path / name)
    home.good("backup", "shop", "--no-record")
    assert {"vault/shop", "second/shop", ".backup-pipeline/acts", ".backup-pipeline/newest"} <= readable(
        home.path, team
    )
    assert readable(home.path) <= {"backup.yaml"}
    assert findings(home, "--mend") == []


def test_mend_follows_no_link_and_touches_no_file_of_another_owner(home: Folder) -> None:
    """A link in a folder that others could write to would have lent root's hand to them."""
    home.good("backup", "shop", "--no-record")
    outside = home.path / "outside"
    outside.write_text("x")
    outside.chmod(0o644)
    (home.path / "vault" / "link").symlink_to(outside)
    theirs = home.path / "vault" / "theirs"
    theirs.write_text("x")
    os.chown(theirs, ACCOUNT, ACCOUNT)
    theirs.chmod(0o644)
    (home.path / "vault").chmod(0o777)
    findings(home, "--mend")
    assert (mode(outside), mode(theirs), mode(home.path / "vault")) == (0o644, 0o644, 0o700)


def test_another_account_of_a_server_reads_nothing_of_a_copy(home: Folder, openssh: SftpServer) -> None:
    """A copy on an SFTP server was 0444 in folders of 0755: every account of that server read the rows."""
    keys = f"key_file: {openssh.key_file}, known_hosts: {openssh.known_hosts}"
    url = f"sftp://{openssh.user}@127.0.0.1:{openssh.port}{home.path}/far"
    text = (home.path / "backup.yaml").read_text()
    (home.path / "backup.yaml").write_text(text.replace("second: ./second", f"far: {{url: '{url}', {keys}}}"))
    home.good("backup", "shop", "--no-record")
    assert mode(home.path / "far") == 0o700
    assert {mode(path) for path in (home.path / "far").rglob("*") if path.is_file()} == {0o400}
    assert readable(home.path) == {"backup.yaml"}
    home.good("verify", "shop", "--copy", "far")
    # A team shares it: the group of the account there reads, others do not.
    (home.path / "backup.yaml").write_text(
        f"group: {TEAM}\n" + text.replace("./second", f"{{url: '{url}2', {keys}}}")
    )
    home.good("backup", "shop", "--no-record")
    assert {mode(path) for path in (home.path / "far2").rglob("*") if path.is_file()} == {0o440}
    assert mode(home.path / "far2" / "objects") == 0o750
