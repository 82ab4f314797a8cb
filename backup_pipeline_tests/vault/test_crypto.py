"""Bytes through age and back: what comes out is what went in, or nothing is said to be whole."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import subprocess
from pathlib import Path

import pytest

from backup_pipeline.errors import ConfigError, Damaged, KeyMissing, VaultError
from backup_pipeline.vault import crypto
from backup_pipeline.vault.crypto import Encryptor, Filter, Given, Keys, decrypted
from backup_pipeline_tests.harness.processes import children

HAS_AGE = shutil.which("age") is not None
WAYS = [
    pytest.param("age", marks=pytest.mark.skipif(not HAS_AGE, reason="the program age is not installed")),
    "library",
]


def _how(name: str) -> Filter:
    return Filter.find() if name == "age" else Filter.library()


def _keys() -> Keys:
    secret, public = crypto.generate()
    return Keys((public,), Given(f"# a comment\n{secret}\n"))


def encrypted(keys: Keys, data: bytes, how: Filter | None = None) -> bytes:
    out = bytearray()
    with Encryptor(keys, out.extend, how) as sink:
        for start in range(0, len(data), 300_000):
            sink.write(data[start : start + 300_000])
        sink.finish()
    return bytes(out)


def opened(keys: Keys, data: bytes, how: Filter | None = None) -> bytes:
    with decrypted(keys, io.BytesIO(data), how) as stream:
        parts = []
        while part := stream.read(100_000):
            parts.append(part)
        return b"".join(parts)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 5_000_000])
def test_content_of_every_size_comes_back_exactly(way: str, size: int) -> None:
    keys, data = _keys(), os.urandom(size)

    stored = encrypted(keys, data, _how(way))

    assert stored.startswith(b"age-encryption.org/v1\n")
    assert opened(keys, stored, _how(way)) == data


@pytest.mark.parametrize("way", WAYS)
def test_each_of_several_recipients_can_open_it(way: str) -> None:
    first, second = _keys(), _keys()
    both = Keys((*first.recipients, *second.recipients))
    data = os.urandom(3_000_000)

    stored = encrypted(both, data, _how(way))

    for one in (first, second):
        assert opened(Keys(both.recipients, one.identity), stored, _how(way)) == data


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [1000, 3_000_000])
def test_what_was_cut_off_or_altered_is_damaged(way: str, size: int) -> None:
    keys, how = _keys(), _how(way)
    stored = encrypted(keys, os.urandom(size), how)
    middle = len(stored) // 2
    flipped = bytearray(stored)
    flipped[middle] ^= 1

    for wrong in (bytes(flipped), stored[:-1], stored[:middle], stored + b"x", b"", b"no age at all"):
        with pytest.raises(Damaged):
            opened(keys, wrong, how)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [1000, 3_000_000])
def test_another_identity_is_told_that_it_is_another(way: str, size: int) -> None:
    keys, how = _keys(), _how(way)
    stored = encrypted(keys, os.urandom(size), how)

    with pytest.raises(KeyMissing, match="not one of those"):
        opened(Keys(keys.recipients, _keys().identity), stored, how)
    with pytest.raises(KeyMissing, match="no identity is configured"):
        opened(Keys(keys.recipients), stored, how)


class NotHere:
    def get(self) -> str:
        raise ConfigError("the key file is on a disk that is not mounted")


def test_an_identity_that_cannot_be_had_is_only_asked_for_when_it_is_needed() -> None:
    keys = Keys(_keys().recipients, NotHere())

    stored = encrypted(keys, b"rows")

    assert not keys.can_open
    with pytest.raises(KeyMissing, match="not mounted"):
        opened(keys, stored)


def test_a_text_that_is_no_identity_is_a_mistake_in_the_configuration() -> None:
    keys = _keys()
    stored = encrypted(keys, b"rows")

    with pytest.raises(ConfigError, match="not the text of an age key file"):
        opened(Keys(keys.recipients, Given("hunter2")), stored)


@pytest.mark.parametrize("way", WAYS)
def test_a_reader_that_stops_half_way_leaves_no_process(way: str) -> None:
    keys, how = _keys(), _how(way)
    stored = encrypted(keys, os.urandom(4_000_000), how)
    # Not theirs as well: a PostgreSQL server of other tests starts and ends processes all the time.
    before = children(os.getpid())

    with decrypted(keys, io.BytesIO(stored), how) as stream:
        assert stream.read(10)

    assert children(os.getpid()) <= before


@pytest.mark.parametrize("way", WAYS)
def test_an_error_of_the_receiver_of_the_bytes_reaches_the_writer(way: str) -> None:
    def full(_: bytes) -> None:
        raise VaultError("the disk is full")

    def write_much() -> None:
        with Encryptor(_keys(), full, _how(way)) as sink:
            for _ in range(200):
                sink.write(b"x" * 1_000_000)
            sink.finish()

    with pytest.raises(VaultError, match="disk is full"):
        write_much()


@pytest.mark.parametrize("way", WAYS)
def test_an_error_of_the_stream_that_is_decrypted_reaches_the_reader(way: str) -> None:
    keys, how = _keys(), _how(way)
    stored = encrypted(keys, os.urandom(4_000_000), how)

    class Breaks(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 2_000_000:
                raise VaultError("the store went away")
            return super().read(size)

    def read_all() -> None:
        with decrypted(keys, Breaks(stored), how) as stream:
            while stream.read(100_000):
                pass

    with pytest.raises(VaultError, match="went away"):
        read_all()


def test_keys_can_be_pickled_and_do_not_show_the_identity() -> None:
    keys = _keys()
    assert keys.identity is not None
    secret = keys.secret()

    again = pickle.loads(pickle.dumps(keys))

    assert again == keys
    assert again.fingerprint == keys.fingerprint
    assert "AGE-SECRET" not in repr(keys)
    assert secret not in repr(keys.identity)


def test_keys_whose_identity_has_to_be_asked_for_reach_a_worker_with_it() -> None:
    given = _keys()

    class Asked:
        def get(self) -> str:
            return given.secret()

    again = pickle.loads(pickle.dumps(Keys(given.recipients, Asked())))

    assert again.secret() == given.secret()
    assert not pickle.loads(pickle.dumps(Keys(given.recipients, NotHere()))).can_open


@pytest.mark.skipif(not HAS_AGE, reason="the program age is not installed")
def test_the_identity_is_on_no_command_line_and_in_no_file(tmp_path: Path) -> None:
    keys = _keys()
    stored = encrypted(keys, os.urandom(4_000_000))
    spy = tmp_path / "age"
    spy.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/argv\nenv > {tmp_path}/env\nexec {shutil.which("age")} "$@"\n'
    )
    spy.chmod(0o755)

    assert opened(keys, stored, Filter((str(spy),)))

    told = (tmp_path / "argv").read_text() + (tmp_path / "env").read_text()
    assert "AGE-SECRET" not in told
    assert "/dev/fd/" in told


@pytest.mark.skipif(not HAS_AGE, reason="the program age is not installed")
def test_the_public_tool_opens_it(tmp_path: Path) -> None:
    keys, data = _keys(), os.urandom(2_000_000)
    key = tmp_path / "key.txt"
    key.write_text(keys.secret())
    for size in (1000, len(data)):
        stored = encrypted(keys, data[:size])
        done = subprocess.run(["age", "-d", "-i", str(key)], input=stored, stdout=subprocess.PIPE, check=True)
        assert done.stdout == data[:size]
