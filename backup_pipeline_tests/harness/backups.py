"""Backups for tests of what comes after: made by the real sources, of databases that are gone afterwards or not."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from backup_pipeline.backups.making import Order, back_up
from backup_pipeline.databases.engines import open_source
from backup_pipeline.databases.postgres.export.session import session_settings
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.model.ids import backup_id, moment_of
from backup_pipeline.model.manifest import DdlSection, Manifest
from backup_pipeline.model.selection import Selection
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.backup import Backup
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.harness.torture_postgres import torture_sql


@dataclass(frozen=True)
class Backed:
    """A source, and a backup of it."""

    url: str
    folder: Path
    vault: Vault
    manifest: Manifest

    @property
    def backup(self) -> Backup:
        return self.vault.backup_of(self.manifest)

    def with_sql(self, section: str, more: str) -> Manifest:
        """The same backup, with something appended to its definitions. (Not committed: nothing lists it.)"""
        sections = []
        for found in self.manifest.ddl:
            if found.name == section:
                text = self.vault.content(found.object) + b"\n" + more.encode()
                found = DdlSection(section, self.vault.writer.write_bytes(text, ".sql.zst"), found.made_by)
            sections.append(found)
        return replace(self.manifest, ddl=tuple(sections))

    def without_sql(self, section: str, begin: str) -> Manifest:
        """The same backup, without the statement that begins so."""
        sections = []
        for found in self.manifest.ddl:
            if found.name == section:
                text = self.vault.content(found.object).decode()
                assert begin in text
                text = re.sub(rf"(?ms)^{re.escape(begin)}.*?;$", "", text)
                found = DdlSection(
                    section, self.vault.writer.write_bytes(text.encode(), ".sql.zst"), found.made_by
                )
            sections.append(found)
        return replace(self.manifest, ddl=tuple(sections))


def backed_up(url: str, folder: Path, *, selection: Selection | None = None) -> Backed:
    vault = Vault(LocalStore(folder))
    order = Order("shop", selection=selection or Selection())
    manifest = back_up(vault, open_source(url), order)
    assert backup_id(moment_of(manifest.id)) == manifest.id
    return Backed(url, folder, vault, manifest)


def run_sql(url: str, script: str) -> None:
    with psycopg.connect(url, autocommit=True, client_encoding="UTF8") as connection:
        connection.execute(script.encode())


def ask(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True, client_encoding="UTF8") as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.fixture(scope="session")
def torture(pg_major_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backed]:
    """The torture database of the oldest and of the newest major version, and a backup of it. Do not change it."""
    name = f"torture_{pg_major_server.major}"
    url = pg_major_server.create_database(name)
    run_sql(url, torture_sql(pg_major_server.major))
    yield backed_up(url, tmp_path_factory.mktemp(name) / "vault")
    pg_major_server.drop_database(name)


def schema_of(server: EmbeddedPostgres, url: str) -> str:
    """`pg_dump --schema-only`, without the lines that are random."""
    argv = [str(server.bin_dir / "pg_dump"), "--schema-only", f"--dbname={url}"]
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LC_ALL": "C", "PGCLIENTENCODING": "UTF8"},
    )
    return re.sub(r"(?m)^\\(un)?restrict .*$", "", done.stdout)


def rows_of(url: str) -> dict[str, list[bytes]]:
    """Every row of every table as text, sorted; and the state of every sequence."""
    found: dict[str, list[bytes]] = {}
    with psycopg.connect(url, autocommit=True) as connection:
        for name, value in session_settings(connection.info.server_version).items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        names = connection.execute(
            "SELECT n.nspname, c.relname, c.relkind FROM pg_catalog.pg_class c"
            " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'm', 'S') AND c.relispopulated"
        ).fetchall()
        for schema, name, kind in names:
            columns = sql.SQL("last_value, is_called" if kind == "S" else "*")
            query = sql.SQL("COPY (SELECT {} FROM ONLY {}) TO STDOUT").format(
                columns, sql.Identifier(schema, name)
            )
            with connection.cursor().copy(query) as copy:
                found[f"{schema}.{name}"] = sorted(b"".join(copy).splitlines(keepends=True))
    return found
