"""Bytes through age and back: what comes out is what went in, or nothing is said to be whole."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyrage
import pytest

from backup_pipeline.errors import ConfigError, Damaged, KeyMissing, VaultError
from backup_pipeline.vault import age, crypto
from backup_pipeline.vault.crypto import Given, Keys, decrypted, encryptor

HAS_AGE = shutil.which("age") is not None
NEEDS_AGE = pytest.mark.skipif(not HAS_AGE, reason="the program age is not installed")
#: Around the end of a chunk, of two, and many chunks.
SIZES = [0, 1, 65535, 65536, 65537, 131072, 3 << 20]


def _keys() -> Keys:
    secret, public = crypto.generate()
    return Keys((public,), Given(f"# a comment\n{secret}\n"))


def encrypted(keys: Keys, data: bytes, step: int = 300_000) -> bytes:
    out = bytearray()
    sink = encryptor(keys, out.extend)
    for start in range(0, len(data), step):
        sink.write(memoryview(data)[start : start + step])
    sink.finish()
    return bytes(out)


def opened(keys: Keys, data: bytes) -> bytes:
    with decrypted(keys, io.BytesIO(data)) as stream:
        parts = []
        while part := stream.read(100_000):
            parts.append(part)
        return b"".join(parts)


def _program(data: bytes, *arguments: str) -> bytes:
    return subprocess.run(["age", *arguments], input=data, stdout=subprocess.PIPE, check=True).stdout


def _key_file(folder: Path, keys: Keys) -> str:
    path = folder / "key.txt"
    path.write_text(keys.secret())
    return str(path)


def _recipients(keys: Keys) -> list[pyrage.x25519.Recipient]:
    return [pyrage.x25519.Recipient.from_str(one) for one in keys.recipients]


def _identities(keys: Keys) -> list[pyrage.x25519.Identity]:
    return [pyrage.x25519.Identity.from_str(one) for one in crypto.identities_in(keys.secret())]


def _verdict(keys: Keys, stored: bytes) -> str:
    try:
        opened(keys, stored)
    except KeyMissing:
        return "another key"
    except Damaged:
        return "damaged"
    return "opened"


def _verdict_of_the_library(keys: Keys, stored: bytes) -> str:
    try:
        pyrage.decrypt(stored, _identities(keys))
    except pyrage.DecryptError as error:
        return "another key" if "No matching keys" in str(error) else "damaged"
    return "opened"


@pytest.mark.parametrize("step", [1000, 65536, 300_000])
@pytest.mark.parametrize("size", SIZES)
def test_content_of_every_size_comes_back_exactly(size: int, step: int) -> None:
    keys, data = _keys(), os.urandom(size)

    stored = encrypted(keys, data, step)

    assert stored.startswith(b"age-encryption.org/v1\n")
    assert opened(keys, stored) == data
    assert crypto.decrypt(keys, stored) == data
    assert opened(keys, crypto.encrypt(keys, data)) == data


@NEEDS_AGE
@pytest.mark.parametrize("size", SIZES)
def test_the_program_age_opens_what_is_written_and_writes_what_is_opened(size: int, tmp_path: Path) -> None:
    keys, data = _keys(), os.urandom(size)
    key = _key_file(tmp_path, keys)

    assert _program(encrypted(keys, data), "-d", "-i", key) == data
    assert opened(keys, _program(data, "-r", keys.recipients[0])) == data


@pytest.mark.parametrize("size", SIZES)
def test_the_library_pyrage_opens_what_is_written_and_writes_what_is_opened(size: int) -> None:
    keys, data = _keys(), os.urandom(size)

    assert pyrage.decrypt(encrypted(keys, data), _identities(keys)) == data
    assert opened(keys, pyrage.encrypt(data, _recipients(keys))) == data


@pytest.mark.parametrize("size", [1000, 3_000_000])
def test_each_of_several_recipients_can_open_it(size: int) -> None:
    first, second = _keys(), _keys()
    both = Keys((*first.recipients, *second.recipients))
    data = os.urandom(size)

    for stored in (encrypted(both, data), pyrage.encrypt(data, _recipients(both))):
        for one in (first, second):
            assert opened(Keys(both.recipients, one.identity), stored) == data
            assert pyrage.decrypt(stored, _identities(one)) == data


def test_each_of_several_identities_opens_what_is_for_it() -> None:
    first, second = _keys(), _keys()
    old_and_new = Keys(second.recipients, Given(f"{_keys().secret()}{first.secret()}{second.secret()}"))

    for one in (first, second):
        assert opened(old_and_new, encrypted(one, b"rows")) == b"rows"


@NEEDS_AGE
def test_a_file_that_is_for_an_ssh_key_as_well_is_opened(tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "id"], check=True)
    keys = _keys()

    stored = _program(b"rows", "-R", str(tmp_path / "id.pub"), "-r", keys.recipients[0])

    assert b"-> ssh-ed25519 " in stored
    assert opened(keys, stored) == b"rows"


# ── what was altered


@pytest.mark.parametrize("size", [1000, 3_000_000])
def test_what_was_cut_off_or_altered_is_damaged(size: int) -> None:
    keys = _keys()
    stored = encrypted(keys, os.urandom(size))
    middle = len(stored) // 2
    flipped = bytearray(stored)
    flipped[middle] ^= 1

    for wrong in (bytes(flipped), stored[:-1], stored[:middle], stored + b"x", b"", b"no age at all"):
        with pytest.raises(Damaged):
            opened(keys, wrong)


@pytest.mark.parametrize("bit", [1, 32, 128])
def test_a_flipped_bit_in_any_byte_is_refused_with_the_verdict_of_the_library(bit: int) -> None:
    """A header whose stanza was altered looks like one for another key, to every reader of age."""
    keys = _keys()
    stored = encrypted(keys, b"ten rows..")

    for place in range(len(stored)):
        flipped = bytearray(stored)
        flipped[place] ^= bit
        verdict = _verdict(keys, bytes(flipped))
        assert verdict != "opened", place
        assert verdict == _verdict_of_the_library(keys, bytes(flipped)), place


def test_a_file_that_was_cut_off_anywhere_is_damaged() -> None:
    keys = _keys()
    stored = encrypted(keys, b"ten rows..")

    assert {_verdict(keys, stored[:length]) for length in range(len(stored))} == {"damaged"}
    assert {_verdict(keys, stored + end) for end in (b"x", bytes(16), bytes(65552), stored)} == {"damaged"}


def _built(
    keys: Keys,
    *chunks: bytes,
    ended: bool = True,
    head: Callable[[bytes], bytes] = bytes,
    follow: bytes = b"",
) -> bytes:
    """An age file whose MAC and chunks are sealed well, of parts that no writer of age would write."""
    file_key, nonce = os.urandom(16), os.urandom(16)
    stanzas = age._wrapped(file_key, crypto._raw(keys.recipients[0]))
    text = b"age-encryption.org/v1\n" + head(stanzas) + b"---"
    cipher, end = age._payload(file_key, nonce), len(chunks) - 1 if ended else None
    sealed = [cipher.encrypt(age._nonce(place, place == end), one, None) for place, one in enumerate(chunks)]
    mac = age._encoded(age._mac(file_key, text))
    return b"".join([text, b" ", mac, b"\n", nonce, *sealed, follow])


FULL = bytes(65536)
OF_SIXTY = age._encoded(bytes(60))


def test_stanzas_of_other_types_are_passed_over() -> None:
    keys = _keys()
    empty, exact = b"-> a-grease !~ 3\n\n", b"-> plug\n" + age._encoded(bytes(48)) + b"\n\n"
    longer = b"-> other x25519\n" + OF_SIXTY[:64] + b"\n" + OF_SIXTY[64:] + b"\n"

    for around in (empty, exact, longer):
        assert opened(keys, _built(keys, b"rows", head=lambda ours, a=around: a + ours + a)) == b"rows"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("chunks", "ended", "follow"),
    [
        pytest.param([b""], False, b"", id="an empty file without its end"),
        pytest.param([b"rows"], False, b"", id="cut off between two chunks"),
        pytest.param([FULL], False, b"", id="cut off after a full chunk"),
        pytest.param([FULL, b""], True, b"", id="an empty last chunk"),
        pytest.param([b"rows", b"more"], True, b"", id="a short chunk that is not the last"),
        pytest.param([FULL, b"rows"], True, b"x", id="a byte after the last chunk"),
        pytest.param([FULL], True, bytes(65552), id="a chunk after the last"),
        pytest.param([FULL + b"x"], True, b"", id="a chunk that is too long"),
    ],
)
def test_a_payload_that_does_not_end_as_it_should_is_damaged(
    chunks: list[bytes], ended: bool, follow: bytes
) -> None:
    keys = _keys()
    stored = _built(keys, *chunks, ended=ended, follow=follow)

    assert _verdict(keys, stored) == "damaged"
    assert _verdict_of_the_library(keys, stored) == "damaged"
    with decrypted(keys, io.BytesIO(stored)) as stream:
        for _ in range(3):  # a reader that asks again is not told of an end
            with pytest.raises(Damaged):
                stream.read()


def test_a_header_that_breaks_the_format_is_damaged() -> None:
    keys = _keys()
    changes: list[Callable[[bytes], bytes]] = [
        lambda ours: b"",
        lambda ours: ours.replace(b"-> X25519 ", b"-> X25519 more "),
        lambda ours: ours.replace(b"-> X25519 ", b"->  X25519 "),
        lambda ours: ours.replace(b"\n", b"\r\n"),
        lambda ours: ours.replace(b"\n", b"=\n"),
        lambda ours: ours + b"-> other\n" + OF_SIXTY + b"\n",
        lambda ours: ours + b"-> other\n" + OF_SIXTY[:63] + b"\n" + OF_SIXTY[63:] + b"\n",
        lambda ours: ours + b"-> other\nAB\n",  # not canonical: 4 bits of the last letter mean nothing
        lambda ours: ours + b"-> other\nAAAAA\n",
        lambda ours: ours + b"-> other \n\n",
        lambda ours: ours + b"-> scrypt AAAA 10\n\n",
        lambda ours: b"-> X25519 " + age._encoded(bytes(32)) + b"\n" + age._encoded(bytes(32)) + b"\n" + ours,
        lambda ours: b"-> X25519 " + age._encoded(bytes(31)) + b"\n" + age._encoded(bytes(32)) + b"\n" + ours,
        lambda ours: ours.replace(b"\n", b"\n" + age._encoded(bytes(48)) + b"\n", 1),
    ]  # fmt: skip

    assert opened(keys, _built(keys, b"rows")) == b"rows"
    for number, change in enumerate(changes):
        assert _verdict(keys, _built(keys, b"rows", head=change)) == "damaged", number


def test_no_byte_of_a_chunk_is_given_before_the_chunk_has_passed() -> None:
    keys, data = _keys(), os.urandom(200_000)
    stored = bytearray(encrypted(keys, data))
    stored[-1] ^= 1

    with decrypted(keys, io.BytesIO(bytes(stored))) as stream:
        given = b"".join(stream.read(1024) for _ in range(3 * 64))
        assert given == data[: 3 * 65536]
        with pytest.raises(Damaged):
            stream.read(1)


@pytest.mark.parametrize("size", [1000, 3_000_000])
def test_another_identity_is_told_that_it_is_another(size: int) -> None:
    keys = _keys()
    stored = encrypted(keys, os.urandom(size))

    with pytest.raises(KeyMissing, match="not one of those"):
        opened(Keys(keys.recipients, _keys().identity), stored)
    with pytest.raises(KeyMissing, match="no identity is configured"):
        opened(Keys(keys.recipients), stored)


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


@pytest.mark.parametrize("size", [0, 5_000_000])
def test_an_error_of_the_receiver_of_the_bytes_reaches_the_writer(size: int) -> None:
    def full(_: bytes) -> None:
        raise VaultError("the disk is full")

    def write() -> None:
        sink = encryptor(_keys(), full)
        sink.write(bytes(size))
        sink.finish()

    with pytest.raises(VaultError, match="disk is full"):
        write()


def test_an_error_of_the_stream_that_is_decrypted_reaches_the_reader() -> None:
    keys = _keys()
    stored = encrypted(keys, os.urandom(4_000_000))

    class Breaks(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 2_000_000:
                raise VaultError("the store went away")
            return super().read(size)

    def read_all() -> None:
        with decrypted(keys, Breaks(stored)) as stream:
            while stream.read(100_000):
                pass

    with pytest.raises(VaultError, match="went away"):
        read_all()


def test_a_store_that_gives_less_than_was_asked_for_is_read_to_its_end() -> None:
    keys, data = _keys(), os.urandom(200_000)

    class Drips(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 999))

    with decrypted(keys, Drips(encrypted(keys, data))) as stream:
        assert stream.read() == data


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
