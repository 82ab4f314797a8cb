"""`init --add` for the second system, and what `init` finds of Django and of Rails' Active Storage."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from backup_pipeline import config
from backup_pipeline_tests.cli.conftest import Folder

BLOG = """
CREATE TABLE django_migrations (id INTEGER PRIMARY KEY, app varchar(255), name varchar(255), applied datetime);
CREATE TABLE django_session (session_key varchar(40) PRIMARY KEY, session_data text);
CREATE TABLE docs_document (id INTEGER PRIMARY KEY, title varchar(255), file varchar(100), file_hash varchar(40), preview_image_id integer);
CREATE TABLE users_profile (id INTEGER PRIMARY KEY, avatar varchar(200), image text);
INSERT INTO docs_document (title, file, file_hash) VALUES ('a', 'documents/a.pdf', '2c30107f74628388778498e2a19feba034e90c03');
INSERT INTO users_profile (avatar) VALUES (''), ('avatars/ann.png');
"""

MEDIA_ROOTS = {
    "path": 'BASE_DIR / "var" / "uploads"',
    "join": 'os.path.join(BASE_DIR, "var", "uploads")',
    "variable": 'env("MEDIA_ROOT", default=str(BASE_DIR / "var/uploads"))',
}


def database(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


def django_project(folder: Path, media_root: str) -> Folder:
    database(folder / "blog.db", BLOG)
    (folder / "site" / "settings").mkdir(parents=True)
    (folder / "site" / "settings" / "base.py").write_text(f"DEBUG = False\nMEDIA_ROOT = {media_root}\n")
    for name in ("documents/a.pdf", "avatars/ann.png"):
        path = folder / "var" / "uploads" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"content of a file")
    return Folder(folder, {})


@pytest.mark.parametrize("said", MEDIA_ROOTS)
def test_django_uploads_and_sessions_are_found(said: str, tmp_path: Path) -> None:
    folder = django_project(tmp_path, MEDIA_ROOTS[said])
    folder.good("init", "--database", "sqlite:///blog.db")
    text = (tmp_path / "backup.yaml").read_text()
    assert '# exclude: ["django_session"]' in text
    (tree,) = config.load(tmp_path / "backup.yaml", environ={}).system("blog").files.items()
    assert (tree[0], str(tree[1].path)) == ("media", "./var/uploads")
    assert set(tree[1].refs) == {"docs_document.file", "users_profile.avatar"}
    assert tree[1].refs["docs_document.file"].sha1 == "docs_document.file_hash"
    folder.good("doctor")
    made = folder.good("backup", "blog", "--no-record", "--json").data
    assert (made["backup"]["files"], made["findings"]) == (2, [])


def test_where_the_media_folder_is_not_found_its_columns_are_a_comment(tmp_path: Path) -> None:
    database(tmp_path / "blog.db", BLOG)
    folder = Folder(tmp_path, {})
    folder.good("init", "--database", "sqlite:///blog.db")
    text = (tmp_path / "backup.yaml").read_text()
    assert re.search(r'^    # +"docs_document.file": \{kind: path, sha1: ', text, re.MULTILINE)
    assert config.load(tmp_path / "backup.yaml", environ={}).system("blog").files == {}
    folder.good("backup", "blog", "--no-record")


def test_uploads_of_django_are_found_on_postgresql_as_well(pg_database: str, tmp_path: Path) -> None:
    with closing(psycopg2.connect(pg_database)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE django_migrations (id int, app text, name text); CREATE TABLE django_session (k text);"
            "CREATE TABLE docs_document (id int PRIMARY KEY, file varchar(100), icon text, title varchar(100))"
        )
    (tmp_path / "media").mkdir()
    Folder(tmp_path, {}).good("init", "--database", pg_database, "--system", "docs")
    files = config.load(tmp_path / "backup.yaml", environ={}).system("docs").files
    assert {name: set(tree.refs) for name, tree in files.items()} == {"media": {"docs_document.file"}}


KEY = "w8n3gq7e2k0zb1m4v6c5x9a8s7d6"


def test_active_storage_is_found_with_its_folders_of_two_letters(tmp_path: Path) -> None:
    database(
        tmp_path / "rails.db",
        "CREATE TABLE active_storage_blobs "
        "(id INTEGER PRIMARY KEY, key varchar NOT NULL, checksum varchar, byte_size bigint);"
        "INSERT INTO active_storage_blobs (key, checksum, byte_size) "
        f"VALUES ('{KEY}', 'pKr4BiZ4xnpbXL4dorKgRA==', 12)",
    )
    blob = tmp_path / "storage" / KEY[:2] / KEY[2:4] / KEY
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"a photograph")
    folder = Folder(tmp_path, {})
    folder.good("init", "--database", "sqlite:///rails.db")
    files = config.load(tmp_path / "backup.yaml", environ={}).system("rails").files
    assert str(files["storage"].path) == "./storage"
    folder.good("backup", "rails", "--no-record")
    assert folder.good("verify", "rails", "--json").data["report"]["findings"] == []
    blob.unlink()
    folder.run("backup", "rails", "--no-record")
    ended = folder.run("verify", "rails")
    assert ended.code != 0
    assert KEY in ended.stdout


SHOP = """\
# What this company backs up.
vault: ./vault

