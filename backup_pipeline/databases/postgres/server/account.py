"""Who runs a throw-away server, what that account can reach, and folders that only it can enter."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backup_pipeline.databases.postgres.server.programs import WHEEL, Program, wheel_folder
from backup_pipeline.errors import ServerFailed

#: systemd's range for DynamicUser.
_UNUSED = range(61184, 65520)


@dataclass(frozen=True)
class Account:
    """Who runs the server. PostgreSQL refuses to run as root, so root lends it an account that exists."""

    name: str
    uid: int
    gid: int
    switch: bool

    @classmethod
    def choose(cls) -> Account:
        if os.geteuid() != 0:
            return cls(name="", uid=os.geteuid(), gid=os.getegid(), switch=False)
        for name in ("postgres", "nobody"):
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(name)
                return cls(name=name, uid=entry.pw_uid, gid=entry.pw_gid, switch=True)
        raise ServerFailed(
            "PostgreSQL does not run as root, and neither the account `postgres` nor `nobody` exists here",
            remedy="run this as an ordinary user, or make an account named postgres",
        )

    @classmethod
    def alone(cls, folder: Path) -> Account | None:
        """A number that no account has and no process runs as, of those that systemd gives to services for a while. It
        owns nothing. Only root can lend it; a container may not know the number, then there is none."""
        if os.geteuid() != 0:
            return None
        running = _accounts_of_processes()
        for number in random.sample(_UNUSED, 50):
            with contextlib.suppress(KeyError):
                pwd.getpwuid(number)
                continue
            if number in running:
                continue
            try:
                os.chown(folder, number, number)
            except OSError:
                return None
            return cls(name=str(number), uid=number, gid=number, switch=True)
        return None

    def process(self, **extra: str) -> dict[str, Any]:
        """Arguments for subprocess: this account, nothing of the caller's environment (it holds passwords and keys), a
        folder that everyone may enter."""
        env = {name: os.environ[name] for name in ("PATH", "TZ") if name in os.environ}
        settings: dict[str, Any] = {"cwd": "/", "env": {**env, "LC_ALL": "C", **extra}}
        if self.switch:
            settings |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return settings

    def can_run(self, *argv: str | Path) -> bool:
        try:
            return subprocess.run(argv, capture_output=True, **self.process()).returncode == 0
        except PermissionError:
            return False

    def own(self, *paths: Path) -> None:
        if self.switch:
            for path in paths:
                os.chown(path, self.uid, self.gid)

    def take(self, *folders: Path) -> None:
        """Folders that another account made, with everything in them."""
        for top in folders:
            self.own(top)
            for folder, subfolders, files in os.walk(top):
                for name in (*subfolders, *files):
                    os.lchown(Path(folder, name), self.uid, self.gid)

    def private_folder(self, longest: int = 4096) -> Path:
        """A new temporary folder that only this account (and root) can enter."""
        for parent in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp")):
            # mkdtemp adds the prefix and eight characters.
            if len(os.fsencode(parent)) + len("/bp-12345678") > longest or not os.access(parent, os.W_OK):
                continue
            if not self.switch or self.can_run("test", "-x", parent):
                folder = Path(tempfile.mkdtemp(prefix="bp-", dir=parent))
                self.own(folder)
                return folder
        raise ServerFailed(
            f"no temporary folder that the account {self.name or 'running this'} can use",
            remedy="set TMPDIR to a short path that everybody may enter",
        )


def _accounts_of_processes() -> set[int]:
    found: set[int] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found.add(folder.stat().st_uid)
    return found


def readable_server(program: Program, account: Account, scratch: Path) -> Program:
    """The program itself, or a copy of the wheel's installation where the account cannot read the original."""
    if not account.switch or account.can_run(program.path.parent / "initdb", "--version"):
        return program
    wheel = wheel_folder()
    install = program.path.parent.parent
    if wheel is None or install.parent != wheel:
        raise ServerFailed(
            f"the account {account.name} cannot run {program.path}",
            remedy="open the folders above it for reading, or install PostgreSQL for all users",
        )
    # The programs find their libraries by a path relative to themselves, so the copy keeps the wheel's layout.
    target = scratch / "wheel" / WHEEL
    ignore = shutil.ignore_patterns("*.a", "include", "pgxs", "pkgconfig")
    shutil.copytree(install, target / install.name, symlinks=True, ignore=ignore)
    for libraries in (wheel.with_name(f"{WHEEL}.libs"), wheel / ".dylibs"):
        if libraries.is_dir():
            shutil.copytree(
                libraries, (target.parent if libraries.parent == wheel.parent else target) / libraries.name
            )
    account.take(scratch / "wheel")
    return Program(program.version, target / install.name / "bin" / "postgres")
