"""A PostgreSQL server of our own: made, started, stopped, and gone without a trace."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self
from urllib.parse import quote

from backup_pipeline.databases.postgres.server import enclosure
from backup_pipeline.databases.postgres.server.account import Account, readable_server
from backup_pipeline.databases.postgres.server.programs import (
    INSTALL,
    Program,
    choose_server,
    installation,
    psql,
)
from backup_pipeline.errors import ServerFailed, ToolMissing

_START_SECONDS = 60.0
_STOP_SECONDS = 60.0
# sockaddr_un.sun_path is 108 bytes on Linux and 104 on the BSDs, ending zero included.
_LONGEST_SOCKET_PATH = 107 if sys.platform == "linux" else 103
_SOCKET_NAME = "/.s.PGSQL.65535.lock"

# A server that is not needed after a power cut does not have to wait for the disk. `minimal` lets a COPY into a
# table made in the same transaction skip the write-ahead log.
THROW_AWAY_SETTINGS: Mapping[str, str] = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}


class EmbeddedPostgres:
    """A private PostgreSQL server: `with EmbeddedPostgres.create() as server: connect(server.url())`.

    It listens on a Unix socket in a private folder. With `tcp=True` it also listens on 127.0.0.1, where it asks for
    a random password. Without a `directory` everything is temporary and is removed by `close`;
    with one, `directory/data` is kept, and opened again the next time.

    This process may die without closing it, even by kill -9. A waiting shell then notices that its input ended,
    stops the server and removes temporary files. (Linux's parent-death signal would be simpler, but it fires when
    the
    *thread* that started the server ends, and thread pools end all the time.)
    """

    def __init__(
        self,
        server: Program,
        account: Account,
        folder: Path,
        socket_dir: Path,
        *,
        tcp: bool = False,
        enclosed: bool = False,
    ) -> None:
        self.major = server.major
        self.bin_dir = server.path.parent
        self.data_dir = folder / "data"
        self.log_file = folder / "server.log"
        self.socket_dir = socket_dir
        self.port = 5432
        self.password = secrets.token_hex(24) if tcp or enclosed else None
        # The source's role `postgres` is an ordinary one in a server that is enclosed.
        self.superuser = f"bp_{secrets.token_hex(8)}" if enclosed else "postgres"
        #: Why the server could reach the network and the files of this machine; "" if it is shut in, or was not asked to be.
        self.not_enclosed = ""
        self._root: Path | None = None
        self._tcp, self._enclosed = tcp, enclosed
        self._account = account
        self._temporary: list[Path] = [socket_dir]
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    @classmethod
    def create(
        cls,
        directory: Path | None = None,
        *,
        major: int | None = None,
        settings: Mapping[str, str] | None = None,
        tcp: bool = False,
        enclosed: bool = False,
    ) -> Self:
        """Make (or, in a `directory` that has one, open) a database cluster and start its server.

        `major` defaults to the newest version on this machine, or to that of the existing data.
        `settings` go into the postgresql.conf of a new cluster. A temporary one starts from THROW_AWAY_SETTINGS (fsync is
        off), one that is kept from PostgreSQL's own defaults. `enclosed`: a temporary one for code that is not trusted: no
        network, no files, no account that owns anything, a password for every session; `not_enclosed` says what of it
        this machine refused.
        """
        account = Account.choose()
        cleanup = contextlib.ExitStack()
        with cleanup:
            folder = _kept_folder(directory, account) if directory else account.private_folder()
            if not directory:
                cleanup.callback(_remove, folder)
            program = choose_server(_existing_major(folder) or major, asked=major)
            socket_dir = account.private_folder(longest=_LONGEST_SOCKET_PATH - len(_SOCKET_NAME))
            cleanup.callback(_remove, socket_dir)
            program = readable_server(program, account, socket_dir)
            server = cls(program, account, folder, socket_dir, tcp=tcp, enclosed=enclosed)
            if not directory:
                server._temporary.append(folder)
            if not (server.data_dir / "PG_VERSION").exists():
                server._initialise({**({} if directory else THROW_AWAY_SETTINGS), **(settings or {})})
            server._write_authentication()
            if enclosed:
                server._shut_in(folder)
            if tcp:
                # Not before: while initdb works, another program could be given the same one.
                server.port = _free_port()
            cleanup.callback(server.stop, "immediate")
            server.start()
            if tcp:
                assert server.password is not None
                # Before version 14 the default is MD5, and our pg_hba.conf asks for SCRAM.
                server._sql(
                    "SET password_encryption = 'scram-sha-256'; ALTER ROLE postgres PASSWORD :'password'",
                    password=server.password,
                )
            cleanup.pop_all()
        return server

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"EmbeddedPostgres(major={self.major}, data_dir={str(self.data_dir)!r}, pid={self.pid})"

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def owns_nothing(self) -> bool:
        """Whether it runs as a number that is no account's."""
        return self._account.name == str(self._account.uid)

    def url(self, dbname: str = "postgres") -> str:
        """For libpq, psycopg and SQLAlchemy alike. Over TCP, with its password, if the server was made with `tcp`."""
        if not self._tcp:
            return self.socket_url(dbname)
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{quote(dbname, safe='')}"

    def socket_url(self, dbname: str = "postgres") -> str:
        host = quote(str(self.socket_dir), safe="/")
        login = f"{self.superuser}:{self.password}" if self._enclosed else self.superuser
        return f"postgresql://{login}@/{quote(dbname, safe='')}?host={host}&port={self.port}"

    def create_database(self, name: str) -> str:
        """Make an empty database; returns its URL."""
        self._sql('CREATE DATABASE :"name" TEMPLATE template0', name=name)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop it if it is there, also with sessions connected."""
        self._sql('DROP DATABASE IF EXISTS :"name" WITH (FORCE)', name=name)

    def start(self) -> None:
        """Start the server and wait until it takes connections. Starting a running one does nothing."""
        if self.pid is not None:
            return
        self._start_watchdog()
        argv = [str(self.bin_dir / "postgres"), "-D", str(self.data_dir)]
        for name, value in {
            "listen_addresses": "127.0.0.1" if self._tcp else "",
            "unix_socket_directories": str(self.socket_dir),
            "port": str(self.port),
            "logging_collector": "off",
        }.items():
            argv += ["-c", f"{name}={value}"]
        how = self._account.process()
        if self._root is not None:
            # The launcher changes the account itself: what comes before needs root's rights.
            argv = self._within(argv)
            how = {"cwd": "/", "env": how["env"]}
        with self._open_log() as log:
            # A session of its own: Ctrl-C in the terminal is for us, and we stop the server in order.
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **how,
            )
        self._wait_until_ready(self._process)

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """`fast` shuts down in order; `immediate` is a crash that the next start recovers from."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGINT if mode == "fast" else signal.SIGQUIT)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._end_watchdog()

    def restart(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        self.stop(mode)
        self.start()

    def close(self) -> None:
        """Stop the server and remove what is temporary. Closing twice does nothing."""
        self.stop("fast" if self.data_dir.parent not in self._temporary else "immediate")
        while self._temporary:
            _remove(self._temporary.pop())

    # -- inside ---------------------------------------------------------------------------------------------

    def _initialise(self, settings: Mapping[str, str]) -> None:
        self.data_dir.mkdir(mode=0o700, exist_ok=True)
        self._account.own(self.data_dir)
        argv = [
            str(self.bin_dir / "initdb"),
            "-D",
            str(self.data_dir),
            f"--username={self.superuser}",
            "--encoding=UTF8",
        ]
        argv += ["--auth-host=reject", "--no-sync"]
        argv += self._first_password() if self._enclosed else ["--auth-local=trust"]
        # C.UTF-8 knows the letters beyond ASCII; not every C library has it. Both sort by code point everywhere.
        for locale in ("C.UTF-8", "C"):
            done = subprocess.run(
                [*argv, f"--locale={locale}"], capture_output=True, text=True, **self._account.process()
            )
            if done.returncode == 0:
                break
        else:
            raise ServerFailed(
                f"initdb failed: {done.stderr.strip()[-1500:]}", remedy="see whether the disk is full"
            )
        with (self.data_dir / "postgresql.conf").open("a", encoding="utf-8") as conf:
            for name, value in settings.items():
                escaped = value.replace("\\", "\\\\").replace("'", "''")
                conf.write(f"{name} = '{escaped}'\n")

    def _first_password(self) -> list[str]:
        # In a file, because every user of the machine can read a command line.
        file = self.data_dir.parent / "password"
        file.touch(mode=0o600)
        file.write_text(f"{self.password}\n", encoding="ascii")
        self._account.own(file)
        return ["--auth-local=scram-sha-256", f"--pwfile={file}"]

    def _shut_in(self, folder: Path) -> None:
        """From here on another account's, where root can lend one, and without network and files, where the kernel can."""
        (folder / "password").unlink()
        root = folder / "root"
        root.mkdir(mode=0o755)
        # initdb wants an account with a name; the server does not.
        if alone := Account.alone(root):
            self._account = alone
            self._account.take(folder, self.socket_dir)
        self.not_enclosed = enclosure.why_not(root, self._account.process()["env"])
        self._root = None if self.not_enclosed else root

    def _within(self, argv: list[str]) -> list[str]:
        assert self._root is not None
        return enclosure.command(
            argv,
            root=self._root,
            readable=installation(self.bin_dir),
            writable=(self.data_dir, self.socket_dir),
            uid=self._account.uid,
            gid=self._account.gid,
        )

    def _write_authentication(self) -> None:
        rules = ["local all all trust", "local replication all trust"]
        if self._enclosed:
            # Code in a database cannot come back as another role through a second session.
            rules = ["local all all scram-sha-256"]
        if self._tcp:
            rules.append("host all all 127.0.0.1/32 scram-sha-256")
        # Written over, not replaced, so that the file keeps its owner.
        (self.data_dir / "pg_hba.conf").write_text("\n".join(rules) + "\n", encoding="utf-8")

    def _open_log(self) -> IO[bytes]:
        return self.log_file.open("ab")

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if self._is_ready(process.pid):
                return
            time.sleep(0.01)
        reason = "exited" if process.poll() is not None else f"was not ready after {_START_SECONDS:.0f} s"
        self.stop("immediate")
        tail = self.log_file.read_text(encoding="utf-8", errors="replace")[-2000:].strip()
        raise ServerFailed(
            f"PostgreSQL {self.major} {reason}: {tail}", remedy="the log above says why it did not start"
        )

    def _is_ready(self, pid: int) -> bool:
        # What pg_ctl does: the first line is the process, the eighth its state.
        try:
            lines = (self.data_dir / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() in ("ready", "standby")

    def _start_watchdog(self) -> None:
        self._end_watchdog()
        script = 'read -r _; pg_ctl=$1; data=$2; shift 2; "$pg_ctl" stop -s -m immediate -D "$data"; rm -rf -- "$@"'
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", script, "watchdog", self.bin_dir / "pg_ctl", self.data_dir, *self._temporary],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
            **self._account.process(),
        )

    def _end_watchdog(self) -> None:
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:
            watchdog.kill()
            watchdog.wait()
            assert watchdog.stdin is not None
            watchdog.stdin.close()

    def _sql(self, statement: str, **variables: str) -> None:
        """One statement through psql, which quotes the variables (`:"name"`, `:'value'`) itself."""
        beside = self.bin_dir / "psql"
        tool = beside if os.access(beside, os.X_OK) else (found.path if (found := psql()) else None)
        if tool is None:
            raise ToolMissing("no psql on this machine", remedy=INSTALL)
        argv = [str(tool), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", self.socket_url()]
        # Not on the command line, where every user of the machine could read a password.
        script = "".join(f"\\set {name} {_psql_literal(value)}\n" for name, value in variables.items())
        done = subprocess.run(
            argv,
            input=f"{script}{statement};\n",
            capture_output=True,
            text=True,
            **self._account.process(PGCLIENTENCODING="UTF8"),
        )
        if done.returncode != 0:
            raise ServerFailed(f"{statement.split(' :')[0]} failed: {done.stderr.strip()}")


def _remove(folder: Path) -> None:
    """A server that was told to stop while it started may be removing files of its own meanwhile."""
    while folder.exists():
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)


def _psql_literal(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"


def _existing_major(folder: Path) -> int | None:
    try:
        return int((folder / "data" / "PG_VERSION").read_text(encoding="ascii"))
    except FileNotFoundError:
        return None


def _kept_folder(directory: Path, account: Account) -> Path:
    directory = directory.absolute()
    if not directory.exists():
        directory.mkdir(parents=True, mode=0o700)
        account.own(directory)
    if account.switch and not account.can_run("test", "-x", directory):
        raise ServerFailed(
            f"the account {account.name} cannot enter {directory}, and PostgreSQL does not run as root",
            remedy="give a folder that it can enter, for instance under /var/tmp",
        )
    return directory


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
