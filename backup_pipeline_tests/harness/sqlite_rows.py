"""A SQLite database that a test writes to, and a look into what a backup of it holds."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from backup_pipeline.databases.base import Export
from backup_pipeline.databases.sqlite.export import SqliteSource, read_lines
from backup_pipeline.vault.images import write_image
from backup_pipeline.vault.vault import Vault


def connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def run(path: Path, *statements: str) -> None:
    with closing(connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)


def new_database(path: Path, *pragmas: str) -> Path:
    """A database without a table, but with its first page: otherwise it would be an empty file. The encoding is fixed
    by the first table."""
    run(path, *(f"PRAGMA {pragma}" for pragma in pragmas), "CREATE TABLE t (x)", "DROP TABLE t", "VACUUM")
    with closing(connect(path)) as connection:
        for pragma in pragmas:
            name, _, wanted = pragma.partition(" = ")
            found = connection.execute(f"PRAGMA {name}").fetchone()[0]
            codes = {"FULL": 1, "INCREMENTAL": 2}
            assert str(codes.get(wanted, wanted)).strip("'").lower() == str(found).lower(), pragma
    return path


def lines(path: Path, table: str) -> Counter[str]:
    with closing(connect(path)) as connection:
        text = b"".join(read_lines(connection, table)).decode("utf-8", "surrogateescape")
    return Counter(text.split("\n")[:-1])


@contextmanager
def restored(vault: Vault, export: Export) -> Iterator[Path]:
    """The file that a backup holds, where it can be opened and written to."""
    assert export.image is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "restored.db"
        write_image(vault.store, export.image, path)
        yield path


@dataclass(frozen=True)
class LiveSqlite:
    path: Path

    @property
    def source(self) -> SqliteSource:
        return SqliteSource(f"sqlite:///{self.path}", busy_seconds=1.0)

    @property
    def schema(self) -> str:
        return "main"

    def run(self, *statements: str) -> None:
        run(self.path, *statements)

    @contextmanager
    def writer(self) -> Iterator[_Session]:
        with closing(connect(self.path)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield _Session(self, connection)
            connection.execute("COMMIT")

    def rows(self, table: str) -> Counter[str]:
        return lines(self.path, table)

    def backed_up_rows(self, vault: Vault, export: Export, table: str) -> Counter[str]:
        with restored(vault, export) as path:
            return lines(path, table)

    def address_of_nowhere(self) -> SqliteSource:
        return SqliteSource(f"sqlite:///{self.path.with_name('nowhere.db')}")


class _Session(LiveSqlite):
    """A live database whose statements all run in one open transaction."""

    def __init__(self, live: LiveSqlite, connection: sqlite3.Connection) -> None:
        super().__init__(live.path)
        object.__setattr__(self, "_connection", connection)

    def run(self, *statements: str) -> None:
        connection: sqlite3.Connection = self.__dict__["_connection"]
        for statement in statements:
            with contextlib.closing(connection.execute(statement)):
                pass
