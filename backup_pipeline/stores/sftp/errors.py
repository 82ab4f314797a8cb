"""What an SFTP server's complaints mean in our words.

Version 3 of the protocol, which OpenSSH speaks, has one code (Failure) for a taken name, a full disk, a quota and
everything else. `refused` asks the server for the meaning.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import asyncssh

from backup_pipeline.errors import BackupError, StoreUnavailable, VaultError
from backup_pipeline.stores.sftp.session import Session

MISSING = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath, asyncssh.SFTPNotADirectory)
#: What a server says that knows the request and will not or cannot do it.
REFUSALS = (asyncssh.SFTPFailure, asyncssh.SFTPFileAlreadyExists, asyncssh.SFTPOpUnsupported)
#: The connection is gone.
LOST = (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, asyncssh.DisconnectError)
_FULL = (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded)
_DENIED = (asyncssh.SFTPPermissionDenied, asyncssh.SFTPWriteProtect, asyncssh.SFTPCannotDelete)
#: Less than this and a disk counts as full: a file system keeps some for itself.
_NEXT_TO_NOTHING = 1 << 20


@contextlib.contextmanager
def explained(what: str, address: str) -> Iterator[None]:
    """An exception of asyncssh, as the error that a user can act on."""
    try:
        yield
    except (TimeoutError, asyncssh.Error, OSError, asyncio.IncompleteReadError) as error:
        raise translated(what, address, error) from error


def translated(what: str, address: str, error: BaseException) -> BackupError:
    said = (
        getattr(error, "reason", "") or getattr(error, "strerror", "") or str(error) or type(error).__name__
    )
    if isinstance(error, _FULL):
        return full(what, address)
    if isinstance(error, _DENIED):
        return VaultError(
            f"{what} at {address}: {said}", remedy="let the user that signs in there write to that folder"
        )
    if isinstance(error, MISSING):
        return VaultError(
            f"{what} at {address}: {said}",
            remedy="make the folder on the server, or correct the path (/~/ stands for the user's home)",
        )
    if isinstance(error, asyncssh.KeyExchangeFailed | asyncssh.ProtocolNotSupported):
        return VaultError(
            f"{what} at {address}: {said}",
            remedy="the server speaks nothing that is still safe: update its SSH",
        )
    return StoreUnavailable(f"{what} at {address}: {said}")


def full(what: str, address: str) -> VaultError:
    return VaultError(
        f"{what} at {address}: the disk is full", remedy="free space on the server, then run it again"
    )


async def refused(
    session: Session, folder: str, what: str, address: str, error: asyncssh.Error
) -> BackupError:
    """A Failure while writing: is it the disk? (A quota cannot be told from here.)"""
    with contextlib.suppress(asyncssh.Error, OSError):
        status = await session.client.statvfs(folder)
        if status.bavail * (status.frsize or status.bsize) < _NEXT_TO_NOTHING:
            return full(what, address)
    if isinstance(error, asyncssh.SFTPFailure):
        return StoreUnavailable(
            f"{what} at {address}: the server refused ({error.reason})",
            remedy="the server does not say why: look at its disk, the user's quota and its log",
        )
    return translated(what, address, error)
