"""What `inventory` says of a SQLite file: sizes and rows as they are, or that they are not known."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from backup_pipeline_tests.harness import commands
from backup_pipeline_tests.harness.sqlite_rows import connect


def test_an_inventory_of_a_full_text_index_says_nothing_absurd(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "app.db")) as connection:
        connection.executescript(
            """CREATE TABLE pages (id INTEGER PRIMARY KEY, body TEXT);
            INSERT INTO pages VALUES (1, 'a'), (2, 'b');
            CREATE VIRTUAL TABLE found USING fts5 (body);
            INSERT INTO found VALUES ('a'), ('b'), ('c');"""
        )
    (tmp_path / "backup.yaml").write_text("vault: ./vault\nsystems:\n  app: {database: 'sqlite:///app.db'}\n")
    ended = commands.invoke("inventory", "app", cwd=tmp_path)
    assert ended.code == 0, str(ended)
    lines = {line.split()[0]: line.split()[3:] for line in ended.stdout.splitlines() if "main." in line}
    assert lines["main.pages"] == ["2", "4.0", "KiB"]
    assert lines["main.found"] == ["–", "–"]
    assert lines["main.found_data"] == ["–", "4.0", "KiB"]
    assert "0 B" not in ended.stdout
