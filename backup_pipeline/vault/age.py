"""The age format, version 1, with X25519 keys: <https://age-encryption.org/v1>. The names here are those of its text.

A file is a header and a payload. The header holds a `stanza` for each recipient, in which the `file key` is wrapped, and
a MAC. The payload is STREAM: chunks of 64 KiB, each sealed under a nonce that holds its number and whether it is the
last. The primitives are those of `cryptography`, which takes 50 ms to load: `crypto` imports this module late.
"""

from __future__ import annotations

import base64
import hmac
import io
import itertools
import os
import re
from collections.abc import Callable, Iterable
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from backup_pipeline.errors import Damaged, KeyMissing
from backup_pipeline.model.findings import HEAL

#: The header must end before this. Each stanza costs the reader a computation, and a file may hold any number of them.
HEADER = 1 << 16
CHUNK = 1 << 16
SEALED = CHUNK + 16
_VERSION = b"age-encryption.org/v1\n"
_X25519 = b"age-encryption.org/v1/X25519"
#: Arguments, then a body whose last line is shorter than 64 columns and may be empty.
_STANZA = re.compile(rb"-> ([!-~]+(?: [!-~]+)*)\n((?:[A-Za-z0-9+/]{64}\n)*[A-Za-z0-9+/]{0,63}\n)")
_END = re.compile(rb"--- ([A-Za-z0-9+/]{43})\n")
_ONCE = bytes(12)  # the nonce of a key that seals one message only


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class Encryptor:
    """What is written comes out at `out` as an age file for these public keys; `finish` ends the file."""

    def __init__(self, recipients: Iterable[bytes], out: Callable[[bytes], object]) -> None:
        file_key, nonce = os.urandom(16), os.urandom(16)
        head = _VERSION + b"".join(_wrapped(file_key, one) for one in recipients) + b"---"
        self._cipher, self._count = _payload(file_key, nonce), itertools.count()
        self._out, self._held = out, bytearray()
        out(head + b" " + _encoded(_mac(file_key, head)) + b"\n" + nonce)

    def write(self, data: bytes | memoryview) -> None:
        """A full chunk is held back until another byte follows: the last chunk must be known for the last."""
        self._held += data
        done = 0
        with memoryview(self._held) as view:
            for done in range(CHUNK, len(view), CHUNK):
                self._seal(view[done - CHUNK : done], last=False)
        del self._held[:done]

    def finish(self) -> None:
        self._seal(self._held, last=True)

    def _seal(self, chunk: bytearray | memoryview, *, last: bool) -> None:
        self._out(self._cipher.encrypt(_nonce(next(self._count), last), chunk, None))


class Decryptor(io.RawIOBase):
    """The content of an age file. Every byte that it gives has passed its check, and its end is the file's end.

    A file that ends early or goes on after its last chunk raises Damaged, again at each further read.
    """

    def __init__(self, identities: Iterable[bytes], stored: Readable) -> None:
        self._stored, self._ahead, self._plain = stored, b"", memoryview(b"")
        self._count, self._ended = 0, False
        file_key = self._file_key(identities)
        self._cipher = _payload(file_key, self._filled(16)[:16])
        self._ahead = self._ahead[16:]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._plain and not self._ended:
            self._plain = memoryview(self._opened())
        count = min(len(buffer), len(self._plain))
        buffer[:count], self._plain = self._plain[:count], self._plain[count:]
        return count

    def _file_key(self, identities: Iterable[bytes]) -> bytes:
        head, stanzas, at = self._filled(HEADER), [], len(_VERSION)
        while found := _STANZA.match(head, at):
            args, body = found.groups()
            stanzas.append((args.split(b" "), _decoded(body)))
            at = found.end()
        end = _END.match(head, at)
        if end is None or not stanzas or not head.startswith(_VERSION):
            raise _damaged("its header is longer than that of any file of a vault, or is not one of age")
        self._ahead = head[end.end() :]
        file_key, mac = _unwrapped(identities, stanzas), _decoded(end[1])
        if not hmac.compare_digest(_mac(file_key, head[: at + 3]), mac):
            raise _damaged("the MAC of its header is wrong")
        return file_key

    def _opened(self) -> bytes:
        """The next chunk. It is the last one where nothing follows, and only an empty file has an empty last one."""
        ahead = self._filled(SEALED + 1)
        last = len(ahead) <= SEALED
        try:
            plain = self._cipher.decrypt(_nonce(self._count, last), memoryview(ahead)[:SEALED], None)
        except InvalidTag:
            raise _damaged("a part of it is altered or missing") from None
        if not plain and self._count:
            raise _damaged("its last part is empty")
        self._ahead, self._count, self._ended = ahead[SEALED:], self._count + 1, last
        return plain

    def _filled(self, size: int) -> bytes:
        """What lies ahead, of which less than `size` means the end: a read of a store may bring less."""
        while len(self._ahead) < size and (data := self._stored.read(size - len(self._ahead))):
            self._ahead += data
        return self._ahead


