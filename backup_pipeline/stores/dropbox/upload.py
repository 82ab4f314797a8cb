"""How a big file gets to Dropbox: an upload session, piece by piece, committed at the end in one step.

A note in the staging folder names the session in which a file is sent. The next attempt, of this process or of another
one, goes on where the last one stopped. Dropbox keeps a session for a week and says how much of it has arrived.
The note's name holds the hash of the content, so two that send the same bytes may even share a session.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any, BinaryIO

from backup_pipeline.errors import BackupError, StoreUnavailable
from backup_pipeline.services.dropbox import HASH_BLOCK, complaint, failures
from backup_pipeline.stores.rate_limit import Pace
from backup_pipeline.stores.staging import staging_name

PIECE = 2 * HASH_BLOCK
#: How long Dropbox keeps a session.
KEPT_SECONDS = 7 * 86_400
NOTE_SUFFIX = ".dropbox-session"
#: Sessions that turn out to be gone, or further than the file is long, are begun anew this often.
_BEGINNINGS = 3


@dataclass(frozen=True, slots=True)
class Note:
    """Where it is written down how far an upload came."""

    path: Path

    @classmethod
    def of(cls, staging: Path, where: str, content_hash: str) -> Note:
        name = hashlib.sha256(f"{where}\0{content_hash}".encode()).hexdigest()[:32]
        return cls(staging / f"{name}{NOTE_SUFFIX}")

    def read(self) -> tuple[str, int] | None:
        try:
            if time() - self.path.stat().st_mtime > KEPT_SECONDS:
                return None
            kept = json.loads(self.path.read_text())
            return str(kept["session"]), int(kept["offset"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, session: str, offset: int) -> None:
        # It saves work and nothing depends on it, so it is not synced; half of one is no JSON and counts as none.
        part = self.path.with_name(staging_name())
        part.write_text(json.dumps({"session": session, "offset": offset}))
        part.replace(self.path)

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)


def sweep_notes(staging: Path) -> int:
    """Remove the notes of sessions that Dropbox has forgotten."""
    removed = 0
    for path in staging.glob(f"*{NOTE_SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):
            if time() - path.stat().st_mtime > KEPT_SECONDS:
                path.unlink()
                removed += 1
    return removed


@dataclass(frozen=True, slots=True)
class SessionUpload:
    client: Any
    source: BinaryIO
    size: int
    commit: Any
    note: Note
    pace: Pace
    #: A complaint of Dropbox as the error of the store.
    explain: Callable[[Exception], BackupError]

    def run(self) -> Any:
        """The metadata of what was committed."""
        beginning = self.note.read()
        for _ in range(_BEGINNINGS):
            session, offset = beginning or (self._begin(), 0)
            try:
                return self._send(session, offset)
            except _SessionGone:
                self.note.forget()
                beginning = None
        raise StoreUnavailable("Dropbox forgets the upload session again and again")

    def _begin(self) -> str:
        try:
            return str(self.client.files_upload_session_start(b"").session_id)
        except failures() as error:
            raise self.explain(error) from error

    def _send(self, session: str, offset: int) -> Any:
        from dropbox.files import UploadSessionCursor

        begun = offset
        while True:
            try:
                if offset == self.size:
                    done = self.client.files_upload_session_finish(
                        b"", UploadSessionCursor(session, offset), self.commit
                    )
                    self.note.forget()
                    return done
                self.source.seek(offset)
                piece = self.source.read(min(PIECE, self.size - offset))
                if not piece:
                    raise StoreUnavailable(
                        f"the file became shorter than {self.size} bytes while it was sent"
                    )
                self.pace.spend(len(piece))
                self.client.files_upload_session_append_v2(piece, UploadSessionCursor(session, offset))
                offset += len(piece)
                self.note.write(session, offset)
            except failures() as error:
                offset = self._where_to_go_on(error, offset, progressed=offset > begun)

    def _where_to_go_on(self, error: Exception, offset: int, *, progressed: bool) -> int:
        """Dropbox says how much has arrived where it is not what we thought: an answer was lost on its way."""
        said = complaint(error)
        if "incorrect_offset" in said.tags:
            correct = _correct_offset(error)
            if correct is None or correct > self.size or correct == offset:
                raise _SessionGone from error
            return correct
        session_is_gone = {"not_found", "closed", "lookup_failed"} & set(
            said.tags
        ) and "path" not in said.tags
        if session_is_gone:
            raise _SessionGone from error
        raised = self.explain(error)
        if isinstance(raised, StoreUnavailable):
            raised.progressed = progressed
        elif said.kind != "again":
            self.note.forget()
        raise raised from error


class _SessionGone(Exception):
    """The session cannot be used any more."""


def _correct_offset(error: Any) -> int | None:
    value = error.error
    while value is not None:
        if hasattr(value, "correct_offset"):
            return int(value.correct_offset)
        value = getattr(value, "_value", None)
    return None
