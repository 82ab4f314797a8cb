"""File trees in an encrypted vault: made without the key, brought back with it, and under a new one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from backup_pipeline.model.orders import BackupOrder
from backup_pipeline.operations import Site
from backup_pipeline.operations.backup import commit, export
from backup_pipeline.operations.trees import export_tree
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.crypto import Given, Keys, identities_in
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.cli.test_keys import configure, home, keygen, run
from backup_pipeline_tests.harness.encrypted import change, make_shop
from backup_pipeline_tests.harness.handmade_files import state_of

__all__ = ["home"]

NAMES = ("wallaby", "bilby", "numbat")


def make_tree(home: Path, size: int) -> Path:
    media = home / "media"
    (media / "wallaby").mkdir(parents=True)
    (media / "wallaby" / "bilby.bin").write_bytes(os.urandom(300_000))
    (media / "numbat.txt").write_text("numbat " * 50_000)
    (media / "link").symlink_to("wallaby/bilby.bin")
    # Large (then) and mutable: kept as blocks, whose objects stand in the listing.
    (media / "vectors.db").write_bytes(os.urandom(size))
    return media


def with_tree(config: str) -> str:
    path = Path(config)
    path.write_text(path.read_text() + "    files:\n      media: {path: ./media}\n")
    return config


def stored(home: Path) -> int:
    return sum(path.stat().st_size for path in (home / "vault" / "objects").rglob("*") if path.is_file())


@pytest.mark.parametrize("size", [2**20, pytest.param(66 * 2**20, marks=pytest.mark.slow)])
def test_a_tree_is_backed_up_without_the_key_and_restored_with_it(
    home: Path, capsys: pytest.CaptureFixture[str], size: int
) -> None:
    url = make_shop(home / "shop.db", rows=500)
    media = make_tree(home, size)
    key, new = keygen(capsys, "--out", "key.txt"), keygen(capsys, "--out", "new.txt")
    host = with_tree(configure(home, key["recipient"], None))
    code, _, err = run(capsys, "backup", "shop", "--config", host)
    assert code == 0, err
    before = stored(home)
    with (media / "vectors.db").open("r+b") as file:
        file.seek(size // 2)
        file.write(os.urandom(4096))
    (media / "new.txt").write_text("one more")
    change(url)
    code, _, err = run(capsys, "backup", "shop", "--config", host)
    assert code == 0, err
    assert stored(home) - before < 3.2 * 2**20, "what did not change is not stored again"
    for path in (home / "vault").rglob("*"):
        if path.is_file() and path.name != "FORMAT.md":
            data = path.read_bytes() if path.stat().st_size < 2**20 else b""
            assert not any(name.encode() in data for name in NAMES), path

    owner = with_tree(configure(home, key["recipient"], home / "key.txt", "owner.yaml"))
    for argv in (
        ["verify", "shop", "all"],
        ["drill", "shop"],
        ["restore", "shop", "--files", "media", "--to", "out"],
    ):
        code, _, err = run(capsys, *argv, "--config", owner)
        assert code == 0, (argv, err)
    assert state_of(home / "out") == state_of(media)

    both = home / "both.txt"
    both.write_text((home / "new.txt").read_text() + (home / "key.txt").read_text())
    both.chmod(0o600)
    changed = with_tree(configure(home, new["recipient"], both, "changed.yaml"))
    code, out, err = run(capsys, "rekey", "shop", "--json", "--config", changed)
    assert code == 0, err
    identifier = json.loads(out)["data"]["report"]["new_id"]
    only = with_tree(configure(home, new["recipient"], home / "new.txt", "only.yaml"))
    for argv in (
        ["verify", "shop", identifier],
        ["restore", "shop", identifier, "--files", "media", "--to", "again"],
    ):
        code, _, err = run(capsys, *argv, "--config", only)
        assert code == 0, (argv, err)
    assert state_of(home / "again") == state_of(media)

    if shutil.which("age"):
        _recovered(home, identifier, new["recipient"])


def _recovered(home: Path, identifier: str, recipient: str) -> None:
    """By RECOVER.md, with the public tools."""
    from backup_pipeline_tests.vault.test_recover import commands

    secret = identities_in((home / "new.txt").read_text())[0]
    vault = Vault(LocalStore(home / "vault"), Keys((recipient,), Given(secret)))
    where, *rest = commands(vault.backup("shop", identifier).recover_text().decode())
    said = "\n".join(rest).replace("/path/to/key.txt", str(home / "new.txt"))
    first = where.replace("/path/to/the/vault", f"{home}/vault").replace("/path/to/new.db", f"{home}/back.db")
    first = first.replace("/path/to/a/new/folder", f"{home}/by-hand")
    assert "/path/to" not in first + said
    script = "\n".join(["set -e", first, said])
    done = subprocess.run(["bash", "--norc"], input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + where
    assert (home / "back.db").exists()
    assert (home / "by-hand" / "media" / "numbat.txt").read_text() == "numbat " * 50_000


def test_prune_needs_no_key(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = make_shop(home / "shop.db", rows=500)
    key = keygen(capsys, "--out", "key.txt")
    host = Path(configure(home, key["recipient"], None))
    host.write_text(host.read_text() + "retention: {last: 1, grace: 1s}\n")
    for _ in range(3):
        assert run(capsys, "backup", "shop", "--full", "--config", str(host))[0] == 0
        change(url)
    other = Path(configure(home, key["recipient"], None, "elsewhere.yaml"))
    other.write_text(other.read_text() + "retention: {last: 1, grace: 1s}\n")
    for _ in range(3):
        time.sleep(1.1)
        code, _, err = run(capsys, "prune", "--config", str(other))
        assert code == 0, err
    assert len(json.loads(run(capsys, "list", "--json", "--config", str(other))[1])["data"]["backups"]) == 1
    owner = configure(home, key["recipient"], home / "key.txt", "owner.yaml")
    code, _, err = run(capsys, "verify", "shop", "all", "--config", owner)
    assert code == 0, err


def test_refs_that_cannot_be_checked_are_noticed_without_the_key(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the backup itself, also where its steps are processes of their own: what they read was written before."""
    make_shop(home / "shop.db", rows=5)
    (home / "media").mkdir()
    (home / "media" / "a.txt").write_text("a")
    host = configure(home, keygen(capsys, "--out", "key.txt")["recipient"], None)
    settings = "    files:\n      media: {path: ./media, refs: {nowhere.name: path}}\n"
    Path(host).write_text(Path(host).read_text() + settings)
    code, _, _ = run(capsys, "backup", "shop", "--no-record", "--config", host)
    assert code == 10
    site = Site.load(host)
    export(site, BackupOrder("shop"), token="t", trees_follow=True)
    export_tree(site, "shop", "media", token="t")
    made = commit(site, "shop", token="t")
    assert [(one.code, one.severity) for one in made.findings] == [("reference-without-table", "error")]
