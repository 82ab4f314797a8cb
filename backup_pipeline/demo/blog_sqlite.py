"""The demo's second system: a blog on SQLite, with pictures in its posts."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

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
    LOST: ClassVar = (f"posts of {AUTHORS[-1]}", "pictures")
    MADE: ClassVar = ("posts of Linus", "his number")

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

    def live_on(self) -> None:
        """An author is deleted with all that is hers. The next author gets her number: SQLite uses numbers again."""
        number = len(AUTHORS)
        with closing(sqlite3.connect(self.database)) as connection, connection:
            pictures = connection.execute(
                "SELECT picture FROM posts WHERE author_id = ?", (number,)
            ).fetchall()
            connection.execute("DELETE FROM posts WHERE author_id = ?", (number,))
            connection.execute("DELETE FROM authors WHERE id = ?", (number,))
            connection.execute("INSERT INTO authors (name) VALUES ('Linus')")
            connection.execute(
                "INSERT INTO posts (author_id, title, body) SELECT id, 'Hello', 'I am new.' FROM authors WHERE name = 'Linus'"
            )
        for (picture,) in pictures:
            (self.uploads / picture).unlink()

    def living_facts(self) -> dict[str, str]:
        with closing(sqlite3.connect(self.database)) as connection:
            posts = "SELECT count(p.id), coalesce(max(a.id), '-') FROM authors AS a JOIN posts AS p ON p.author_id = a.id WHERE a.name = ?"
            (hers, her), (his, him) = (
                connection.execute(posts, (name,)).fetchone() for name in (AUTHORS[-1], "Linus")
            )
        return {
            f"posts of {AUTHORS[-1]}": str(hers),
            "her number": str(her),
            "pictures": str(media.count(self.uploads)),
            "posts of Linus": str(his),
            "his number": str(him),
        }
