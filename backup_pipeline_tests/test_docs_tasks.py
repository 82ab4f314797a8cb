"""The commands of each page in docs/tasks/ run, and print the lines that the page shows.

A ```yaml block is added to backup.yaml. In a ```console block a line with `$ ` runs, and the lines below it must be in
the output, where `…` stands for any text. A ```python block runs as a script. `STANDS_FOR` replaces the addresses.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline_tests.harness import commands
from backup_pipeline_tests.harness.listening import Hook
from backup_pipeline_tests.harness.stores import S3Server
from backup_pipeline_tests.test_architecture import PACKAGE

TASKS = PACKAGE.parent / "docs" / "tasks"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ROWS = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, image TEXT);
CREATE TABLE orders (
    id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers (id), total INTEGER
);
INSERT INTO customers (name) VALUES ('Ann'), ('Bob');
INSERT INTO products (name, image) VALUES ('mug', 'products/mug.jpg'), ('pen', 'products/pen.jpg');
INSERT INTO orders (customer_id, total) VALUES (1, 10), (2, 20), (2, 30);
"""
CONFIG: dict[str, Any] = {
    "vault": "./vault",
    "copies": {"offsite": {"url": "./offsite"}},
    "systems": {
        "shop": {
            "database": "sqlite:///shop.db",
            "schedule": "0 2 * * *",
            "files": {"media": {"path": "./media", "refs": {"products.image": "path"}}},
        }
    },
}


class Reader:
    """A person with a shop, who types the commands of a page."""

    def __init__(self, folder: Path, stands_for: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.stands_for = stands_for or {}

    def configure(self, more: dict[str, Any]) -> None:
        file = self.folder / "backup.yaml"
        settings = yaml.safe_load(file.read_text()) if file.exists() else {}
        for key, value in more.items():
            settings[key] = {**settings.get(key, {}), **value} if isinstance(value, dict) else value
        file.write_text(yaml.safe_dump(settings))

    def type(self, line: str) -> commands.Ended:
        words = shlex.split(line, comments=True)
        if words[0] == "backup-pipeline" and not {">", "|", "&&"} & set(words):
            return commands.invoke(*words[1:], cwd=self.folder)
        program = f"{shlex.quote(sys.executable)} -c {shlex.quote(commands.PROGRAM[2])}"
        script = re.sub(r"^backup-pipeline ", lambda _: f"{program} ", line)
        done = subprocess.run(
            ["/bin/sh", "-c", script],
            cwd=self.folder,
            env=commands.environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return commands.Ended(done.returncode, done.stdout, done.stderr)

    def follow(self, page: Path) -> None:
        for kind, block in BLOCK.findall(page.read_text(encoding="utf-8")):
            if (key := self.folder / "new-key.txt").exists():
                self.stands_for["age1…"] = re.findall(r"age1\w{58}", key.read_text())[0]
            for shown, real in self.stands_for.items():
                block = block.replace(shown, real)
            if kind == "yaml":
                self.configure(yaml.safe_load(block))
            elif kind == "python":
                self.python(block)
            else:
                assert kind == "console", f"{page.name}: a block of {kind}"
                for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                    self.step(*step.partition("\n")[::2])

    def step(self, line: str, shown: str) -> None:
        ended = self.type(line)
        assert ended.code == 0, f"$ {line}\n{ended}"
        texts = [re.escape(text) for text in re.split(r"[…\n]+", shown) if text.strip()]
        assert re.search(".*".join(texts), ended.stdout + ended.stderr, re.DOTALL), f"$ {line}\n{ended}"

    def python(self, script: str) -> None:
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=self.folder,
            env=commands.environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def open_shop(folder: Path) -> Reader:
    (folder / "media" / "products").mkdir(parents=True)
    for name in ("mug", "pen"):
        (folder / "media" / "products" / f"{name}.jpg").write_text(name)
    with closing(sqlite3.connect(folder / "shop.db")) as connection:
        connection.executescript(ROWS)
    reader = Reader(folder)
    reader.configure(CONFIG)
    return reader


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop with one backup and one copy. Each page gets its own copy of the folder."""
    folder = tmp_path_factory.mktemp("kept") / "shop"
    reader = open_shop(folder)
    assert reader.type("backup-pipeline backup shop --no-record").code == 0
    return folder


@pytest.fixture
def reader(kept: Path, tmp_path: Path) -> Reader:
    shutil.copytree(kept, tmp_path / "shop", symlinks=True)
    return Reader(tmp_path / "shop")


ELSEWHERE = {"another-server", "move-to-a-bucket", "rotate-a-key", "alerts"}
LOCAL = sorted(page.stem for page in TASKS.glob("*.md") if page.stem not in ELSEWHERE)


@pytest.mark.parametrize("page", LOCAL)
def test_the_commands_of_a_page_run(page: str, reader: Reader) -> None:
    reader.follow(TASKS / f"{page}.md")


def test_alerts_arrive_at_their_address(reader: Reader, hook: Hook) -> None:
    reader.stands_for = {"json://localhost:8025/hook": hook.address}
    reader.follow(TASKS / "alerts.md")
    assert hook.bodies


def test_a_bucket_takes_the_copies(reader: Reader, moto_server: S3Server) -> None:
    store = yaml.safe_load(moto_server.yaml())
    flow = ", ".join(f"{key}: {value}" for key, value in store.items())
    reader.stands_for = {"acme-backups": moto_server.make_bucket(), "region: eu-central-1": flow}
    reader.follow(TASKS / "move-to-a-bucket.md")


def test_a_key_is_rotated(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    reader = open_shop(tmp_path / "shop")
    made = reader.type("backup-pipeline keygen --out backup-key.txt")
    old = re.findall(r"age1\w{58}", str(made))[0]
    reader.configure({"encryption": {"recipients": [old], "identity": "${file:backup-key.txt}"}})
    assert reader.type("backup-pipeline backup shop --no-record").code == 0
    reader.follow(TASKS / "rotate-a-key.md")


def test_a_database_moves_to_another_server(
    tmp_path: Path, pg_database: str, pg_server: EmbeddedPostgres
) -> None:
    import psycopg2

    with closing(psycopg2.connect(pg_database)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(ROWS.replace("INTEGER PRIMARY KEY", "serial PRIMARY KEY"))
    (tmp_path / "shop").mkdir()
    reader = Reader(tmp_path / "shop")
    reader.configure({"vault": "./vault", "systems": {"shop": {"database": pg_database}}})
    name = f"{pg_database.rpartition('/')[2].partition('?')[0]}_moved"
    reader.stands_for = {"postgresql://postgres@new.example.org/shop": pg_server.url(name)}
    try:
        reader.follow(TASKS / "another-server.md")
    finally:
        pg_server.drop_database(name)


def test_every_page_is_in_the_index_and_has_its_remedies() -> None:
    index = (TASKS.parent / "README.md").read_text(encoding="utf-8")
    for page in TASKS.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        assert f"(tasks/{page.name})" in index, page.name
        assert 0 < text.find("\n```") < text.find("\n## What can go wrong\n"), page.name
