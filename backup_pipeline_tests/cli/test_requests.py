"""What a restore from a bucket asks of it before it begins: one listing, and not each object one after the other."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from backup_pipeline.model.manifest import ObjectRef
from backup_pipeline.operations import Site
from backup_pipeline.operations.reading import show
from backup_pipeline.stores.base import Features, Stat
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.stores.s3 import thawing as s3_thawing
from backup_pipeline.vault import layout, presence
from backup_pipeline.vault.presence import Presence
from backup_pipeline_tests.cli.conftest import Folder
from backup_pipeline_tests.harness.fault_proxy import FaultProxy, fault_proxy
from backup_pipeline_tests.harness.stores import S3Server

TREES = 6


@pytest.fixture
def proxy(moto_server: S3Server) -> Iterator[FaultProxy]:
    with fault_proxy(moto_server.endpoint) as made:
        yield made


@pytest.fixture
def in_a_bucket(tmp_path: Path, moto_server: S3Server, proxy: FaultProxy) -> Folder:
    """A database, and six trees of files: each has objects of its own."""
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    for number in range(TREES):
        (tmp_path / f"tree{number}").mkdir()
        (tmp_path / f"tree{number}" / "file.bin").write_bytes(os.urandom(1000))
    trees = ", ".join(f"tree{number}: {{path: ./tree{number}}}" for number in range(TREES))
    server = replace(moto_server, endpoint=proxy.endpoint)
    (tmp_path / "backup.yaml").write_text(
        f"vault:\n  url: s3://{moto_server.make_bucket()}/v\n{server.yaml()}"
        f"systems:\n  shop:\n    database: sqlite:///shop.db\n    files: {{{trees}}}\n"
    )
    return Folder(tmp_path, {})


@pytest.mark.parametrize("many", [True, False], ids=["one listing", "side by side"])
def test_a_restore_asks_once_what_is_there(
    in_a_bucket: Folder, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    for module in (presence, s3_thawing):
        monkeypatch.setattr(module, "LIST_ABOVE", 2 if many else 500)
    in_a_bucket.backup()
    objects = set(show(Site.load(in_a_bucket.path / "backup.yaml"), "shop").objects())
    assert len(objects) > 2 * TREES
    for number, verb in enumerate(
        (
            ("--to", "sqlite:///again.db"),
            ("--to", "sqlite:///both.db", "--files", "all", "--files-to", "./all"),
        ),
    ):
        proxy.expect(())
        in_a_bucket.good("restore", "shop", *verb)
        seen = proxy.counted
        if many:
            assert seen["head"] < 5, (number, seen)
            assert seen["list"] < 8, (number, seen)
        else:
            # Is it there, and can it be read without a thaw? Each once, several at a time.
            assert seen["head"] <= 2 * len(objects) + 5, (number, seen)
    was, restored = (in_a_bucket.path / folder / "tree3" / "file.bin" for folder in (".", "all"))
    assert restored.read_bytes() == was.read_bytes()


def test_what_was_missing_is_looked_for_again_and_what_was_there_is_not(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    refs = [ObjectRef(f"{number:064x}", 1, ".zst", "", 1) for number in range(3)]
    for one in refs[:2]:
        store.put(layout.object_key(one), b"x")
    asked = Presence(store)
    with asked.one_work():
        assert asked.missing(refs) == refs[2:]
        store.put(layout.object_key(refs[2]), b"x")
        store.delete(layout.object_key(refs[0]))
        assert asked.missing(refs) == []
    # Another piece of work, or none in particular, asks anew.
    assert asked.missing(refs) == refs[:1]
    store.put(layout.object_key(refs[0]), b"longer")
    assert presence.missing(store, refs) == refs[:1]


def test_a_big_bucket_is_asked_for_the_folders_of_the_objects_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "LIST_ABOVE", 4)
    asked: list[str] = []

    class Far(LocalStore):
        @property
        def features(self) -> Features:
            return Features(cheap_stat=False)

        def list(self, prefix: str = "") -> Iterator[Stat]:
            asked.append(prefix)
            yield from super().list(prefix)

    store = Far(tmp_path)
    refs = [ObjectRef(f"{number % 2:02x}{number:062x}", 1, ".zst", "", 1) for number in range(8)]
    for one in (*refs[1:], ObjectRef("ff" * 32, 1, ".zst", "", 1)):
        store.put(layout.object_key(one), b"x")
    assert presence.missing(store, refs) == refs[:1]
    assert sorted(asked) == ["objects/00/", "objects/01/"]
    # Too few in each folder: one listing costs less.
    asked.clear()
    assert presence.missing(store, [replace(one, sha256=f"{n:02x}" * 32) for n, one in enumerate(refs)])
    assert asked == ["objects/"]
