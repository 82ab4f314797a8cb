"""Writes one golden vault: `python -m backup_pipeline_tests.golden.make format-1-files`. Refuses to write over one.

`format-1` holds databases only and is as old as the format; one with `files` in its name holds file trees, too, and one with
`encrypted` is encrypted; one with `restores` holds records of restores. The key of that one lies beside it: it opens nothing else, and never did.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import tempfile
from pathlib import Path

import psycopg

from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.model.merge_orders import MergeOrder, UndoOrder
from backup_pipeline.model.orders import BackupOrder, DrillOrder
from backup_pipeline.operations import Site
from backup_pipeline.operations.backup import backup
from backup_pipeline.operations.drill import drill
from backup_pipeline.operations.merge import merge
from backup_pipeline.operations.undo import undo
from backup_pipeline.vault import crypto
from backup_pipeline.vault.restores import Restores

HERE = Path(__file__).parent
KEY = "key-of-this-vault.txt"

POSTGRES = r"""
CREATE TYPE mood AS ENUM ('ok', 'it''s fine', 'back\slash');
CREATE TABLE people (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, born date, feeling mood,
    balance numeric(12, 2), tags text[], extra jsonb, photo bytea, seen timestamptz,
    upper_name text GENERATED ALWAYS AS (upper(name)) STORED
);
INSERT INTO people (name, born, feeling, balance, tags, extra, photo, seen) VALUES
    ('Ada', '1815-12-10', 'ok', 12.50, '{a,"b c",NULL}', '{"k": [1, 2]}', '\x00ff', '2026-11-21 02:00:00+00'),
    (E'tab\there\nline\\.\n', NULL, 'it''s fine', NULL, '{{1,2},{3,4}}', NULL, '', 'infinity'),
    (E'\\N', '0044-03-15 BC', 'back\slash', 'NaN', '{}', '"\\N"', NULL, '-infinity');
