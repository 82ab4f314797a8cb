"""Who can read what is written: keys, and bytes through age in both directions.

The age format (age-encryption.org/v1), X25519 keys: a host that backs up needs public keys only, and the public `age`
tool opens everything. The format itself is in `age`, which runs in this process. Keys are parsed and made by `pyrage`.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

import pyrage

from backup_pipeline.errors import ConfigError, KeyMissing

if TYPE_CHECKING:
    from backup_pipeline.vault.age import Encryptor, Readable

_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


class Deferred(Protocol):
    """A text that is looked up when it is needed; a `Secret` of the configuration is one."""

    def get(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Given:
    """An identity that is at hand."""

    text: str = field(repr=False)

    def get(self) -> str:
        return self.text


@dataclass(frozen=True)
class Keys:
    """Public keys to write with, and what opens it again, where this machine has that."""

    recipients: tuple[str, ...]
    identity: Deferred | None = field(default=None, repr=False)

    @cached_property
    def fingerprint(self) -> str:
        """Names this set of recipients, in any order."""
        return fingerprint_of(self.recipients)

    @cached_property
    def can_open(self) -> bool:
        """Whether an identity is configured and can be had at this moment."""
        try:
            return bool(self._text)
        except ConfigError:
            return False

    def secret(self) -> str:
        """The text of the identity. Raises what is in the way of having it."""
        if self.identity is None:
            raise KeyMissing(
                "this is encrypted, and no identity is configured here that could open it",
                remedy="put the key file where this machine can read it and name it under "
                "`encryption: identity:`, as in ${file:/path/to/key.txt}; `list`, `copy`, `prune` and "
                "`verify --quick` work without it",
            )
        try:
            return self._text
        except ConfigError as error:
            raise KeyMissing(
                f"this is encrypted, and the identity that is configured here cannot be had: {error.message}",
                remedy=error.remedy,
            ) from error

    @cached_property
    def _text(self) -> str:
        """Asked for once: every object needs it, and asking may take a request to a service."""
        return self.identity.get() if self.identity else ""

    def __getstate__(self) -> dict[str, object]:
        """For a worker process, whose stdin it goes through: what it would have to ask for is asked for here."""
        identity = Given(self._text) if self.can_open else None
        return {"recipients": self.recipients, "identity": identity}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)


def fingerprint_of(recipients: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(sorted(set(recipients))).encode()).hexdigest()[:16]


def identities_in(text: str) -> tuple[str, ...]:
    """The secret keys of a key file, without its comments."""
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def public_keys(text: str) -> tuple[str, ...]:
    """The public key of each identity of a key file."""
    return tuple(str(one.to_public()) for one in _identities(text))


def is_public_key(text: str) -> bool:
    try:
        pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError:
        return False
    return True


def generate() -> tuple[str, str]:
    """A new secret key, and its public key."""
    made = pyrage.x25519.Identity.generate()
    return str(made), str(made.to_public())


def _identities(text: str) -> list[pyrage.x25519.Identity]:
    try:
        found = [pyrage.x25519.Identity.from_str(line) for line in identities_in(text)]
    except pyrage.IdentityError:
        found = []
    if not found:
        raise ConfigError(
            "the configured identity is not the text of an age key file",
            remedy="it holds a line that begins with AGE-SECRET-KEY-1; `backup-pipeline keygen` writes one",
        )
    return found


def _raw(key: str) -> bytes:
    """The 32 bytes of a key that the library has checked: bech32 without its prefix and its checksum of six letters."""
    bits = 0
    for letter in key.lower().rpartition("1")[2][:-6]:
        bits = bits << 5 | _BECH32.index(letter)
    return (bits >> 4).to_bytes(32, "big")  # 52 letters have 260 bits


# ── bytes


def encryptor(keys: Keys, out: Callable[[bytes], object]) -> Encryptor:
    """`sink = encryptor(keys, out); sink.write(...); sink.finish()`: what is written comes out encrypted at `out`."""
    from backup_pipeline.vault import age

    recipients = [str(pyrage.x25519.Recipient.from_str(one)) for one in keys.recipients]
    return age.Encryptor(map(_raw, recipients), out)


def decrypted(keys: Keys, stored: Readable) -> BinaryIO:
    """The content of an encrypted stream, as a stream; `stored` stays open. Raises KeyMissing where no identity fits.
    Raises Damaged here or when it is read, at its end at the latest: only then is what was read known to be whole."""
    from backup_pipeline.vault import age

    identities = [_raw(str(one)) for one in _identities(keys.secret())]
    return cast(BinaryIO, io.BufferedReader(age.Decryptor(identities, stored), age.CHUNK))


def encrypt(keys: Keys, data: bytes) -> bytes:
    out = bytearray()
    sink = encryptor(keys, out.extend)
    sink.write(data)
    sink.finish()
    return bytes(out)


def decrypt(keys: Keys, data: bytes) -> bytes:
    """Raises KeyMissing where no identity fits, Damaged where the bytes are not what was encrypted."""
    with decrypted(keys, io.BytesIO(data)) as stream:
        return stream.read()
