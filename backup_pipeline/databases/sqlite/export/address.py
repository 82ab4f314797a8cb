"""From what people write to the file that is meant: the URLs of SQLAlchemy, Django and Prisma, and plain paths."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from backup_pipeline.errors import ConfigError, NotSupported

_SCHEME = re.compile(r"sqlite3?(?:\+(?P<driver>[a-z0-9_]+))?://(?P<rest>.*)", re.DOTALL | re.IGNORECASE)
_ENCRYPTED = ("pysqlcipher", "sqlcipher")


def file_of(url: str) -> Path:
    """`sqlite:///app.db` and `app.db` are relative to the current folder, `sqlite:////srv/app.db` is absolute."""
    text = url
    match = _SCHEME.fullmatch(url)
    if match:
        if (match["driver"] or "").lower() in _ENCRYPTED:
            raise NotSupported(
                "a database that is encrypted by SQLCipher cannot be read by SQLite's own library",
                remedy="give backup-pipeline a plain SQLite file, for example one that the application exports",
            )
        host, slash, text = match["rest"].partition("/")
        text = text.partition("?")[0]
        if host or not slash:
            # sqlite://app.db names a host and no file: two slashes where three were meant.
            text = "" if not slash and not host else "\0"
    if text.lower().startswith("file:"):
        text = unquote(text[5:].partition("?")[0])
        text = re.sub(r"^//(localhost)?(?=/)", "", text)
    if text in ("", ":memory:") or "\0" in text or "://" in text:
        raise ConfigError(
            "this URL does not name a SQLite file",
            remedy="write sqlite:///relative/path.db (three slashes) or sqlite:////absolute/path.db (four)",
        )
    return Path(text).expanduser()
