"""A merge or an undo that dies at one of its moments: `python -c … CONFIG restore|undo HOW MOMENT`.

A moment is one statement of the database, its commit, or one write to the vault. They count from the beginning of the record,
so none is lost on the backup before it. HOW is `kill` (SIGKILL of this process), `cut` (the server ends the connection) or
`refuse` (the vault takes no more). MOMENT is its number, or its name. Without an end of its kind it prints all moments.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from backup_pipeline import config
from backup_pipeline.errors import BackupError, VaultError
from backup_pipeline.model.merge_orders import ALL, MergeOrder, UndoOrder
from backup_pipeline.operations import Site, merge, undo
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.recording import Recording
from backup_pipeline.vault.restores import Restores


class Moments:
    def __init__(self, how: str, wanted: str) -> None:
        self.how, self.wanted = how, wanted
        self.names: list[str] = []
        self.begun = self.over = False

    def reached(self, name: str) -> bool:
        if not self.begun or self.over:
            return False
        self.names.append(name)
        self.over = self.wanted in (name, str(len(self.names)))
        if self.over and self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return self.over


def _watch_vault(moments: Moments) -> None:
    put = LocalStore.put

    def watched(self: LocalStore, key: str, data: bytes | Path, *, overwrite: bool = False) -> None:
        name = Path(key).name if "/restores/" in key else "object"
        full = moments.how == "refuse" and moments.over
        if (moments.reached(f"before {name}") and moments.how == "refuse") or full:
            raise VaultError("the disk is full", remedy="make room")
        put(self, key, data, overwrite=overwrite)
        moments.reached(f"after {name}")

    LocalStore.put = watched  # type: ignore[method-assign]


def _watch_sqlite(moments: Moments) -> None:
    connect = sqlite3.connect

    def watched(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_trace_callback(lambda text: moments.reached(text.strip().partition(" ")[0]) and None)
        return connection

    sqlite3.connect = watched


def _watch_postgres(moments: Moments) -> None:
    wait, commit = psycopg.Connection.wait, psycopg.Connection.commit

    def cut(connection: psycopg.Connection[Any]) -> None:
        with psycopg.connect(os.environ["SHOP_URL"], autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))

    def watched(self: psycopg.Connection[Any], *arguments: Any, **options: Any) -> Any:
        if moments.reached("statement") and moments.how == "cut":
            cut(self)
        return wait(self, *arguments, **options)

    def committed(self: psycopg.Connection[Any]) -> None:
        if moments.reached("COMMIT") and moments.how == "cut":
            cut(self)
        commit(self)
        moments.reached("committed")

    psycopg.Connection.wait = watched  # type: ignore[method-assign]
    psycopg.Connection.commit = committed  # type: ignore[method-assign]


def _watch_record(moments: Moments) -> None:
    begin = Restores.begin

    @contextmanager
    def watched(self: Restores, *arguments: Any, **options: Any) -> Iterator[Recording]:
        with begin(self, *arguments, **options) as recording:
            moments.begun = True
            yield recording

    Restores.begin = watched  # type: ignore[method-assign]


def restore(site: Site) -> None:
    """The configuration does not name the shop, so that no backup is made before each restore."""
    merge.merge(site, MergeOrder("shop", to=os.environ["SHOP_URL"], update=ALL, delete=True))


def take_back(site: Site) -> None:
    undo.undo(site, UndoOrder("shop", to=os.environ["SHOP_URL"]))


def main(path: str, verb: str, how: str = "none", wanted: str = "") -> None:
    moments = Moments(how, wanted)
    for watch in (_watch_vault, _watch_sqlite, _watch_postgres, _watch_record):
        watch(moments)
    site = Site(config.load(Path(path)))
    try:
        if verb == "restore":
            restore(site)
        else:
            take_back(site)
    except BackupError as error:
        print(json.dumps({"moments": moments.names, "refused": str(error)}))
    else:
        print(json.dumps({"moments": moments.names, "refused": ""}))


if __name__ == "__main__":
    main(*sys.argv[1:])
