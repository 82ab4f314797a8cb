from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.errors import Damaged
from backup_pipeline.model.manifest import ObjectRef
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault import layout
from backup_pipeline.vault.objects import ObjectWriter, read_blocks, read_bytes


@pytest.fixture
def writer(tmp_path: Path) -> ObjectWriter:
    return ObjectWriter(LocalStore(tmp_path))


def path_of(writer: ObjectWriter, reference: ObjectRef) -> Path:
    assert isinstance(writer.store, LocalStore)
    return writer.store.root / layout.object_key(reference)


def rewrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


@given(blocks=st.lists(st.binary(max_size=5000), max_size=8))
def test_any_content_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[bytes]
) -> None:
    writer = ObjectWriter(LocalStore(tmp_path_factory.mktemp("store")))
    reference = writer.write(blocks, ".tsv.zst")
    assert read_bytes(writer.store, reference) == b"".join(blocks)
    assert reference.plain_size == sum(map(len, blocks))


def test_an_object_is_named_by_the_digest_of_its_stored_bytes(writer: ObjectWriter) -> None:
    reference = writer.write_bytes(b"rows\n" * 1000, ".tsv.zst")
    stored = path_of(writer, reference).read_bytes()
    assert hashlib.sha256(stored).hexdigest() == reference.sha256 == path_of(writer, reference).name[:64]


def test_the_public_zstd_tool_opens_an_object(writer: ObjectWriter) -> None:
    reference = writer.write_bytes(b"rows\n" * 1000, ".tsv.zst")
    said = subprocess.run(["zstd", "-dc", str(path_of(writer, reference))], check=True, capture_output=True)
    assert said.stdout == b"rows\n" * 1000


def test_the_same_content_is_stored_once(writer: ObjectWriter) -> None:
    one = writer.write([b"ab", b"c"], ".tsv.zst")
    two = writer.write([b"a", b"bc"], ".tsv.zst")
    assert one == two
    assert len(list(writer.store.list("objects/"))) == 1


def test_known_content_is_recognised_in_any_stored_bytes(writer: ObjectWriter) -> None:
    """Encryption makes other bytes of the same content every time; so do other compression levels."""
    known = ObjectWriter(writer.store, level=9).write_bytes(b"some content " * 500, ".tsv.zst")
    again = writer.write([b"some content " * 500], ".tsv.zst", known=[known])
    assert again == known
    assert len(list(writer.store.list("objects/"))) == 1


def test_known_content_that_is_no_longer_there_is_stored_again(writer: ObjectWriter) -> None:
    known = ObjectWriter(writer.store, level=9).write_bytes(b"some content " * 500, ".tsv.zst")
    path_of(writer, known).unlink()
    again = writer.write([b"some content " * 500], ".tsv.zst", known=[known])
    assert read_bytes(writer.store, again) == b"some content " * 500


@pytest.mark.parametrize("harm", ["flip", "truncate", "empty"])
def test_a_damaged_object_is_healed_when_its_content_comes_by_again(writer: ObjectWriter, harm: str) -> None:
    reference = writer.write_bytes(b"rows\n" * 1000, ".tsv.zst")
    path = path_of(writer, reference)
    good = path.read_bytes()
    bad = {"flip": bytes([good[0] ^ 1]) + good[1:], "truncate": good[:-1], "empty": b""}[harm]
    rewrite(path, bad)
    assert writer.write_bytes(b"rows\n" * 1000, ".tsv.zst") == reference
    assert path.read_bytes() == good


def test_an_interrupted_write_leaves_no_object_and_no_litter(writer: ObjectWriter) -> None:
    def dies() -> object:
        yield b"some"
        raise ConnectionError("the source went away")

    with pytest.raises(ConnectionError):
        writer.write(dies(), ".tsv.zst")  # type: ignore[arg-type]
    assert list(writer.store.list()) == []
    assert list(writer.store.staging().iterdir()) == []


def test_every_flipped_bit_is_noticed(writer: ObjectWriter) -> None:
    reference = writer.write_bytes(b"1\tAda\n2\tGrace\n", ".tsv.zst")
    path = path_of(writer, reference)
    good = path.read_bytes()
    for position in range(len(good)):
        for bit in range(8):
            rewrite(path, good[:position] + bytes([good[position] ^ 1 << bit]) + good[position + 1 :])
            with pytest.raises(Damaged):
                read_bytes(writer.store, reference)


@pytest.mark.parametrize(
    "change",
    [
        lambda good: good[:-1],
        lambda good: good + b"\0",
        lambda good: good + good,
        lambda good: b"",
        lambda good: zstandard.ZstdCompressor().compress(b"other rows\n"),
    ],
    ids=["shorter", "longer", "twice", "empty", "another-frame"],
)
def test_other_bytes_under_its_name_are_noticed(writer: ObjectWriter, change: object) -> None:
    reference = writer.write_bytes(b"1\tAda\n" * 100, ".tsv.zst")
    path = path_of(writer, reference)
    assert callable(change)
    rewrite(path, change(path.read_bytes()))
    with pytest.raises(Damaged):
        read_bytes(writer.store, reference)


def test_a_missing_object_is_damage_not_a_crash(writer: ObjectWriter) -> None:
    reference = writer.write_bytes(b"x", ".tsv.zst")
    path_of(writer, reference).unlink()
    with pytest.raises(Damaged, match="missing"):
        list(read_blocks(writer.store, reference))


def test_a_manifest_that_lies_about_the_content_is_noticed(writer: ObjectWriter) -> None:
    from dataclasses import replace

    reference = writer.write_bytes(b"x" * 10, ".tsv.zst")
    for lie in (
        replace(reference, plain_size=11),
        replace(reference, plain_sha256="0" * 64),
        replace(reference, size=reference.size + 1),
    ):
        with pytest.raises(Damaged):
            read_bytes(writer.store, lie)
