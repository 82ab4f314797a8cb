"""`doctor`: what of the vault, the state folder, the history and the configuration other accounts of this machine may read.

`mend` closes it: it takes rights from others, gives them to the group of `group:`, and never to anybody else. It changes
what belongs to the owner of the place, and follows no link.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from backup_pipeline.errors import VaultError
from backup_pipeline.model.findings import Finding
from backup_pipeline.stores.rights import SHARED, group_id

#: In the state folder: what an encrypted vault hides is shared with no group.
NEVER_SHARED = "known"


@dataclass(frozen=True, slots=True)
class Place:
    #: "the vault", "the configuration, which holds a password"
    what: str
    path: Path
    #: That may read it; None: its owner alone.
    group: str | None = None
    #: Something else says that it is open; here it is only mended.
    told: bool = False


def look(places: Iterable[Place]) -> Iterator[Finding]:
    for place in places:
        try:
            if place.told or not place.path.exists():
                continue
            found = place.path.stat()
            wanted = _wanted(found, _gid(place))
        except OSError:
            continue  # a place that cannot be looked at is told by who looks at the place
        except VaultError as error:
            yield _refused(place, error)
            continue
        now, gid = stat.S_IMODE(found.st_mode), _gid(place)
        if now & 0o077 & ~wanted:
            yield Finding.of("open-to-others", place=place.what, path=place.path, now=now)
        elif gid is not None and (found.st_gid != gid or wanted & ~now & 0o070):
            yield Finding.of(
                "closed-to-the-group", group=place.group, place=place.what, path=place.path, now=now
            )


def mend(places: Iterable[Place]) -> Iterator[Finding]:
    """What is as it should be is left alone, so a second time says nothing."""
    for place in places:
        try:
            if not place.path.exists():
                continue
            before = stat.S_IMODE(place.path.stat().st_mode)
            if place.path.is_dir() and place.group is None and not before & 0o077:
                continue  # no other account comes to what is inside, and `look` named nothing
            work = _Work(place.path.stat().st_uid, _gid(place))
            work.tree(place.path) if place.path.is_dir() else work.one(str(place.path))
        except (OSError, VaultError) as error:
            yield _refused(place, error)
            continue
        if work.changed:
            yield Finding.of(
                "rights-mended", changed=work.changed, place=place.what, path=place.path, before=before
            )
        if work.failed:
            yield _refused(place, work.failed[0], len(work.failed))


def _gid(place: Place) -> int | None:
    return None if place.group is None else group_id(place.group)


def _wanted(found: os.stat_result, gid: int | None) -> int:
    """The owner keeps what he has; the group gets of it what reading needs."""
    mode = found.st_mode & 0o700
    if gid is None:
        return mode
    if stat.S_ISDIR(found.st_mode):
        return mode | SHARED
    return mode | (mode & 0o400) >> 3


def _refused(place: Place, error: Exception, times: int = 1) -> Finding:
    said = getattr(error, "strerror", None) or str(error)
    more = f", and {times - 1} more" if times > 1 else ""
    return Finding.of("rights-not-mended", place=place.what, path=place.path, why=said, more=more)


@dataclass(slots=True)
class _Work:
    owner: int
    gid: int | None
    changed: int = 0
    failed: list[Exception] = field(default_factory=list)

    def tree(self, top: Path) -> None:
        for folder, inside, files, descriptor in os.fwalk(top, onerror=self.failed.append):
            self._fit(descriptor, self._gid_in(top, Path(folder)))
            inside[:] = [name for name in inside if name != "lost+found"]
            for name in files:
                self.one(name, descriptor, self._gid_in(top, Path(folder)))

    def _gid_in(self, top: Path, folder: Path) -> int | None:
        return None if folder.relative_to(top).parts[:1] == (NEVER_SHARED,) else self.gid

    def one(self, name: str, folder: int | None = None, gid: int | None = None) -> None:
        gid = self.gid if folder is None else gid
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=folder is None)
            if not stat.S_ISREG(found.st_mode) or self._fits(found, gid):
                return
            descriptor = os.open(
                name,
                os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (os.O_NOFOLLOW if folder else 0),
                dir_fd=folder,
            )
        except FileNotFoundError:
            return
        except OSError as error:
            self.failed.append(error)
            return
        try:
            self._fit(descriptor, gid)
        finally:
            os.close(descriptor)

    def _fits(self, found: os.stat_result, gid: int | None) -> bool:
        right = stat.S_IMODE(found.st_mode) == _wanted(found, gid)
        return found.st_uid != self.owner or (right and gid in (None, found.st_gid))

    def _fit(self, descriptor: int, gid: int | None) -> None:
        found = os.fstat(descriptor)
        if self._fits(found, gid):
            return
        try:
            # The owner before the rights: a change of it takes the set-group bit away.
            if gid is not None and found.st_gid != gid:
                os.fchown(descriptor, -1, gid)
            os.fchmod(descriptor, _wanted(found, gid))
        except OSError as error:
            self.failed.append(error)
            return
        if not self._fits(os.fstat(descriptor), gid):
            self.failed.append(PermissionError(0, "the file system keeps no rights"))
            return
        self.changed += 1
