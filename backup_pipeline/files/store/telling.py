"""How far a tree is: told now and then, by the run and by the threads that read big files."""

from __future__ import annotations

from dataclasses import replace
from threading import Lock

from backup_pipeline.model.manifest import FileTree
from backup_pipeline.model.progress import Advance, Listener
from backup_pipeline.vault.packs import LARGEST

#: Progress is told after so many bytes, or files.
TELL_BYTES, TELL_FILES = 8 * 1024 * 1024, 2000


class Telling:
    def __init__(self, name: str, before: FileTree | None, listener: Listener) -> None:
        self._name = name
        self._before = before
        self._listener = listener
        self._lock = Lock()
        self._files = self._bytes = 0

    def count(self, size: int) -> None:
        """One more file is listed. The bytes of a big one were told while it was read."""
        self._files += 1
        self._bytes += size if size <= LARGEST else 0
        if self._files >= TELL_FILES or self._bytes >= TELL_BYTES:
            self.tell()

    def tell(self) -> None:
        files, size = self._files, self._bytes
        self._files = self._bytes = 0
        if files or size:
            total = self._before.files if self._before else None
            self._advance(Advance("files", self._name, rows=files, bytes=size, total_rows=total))

    def advanced(self, path: str, size: int) -> None:
        """From a thread that reads a big file."""
        self._advance(Advance("files", f"{self._name}/{path}", bytes=size))

    def _advance(self, advance: Advance) -> None:
        total = self._before.bytes if self._before else None
        with self._lock:
            self._listener(replace(advance, total_bytes=total))
