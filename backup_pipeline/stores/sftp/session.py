"""Connections to SFTP servers: one a process and address, in an event loop that has a thread of its own.

asyncssh is asynchronous and the stores are not: every request is handed to the loop and waited for, from any thread.
A connection that was lost is made again by the next request. Nothing here is ever pickled: a store that arrives in
another process finds no connection there, and makes one.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import asyncssh

from backup_pipeline.errors import ConfigError, VaultError
from backup_pipeline.stores.options import StoreOptions

T = TypeVar("T")

CONNECT_SECONDS = 30
LOGIN_SECONDS = 60
#: A server that says nothing for this long, four times in a row, is gone.
KEEPALIVE_SECONDS = 15
#: Before the others: measured, AES-GCM takes a quarter less of our CPU than asyncssh's own first choice.
_CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"


@dataclass(frozen=True, slots=True)
class Address:
    """sftp://user@host:22/srv/backups; `/~/backups` begins in the user's home."""

    host: str
    port: int | None
    user: str | None
    password: str | None
    path: str

    @classmethod
    def of(cls, url: str) -> Address:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            # What urlsplit says would show a password with a / in it.
            raise ConfigError(
                "the address of the SFTP store is not one",
                remedy="write sftp://user@host:22/srv/backups; a password goes into `password`",
            ) from None
        path = unquote(parts.path).rstrip("/")
        if not parts.hostname or not parts.path:
            raise ConfigError(
                "an SFTP store needs a host and a folder", remedy="write sftp://user@host:22/srv/backups"
            )
        if path == "/~" or path.startswith("/~/"):
            path = path[3:] or "."
        user = None if parts.username is None else unquote(parts.username)
        password = None if parts.password is None else unquote(parts.password)
        return cls(parts.hostname, port, user, password, path)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = "" if self.user is None else f"{self.user}@"
        port = "" if self.port is None else f":{self.port}"
        path = self.path if self.path.startswith("/") or not self.path else f"/~/{self.path}"
        return f"sftp://{user}{host}{port}{path or '/'}"


@dataclass(slots=True)
class Session:
    """A connection that stands, and what was learnt about the server while it stood."""

    connection: asyncssh.SSHClientConnection
    client: asyncssh.SFTPClient
    #: The folder of the vault: it and what is below it is closed to other accounts of the server …
    root: str = ""
    #: … but for the group of the account, where `group:` is set.
    shared: bool = False
    #: Folders that are there: asked or made once, not for every key.
    folders: set[str] = field(default_factory=set)
    #: Whether a hard link to a name that is taken fails, which makes a create conditional. None: not tried yet.
    links: bool | None = None
    #: Whether the server turned out to take the bytes of a file only one after the other.
    in_order: bool = False

    @property
    def file_mode(self) -> int:
        return 0o440 if self.shared else 0o400

    def of_new_folder(self, path: str) -> asyncssh.SFTPAttrs:
        if path != self.root and not path.startswith(f"{self.root}/"):
            return asyncssh.SFTPAttrs()
        return asyncssh.SFTPAttrs(permissions=0o750 if self.shared else 0o700)

    @property
    def alive(self) -> bool:
        return not self.connection.is_closed()

    def give_up(self) -> None:
        """The server's SFTP may be gone while its SSH lives on: then only another connection helps."""
        self.connection.abort()


class _Witness(asyncssh.SSHClient):
    """Remembers the key of an unknown host, so that the error can say its fingerprint."""

    def __init__(self) -> None:
        self.refused: asyncssh.SSHKey | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self.refused = key
        return False


class _Reactor:
    """The event loop of this process, and the sessions that live in it."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(_told_already)
        self.sessions: dict[StoreOptions, Session] = {}
        self.connecting: dict[StoreOptions, asyncio.Lock] = {}
        logging.getLogger("asyncio").addFilter(_of_interest)
        self.thread = threading.Thread(target=self.loop.run_forever, name="sftp", daemon=True)
        self.thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result()
        except BaseException:
            # Ctrl-C reaches the thread that waits here, not the loop.
            future.cancel()
            raise

    async def session(self, options: StoreOptions) -> Session:
        async with self.connecting.setdefault(options, asyncio.Lock()):
            session = self.sessions.get(options)
            if session is None or not session.alive:
                session = await _connect(options)
                self.sessions[options] = session
            return session

    def stop(self) -> None:
        async def close() -> None:
            for session in self.sessions.values():
                session.connection.abort()
                with contextlib.suppress(asyncio.TimeoutError, asyncssh.Error, OSError):
                    await asyncio.wait_for(session.connection.wait_closed(), 1)
            self.sessions.clear()

        self.run(close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


def _told_already(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Of many requests that a lost connection ends, the caller sees the first one. asyncio would write
    the tracebacks of all others to stderr."""
    if not isinstance(context.get("exception"), asyncssh.Error | OSError):
        loop.default_exception_handler(context)


