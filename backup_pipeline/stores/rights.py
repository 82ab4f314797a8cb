"""Who may read what is written here: the account that wrote it, and where `group:` is set, that group. Others get nothing.

A folder of ours is 0700, a shared one 2750 (what is made in it belongs to the same group). A folder that is made in a
shared one is shared as well, so only the topmost one has to be told the group.
"""

from __future__ import annotations

import errno
import grp
import os
import stat
from contextlib import suppress
from pathlib import Path

from backup_pipeline.errors import NotAllowed, VaultError

PRIVATE = 0o700
SHARED = 0o2750
#: How file systems say that they keep no rights (a FUSE mount, FAT): nothing that can be mended by the writer.
_NO_RIGHTS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM}


def is_shared(mode: int) -> bool:
    return mode & 0o2050 == 0o2050


def file_mode(folder: Path, owner: int = 0o400) -> int:
    """Of a file in this folder; `owner`: what its owner may."""
    shared = is_shared(folder.stat().st_mode)
    return owner | ((owner & 0o500) >> 3 if shared else 0)


def group_id(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise VaultError(
            f"there is no group {name!r} on this machine", remedy=f"`groupadd {name}`, or correct `group:`"
        ) from None


def share(path: Path, group: str) -> None:
    gid = group_id(group)
    try:
        os.chown(path, -1, gid)
    except PermissionError as error:
        raise NotAllowed(
            f"cannot give {path} to the group {group!r}: {error.strerror}",
            remedy=f"let the user that runs backups be a member of it: `usermod -aG {group} USER`",
        ) from error
    path.chmod(SHARED)


def make_folders(folder: Path, root: Path, group: str | None = None) -> None:
    """mkdir -p whose new entries survive a power cut. `root` and what is below it is closed to others; what stands
    above it is nothing of ours and gets what the umask says."""
    missing: list[Path] = []
    probe = folder
    while not probe.exists():
        missing.append(probe)
        probe = probe.parent
    for path in reversed(missing):
        ours = path == root or root in path.parents
        path.mkdir(mode=PRIVATE if ours else 0o777, exist_ok=True)
        if path == root and group is not None:
            share(path, group)
        elif path != root and ours and is_shared(path.parent.stat().st_mode):
            limit(path, SHARED)
        sync(path.parent)


def opened(path: Path, flags: int) -> int:
    """A file that is written again and again: made with the rights of its folder, under any umask."""
    new, mode = not path.exists(), file_mode(path.parent, 0o600)
    descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, mode)
    if new:
        os.fchmod(descriptor, mode)
    return descriptor


def write(path: Path, data: bytes) -> None:
    with os.fdopen(opened(path, os.O_WRONLY | os.O_TRUNC), "wb") as file:
        file.write(data)


def limit(path: Path, mode: int) -> None:
    """chmod, where there are rights at all: what a mount does not keep, `doctor` says."""
    try:
        path.chmod(mode)
    except OSError as error:
        if error.errno not in _NO_RIGHTS:
            raise


def close_to_others(folder: Path) -> None:
    """Of a folder that older versions made open: what is in the making in it is read by no other account."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o007:
        with suppress(OSError):
            folder.chmod(mode & ~0o007)


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
