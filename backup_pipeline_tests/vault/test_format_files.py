"""FORMAT.md, rule by rule: file trees. What our writer writes keeps them, and what does not is refused."""

from __future__ import annotations

import hashlib
import json
import os
import random
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from backup_pipeline.backups.making import Order, back_up
from backup_pipeline.databases.sqlite.export import SqliteSource
from backup_pipeline.errors import Damaged
from backup_pipeline.files.restore.names import checked
from backup_pipeline.files.sources.base import Found, Trouble, Unreadable
from backup_pipeline.files.sources.local import LocalSource
from backup_pipeline.files.store import TreeOrder, reading
from backup_pipeline.files.store.previous import _PLACED
from backup_pipeline.model import canonical
from backup_pipeline.model.files import FileEntry, Place, line_of, read_lines
from backup_pipeline.model.manifest import FileTree, Manifest
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault import packs
from backup_pipeline.vault.blocks import image_objects
from backup_pipeline.vault.packs import read_contents
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.verify import verify
from backup_pipeline_tests.harness.handmade import identifier_of, prepared
from backup_pipeline_tests.harness.handmade_files import backup_of, tree_of_entries, with_contents

STRANGE = "caf\udce9/\udcff"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Vault:
    """A backup with a tree that has everything that an entry can be."""
    folder = tmp_path_factory.mktemp("format")
    with closing(sqlite3.connect(folder / "shop.db")) as connection:
        connection.executescript("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
    root, chance = folder / "tree", random.Random(5)
    (root / "caf\udce9").mkdir(parents=True)
    for number, name in enumerate(("a", "a-b", "sub", STRANGE, "ü", "empty", "zeros")):
        (root / name).write_bytes(chance.randbytes(number * 700) if name != "empty" else b"")
    (root / "text").write_text("words " * 9000)
    (root / "same").write_text("words " * 9000)
    (root / "film.mp4").write_bytes(chance.randbytes(packs.LARGEST + 1))
    (root / "x.index").write_bytes(chance.randbytes(packs.LARGEST + 2))
    os.link(root / "a", root / "hard")
    (root / "out").symlink_to("../../etc")
    with closing(sqlite3.connect(root / "app.db")) as connection:
        connection.executescript("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
    (root / "app.db-journal").write_bytes(b"")
    os.mkfifo(root / "pipe")
    vault = Vault(LocalStore(folder / "vault"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "IMAGE_FROM", packs.LARGEST)
        order = Order("shop", trees=(TreeOrder("media", LocalSource(root)),))
        back_up(vault, SqliteSource(f"sqlite:///{folder / 'shop.db'}"), order)
    return vault


def manifest_of(vault: Vault) -> Manifest:
    return vault.backup("shop", vault.ids("shop")[-1]).manifest


def tree_of(vault: Vault) -> FileTree:
    return manifest_of(vault).files[0]


def lines_of(vault: Vault) -> list[bytes]:
    return vault.content(tree_of(vault).listing).splitlines(keepends=True)


def entries_of(vault: Vault) -> dict[str, FileEntry]:
    return {entry.path: entry for entry in read_lines(lines_of(vault), what="the listing")}


@pytest.mark.rule("T1")
def test_a_listing_is_sorted_canonical_json_and_valid_utf8(made: Vault) -> None:
    lines = lines_of(made)
    paths = []
    for line in lines:
        plain = json.loads(line.decode("utf-8", "strict"))
        again = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
        assert (
            again.encode("utf-8", "surrogatepass")
            .replace(b"\xed\xb3\xa9", b"\\udce9")
            .replace(b"\xed\xb3\xbf", b"\\udcff")
            == line
        )
        paths.append(os.fsencode(plain["path"]))
    assert paths == sorted(set(paths))
    assert b"caf\xe9/\xff" in paths
    assert any(rb"caf\udce9/\udcff" in line for line in lines)
    assert not any(path in (b"", b".") for path in paths)


@pytest.mark.rule("T2")
def test_fields_that_hold_their_default_are_left_out(made: Vault) -> None:
    known = {
        *("path", "type", "size", "sha256", "mode", "mtime_ns", "place", "image", "target", "uid", "gid"),
        *("sparse", "media", "state", "digests"),
    }
    found = [json.loads(line) for line in lines_of(made)]
    assert {key for line in found for key in line} <= known
    assert all(line.get("type") != "file" and line.get("size") != 0 for line in found)
    assert all(
        canonical.encode(entry).decode("utf-8", "surrogatepass").count('"path"') == 1
        for entry in entries_of(made).values()
    )
    empty = entries_of(made)["empty"]
    assert (empty.size, empty.place, empty.sha256) == (0, None, hashlib.sha256().hexdigest())


@pytest.mark.rule("T2")
def test_digests_that_rows_know_a_file_by_are_read_again_and_hide_nothing_from_older_readers() -> None:
    digests = {"sha1": hashlib.sha1(b"a").hexdigest(), "md5": hashlib.md5(b"a").hexdigest()}
    plain = FileEntry("a", size=1, sha256=hashlib.sha256(b"a").hexdigest(), place=Place(0, 512), mode=0o644)
    entry = replace(plain, digests=digests)
    line = line_of(entry)
    assert line == canonical.encode(entry)
    assert list(read_lines([line], what="it")) == [entry]
    data = json.loads(line)
    assert data.pop("digests") == digests
    assert canonical.encode(plain) == canonical.encode(data)
    assert _PLACED.findall(line) == _PLACED.findall(line_of(plain)) != []


@pytest.mark.rule("T3")
@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../x", "a//b", "./a", "a/.", "nul\0"])
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(Damaged):
        list(checked([FileEntry(path, sha256=packs.EMPTY_SHA256)], what="the listing"))


@pytest.mark.rule("T3")
def test_nothing_lies_in_what_is_no_folder(tmp_path: Path) -> None:
    vault = prepared(tmp_path / "vault")
    entries = [FileEntry("a", "link", target="/etc"), FileEntry("a/b", sha256=packs.EMPTY_SHA256)]
    backup_of(vault, tree_of_entries(vault, entries))
    report = verify(vault.backup("shop", identifier_of(1)))
    assert "listing-unreadable" in {finding.code for finding in report.errors}


@pytest.mark.rule("T4")
def test_members_of_packs_are_named_by_their_content_and_have_no_owner(made: Vault) -> None:
    tars = [pack for pack in tree_of(made).packs if ".tar" in pack.suffix]
    assert {pack.suffix for pack in tars} == {".tar", ".tar.zst"}
    for pack in tars:
        data = made.content(pack)
        with tarfile.open(fileobj=BytesIO(data)) as tar:
            for member in tar:
                content = tar.extractfile(member)
                assert content is not None
                assert member.name == hashlib.sha256(content.read()).hexdigest()
                assert (member.mode, member.mtime, member.uid, member.gid) == (0o444, 0, 0, 0)
                assert (member.uname, member.gname, member.isreg()) == ("", "", True)


@pytest.mark.rule("T5", "T6")
def test_a_place_is_where_the_content_is(made: Vault) -> None:
    tree, entries = tree_of(made), entries_of(made)
    for entry in entries.values():
        if entry.place is not None:
            data = made.content(tree.packs[entry.place.pack])
            content = data[entry.place.offset : entry.place.offset + entry.size]
            assert hashlib.sha256(content).hexdigest() == entry.sha256
    film = entries["film.mp4"]
    assert film.place is not None
    assert film.place.offset == 0
    assert tree.packs[film.place.pack].suffix == ".blob"
    assert entries["text"].place == entries["same"].place


@pytest.mark.rule("T5", "T6")
@pytest.mark.parametrize(
    "change",
    [
        lambda entry: replace(entry, size=entry.size - 1),
        lambda entry: replace(entry, sha256="0" * 64),
        lambda entry: replace(entry, place=Place(0, entry.place.offset + 1)),
        lambda entry: replace(entry, place=Place(7, entry.place.offset)),
        lambda entry: replace(entry, place=None),
    ],
)
def test_a_content_that_is_not_the_listed_one_is_not_given(
    tmp_path: Path, change: Callable[[FileEntry], FileEntry]
) -> None:
    vault = prepared(tmp_path / "vault")
    entries, refs = with_contents(vault, {"a": b"first" * 100, "b": b"second" * 100})
    tree = tree_of_entries(vault, entries, packs=refs)
    with pytest.raises(Damaged):
        contents_of(vault, tree, change(entries[0]))


def contents_of(vault: Vault, tree: FileTree, *wanted: FileEntry) -> list[bytes]:
    return [b"".join(blocks) for _, blocks in read_contents(vault.objects, tree, wanted)]


@pytest.mark.rule("T7")
def test_a_tree_names_the_objects_that_its_listing_needs_and_no_other(made: Vault) -> None:
    tree, entries = tree_of(made), entries_of(made)
    named = {entry.place.pack for entry in entries.values() if entry.place}
    assert named == set(range(len(tree.packs)))
    assert len({pack.sha256 for pack in tree.packs}) == len(tree.packs)
    blocks = {one.sha256 for entry in entries.values() if entry.image for one in image_objects(entry.image)}
    assert blocks
    assert {one.sha256 for one in tree.blocks} == blocks
    needed = {one.sha256 for one in manifest_of(made).objects()}
    assert blocks | {pack.sha256 for pack in tree.packs} | {tree.listing.sha256} <= needed


@pytest.mark.rule("T8")
def test_links_are_text_and_hard_links_name_an_earlier_file(made: Vault, tmp_path: Path) -> None:
    entries = entries_of(made)
    assert (entries["out"].type, entries["out"].target) == ("link", "../../etc")
    hard = entries["hard"]
    assert (hard.type, hard.target, hard.sha256) == ("hardlink", "a", "")
    assert entries[hard.target].type == "file"
    assert entries[hard.target].sort_key < hard.sort_key
    vault = prepared(tmp_path / "vault")
    backup_of(vault, tree_of_entries(vault, [FileEntry("h", "hardlink", target="nothing")]))
    assert not verify(vault.backup("shop", identifier_of(1))).ok


@pytest.mark.rule("T9")
def test_totals_and_fingerprint_are_those_of_the_listing(made: Vault) -> None:
    tree, entries = tree_of(made), list(entries_of(made).values())
    files = [entry for entry in entries if entry.type == "file"]
    assert tree.files == len(files)
    assert tree.bytes == sum(entry.size for entry in files)
    assert tree.folders == sum(entry.type == "folder" for entry in entries)
    assert tree.links == sum(entry.type == "link" for entry in entries)
    digest = hashlib.sha256()
    for entry in entries:
        mode = b"" if entry.mode is None else str(entry.mode).encode()
        parts = (
            os.fsencode(entry.path),
            entry.type.encode(),
            mode,
            os.fsencode(entry.sha256 or entry.target),
        )
        digest.update(b"".join(part + b"\0" for part in parts))
    assert tree.fingerprint == digest.hexdigest()
    assert verify(made.backup("shop", manifest_of(made).id)).ok


@pytest.mark.rule("T10")
def test_files_are_read_after_the_moment_of_the_database(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.executescript("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
    (tmp_path / "tree").mkdir()
    walked: list[bool] = []

    class Late(LocalSource):
        def entries(self) -> Iterator[Found | Trouble]:
            # The row and its file are of after the snapshot: the row is not in the backup, the file may be.
            with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
                connection.executescript("INSERT INTO t VALUES (2)")
            (tmp_path / "tree" / "late").write_text("late")
            walked.append(True)
            return super().entries()

    vault = Vault(LocalStore(tmp_path / "vault"))
    order = Order("shop", trees=(TreeOrder("media", Late(tmp_path / "tree")),))
    manifest = back_up(vault, SqliteSource(f"sqlite:///{tmp_path / 'shop.db'}"), order)
    assert walked
    assert (manifest.rows, manifest.files[0].files) == (1, 1)


@pytest.mark.rule("T11")
def test_what_could_not_be_taken_is_named_and_a_database_is_a_copy_of_one_moment(
    tmp_path: Path, made: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tree_of(made)
    assert tree.missed == 0
    assert "app.db" in entries_of(made)
    assert "app.db-journal" not in entries_of(made)
    findings = {finding.code: finding for finding in manifest_of(made).findings}
    assert findings["file-special"].examples == ("pipe",)
    assert findings["database-beside"].tree == "media"

    def refused(self: LocalSource, found: object) -> int:
        raise Unreadable("may not")

    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "closed").write_text("x")
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.executescript("CREATE TABLE t (x)")
    monkeypatch.setattr(LocalSource, "descriptor", refused)
    vault = Vault(LocalStore(tmp_path / "vault"))
    order = Order("shop", trees=(TreeOrder("media", LocalSource(tmp_path / "tree")),))
    manifest = back_up(vault, SqliteSource(f"sqlite:///{tmp_path / 'shop.db'}"), order)
    assert manifest.degraded
    assert manifest.files[0].missed == 1
    assert [
        (one.severity, one.tree, one.examples) for one in manifest.findings if one.code == "file-unreadable"
    ] == [("error", "media", ("closed",))]
