"""The commands around files: where they go, what is asked before anything is written, and drills of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from backup_pipeline.model.ids import backup_id, moment_of
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.cli.conftest import Folder
from backup_pipeline_tests.harness.commands import PROGRAM
from backup_pipeline_tests.harness.handmade_files import state_of, tree_of_folder

SETTINGS = """\
    files:
      media: {path: ./media, refs: {%s: path}}
"""


def with_files(shop: Folder, refs: str = "customers.name", *, size: int = 3000) -> str:
    """A backup with a file tree in it; its id. The files are called as the customers are."""
    media = shop.path / "media"
    (media / "sub").mkdir(parents=True, exist_ok=True)
    for name in ("Ann", "Bob", "sub/other"):
        (media / name).write_bytes(os.urandom(size))
    (media / "link").symlink_to("sub/other")
    config = shop.path / "backup.yaml"
    config.write_text(config.read_text() + SETTINGS % refs)
    identifier = shop.backup()
    vault = Vault(LocalStore(shop.path / "vault"))
    manifest = vault.backup("shop", identifier).manifest
    if not manifest.files:
        later = backup_id(moment_of(identifier).replace(microsecond=0)).replace("-000Z", "-999Z")
        later = max(later, identifier[:-4] + "999Z")
        made = replace(
            manifest,
            id=later,
            files=(tree_of_folder(vault, media),),
            previous=vault.backup("shop", identifier).link,
        )
        text = (shop.path / "vault" / "shop" / identifier / "RECOVER.md").read_text()
        vault.commit(made, text)
        identifier = later
    return identifier


def test_files_are_restored_to_a_folder_and_a_second_run_has_nothing_to_do(shop: Folder) -> None:
    with_files(shop)
    ended = shop.good("restore", "shop", "--files", "media", "--to", "out")
    assert state_of(shop.path / "out") == state_of(shop.path / "media")
    assert "3 files" in ended.stdout
    again = shop.good("restore", "shop", "--files", "media", "--to", "out", "--json").data
    assert (again["files"], again["plan"]["trees"][0]["equal"]) == (0, 4)


def test_a_dry_run_writes_nothing(shop: Folder) -> None:
    with_files(shop)
    ended = shop.good("restore", "shop", "--files", "all", "--to", "out", "--dry-run")
    assert "nothing was written" in ended.stdout
    assert not (shop.path / "out").exists()


def test_database_and_files_in_one_command_and_neither_where_one_is_refused(shop: Folder) -> None:
    with_files(shop)
    shop.good("restore", "shop", "--to", "sqlite:///restored.db", "--files", "media", "--files-to", "out")
    assert (shop.path / "restored.db").exists()
    assert (shop.path / "out" / "Ann").exists()
    (shop.path / "out" / "Ann").write_text("changed")
    refused = shop.run(
        "restore", "shop", "--to", "sqlite:///other.db", "--files", "media", "--files-to", "out"
    )
    assert refused.code == 9
    assert "--overwrite" in refused.stderr
    assert not (shop.path / "other.db").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--to is missing"),
        (("--files", "media"), "where the files go"),
        (("--to", "out"), "--files TREE --to DIR"),
        (("--files", "media", "--to", "sqlite:///x.db"), "--files-to"),
        (("--to", "sqlite:///x.db", "--glob", "*"), "--glob is about files"),
        (("--to", "out", "--files", "media", "--overwrite", "--leave"), "not both"),
        (("--to", "out", "--files", "media", "--no-keep"), "--overwrite"),
        (("--to", "out", "--files", "videos"), "it holds: media"),
    ],
)
def test_what_makes_no_sense_is_said(shop: Folder, arguments: tuple[str, ...], said: str) -> None:
    with_files(shop)
    ended = shop.run("restore", "shop", *arguments)
    assert ended.code in (2, 3)
    assert said in ended.stderr
    assert not (shop.path / "out").exists()


def test_only_what_rows_name(shop: Folder) -> None:
    with_files(shop)
    shop.good("restore", "shop", "--files", "media", "--to", "out", "--only-referenced")
    assert sorted(path.name for path in (shop.path / "out").rglob("*")) == ["Ann", "Bob"]


@pytest.mark.parametrize("refs", ["nowhere.name", "customers.nothing"])
def test_only_what_rows_name_is_refused_where_a_column_cannot_be_asked(shop: Folder, refs: str) -> None:
    with_files(shop)
    config = shop.path / "backup.yaml"
    config.write_text(config.read_text().replace("customers.name", refs))
    ended = shop.run("restore", "shop", "--files", "media", "--to", "out", "--only-referenced")
    assert ended.code == 2
    assert refs in ended.stderr
    assert "--only-referenced" in ended.stderr
    assert not (shop.path / "out").exists()


def test_verify_and_drill_hold_rows_against_files(shop: Folder) -> None:
    with_files(shop)
    assert shop.good("verify", "shop", "--json").data["report"]["counted"]["file_values"] == 2
    drilled = shop.good("drill", "shop", "--no-record", "--json").data["report"]
    assert drilled["counted"]["files"] == 3
    assert drilled["counted"]["links"] == 1
    shop.good("drill", "shop", "--all-files")


def test_a_row_without_its_file_fails_verify_and_drill(shop: Folder) -> None:
    (shop.path / "media").mkdir()
    with_files(shop)
    config = shop.path / "backup.yaml"
    config.write_text(config.read_text().replace("customers.name", "customers.id"))
    ended = shop.run("verify", "shop")
    assert ended.code == 10
    assert "2 values of customers.id name files that are not in media" in ended.stdout
    assert shop.run("drill", "shop", "--no-record").code == 10


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ctrl_c_leaves_no_temporary_files_and_the_next_run_goes_on(shop: Folder) -> None:
    with_files(shop, size=8 << 20)
    argv = [*PROGRAM, "restore", "shop", "--files", "media", "--to", "out"]
    process = subprocess.Popen(argv, cwd=shop.path, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (shop.path / "out").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode in (0, 130)
    assert not list(Path(shop.path / "out").rglob(".*"))
    shop.good("restore", "shop", "--files", "media", "--to", "out")
    assert state_of(shop.path / "out") == state_of(shop.path / "media")


def test_the_doctor_names_references_of_tables_that_no_backup_holds(shop: Folder) -> None:
    (shop.path / "media").mkdir()
    config = shop.path / "backup.yaml"
    refs = "{customers.name: path, custommers.name: path, audit_log.line: path}"
    config.write_text(config.read_text() + f"    files: {{media: {{path: ./media, refs: {refs}}}}}\n")
    ended = shop.run("doctor", "shop")
    assert "the table custommers is not in the database" in ended.stdout
    assert "the table main.audit_log is left out of the backups" in ended.stdout
    assert "customers.name` of media: the table customers " not in ended.stdout