def _of_interest(record: logging.LogRecord) -> bool:
    """asyncio warns for each write to a connection that is gone, before anybody could know that it is."""
    return record.msg != "socket.send() raised exception."


_starting = threading.Lock()
_reactor: _Reactor | None = None


def reactor() -> _Reactor:
    """That of this process: one that was inherited by a fork has no thread any more."""
    global _reactor
    with _starting:
        if _reactor is None or _reactor.pid != os.getpid():
            _reactor = _Reactor()
            atexit.register(_stop, _reactor)
        return _reactor


def _stop(mine: _Reactor) -> None:
    if mine.pid == os.getpid() and mine.thread.is_alive():
        mine.stop()


async def _connect(options: StoreOptions) -> Session:
    address = Address.of(options.url)
    witness = _Witness()
    known = known_hosts(options)
    password = options.password if options.password is not None else address.password
    try:
        connection = await asyncssh.connect(
            address.host,
            address.port or (),
            client_factory=lambda: witness,
            username=address.user or (),
            password=password,
            client_keys=() if options.key_file is None else [str(options.key_file)],
            known_hosts=known,
            gss_host=None,
            compression_algs=None,
            encryption_algs=_CIPHERS,
            connect_timeout=CONNECT_SECONDS,
            login_timeout=LOGIN_SECONDS,
            keepalive_interval=KEEPALIVE_SECONDS,
            keepalive_count_max=4,
        )
    except asyncssh.HostKeyNotVerifiable as error:
        raise _unknown_host(address, known, witness.refused, error) from error
    except asyncssh.PermissionDenied as error:
        raise VaultError(
            f"{address} does not let us in: {error.reason}",
            remedy="check the user's name, put the public key into ~/.ssh/authorized_keys on the server, and name the "
            "private one as key_file (or offer it with ssh-agent, or set password)",
        ) from error
    except asyncssh.KeyImportError as error:
        raise ConfigError(
            f"the key {options.key_file or 'in ~/.ssh'} cannot be used: {error}",
            remedy="a key with a passphrase goes into ssh-agent (ssh-add); then leave key_file out",
        ) from error
    except asyncssh.ConfigParseError as error:
        raise ConfigError(f"~/.ssh/config cannot be read: {error}") from error
    except FileNotFoundError as error:
        raise ConfigError(f"{error.filename} does not exist", remedy="name another key_file") from error
    try:
        client = await connection.start_sftp_client(path_errors="surrogateescape")
    except asyncssh.ChannelOpenError as error:
        # Said of a line that was cut at this moment, too: then the next attempt will show.
        await asyncio.sleep(0.1)
        cut = connection.is_closed() or error.code != asyncssh.OPEN_REQUEST_SESSION_FAILED
        connection.abort()
        if cut:
            raise
        raise VaultError(
            f"{address}: the server has no SFTP for this user ({error.reason})",
            remedy="sshd_config needs a line `Subsystem sftp internal-sftp`",
        ) from error
    except BaseException:
        connection.abort()
        raise
    # Known to insist on order; that saves the seconds which it takes to find out.
    version = str(connection.get_extra_info("server_version", ""))
    return Session(connection, client, address.path, options.group is not None, in_order="rclone" in version)


def known_hosts(options: StoreOptions) -> list[str]:
    """The files with the keys of hosts. Never left to ~/.ssh/config, which could switch the question off."""
    if options.known_hosts is not None:
        if not options.known_hosts.is_file():
            raise ConfigError(
                f"{options.known_hosts} does not exist",
                remedy="make it with `ssh-keyscan -p PORT HOST`, and compare the fingerprint",
            )
        return [str(options.known_hosts)]
    usual = (Path("~/.ssh/known_hosts").expanduser(), Path("/etc/ssh/ssh_known_hosts"))
    return [str(path) for path in usual if path.is_file() and os.access(path, os.R_OK)]


def _unknown_host(
    address: Address, known: list[str], key: asyncssh.SSHKey | None, error: asyncssh.HostKeyNotVerifiable
) -> VaultError:
    port = address.port or 22
    where = known[0] if known else "~/.ssh/known_hosts"
    if key is None:
        return VaultError(f"the host key of {address} is not acceptable: {error.reason}")
    fingerprint = f"{key.get_algorithm()} {key.get_fingerprint()}"
    trusted = asyncssh.match_known_hosts(known, address.host, "", port)[0] if known else ()
    if trusted:
        return VaultError(
            f"the host key of {address} is not the one in {where}: the server has {fingerprint}. "
            "Another host may answer in its place, or the server was set up anew",
            remedy="ask the server's operator for its fingerprint; if it is this one, replace the old line: "
            f"ssh-keygen -R '[{address.host}]:{port}' -f {where}, then add the new key",
        )
    return VaultError(
        f"the host key of {address} is not known: the server has {fingerprint}",
        remedy="compare it with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the server; if it is the same: "
        f"ssh-keyscan -p {port} {address.host} >> {where}",
    )
