"""`backup --all`: one line of cron for every system, of which none waits for another one's trouble."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from backup_pipeline.errors import SourceError
from backup_pipeline.operations import Site
from backup_pipeline.state import acts
from backup_pipeline_tests.cli.conftest import Folder

NAMES = ("blog", "gone", "shop")


@pytest.fixture
def three(tmp_path: Path) -> Folder:
    """The database of the second one is not there."""
    for name in ("blog", "shop"):
        with closing(sqlite3.connect(tmp_path / f"{name}.db")) as connection:
            connection.executescript(
                "CREATE TABLE t (id INTEGER PRIMARY KEY, file TEXT); INSERT INTO t (file) VALUES ('a.txt')"
            )
    lines = [f"  {name}: {{database: 'sqlite:///{name}.db'}}" for name in NAMES]
    (tmp_path / "backup.yaml").write_text("\n".join(["vault: ./vault", "systems:", *lines, ""]))
    return Folder(tmp_path, {})


def test_without_a_system_they_are_named(three: Folder) -> None:
    ended = three.run("backup")
    assert ended.code == 2
    assert "which system? The configuration has blog, gone, shop" in ended.stderr
    assert "--all" in ended.stderr
    assert three.run("backup", "--all", "shop").code == 2
    assert three.run("backup", "--all", "--only", "t").code == 2
    assert not (three.path / "vault").exists()


@pytest.mark.parametrize("recorded", [False, True])
def test_all_are_backed_up_and_the_worst_is_the_exit_code(three: Folder, *, recorded: bool) -> None:
    how = () if recorded else ("--no-record",)
    ended = three.run("backup", "--all", "--json", *how)
    assert ended.code == SourceError.exit_code
    document = ended.document
    assert document["error"]["message"].startswith("1 of 3 backups did not go well: gone: there is no file")
    told = document["data"]
    assert [(one["system"], one["ok"]) for one in told] == [("blog", True), ("gone", False), ("shop", True)]
    assert told[1]["error"]["code"] == "source"
    assert [line["id"] for line in three.good("list", "--json").data["backups"]] == [
        told[0]["data"]["backup"]["id"],
        told[2]["data"]["backup"]["id"],
    ]
    site = Site.load(three.path / "backup.yaml")
    noted = [(act.system, act.ok) for act in acts.of(site.settings) if act.verb == "backup"]
    assert noted == [("blog", True), ("gone", False), ("shop", True)]


def test_quiet_tells_of_the_bad_ones_only_and_of_nothing_when_all_are_good(three: Folder) -> None:
    ended = three.run("backup", "--all", "--quiet", "--no-record")
    assert ended.code == SourceError.exit_code
    assert "NO BACKUP source: there is no file" in ended.stdout
    assert "shop 20" not in ended.stdout
    text = (three.path / "backup.yaml").read_text()
    (three.path / "backup.yaml").write_text(text.replace("  gone: {database: 'sqlite:///gone.db'}\n", ""))
    ended = three.good("backup", "--all", "--quiet", "--no-record")
    assert (ended.stdout, ended.stderr) == ("", "")


def test_a_backup_that_is_made_and_bad_is_not_good_and_one_that_is_not_made_is_worse(three: Folder) -> None:
    (three.path / "media").mkdir()
    text = (three.path / "backup.yaml").read_text()
    bad = "  shop: {database: 'sqlite:///shop.db', files: {media: {path: ./media}}}"
    text = text.replace("  shop: {database: 'sqlite:///shop.db'}", bad)
    (three.path / "backup.yaml").write_text(text)
    (three.path / "media" / "a.txt").write_text("x")
    three.run("backup", "--all", "--no-record")
    (three.path / "media" / "a.txt").unlink()
    assert three.run("backup", "--all", "--no-record").code == SourceError.exit_code
    (three.path / "backup.yaml").write_text(text.replace("  gone: {database: 'sqlite:///gone.db'}\n", ""))
    ended = three.run("backup", "--all", "--no-record", "--json")
    assert ended.code not in (0, SourceError.exit_code)
    assert [one["ok"] for one in ended.document["data"]] == [True, False]
    assert ended.document["data"][1]["data"]["backup"]["id"]
