"""Files in the making: how they are named, and what a disk's complaints mean in our words."""

from __future__ import annotations

import errno
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backup_pipeline.errors import NotAllowed, StoreUnavailable, VaultError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


def staging_name() -> str:
    """Names its maker, so that what a killed process left behind is known to be nobody's."""
    return f"{host()}~{os.getpid()}~{secrets.token_hex(8)}"


def host() -> str:
    return socket.gethostname().replace("~", "-").replace("/", "-")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sweep_folder(folder: Path) -> int:
    """Remove what killed processes of this machine left half-written; says how many files."""
    removed = 0
    for path in folder.iterdir():
        maker, _, rest = path.name.partition("~")
        pid = rest.partition("~")[0]
        if maker == host() and pid.isdigit() and not alive(int(pid)):
            path.unlink(missing_ok=True)
            removed += 1
    return removed


@contextmanager
def explained(what: str) -> Iterator[None]:
    """An OSError as the error that a user can act on. FileExistsError passes: it answers a question."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise VaultError(f"{what}: the disk is full", remedy="free space, then run it again") from error
        if error.errno in _FORBIDDEN:
            raise NotAllowed(
                f"{what}: {error.strerror}", remedy="let the user that runs backups write to the vault"
            ) from error
        raise StoreUnavailable(f"{what}: {error.strerror or error}") from error