systems:
  # The shop; ask Ann before you change it.
  shop:
    database: sqlite:///shop.db   # three rows
    schedule: "0 2 * * *"
    # fresh_within: 36h

# Nobody reads mail at night.
timezone: Europe/Berlin
"""


def test_a_second_system_is_added_and_every_line_that_was_there_stays(tmp_path: Path) -> None:
    database(tmp_path / "shop.db", "CREATE TABLE t (id INTEGER PRIMARY KEY)")
    folder = django_project(tmp_path, MEDIA_ROOTS["path"])
    path = tmp_path / "backup.yaml"
    path.write_text(SHOP)
    path.chmod(0o640)
    ended = folder.good("init", "--add", "--database", "sqlite:///blog.db")
    assert f"added system blog to {path}" in ended.stdout
    text = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o640
    head, tail = SHOP.partition("\n# Nobody")[0], "\n# Nobody" + SHOP.partition("\n# Nobody")[2]
    assert text.startswith(head + "\n  blog:\n")
    assert text.endswith(tail)
    # What was said of the shop stays with the shop, what follows the systems stays behind them.
    assert text.index("# fresh_within: 36h") < text.index("  blog:") < text.index("# Nobody reads mail")
    settings = config.load(path, environ={})
    assert list(settings.systems) == ["shop", "blog"]
    assert settings.timezone == "Europe/Berlin"
    assert set(settings.system("blog").files["media"].refs) == {"docs_document.file", "users_profile.avatar"}
    folder.good("backup", "shop", "--no-record")
    folder.good("backup", "blog", "--no-record")

    again = folder.run("init", "--add", "--database", "sqlite:///blog.db")
    assert "has a system blog already" in again.stderr
    folder.good("init", "--add", "--database", "sqlite:///blog.db", "--system", "blog2")
    assert list(config.load(path, environ={}).systems) == ["shop", "blog", "blog2"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "vault: v\nsystems: {shop: {database: 'sqlite:///shop.db'}}\n",
            "no `systems:` with a line of its own",
        ),
        ("vault: v\n", "no `systems:` with a line of its own"),
        ("a: [\n", "is no YAML"),
        (None, "cannot read"),
    ],
)
def test_what_cannot_be_added_to_is_left_as_it_is(text: str | None, said: str, tmp_path: Path) -> None:
    database(tmp_path / "blog.db", BLOG)
    path = tmp_path / "backup.yaml"
    if text is not None:
        path.write_text(text)
    ended = Folder(tmp_path, {}).run("init", "--add", "--database", "sqlite:///blog.db")
    assert ended.code == 2
    assert said in ended.stderr
    assert not path.exists() if text is None else path.read_text() == text
    assert (
        Folder(tmp_path, {}).run("init", "--add", "--vault", "v", "--database", "sqlite:///blog.db").code == 2
    )


def test_a_file_whose_last_line_does_not_end_and_that_is_indented_otherwise(tmp_path: Path) -> None:
    database(tmp_path / "blog.db", BLOG)
    path = tmp_path / "backup.yaml"
    path.write_text("vault: ./vault\nsystems:\n      shop:\n            database: sqlite:///shop.db")
    Folder(tmp_path, {}).good("init", "--add", "--database", "sqlite:///blog.db")
    assert list(config.load(path, environ={}).systems) == ["shop", "blog"]
