"""The demo's second system: a blog on SQLite, with pictures in its posts."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from backup_pipeline.demo import media

_TABLES = """
CREATE TABLE authors (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE posts (
    id INTEGER PRIMARY KEY,
    author_id INTEGER NOT NULL REFERENCES authors,
    title TEXT NOT NULL,
    body TEXT NOT NULL,
    picture TEXT,
    picture_sha256 TEXT
);
"""
AUTHORS = ("Ada", "Grace", "Zoë")
POSTS = 60


@dataclass(frozen=True, slots=True)
class Blog:
    folder: Path

    @property
    def database(self) -> Path:
        return self.folder / "blog.db"

    @property
    def uploads(self) -> Path:
        return self.folder / "uploads"

    def open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.executescript(_TABLES)
            connection.executemany("INSERT INTO authors (name) VALUES (?)", [(name,) for name in AUTHORS])
            for number in range(1, POSTS + 1):
                self._post(connection, number)

    def _post(self, connection: sqlite3.Connection, number: int) -> None:
        picture = media.write(self.uploads, f"2026/post-{number}.png", media.png(10_000 + number, 48))
        connection.execute(
            "INSERT INTO posts (author_id, title, body, picture, picture_sha256) VALUES (?, ?, ?, ?, ?)",
            (1 + number % len(AUTHORS), f"Post {number}", "Lorem ipsum. " * 40, picture.path, picture.sha256),
        )

    def posts(self) -> int:
        with closing(sqlite3.connect(self.database)) as connection:
            return int(connection.execute("SELECT count(*) FROM posts").fetchone()[0])
