"""`${env:NAME}`, `${file:PATH}` and `${aws-secret:NAME#KEY}`: values that are not written into the file.

Two kinds of settings. Settings that shape the work (tables, schedules, groups …) are needed when the file is read; an
unset variable is then an error. Settings that open something (the vault, a database, a scratch server, an alert's
address) are `Deferred`: their use raises the error. So the graph loads, `list` lists, and one system can be backed up
without the password of another one.

A secret of AWS is always of the second kind, and is asked for when it is used: reading a configuration connects to nothing.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

from backup_pipeline.config.redaction import HIDDEN, learn, passwords_in
from backup_pipeline.errors import ConfigError

# "$${" is how a value that really holds "${" is written.
_REFERENCE = re.compile(r"\$(\$)\{|\$\{([^}]*)\}")
#: What stands before the password of a URL: "postgresql://app:", where the user may be a reference itself.
_BEFORE = re.compile(r"://(?:\$\{[^}]*\}|[^/@?#:\s$])*:\Z")
_RAW = re.compile(r"[/?#@\s]|%(?![0-9A-Fa-f]{2})")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REMOTE = "aws-secret"


class BrokenReference(Exception):
    """A reference that gives no value; the caller knows the line and the key."""

    def __init__(self, said: str, remedy: str, *, misspelt: bool = False) -> None:
        super().__init__(said)
        self.said = said
        self.remedy = remedy
        #: The file is wrong, and not what it refers to.
        self.misspelt = misspelt


@dataclass(frozen=True, slots=True)
class Resolved:
    text: str
    #: The values that were put in.
    values: tuple[str, ...] = ()
    #: The files that they were read from.
    files: tuple[Path, ...] = ()


#: Gives the value of a text whose references have to be asked for; raises ConfigError.
Later: TypeAlias = Callable[[], Resolved]


def is_remote(text: str) -> bool:
    """Whether putting the values in takes a request to a service."""
    return any(match[2] and _kind(match[2]) == _REMOTE for match in _REFERENCE.finditer(text))


def resolve(text: str, environ: Mapping[str, str], base: Path) -> Resolved:
    values: list[str] = []
    files = [file for match in _REFERENCE.finditer(text) if (file := _file(match[2] or "", base))]

    def one(match: re.Match[str]) -> str:
        if match[1]:
            return "${"
        value = _value(match[2], environ, base)
        values.append(value)
        if _BEFORE.search(text[: match.start()]) and text[match.end() :].startswith("@"):
            value = _encoded(value)
        elif _kind(match[2]) == _REMOTE and "#" in match[2] and "://" in text[: match.start()]:
            # A password that AWS made up holds what means something else in a URL, and changes by itself:
            # a user could not write it as %40 in time.
            return quote(value, safe="")
        return value

    return Resolved(_REFERENCE.sub(one, text), tuple(values), tuple(files))


def _encoded(value: str) -> str:
    """A password as a URL can hold it. One that is encoded already stays: it holds nothing that a URL cannot, and a "%"
    only before two hex digits."""
    return value if "%" in value and not _RAW.search(value) else quote(value, safe="")


def _file(body: str, base: Path) -> Path | None:
    kind, colon, what = (part.strip() for part in body.partition(":"))
    return base / Path(what).expanduser() if kind == "file" and colon else None


def _kind(body: str) -> str:
    return body.partition(":")[0].strip()


def _value(body: str, environ: Mapping[str, str], base: Path) -> str:
    kind, colon, what = (part.strip() for part in body.partition(":"))
    if kind == "env" and colon:
        if not _NAME.fullmatch(what):
            said = f"{what!r} is not the name of an environment variable"
            raise BrokenReference(said, "write ${env:NAME}", misspelt=True)
        if what not in environ:
            near = difflib.get_close_matches(what, environ, n=1, cutoff=0.8)
            hint = f" ({near[0]} is set: is that the one?)" if near else ""
            raise BrokenReference(f"the environment variable {what} is not set", f"export {what}=…{hint}")
        return environ[what]
    if kind == "file" and colon:
        path = base / Path(what).expanduser()
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not text"
            raise BrokenReference(
                f"cannot read {path}: {why}",
                "put it back where it was, readable only by you; or name where it is now",
            ) from error
    if kind == _REMOTE and colon:
        return _secret(what)
    meant = (
        f"${{env:{body}}}"
        if _NAME.fullmatch(body)
        else "${env:NAME} , ${file:PATH} or ${aws-secret:NAME#KEY}"
    )
    said = f"${{{body}}} is not a reference"
    raise BrokenReference(said, f"write {meant} (and $${{ for a plain ${{)", misspelt=True)


def _secret(what: str) -> str:
    if not what.partition("#")[0].strip():
        raise BrokenReference(
            f"${{{_REMOTE}:{what}}} names no secret", f"write ${{{_REMOTE}:NAME#KEY}}", misspelt=True
        )
    # Imported here: boto3 costs half a second, and few configurations ask AWS for anything.
    from backup_pipeline.services import aws_secrets

    try:
        return aws_secrets.shared.value(aws_secrets.SecretName.parse(what))
    except aws_secrets.NoSecret as error:
        raise BrokenReference(error.said, error.remedy) from error


class Deferred:
    """The text of a setting that is only needed when it is used, or why there is none."""

    __slots__ = ("_files", "_later", "_problem", "_text", "_values")

    def __init__(
        self,
        text: str,
        values: tuple[str, ...] = (),
        *,
        problem: ConfigError | None = None,
        later: Later | None = None,
        files: tuple[Path, ...] = (),
    ) -> None:
        self._text = text
        self._files = files
        self._values = values
        self._problem = problem
        self._later = later

    def get(self) -> str:
        if self._problem is not None:
            raise self._problem
        if self._later is None:
            return self._text
        # Asked for each time, and kept where it is asked: a secret may be rotated while this process lives.
        found = self._later()
        learn(self._hidden(found.text, found.values))
        return found.text

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it was read from: who can read them can read it."""
        return self._files

    @property
    def is_asked_later(self) -> bool:
        """The text is not known yet, so the checks of a read file pass over it."""
        return self._later is not None

    def _hidden(self, text: str, values: tuple[str, ...]) -> tuple[str, ...]:
        """What must not be shown of a text. An address may be."""
        return ()

    @property
    def problem(self) -> ConfigError | None:
        """Why `get` would fail; None when it would not."""
        return self._problem

    def __fspath__(self) -> str:
        return self.get()

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Deferred):
            return NotImplemented
        return (self._text, str(self._problem)) == (other._text, str(other._problem))

    def __hash__(self) -> int:
        return hash((self._text, str(self._problem)))

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        text = core_schema.no_info_after_validator_function(cls, core_schema.str_schema(min_length=1))
        return core_schema.union_schema([core_schema.is_instance_schema(cls), text], mode="left_to_right")


class Secret(Deferred):
    """A text that is never shown; what it would give away is known to `redact`."""

    __slots__ = ()

    def get_secret_value(self) -> str:
        return self.get()

    @property
    def parts(self) -> tuple[str, ...]:
        """What must not be shown: the passwords of a URL; of anything else, all of it."""
        if self._problem is not None or self._later is not None:
            return ()  # what is asked for later is learnt by `redact` then
        return self._hidden(self._text, self._values)

    def _hidden(self, text: str, values: tuple[str, ...]) -> tuple[str, ...]:
        return passwords_in(text)

    def __str__(self) -> str:
        return HIDDEN


class SecretToken(Secret):
    """A URL whose every part may be a token: the addresses of alerts."""

    __slots__ = ()

    def _hidden(self, text: str, values: tuple[str, ...]) -> tuple[str, ...]:
        pieces = re.split(r"[/@:?&=]+", text.partition("://")[2] or text)
        # A host name or a user is no secret, but which piece is what depends on the service.
        long = [piece for piece in pieces if len(piece) >= 12 and "." not in piece]
        return tuple(dict.fromkeys([*passwords_in(text), text, *values, *long]))