def _wrapped(file_key: bytes, recipient: bytes) -> bytes:
    """The X25519 stanza of a recipient."""
    ephemeral = X25519PrivateKey.generate()
    share = ephemeral.public_key().public_bytes_raw()
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient))
    key = _derived(shared, share + recipient, _X25519)
    body = ChaCha20Poly1305(key).encrypt(_ONCE, file_key, None)
    return b"-> X25519 " + _encoded(share) + b"\n" + _encoded(body) + b"\n"


def _unwrapped(identities: Iterable[bytes], stanzas: list[tuple[list[bytes], bytes]]) -> bytes:
    """The file key. Stanzas of other types are for others, and are passed over."""
    ours = [(args[1:], body) for args, body in stanzas if args[0] == b"X25519"]
    if any(len(args) != 1 or len(body) != 32 for args, body in ours):
        raise _damaged("an X25519 stanza of its header is malformed")
    if len(stanzas) > 1 and any(args[0] == b"scrypt" for args, _ in stanzas):
        raise _damaged("an scrypt stanza is not alone in its header")
    shares = [(_decoded(args[0]), body) for args, body in ours]
    for private in map(X25519PrivateKey.from_private_bytes, identities):
        public = private.public_key().public_bytes_raw()
        for share, body in shares:
            try:
                # Raises ValueError for another length, and for a share that makes the secret all zero.
                shared = private.exchange(X25519PublicKey.from_public_bytes(share))
                return ChaCha20Poly1305(_derived(shared, share + public, _X25519)).decrypt(_ONCE, body, None)
            except ValueError:
                raise _damaged("the share of an X25519 stanza is malformed") from None
            except InvalidTag:
                continue
    raise KeyMissing(
        "the identity that is configured here is not one of those that this was encrypted to",
        remedy="use the key file of that time; the one under `encryption: identity:` may hold several keys, one a line",
    )


def _payload(file_key: bytes, nonce: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(_derived(file_key, nonce, b"payload"))


def _nonce(count: int, last: bool) -> bytes:
    """Of STREAM: the number of the chunk, and whether it is the last."""
    return count.to_bytes(11, "big") + bytes([last])


def _derived(secret: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(secret)


def _mac(file_key: bytes, head: bytes) -> bytes:
    """Over the header up to and with its three dashes."""
    return hmac.digest(_derived(file_key, b"", b"header"), head, "sha256")


def _encoded(data: bytes) -> bytes:
    return base64.b64encode(data).rstrip(b"=")


def _decoded(text: bytes) -> bytes:
    """Canonical base64 without padding: of two texts with one meaning, one is refused."""
    text = text.replace(b"\n", b"")
    try:
        data = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except ValueError:
        data = b""
    if _encoded(data) != text:
        raise _damaged("the base64 of its header is not canonical")
    return data


def _damaged(why: str) -> Damaged:
    return Damaged(f"it does not decrypt ({why})", remedy=HEAL)
