"""Who can read what is written: keys, and bytes through `age` in both directions.

The age format (age-encryption.org/v1), X25519 keys: a host that backs up needs public keys only, and the public `age`
tool opens everything. Small content goes through the library in this process. Large content goes through the program
`age` as a filter: it is twice as fast, and the library holds the interpreter's lock. Where the
program is missing, `crypto_stream` takes its place. An identity reaches a program through a pipe, never through a
file or the command line. A filter whose two pipes end with us ends with us.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self, cast

import pyrage

from backup_pipeline.errors import ConfigError, Damaged, KeyMissing, VaultError
from backup_pipeline.model.findings import HEAL
from backup_pipeline.vault import crypto_stream

#: Up to here a process would cost more than it saves, and 1 MiB holds the interpreter's lock for 3 ms.
IN_MEMORY = 1 << 20
#: What a pipe holds, and so what one read brings: with the 64 KiB of a new pipe, waking each other up is half of the work.
_PIPE = 1 << 20
#: An age file begins so; its header has a hundred bytes for each recipient, and ends before this.
_AGE = b"age-encryption.org/v1\n"
HEADER = 1 << 16
#: How the program and the library say that none of our identities fits.
_NO_MATCH = ("no identity matched", "No matching keys found")


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


# ── in memory


def encrypt(keys: Keys, data: bytes) -> bytes:
    recipients = [pyrage.x25519.Recipient.from_str(one) for one in keys.recipients]
    return cast(bytes, pyrage.encrypt(data, recipients))


def decrypt(keys: Keys, data: bytes) -> bytes:
    """Raises KeyMissing where no identity fits, Damaged where the bytes are not what was encrypted."""
    identities = _identities(keys.secret())
    _bounded(data)
    try:
        return cast(bytes, pyrage.decrypt(data, identities))
    except pyrage.DecryptError as error:
        raise _refused(str(error)) from error


def _bounded(head: bytes) -> None:
    """Each recipient in the header costs the reader a computation, and an age file may name any number of them."""
    if head.startswith(_AGE) and head.find(b"\n---", 0, HEADER) < 0:
        raise Damaged(
            "it does not decrypt (its header is longer than that of any file of a vault)", remedy=HEAL
        )


def _refused(why: str) -> KeyMissing | Damaged:
    if any(words in why for words in _NO_MATCH):
        return KeyMissing(
            "the identity that is configured here is not one of those that this was encrypted to",
            remedy="use the key file of that time; the one under `encryption: identity:` may hold several keys, one a line",
        )
    return Damaged(f"it does not decrypt ({why.partition(chr(10))[0]})", remedy=HEAL)


# ── streams


@dataclass(frozen=True, slots=True)
class Filter:
    """How to start the program that stands in a stream: `age`, or the library in a process."""

    argv: tuple[str, ...]

    @classmethod
    def find(cls) -> Filter:
        program = shutil.which("age")
        return cls((program,)) if program else cls.library()

    @classmethod
    def library(cls) -> Filter:
        return cls((sys.executable, "-P", str(crypto_stream.__file__)))

    @property
    def is_program(self) -> bool:
        return len(self.argv) == 1

    def start(self, arguments: list[str], pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(entry for entry in sys.path if entry)
        try:
            process = subprocess.Popen(
                [*self.argv, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=pass_fds,
                bufsize=0,
                env=None if self.is_program else {**os.environ, "PYTHONPATH": path},
                # Ctrl-C in the terminal is for us: the filter ends when its stdin does, or when we end it.
                start_new_session=True,
            )
        except OSError as error:
            raise VaultError(
                f"{self.argv[0]} cannot be started: {error.strerror}",
                remedy="install the program `age` again, or take it off the PATH",
            ) from error
        for pipe in (process.stdin, process.stdout):
            # One that the system does not let us widen is only slower.
            with contextlib.suppress(OSError, AttributeError):
                assert pipe is not None
                fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE)
        return process


class Encryptor:
    """`with Encryptor(keys, out) as sink: sink.write(...); sink.finish()`: what is written comes out encrypted at `out`.

    Nothing is started for what stays small. `out` is called in a thread of its own; what it raises is raised by
    `write`, or at the end.
    """

    def __init__(
        self, keys: Keys, out: Callable[[bytes], object], how: Filter | None = None, limit: int | None = None
    ) -> None:
        self._keys, self._out, self._how = keys, out, how
        self._limit = IN_MEMORY if limit is None else limit
        self._small = bytearray()
        self._process: subprocess.Popen[bytes] | None = None
        self._drain: threading.Thread | None = None
        self._failed: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def write(self, data: bytes | memoryview) -> None:
        if self._process is None:
            self._small += data
            if len(self._small) <= self._limit:
                return
            self._start()
            data, self._small = bytes(self._small), bytearray()
        assert self._process is not None
        try:
            _write_all(self._process, data)
        except BrokenPipeError:
            raise self._end() from None

    def _start(self) -> None:
        arguments = [part for one in self._keys.recipients for part in ("-r", one)]
        self._process = (self._how or Filter.find()).start(arguments)
        self._drain = threading.Thread(target=self._pass_on, name="age", daemon=True)
        self._drain.start()

    def _pass_on(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            while data := self._process.stdout.read(_PIPE):
                self._out(data)
        except BaseException as error:  # noqa: BLE001 - raised again where the writer is
            self._failed = error
            self._process.kill()

    def _end(self) -> BaseException:
        """Why the filter is gone."""
        assert self._process is not None
        assert self._drain is not None
        self._drain.join()
        if self._failed is not None:
            return self._failed
        why = _words(self._process)
        return VaultError(
            f"encrypting failed: {why}", remedy="see that the program `age` works on this machine"
        )

    def finish(self) -> None:
        if self._process is None:
            self._out(encrypt(self._keys, bytes(self._small)))
            return
        assert self._process.stdin is not None
        assert self._drain is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._drain.join()
        if self._failed is not None or self._process.wait() != 0:
            raise self._end()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            _stop(self._process)
        if self._drain is not None:
            self._drain.join()


@contextmanager
def decrypted(
    keys: Keys, stored: BinaryIO, how: Filter | None = None, limit: int | None = None
) -> Iterator[BinaryIO]:
    """The content of an encrypted stream, as a stream. Raises KeyMissing or Damaged when it is read, at its end at
    the latest: only then is what was read known to be whole."""
    limit = IN_MEMORY if limit is None else limit
    head = _up_to(stored, limit + 1)
    if len(head) <= limit:
        yield io.BytesIO(decrypt(keys, head))
        return
    text = keys.secret()
    _identities(text)
    _bounded(head)
    process = _start_decrypting(text, how or Filter.find())
    failed: list[BaseException] = []
    feeder = threading.Thread(target=_feed, args=(process, head, stored, failed), name="age", daemon=True)
    feeder.start()
    try:
        yield cast(BinaryIO, io.BufferedReader(_Opened(process, failed, feeder), _PIPE))
    finally:
        _stop(process)
        feeder.join()


def _start_decrypting(identity: str, how: Filter) -> subprocess.Popen[bytes]:
    reading, writing = os.pipe()
    try:
        # A pipe takes 64 KiB before anybody reads: a key is 75 bytes.
        lines = "".join(f"{line}\n" for line in identities_in(identity))
        os.write(writing, lines.encode()[:65536])
        os.close(writing)
        writing = -1
        return how.start(["-d", "-i", f"/dev/fd/{reading}"], (reading,))
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)


class _Opened(io.RawIOBase):
    """What comes out of a decrypting filter; its end is only an end when the filter says that all was well."""

    def __init__(
        self, process: subprocess.Popen[bytes], failed: list[BaseException], feeder: threading.Thread
    ) -> None:
        self._process, self._failed, self._feeder = process, failed, feeder

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        assert self._process.stdout is not None
        count: int = self._process.stdout.readinto(buffer)  # type: ignore[attr-defined]
        if not count:
            code = self._process.wait()
            self._feeder.join()
            if self._failed:
                raise self._failed[0]
            if code != 0:
                raise _refused(_words(self._process))
        return count


def _feed(
    process: subprocess.Popen[bytes], head: bytes, stored: BinaryIO, failed: list[BaseException]
) -> None:
    assert process.stdin is not None
    try:
        _write_all(process, head)
        while data := stored.read(_PIPE):
            _write_all(process, data)
    except BrokenPipeError:
        pass  # it refused; its exit code says why
    except BaseException as error:  # noqa: BLE001 - raised again where the reader is
        failed.append(error)
        process.kill()
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def _up_to(stream: BinaryIO, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size and (data := stream.read(size - len(parts))):
        parts += data
    return bytes(parts)


def _write_all(process: subprocess.Popen[bytes], data: bytes | memoryview) -> None:
    assert process.stdin is not None
    with memoryview(data) as view:
        done = 0
        while done < len(view):
            done += process.stdin.write(view[done:]) or 0


def _words(process: subprocess.Popen[bytes]) -> str:
    """The last words of a filter that has ended."""
    assert process.stderr is not None
    code = process.wait()
    said = process.stderr.read(4096).decode("utf-8", "replace")
    lines = [
        line.removeprefix("age: error: ") for line in said.splitlines() if line.startswith("age: error: ")
    ]
    return lines[0] if lines else f"the filter ended with code {code}"


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def age_program() -> Path | None:
    found = shutil.which("age")
    return Path(found) if found else None
