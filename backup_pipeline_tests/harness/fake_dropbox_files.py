"""What is in a fake Dropbox: folders that tell no upper from lower case, revisions, upload sessions, a quota.

It refuses what Dropbox refuses, with the tags that Dropbox uses. How that travels is in `fake_dropbox.py`.
"""

from __future__ import annotations

import hashlib
import itertools
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

#: Dropbox takes no more than this in one request.
LARGEST_REQUEST = 150 << 20
BLOCK = 4 << 20
LONGEST_NAME = 255


class Refusal(Exception):
    """HTTP 409 with the tags of a union: Refusal("path", "not_found")."""

    def __init__(self, *tags: str, **value: Any) -> None:
        super().__init__("/".join(tags))
        self.tags, self.value = tags, value


class Malformed(Exception):
    """HTTP 400, with a sentence."""


def content_hash(data: bytes) -> str:
    digests = [hashlib.sha256(data[at : at + BLOCK]).digest() for at in range(0, len(data), BLOCK)]
    return hashlib.sha256(b"".join(digests)).hexdigest()


@dataclass(frozen=True)
class File:
    shown: str
    data: bytes
    rev: str
    modified: datetime
    client_modified: datetime
    #: A Paper or Google document: it has no bytes of its own, and may be exported as this.
    export_as: str | None = None
    downloadable: bool = True
    link: str = ""


@dataclass
class Session:
    data: bytearray = field(default_factory=bytearray)
    closed: bool = False


def check_path(path: str, *, root: bool = False) -> str:
    if path == "" and root:
        return path
    if path == "/" and root:
        raise Malformed('path: Specify the root folder as an empty string rather than as "/".')
    if not path.startswith("/"):
        raise Malformed(f"path: {path!r} did not match pattern '(/(.|[\\r\\n])*)|(ns:[0-9]+(/.*)?)'")
    parts = path[1:].split("/")
    if path.endswith("/") or "\\" in path or any(part in ("", ".", "..") for part in parts):
        raise Refusal("path", "malformed_path")
    if any(len(part) > LONGEST_NAME or part.lower() in ("desktop.ini", "thumbs.db") for part in parts):
        raise Refusal("path", "disallowed_name")
    return path


