"""RECOVER.md brings file trees back with bash, tar and zstd alone: names, modes, times and links too."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pyrage
import pytest

from backup_pipeline.backups.making import Order, back_up
from backup_pipeline.databases.sqlite.export import SqliteSource
from backup_pipeline.files.sources.local import LocalSource
from backup_pipeline.files.store import TreeOrder, reading
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault import layout, packs
from backup_pipeline.vault.crypto import Given, Keys
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.vault.test_recover import follow, tools

TOOLS = (
    "zstd",
    "cat",
    "sha256sum",
    "head",
    "tail",
    "tar",
    "cp",
    "ln",
    "mkdir",
    "chmod",
    "touch",
    "rm",
    "sqlite3",
)
HOSTILE = (
    b"caf\xe9 \xff.txt",
    b"new\nline\t\x01",
    b"back\\slash\\udc80 \\n",
    b"quote\" $HOME `id` $(id) '; *",
    "ünï 日本 \U0001f980".encode(),
    b"-rf",
    b"%s %b \\x41",
    b"n" * 255,
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "deep" / "er").mkdir(parents=True)
    chance = random.Random(3)
    for number, name in enumerate(HOSTILE):
        path = root / ("deep" if number % 2 else "") / os.fsdecode(name)
        path.write_bytes(chance.randbytes(number * 1000))
        path.chmod(0o640 + number)
        os.utime(path, ns=(0, 1_700_000_000_123_456_789 + number))
    os.link(root / "deep" / "-rf", root / "hard")
    (root / "deep" / "link").symlink_to("../caf\udce9 \udcff.txt")
    (root / "text").write_text("shrinks " * 5000)
    (root / "film").write_bytes(chance.randbytes(packs.LARGEST + 3))
    with (root / "vectors.index").open("wb") as file:
        file.write(chance.randbytes(100_000))
        file.truncate(packs.LARGEST + 200_000)
    (root / "empty").mkdir()
    (root / "closed").mkdir()
    (root / "closed").chmod(0o555)
    os.utime(root / "closed", ns=(0, 1_600_000_000_000_000_000))
    return root


def looked_at(root: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for path in root.rglob("*"):
        status = path.lstat()
        what: object = None
        if path.is_symlink():
            what = path.readlink()
        elif path.is_file():
            what = path.read_bytes()
        times = status.st_mtime_ns if path.is_file() or path.name == "closed" else None
        found[str(path.relative_to(root))] = (status.st_mode, times, what)
    return found


def made(tmp_path: Path, tree: Path, keys: Keys | None) -> tuple[Vault, str]:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.executescript("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
    vault = Vault(LocalStore(tmp_path / "vault"), keys=keys, local=tmp_path / "known" if keys else None)
    order = Order("shop", trees=(TreeOrder("media", LocalSource(tree)),))
    source = SqliteSource(f"sqlite:///{tmp_path / 'shop.db'}")
    back_up(vault, source, order)
    # A second one, so that some blocks of a big file are picked from several packs.
    with (tree / "vectors.index").open("r+b") as file:
        file.seek(8192)
        file.write(os.urandom(4096))
    return vault, back_up(vault, source, order).id


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_tree_comes_back_by_hand(
    tmp_path: Path, tree: Path, encrypted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if encrypted and shutil.which("age") is None:
        pytest.skip("the age program is not on this machine")
    monkeypatch.setattr(reading, "IMAGE_FROM", packs.LARGEST)
    identity = pyrage.x25519.Identity.generate()
    keys = Keys((str(identity.to_public()),)) if encrypted else None
    vault, identifier = made(tmp_path, tree, keys)
    if keys is not None:
        # Made with the public key alone; only the recovering user has the secret one.
        vault = replace(vault, keys=replace(keys, identity=Given(str(identity))))
    text = vault.backup("shop", identifier).recover_text().decode()
    where = [f"cd '{tmp_path / 'vault'}'", f"OUT='{tmp_path / 'new.db'}'", f"FILES='{tmp_path / 'back'}'"]
    if encrypted:
        (tmp_path / "key").write_text(f"{identity}\n")
        text = text.replace("KEY=/path/to/key.txt", f"KEY='{tmp_path / 'key'}'")
    path = tools(tmp_path / "bin", *TOOLS, *(["age"] if encrypted else []))
    done = follow(text, "\n".join(where), path)
    assert done.returncode == 0, done.stderr
    assert "FAILED" not in done.stdout
    assert looked_at(tmp_path / "back" / "media") == looked_at(tree)
    assert (tmp_path / "back/media/deep/-rf").stat().st_ino == (tmp_path / "back/media/hard").stat().st_ino
    assert not (tmp_path / "back.contents").exists()
    assert vault.store.stat(layout.VAULT)
