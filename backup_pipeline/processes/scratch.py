"""A private folder for a private copy: where there is room, for our eyes only, gone when we are.

The folder is locked as long as its maker lives. What a killed run left behind is known by its lock being free,
and the next run removes it: a copy of a production database must not lie around.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backup_pipeline.errors import SourceError

_MADE = "backup-pipeline-copy-"
#: Its name until it is locked; no process takes it for left behind before an hour has passed.
_MAKING = "backup-pipeline-making-"
_LOCK = "lock"
#: Beside the copy itself: journals, and rounding.
_SPARE = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Scratch:
    folder: Path

    @staticmethod
    @contextmanager
    def make(needed: int, places: Sequence[Path] = ()) -> Iterator[Scratch]:
        """A folder with `needed` bytes of room, in the first of `places` (or of the usual ones) that has it."""
        sweep(places)
        place = roomy_place(needed, places)
        making = Path(tempfile.mkdtemp(prefix=_MAKING, dir=place))
        folder = making.with_name(making.name.replace(_MAKING, _MADE))
        descriptor = os.open(making / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            making.rename(folder)
            yield Scratch(folder)
        finally:
            remove(making)
            remove(folder)
            os.close(descriptor)

    def file(self, name: str) -> Path:
        """An empty file that no other account may read."""
        path = self.folder / name
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        return path


def usual_places() -> tuple[Path, ...]:
    """$TMPDIR or /tmp first; /var/tmp is on a disk where /tmp is memory."""
    return tuple(dict.fromkeys((Path(tempfile.gettempdir()), Path("/var/tmp"))))


def roomy_place(needed: int, places: Sequence[Path] = ()) -> Path:
    room: dict[Path, int] = {}
    for place in places or usual_places():
        with contextlib.suppress(OSError):
            if os.access(place, os.W_OK | os.X_OK):
                room[place] = shutil.disk_usage(place).free
    fitting = [place for place, free in room.items() if free >= needed + _SPARE]
    if not fitting:
        found = ", ".join(f"{place} has {free:,}" for place, free in room.items()) or "none can be written to"
        raise SourceError(
            f"there is no temporary folder with {needed + _SPARE:,} bytes of free space for a copy ({found})",
            remedy="free space, or set TMPDIR to a folder on a larger disk",
        )
    # A copy in memory is the last choice: it may be larger than what the machine can spare.
    return next((place for place in fitting if not is_memory(place)), fitting[0])


def file_system_of(path: Path) -> str:
    """ext4, tmpfs, nfs4 …; "" where the kernel does not say (no /proc)."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    target, best, kind = path.resolve(), -1, ""
    for line in lines:
        mounted, _, rest = line.partition(" - ")
        # A blank in a path is written as \040.
        point = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), mounted.split()[4]))
        if (point == target or point in target.parents) and len(point.parts) >= best:
            best, kind = len(point.parts), rest.split()[0]
    return kind


def is_memory(path: Path) -> bool:
    return file_system_of(path) in ("tmpfs", "ramfs")


def sweep(places: Sequence[Path] = ()) -> int:
    """Remove what killed runs of this user left; says how many folders that were."""
    removed = 0
    for place in places or usual_places():
        with contextlib.suppress(OSError):
            for folder in place.iterdir():
                if folder.name.startswith((_MADE, _MAKING)) and _left_behind(folder):
                    remove(folder)
                    removed += 1
    return removed


def remove(folder: Path) -> None:
    """Also read-only folders of a restored tree: a copy of production must not stay."""
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.is_dir():
        return
    for inner, names, _ in os.walk(folder):
        for name in names:
            found = Path(inner, name)
            with contextlib.suppress(OSError):
                if not found.is_symlink():
                    found.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _left_behind(folder: Path) -> bool:
    try:
        status = folder.lstat()
        if status.st_uid != os.getuid() or folder.is_symlink() or not folder.is_dir():
            return False
        if folder.name.startswith(_MAKING):
            return time.time() - status.st_mtime > 3600
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        # Half removed: the lock went first.
        return folder.exists()
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
