"""What a host that has only public keys must remember of an encrypted vault to build its next backup on the last one.

Plain manifests, and the small objects that new content is compared with, each under the SHA-256 of its stored bytes.
Drafts and journals, which in a plain vault lie in the vault. A cache and no more: a deleted cache costs one backup that
reads everything. Each use is compared with the digests in the vault. So altered bytes are thrown away, and never get
into a backup.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from backup_pipeline.stores.rights import make_folders
from backup_pipeline.stores.staging import explained

#: A file that no recent manifest names is dropped when it is as old as this: what is younger may belong to a backup
#: that runs at this moment.
UNNAMED_FOR = 7 * 24 * 3600.0
#: Suffixes of the objects that are worth remembering: all that new content is compared with, and what RECOVER.md is
#: written from. Rows and packs are not among them.
REMEMBERED = frozenset({".json.zst", ".sql.zst", ".map.zst", ".digests.zst", ".files.zst"})


@dataclass(frozen=True, slots=True)
class Known:
    folder: Path

    def prepare(self) -> None:
        """Only we may look: what lies here is what the encryption hides."""
        with explained(f"cannot keep what is known of an encrypted vault in {self.folder}"):
            # <state>/known/<this>: the state folder may be shared, this never is.
            make_folders(self.content, self.folder.parent.parent)
            self.folder.chmod(0o700)

    @property
    def content(self) -> Path:
        return self.folder / "content"

    @property
    def notes(self) -> Path:
        """Drafts and journals, in a store of their own."""
        return self.folder / "notes"

    def keep(self, name: str, data: bytes) -> None:
        with self.keeping() as made:
            made.file.write(data)
            made.name = name

    @contextmanager
    def keeping(self) -> Iterator[_Made]:
        """A file in the making; it is there under `name` when that was set by the end, and else never was."""
        self.prepare()
        path = self.content / f".{os.getpid()}-{secrets.token_hex(8)}"
        with explained(f"cannot write {path}"):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                made = _Made(file)
                yield made
            if made.name:
                path.replace(self.content / made.name)
        finally:
            path.unlink(missing_ok=True)

    def has(self, name: str) -> bool:
        return (self.content / name).is_file()

    def get(self, name: str) -> bytes | None:
        try:
            return (self.content / name).read_bytes()
        except OSError:
            return None

    def open(self, name: str) -> BinaryIO | None:
        try:
            return (self.content / name).open("rb")
        except OSError:
            return None

    def rename(self, name: str, other: str) -> None:
        """What was kept under one name is what another names."""
        with suppress(FileNotFoundError):
            (self.content / name).replace(self.content / other)

    def drop(self, name: str) -> None:
        (self.content / name).unlink(missing_ok=True)

    def has_old(self, *, now: float | None = None) -> bool:
        """Whether there is anything that could go: asking the vault what is still named costs requests."""
        return next(self._old(now), None) is not None

    def drop_all_but(self, names: Collection[str], *, now: float | None = None) -> int:
        """Says how many went. Half-written files of killed processes go the same way."""
        gone = 0
        for path in self._old(now):
            if path.name not in names:
                path.unlink(missing_ok=True)
                gone += 1
        return gone

    def _old(self, now: float | None) -> Iterator[Path]:
        limit = (time.time() if now is None else now) - UNNAMED_FOR
        for path in self.content.iterdir() if self.content.is_dir() else ():
            # Another backup of this host gives its files their names, and lets go of others, meanwhile.
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < limit:
                    yield path


@dataclass
class _Made:
    file: BinaryIO
    name: str = ""
