"""What the configuration asks for and cannot be done is never taken for done: by doctor, backup, drill and status."""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from backup_pipeline_tests.cli.conftest import Folder
from backup_pipeline_tests.harness.engines import MakeSqliteFile

ROWS = """
CREATE TABLE doc (id INTEGER PRIMARY KEY, file TEXT, hash TEXT);
INSERT INTO doc (file) VALUES ('a.txt');
CREATE TABLE log (id INTEGER PRIMARY KEY, file TEXT);
"""


def configure(folder: Folder, **settings: Any) -> None:
    system = {"database": "sqlite:///app.db", **settings}
    document = {"vault": "./vault", "systems": {"app": system}}
    (folder.path / "backup.yaml").write_text(json.dumps(document))


@pytest.fixture
def app(sqlite_file: MakeSqliteFile) -> Folder:
    folder = Folder(sqlite_file("app.db", script=ROWS).parent, {})
    media: Path = folder.path / "media"
    media.mkdir()
    (media / "a.txt").write_text("a")
    return folder


def media(**settings: Any) -> dict[str, Any]:
    return {"media": {"path": "./media", **settings}}


def told(folder: Folder, *arguments: str) -> dict[str, dict[str, Any]]:
    """What a command says, under each name that it gives the outcome: code → finding."""
    document = folder.run(*arguments, "--json").document
    found: dict[str, dict[str, Any]] = {}

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            if {"code", "severity"} <= value.keys():
                found[value["code"]] = value
            for inner in value.values():
                collect(inner)
        elif isinstance(value, list):
            for inner in value:
                collect(inner)

    collect(document)
    return found


@pytest.mark.parametrize(
    ("refs", "code", "remedy"),
    [
        ({"doc.fiel": "path"}, "reference-without-column", "did you mean doc.file?"),
        ({"dco.file": "path"}, "reference-without-table", "did you mean doc.file?"),
        ({"doc.file": "path", "sha1": "doc.hsah"}, "reference-without-column", "did you mean doc.hash?"),
        ({"log.file": "path"}, "reference-without-table", "take it into the backups"),
    ],
)
def test_refs_that_cannot_be_checked_are_an_error_wherever_one_looks(
    app: Folder, refs: dict[str, str], code: str, remedy: str
) -> None:
    configure(app, files=media(refs=refs), exclude=["log"])
    assert app.run("doctor").code == 14
    said = told(app, "doctor")[code]
    assert said["severity"] == "error"
    assert remedy in said["remedy"]
    ended = app.run("backup", "app", "-q")
    assert ended.code == 10
    assert code in str(ended)
    kept = told(app, "show", "app")[code]
    assert (kept["severity"], kept["remedy"]) == ("error", said["remedy"])
    assert app.run("drill", "app").code == 10
    assert app.run("status").code == 13
    configure(app, files=media(refs={"doc.file": "path"}), exclude=["log"])
    app.good("doctor")
    app.good("backup", "app")
    app.good("drill", "app")
    for accepted in ("no-schedule", "no-alert-route"):
        app.good("ack", "app", accepted)
    app.good("status")


def test_refs_are_looked_for_in_postgres_as_well(pg_shop: Folder) -> None:
    (pg_shop.path / "media").mkdir()
    text = (pg_shop.path / "backup.yaml").read_text()
    files = "    files: {media: {path: ./media, refs: {orders.totl: path}}}\n"
    invariants = (
        "    invariants: {a: SELECT 1 FROM ordres, b: SELECT 1 WHERE 1 = 2, c: SELECT nmae FROM customers}\n"
    )
    (pg_shop.path / "backup.yaml").write_text(text + files + invariants)
    found = pg_shop.run("doctor", "--json").document["data"]["systems"]["shop"]["findings"]
    errors = {one["message"]: one for one in found if one["severity"] == "error"}
    assert sum("the invariant 'a' cannot be asked" in message for message in errors) == 1
    assert sum("the invariant 'c' cannot be asked" in message for message in errors) == 1
    assert len(errors) == 3
    (column,) = [one for one in errors.values() if one["code"] == "reference-without-column"]
    assert "did you mean orders.total?" in column["remedy"]
    with closing(psycopg2.connect(pg_shop.env["SHOP_URL"])) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM orders")
        assert cursor.fetchone() == (3,)


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"include": ["doc", "lgo"]}, "pattern-without-table"),
        ({"groups": {"main": ["doc", "lgo"]}}, "pattern-without-table"),
        ({"groups": {"main": ["doc", "files.meida"]}}, "pattern-without-tree"),
        ({"invariants": {"no orphan": "SELECT id FROM dco"}}, "invariant-fails"),
        ({"invariants": {"no orphan": "SELECT id FROM doc WHERE fiel IS NULL;"}}, "invariant-fails"),
        ({"files": media(include=["/a.txt", "/invoces/"])}, "name-without-file"),
        ({"files": {"some": {"paths": ["media/a.txt", ".env.exmaple"]}}}, "path-missing"),
    ],
)
def test_what_is_asked_for_and_is_not_there_is_an_error_of_doctor(
    app: Folder, settings: dict[str, Any], code: str
) -> None:
    configure(app, **settings)
    assert app.run("doctor").code == 14
    assert told(app, "doctor")[code]["severity"] == "error"


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"exclude": ["lgo"]}, "pattern-without-table"),
        ({"expected_empty": ["lgo"]}, "pattern-without-table"),
        ({"expected_empty": ["files.meida"]}, "pattern-without-tree"),
        ({"files": media(include=["a.txt", "*.dwg"])}, "pattern-without-file"),
    ],
)
def test_what_harms_nothing_is_a_warning_of_doctor(app: Folder, settings: dict[str, Any], code: str) -> None:
    configure(app, **settings)
    app.good("doctor")
    assert told(app, "doctor")[code]["severity"] == "warning"


