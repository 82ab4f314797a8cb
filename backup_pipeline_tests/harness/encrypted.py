"""Encrypted vaults for tests: one that can be opened, and the same one as a host sees it that has only public keys."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from backup_pipeline.backups.making import Order, back_up
from backup_pipeline.databases.base import Options
from backup_pipeline.databases.engines import open_source
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault import crypto
from backup_pipeline.vault.crypto import Given, Keys
from backup_pipeline.vault.vault import Vault


@dataclass(frozen=True)
class Encrypted:
    folder: Path
    state: Path
    secret: str
    public: str

    @classmethod
    def make(cls, base: Path) -> Encrypted:
        secret, public = crypto.generate()
        return cls(base / "vault", base / "state" / "known" / "v", secret, public)

    @property
    def keys(self) -> Keys:
        return Keys((self.public,), Given(self.secret))

    @property
    def opened(self) -> Vault:
        """Where the identity is."""
        return Vault(LocalStore(self.folder), self.keys, self.state.with_name("other"))

    @property
    def closed(self) -> Vault:
        """Where the backups are made: public keys, and what that host remembers."""
        return Vault(LocalStore(self.folder), Keys((self.public,)), self.state)

    @property
    def stranger(self) -> Vault:
        """Public keys, and nothing remembered."""
        return Vault(LocalStore(self.folder), Keys((self.public,)), self.state.with_name("stranger"))

    def back_up(self, url: str, *, full: bool = False, vault: Vault | None = None) -> Manifest:
        order = replace(Order("shop"), options=Options(full=full))
        return back_up(vault or self.closed, open_source(url), order)

    def key_file(self, folder: Path) -> Path:
        path = folder / "key.txt"
        path.write_text(f"# public key: {self.public}\n{self.secret}\n")
        return path


def make_shop(path: Path, rows: int = 12_347) -> str:
    """A SQLite database whose names and counts do not occur by chance."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE zebra_customers (zebra_id INTEGER PRIMARY KEY, zebra_name TEXT);"
            "CREATE TABLE quokka_orders (quokka_id INTEGER PRIMARY KEY,"
            " zebra_id INT REFERENCES zebra_customers, quokka_note BLOB);"
        )
        customers = [(n, f"Wombat {n}") for n in range(rows)]
        connection.executemany("INSERT INTO zebra_customers VALUES (?, ?)", customers)
        orders = [(None, n % rows, bytes([n % 251]) * 700) for n in range(3_119)]
        connection.executemany("INSERT INTO quokka_orders VALUES (?, ?, ?)", orders)
        connection.commit()
    return f"sqlite:///{path}"


def change(url: str, rows: int = 40) -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        orders = [(None, n, bytes([n % 251]) * 700) for n in range(rows)]
        connection.executemany("INSERT INTO quokka_orders VALUES (?, ?, ?)", orders)
        connection.commit()
