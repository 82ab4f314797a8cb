"""Packs: the contents of files go in, and come out again proven; by hand too, with tar and zstd."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from backup_pipeline.errors import Damaged, VaultError
from backup_pipeline.model.files import FileEntry, Place
from backup_pipeline.model.manifest import FileTree, ObjectRef
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault import layout, packs
from backup_pipeline.vault.objects import Objects, ObjectWriter

CONTENTS = (b"", b"a", b"b" * 511, b"c" * 512, b"d" * 513, os.urandom(100_000), b"e" * 3_000_000)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "vault")


@pytest.fixture
def writer(store: LocalStore) -> ObjectWriter:
    return ObjectWriter(store)


def _tree(*refs: ObjectRef) -> FileTree:
    listing = ObjectRef("0" * 64, 0, ".files.zst", "0" * 64, 0)
    return FileTree("media", "local", "/srv/media", listing, 0, 0, packs=refs)


def _stored(store: LocalStore, ref: ObjectRef) -> Path:
    return Path(store.address) / layout.object_key(ref)


def _read(store: LocalStore, tree: FileTree, wanted: list[FileEntry]) -> list[tuple[str, bytes]]:
    objects = Objects(store)
    return [(entry.sha256, b"".join(blocks)) for entry, blocks in packs.read_contents(objects, tree, wanted)]


@pytest.mark.parametrize("suffix", [packs.PACK_SUFFIX, packs.STORED_PACK_SUFFIX])
def test_contents_come_out_as_they_went_in(store: LocalStore, writer: ObjectWriter, suffix: str) -> None:
    ref, entries = packs.write_pack(writer, CONTENTS, suffix)
    found = _read(store, _tree(ref), list(reversed(entries)))
    assert sorted(found) == sorted((hashlib.sha256(one).hexdigest(), one) for one in CONTENTS)


@pytest.mark.parametrize("suffix", [packs.PACK_SUFFIX, packs.STORED_PACK_SUFFIX])
def test_tar_alone_takes_a_pack_apart(
    store: LocalStore, writer: ObjectWriter, suffix: str, tmp_path: Path
) -> None:
    ref, entries = packs.write_pack(writer, CONTENTS, suffix)
    out = tmp_path / "out"
    out.mkdir()
    plain = tmp_path / "plain.tar"
    with plain.open("wb") as file:
        command = ["zstd", "-dc"] if suffix.endswith(".zst") else ["cat"]
        subprocess.run([*command, str(_stored(store, ref))], stdout=file, check=True)
    subprocess.run(["tar", "x", "-C", str(out), "-f", str(plain)], check=True)
    for content in CONTENTS:
        assert (out / hashlib.sha256(content).hexdigest()).read_bytes() == content
    assert {stat.stat().st_mode & 0o777 for stat in out.iterdir()} == {0o444}
    with tarfile.open(plain) as tar:
        assert [member.offset_data for member in tar] == [
            entry.place.offset for entry in entries if entry.place
        ]


def test_a_content_that_several_files_have_is_given_to_each(store: LocalStore, writer: ObjectWriter) -> None:
    ref, (one, two) = packs.write_pack(writer, [b"one", b"two"])
    wanted = [replace(one, path="a"), replace(two, path="b"), replace(one, path="c")]
    found = [
        (e.path, b"".join(blocks)) for e, blocks in packs.read_contents(Objects(store), _tree(ref), wanted)
    ]
    assert sorted(found) == [("a", b"one"), ("b", b"two"), ("c", b"one")]


def test_unread_blocks_are_skipped(store: LocalStore, writer: ObjectWriter) -> None:
    contents = [os.urandom(40_000) for _ in range(9)]
    ref, entries = packs.write_pack(writer, contents, packs.STORED_PACK_SUFFIX)
    found = []
    for number, (entry, blocks) in enumerate(packs.read_contents(Objects(store), _tree(ref), entries)):
        if number % 2:
            found.append((entry.sha256, b"".join(blocks)))
    assert [content for _, content in found] == contents[1::2]


def test_a_big_content_is_an_object_of_its_own_and_can_be_shared(
    store: LocalStore, writer: ObjectWriter
) -> None:
    content = os.urandom(packs.LARGEST + 4711)
    ref = writer.write((content[:1_000_000], content[1_000_000:]), packs.STORED_BLOB_SUFFIX)
    entry = FileEntry("a", size=len(content), sha256=hashlib.sha256(content).hexdigest(), place=Place(0, 0))
    found = _read(store, _tree(ref), [entry, replace(entry, path="b")])
    assert [data == content for _, data in found] == [True, True]
    assert _stored(store, ref).read_bytes() == content


@pytest.mark.parametrize("suffix", [packs.PACK_SUFFIX, packs.STORED_PACK_SUFFIX])
def test_a_changed_byte_anywhere_is_noticed(store: LocalStore, writer: ObjectWriter, suffix: str) -> None:
    content = os.urandom(2000)
    ref, entries = packs.write_pack(writer, [content], suffix)
    path = _stored(store, ref)
    data = bytearray(path.read_bytes())
    path.chmod(0o644)
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(Damaged):
        _read(store, _tree(ref), list(entries))


def test_a_listing_that_points_elsewhere_is_damage(store: LocalStore, writer: ObjectWriter) -> None:
    ref, (one, two) = packs.write_pack(writer, [b"one" * 100, b"two" * 100])
    tree = _tree(ref)
    assert one.place is not None
    for wrong in (
        replace(one, place=Place(1, one.place.offset)),
        replace(one, place=two.place),
        replace(one, place=Place(0, 10_000_000)),
        replace(one, size=301),
        replace(one, place=None),
    ):
        with pytest.raises(Damaged):
            _read(store, tree, [wrong])


def test_what_is_aborted_leaves_nothing(store: LocalStore, writer: ObjectWriter) -> None:
    builder = packs.PackBuilder(writer, packs.PACK_SUFFIX)
    builder.add(hashlib.sha256(b"x").hexdigest(), b"x")
    builder.abort()
    assert not list(store.list())
    assert not list(store.staging().iterdir())


def test_the_error_of_the_writing_thread_reaches_who_fills_the_pack(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "vault")
    Path(store.address).mkdir()
    builder = packs.PackBuilder(ObjectWriter(store), packs.STORED_PACK_SUFFIX)
    (Path(store.address) / "objects").write_text("in the way")
    with pytest.raises(VaultError):
        _fill(builder)
    builder.abort()


def _fill(builder: packs.PackBuilder) -> None:
    for number in range(100):
        content = number.to_bytes(4, "big") * 250_000
        builder.add(hashlib.sha256(content).hexdigest(), content)
    builder.close()