CREATE TABLE "odd ""name"", ü" (person bigint REFERENCES people, "select" real, PRIMARY KEY (person));
INSERT INTO "odd ""name"", ü" VALUES (1, 1.5), (2, 'NaN'), (3, '-Infinity');
CREATE TABLE nothing_in_it (id serial PRIMARY KEY);
CREATE TABLE no_columns ();
INSERT INTO no_columns DEFAULT VALUES;
CREATE TABLE measured (at date NOT NULL, value int) PARTITION BY RANGE (at);
CREATE TABLE measured_2026 PARTITION OF measured FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO measured VALUES ('2026-05-01', 5), ('2026-06-01', 6);
CREATE VIEW rich AS SELECT name FROM people WHERE balance > 10;
"""

SQLITE = """
CREATE TABLE people (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, anything);
INSERT INTO people (name, anything) VALUES ('Ada', 1), ('Grace', 1.0), ('tab	here', '1'), (NULL, x'00ff');
CREATE TABLE pairs (a TEXT, b INTEGER, PRIMARY KEY (a, b)) WITHOUT ROWID;
INSERT INTO pairs VALUES ('x', 1), ('x', 2);
CREATE TABLE notes (person INTEGER REFERENCES people, note TEXT);
INSERT INTO notes VALUES (1, 'first'), (1, 'second');
"""


def main() -> None:
    target = HERE / sys.argv[1]
    if target.exists():
        sys.exit(f"{target} is there, and a golden vault is never written again")
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres.create() as server:
        url = server.create_database("golden")
        with psycopg.connect(url) as connection:
            connection.execute(POSTGRES.encode())
        file = Path(folder) / "app.sqlite3"
        with sqlite3.connect(file) as live:
            live.executescript(SQLITE)
        live.close()
        trees, keys = "", ""
        if "files" in target.name or "encrypted" in target.name:
            _make_tree(Path(folder) / "media")
            trees = f"    files: {{media: {{path: {folder}/media}}}}\n"
        if "encrypted" in target.name:
            key, public = crypto.generate()
            target.mkdir()
            (target / KEY).write_text(f"# Opens the golden vault beside it, and nothing else.\n{key}")
            keys = f"encryption: {{recipients: [{public}], identity: '${{file:{target / KEY}}}'}}\n"
        config = Path(folder) / "backup.yaml"
        config.write_text(
            f"vault: {target}/vault\n{keys}systems:\n"
            f"  app:\n    database: sqlite:///{file}\n{trees}"
            f"  shop:\n    database: {url}\n{trees}",
            encoding="utf-8",
        )
        site = Site.load(config)
        for system in site.systems:
            backup(site, BackupOrder(system))
            _one_more_row(system, url, file)
            backup(site, BackupOrder(system))
            drill(site, DrillOrder(system))
            if "restores" in target.name:
                _restore(site, system, url, file)
        for system in site.systems:
            (target / f"{system}.json").write_text(
                json.dumps(expected(site, system), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )
            if "restores" in target.name:
                text = json.dumps(touched(site, system), indent=1, ensure_ascii=False) + "\n"
                (target / f"{system}.restores.json").write_text(text, encoding="utf-8")
            if trees:
                text = json.dumps(listed(site, system), indent=1) + "\n"
                (target / f"{system}.files.json").write_text(text, encoding="utf-8")


def _make_tree(root: Path) -> None:
    (root / "deep" / "er").mkdir(parents=True)
    (root / "empty folder").mkdir(mode=0o750)
    (root / "text.txt").write_text("a line\n" * 1000)
    (root / "deep" / "er" / "same.txt").write_text("a line\n" * 1000)
    (root / "nothing").touch()
    (root / "ünï 日本.bin").write_bytes(bytes(range(256)) * 40)
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "link").symlink_to("deep/er/same.txt")
    (root / "hard").hardlink_to(root / "text.txt")
    Path(os.fsdecode(os.fsencode(root) + b"/not-utf8-\xff")).write_bytes(b"odd name")
    with (root / "big.sqlite3").open("wb") as file:
        file.seek(65 * 2**20)
        file.write(b"sparse but for this")


def _one_more_row(system: str, url: str, file: Path) -> None:
    statement = "INSERT INTO people (name) VALUES ('Katherine')"
    if system == "shop":
        with psycopg.connect(url) as connection:
            connection.execute(statement.encode())
        return
    with sqlite3.connect(file) as live:
        live.execute(statement)
    live.close()


def _restore(site: Site, system: str, url: str, file: Path) -> None:
    """A row is lost and another one is spoilt; both come back, and that is undone."""
    wrong = "DELETE FROM people WHERE name = 'Katherine'", "UPDATE people SET name = 'wrong' WHERE id = 1"
    if system == "shop":
        with psycopg.connect(url) as connection:
            for statement in wrong:
                connection.execute(statement.encode())
    else:
        with sqlite3.connect(file) as live:
            for statement in wrong:
                live.execute(statement)
        live.close()
    made = merge(site, MergeOrder(system, live=True, only=["people"], update="all"))
    assert made.restore_id, made
    assert undo(site, UndoOrder(system)).restore_id


def touched(site: Site, system: str) -> dict[str, list[list[str]]]:
    """Restore → the rows that it touched: table, side, rows."""
    return {
        one.id: [
            [image.table, image.which, b"".join(one.rows(image)).decode()] for image in one.prepared.images
        ]
        for one in Restores(site.vault, system).all()
    }


def listed(site: Site, system: str) -> dict[str, list[list[str]]]:
    """Backup → the entries of its tree: path, type, mode, length, digest, target."""
    found: dict[str, list[list[str]]] = {}
    for identifier in site.vault.ids(system):
        manifest = site.vault.backup(system, identifier).manifest
        found[identifier] = [
            [
                ascii(entry.path),
                entry.type,
                oct(entry.mode or 0),
                str(entry.size),
                entry.sha256,
                ascii(entry.target),
            ]
            for tree in manifest.files
            for entry in site.vault.listing(tree)
        ]
    return found


def expected(site: Site, system: str) -> dict[str, dict[str, list[list[str]]]]:
    """Backup → table → rows, as text."""
    from backup_pipeline.reading import rows_of

    found: dict[str, dict[str, list[list[str]]]] = {}
    for identifier in site.vault.ids(system):
        manifest = site.vault.backup(system, identifier).manifest
        found[identifier] = {
            str(table.id): [
                [repr(value) for value in row]
                for row in rows_of(
                    site.vault.backup_of(manifest), f'"{table.schema}"."{_quoted(table.name)}"'
                )
            ]
            for table in manifest.tables
        }
    return found


def _quoted(name: str) -> str:
    return name.replace('"', '""')


if __name__ == "__main__":
    main()