@dataclass
class Namespace:
    """One root: of a member, or of a team folder."""

    quota: int = 1 << 40
    files: dict[str, File] = field(default_factory=dict)
    #: In lower case → as it is shown.
    folders: dict[str, str] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    #: What was overwritten or deleted can still be had by its revision.
    revisions: dict[str, File] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def used(self) -> int:
        return sum(len(file.data) for file in self.files.values())

    def shown(self, path: str) -> str:
        """The path with the folders as they were first written."""
        folder, _, name = path.rpartition("/")
        return f"{self.folders.get(folder.lower(), folder)}/{name}"

    def make_folder(self, path: str) -> None:
        if not path or path.lower() in self.folders:
            return
        if path.lower() in self.files:
            raise Refusal("path", "conflict", "file_ancestor")
        self.make_folder(path.rpartition("/")[0])
        self.folders[path.lower()] = self.shown(path)

    def write(self, path: str, data: bytes, commit: dict[str, Any]) -> File:
        check_path(path)
        lower, mode = path.lower(), commit.get("mode", {".tag": "add"})
        tag = mode if isinstance(mode, str) else mode[".tag"]
        if lower in self.folders:
            raise Refusal("path", "conflict", "folder")
        there = self.files.get(lower)
        if there is not None and tag == "add":
            if commit.get("strict_conflict") or there.data != data:
                raise Refusal("path", "conflict", "file")
            return there
        if there is not None and tag == "update" and mode["update"] != there.rev:
            raise Refusal("path", "conflict", "file")
        if self.used() + len(data) - (len(there.data) if there else 0) > self.quota:
            raise Refusal("path", "insufficient_space")
        self.make_folder(path.rpartition("/")[0])
        when = commit.get("client_modified")
        return self.place(
            there.shown if there else self.shown(path), data, datetime.fromisoformat(when) if when else None
        )

    def place(self, shown: str, data: bytes, client_modified: datetime | None = None, **more: Any) -> File:
        """Put a file there, also in the place of another; for tests, too."""
        self.make_folder(shown.rpartition("/")[0])
        now = datetime.now(UTC).replace(microsecond=0)
        rev = f"{next(self._numbers):09x}"
        file = File(shown, bytes(data), rev, now, client_modified or now, **more)
        self.files[shown.lower()] = self.revisions[rev] = file
        return file

    def find(self, path: str) -> File | str:
        """A file, or a folder as it is shown."""
        if path.startswith("rev:"):
            if path[4:] not in self.revisions:
                raise Refusal("path", "not_found")
            return self.revisions[path[4:]]
        check_path(path)
        lower = path.lower()
        if lower in self.files:
            return self.files[lower]
        if lower in self.folders:
            return self.folders[lower]
        raise Refusal("path", "not_found")

    def below(self, path: str, *, recursive: bool) -> list[File | str]:
        """In an order of its own, as Dropbox does: no client may rely on one."""
        check_path(path, root=True)
        lower = path.lower()
        if lower in self.files:
            raise Refusal("path", "not_folder")
        if lower and lower not in self.folders:
            raise Refusal("path", "not_found")

        def inside(other: str) -> bool:
            rest = other[len(lower) + 1 :]
            return other.startswith(f"{lower}/") and (recursive or "/" not in rest)

        found: list[File | str] = [shown for other, shown in self.folders.items() if inside(other)]
        found += [file for other, file in self.files.items() if inside(other)]
        if recursive and lower:
            found.append(self.folders[lower])
        return sorted(found, key=lambda one: hashlib.sha256(repr(one).encode()).digest())

    def delete(self, path: str, parent_rev: str | None) -> File | str:
        try:
            found = self.find(path)
        except Refusal as refusal:
            raise Refusal("path_lookup", *refusal.tags[1:]) from None
        if isinstance(found, str):
            if parent_rev is not None:
                raise Refusal("path_write", "conflict", "folder")
            lower = found.lower()
            self.files = {p: f for p, f in self.files.items() if not p.startswith(f"{lower}/")}
            gone = [p for p in self.folders if p == lower or p.startswith(f"{lower}/")]
            for other in gone:
                del self.folders[other]
            return found
        if parent_rev is not None and parent_rev != found.rev:
            raise Refusal("path_write", "conflict", "file")
        del self.files[found.shown.lower()]
        return found

    def start(self, data: bytes, *, close: bool) -> str:
        name = f"pid_upload_session:{secrets.token_hex(12)}"
        self.sessions[name] = Session(bytearray(data), close)
        return name

    def append(self, cursor: dict[str, Any], data: bytes, *, close: bool) -> None:
        session = self._session(cursor)
        if session.closed:
            raise Refusal("closed")
        session.data += data
        session.closed = close

    def finish(self, cursor: dict[str, Any], commit: dict[str, Any], data: bytes) -> File:
        try:
            session = self._session(cursor)
        except Refusal as refusal:
            raise Refusal("lookup_failed", *refusal.tags, **refusal.value) from None
        file = self.write(commit["path"], bytes(session.data + data), commit)
        del self.sessions[cursor["session_id"]]
        return file

    def _session(self, cursor: dict[str, Any]) -> Session:
        session = self.sessions.get(cursor["session_id"])
        if session is None:
            raise Refusal("not_found")
        if cursor["offset"] != len(session.data):
            raise Refusal("incorrect_offset", correct_offset=len(session.data))
        return session

    def touch(self, path: str, data: bytes) -> None:
        """Another client changes a file."""
        old = self.files[path.lower()]
        self.place(old.shown, data)

    def hide(self, path: str) -> None:
        """Make a file one that cannot be downloaded."""
        lower = path.lower()
        self.files[lower] = replace(self.files[lower], downloadable=False)


def described(found: File | str) -> dict[str, Any]:
    """As the API writes it."""
    if isinstance(found, str):
        return {
            ".tag": "folder",
            "name": found.rpartition("/")[2],
            "path_lower": found.lower(),
            "path_display": found,
            "id": f"id:{hashlib.sha256(found.lower().encode()).hexdigest()[:22]}",
        }
    one: dict[str, Any] = {
        ".tag": "file",
        "name": found.shown.rpartition("/")[2],
        "path_lower": found.shown.lower(),
        "path_display": found.shown,
        "id": f"id:{hashlib.sha256(found.shown.lower().encode()).hexdigest()[:22]}",
        "client_modified": found.client_modified.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "server_modified": found.modified.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "rev": found.rev,
        "size": len(found.data),
        "is_downloadable": found.downloadable,
        "content_hash": content_hash(found.data),
    }
    if found.export_as is not None:
        one["export_info"] = {"export_as": found.export_as}
    if found.link:
        one["symlink_info"] = {"target": found.link}
    return one