@pytest.mark.parametrize(
    ("settings", "only", "code"),
    [
        ({"include": ["doc", "lgo"]}, (), "pattern-without-table"),
        ({"groups": {"main": ["doc", "lgo"]}}, ("--only", "main"), "pattern-without-table"),
        ({"files": media(include=["/a.txt", "/invoces/"])}, (), "name-without-file"),
        ({"files": {"some": {"paths": ["media/a.txt", ".env.exmaple"]}}}, (), "path-missing"),
    ],
)
def test_a_backup_that_lacks_what_was_asked_for_by_name_says_so(
    app: Folder, settings: dict[str, Any], only: tuple[str, ...], code: str
) -> None:
    configure(app, **settings)
    assert app.run("backup", "app", *only).code == 10
    (made,) = (path.parent.name for path in (app.path / "vault" / "app").glob("*/manifest.json"))
    kept = {one["code"]: one["severity"] for one in told(app, "show", "app", made).values()}
    assert kept[code] == "error"


def test_digests_of_rows_are_held_against_files_that_were_stored_before_anybody_asked(app: Folder) -> None:
    """Wagtail's `file_hash` is a SHA-1 in hexadecimal, Active Storage's `checksum` an MD5 in base64."""
    big = b"b" * (17 << 20)
    (app.path / "media" / "big.bin").write_bytes(big)
    (app.path / "media" / "link.txt").hardlink_to(app.path / "media" / "a.txt")
    rows = [
        ("a.txt", hashlib.sha1(b"a").hexdigest()),
        ("big.bin", hashlib.sha1(big).hexdigest()),
        ("link.txt", hashlib.sha1(b"a").hexdigest()),
    ]
    with closing(sqlite3.connect(app.path / "app.db")) as connection, connection:
        connection.execute("DELETE FROM doc")
        connection.executemany("INSERT INTO doc (file, hash) VALUES (?, ?)", rows)
    configure(app, files=media(refs={"doc.file": "path"}))
    app.good("backup", "app")
    configure(app, files=media(refs={"doc.file": "path", "sha1": "doc.hash"}))
    assert told(app, "verify", "app")["file-digest-unknown"]["severity"] == "warning"
    stored = sum(path.stat().st_size for path in (app.path / "vault" / "objects").rglob("*.*"))
    app.good("backup", "app")
    grown = sum(path.stat().st_size for path in (app.path / "vault" / "objects").rglob("*.*")) - stored
    assert grown < 1 << 20, "the files were read once more, and not stored once more"
    assert not {"file-digest-unknown", "file-content-differs"} & told(app, "verify", "app").keys()
    with closing(sqlite3.connect(app.path / "app.db")) as connection, connection:
        md5 = base64.b64encode(hashlib.md5(b"other").digest()).decode()
        connection.execute("UPDATE doc SET hash = ? WHERE file = 'a.txt'", [md5])
        md5 = base64.b64encode(hashlib.md5(big).digest()).decode()
        connection.execute("UPDATE doc SET hash = ? WHERE file = 'big.bin'", [md5])
        connection.execute("DELETE FROM doc WHERE file = 'link.txt'")
    configure(app, files=media(refs={"doc.file": "path", "md5": "doc.hash"}))
    app.run("backup", "app")
    (example,) = told(app, "verify", "app")["file-content-differs"]["examples"]
    assert example.startswith("(id) = (")
    assert "a.txt is " in example
