"""Files in the making: how they are named, and what a disk's complaints mean in our words."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from backup_pipeline.errors import NotAllowed, StoreUnavailable, VaultError
from backup_pipeline.stores.pids import alive, realm

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


#: The medium gave back something else than what was written: the bytes are lost, and asking again does not bring them.
_BAD_MEDIUM = {errno.EIO, errno.EUCLEAN, errno.EBADMSG, errno.EILSEQ}
_MAY_NOT = "run it as the user that makes the backups, or let a group of accounts read the vault (`group:`)"
_BAD_DISK = "see what the system's log says of this disk (`dmesg`)"
_NOT_THERE = "see whether the disk or the share is still mounted"

#: What another machine or container made is abandoned when it was not touched for so long: a container that was killed
#: never comes back under the same name.
FORGOTTEN = 7 * 86400.0


def staging_name() -> str:
    """Names its maker, so that a later run can tell that the writer died."""
    return f"{maker()}~{os.getpid()}~{secrets.token_hex(8)}"


def maker() -> str:
    """This host, and where on it process numbers mean the same processes as here."""
    where = hashlib.sha256(realm().encode()).hexdigest()[:8]
    return f"{socket.gethostname().replace('~', '-').replace('/', '-')}@{where}"


def is_abandoned(name: str, touched: float) -> bool:
    """Whether the writer of a file in the making is gone; `touched` is when the file was last written to."""
    made_by, _, rest = name.partition("~")
    pid = rest.partition("~")[0]
    if not pid.isdigit():
        return False
    if made_by == maker():
        return not alive(int(pid))
    return time.time() - touched > FORGOTTEN


def sweep_folder(folder: Path) -> int:
    """Remove what killed processes of this machine left half-written; says how many files."""
    removed = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            if is_abandoned(path.name, path.stat().st_mtime):
                path.unlink()
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


@contextmanager
def read_of(what: str) -> Iterator[None]:
    """The same where nothing is written: one that does not exist passes, everything else is the store's."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise
    except OSError as error:
        if error.errno in _FORBIDDEN:
            remedy = _MAY_NOT
        else:
            remedy = _BAD_DISK if error.errno in _BAD_MEDIUM else _NOT_THERE
        raise StoreUnavailable(f"{what}: {error.strerror or error}", remedy=remedy) from error


def is_bad_medium(error: BaseException) -> bool:
    """Whether a store could not read because the disk under it lost bytes."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _BAD_MEDIUM
