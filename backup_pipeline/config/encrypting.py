"""`encryption:` and `signers:`: who can read what is written, what this machine reads with, whose signature counts."""

from __future__ import annotations

from contextlib import suppress
from datetime import date, datetime
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from backup_pipeline.config.references import Secret
from backup_pipeline.config.strict import Strict
from backup_pipeline.model.ids import is_backup_id


def _recipient(value: str) -> str:
    """A public key ends with a checksum: a typing error is found here, and not by the first backup."""
    from backup_pipeline.vault.crypto import is_public_key

    if not is_public_key(value):
        raise ValueError(
            "this is not the public key of an age identity (or a character of it is wrong); it begins with age1 and "
            "`backup-pipeline keygen` prints it"
        )
    return value


def _some(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("name at least one public key: without any, no key could open what is written")
    return value


def _signer(value: str) -> str:
    from backup_pipeline.vault.signing import is_public_key

    if not is_public_key(value):
        raise ValueError(
            "this is not the public key of a signer (or a character of it is wrong); `backup-pipeline keygen --signing` prints "
            "it: the base64 line of its PEM file"
        )
    return value


Signer = Annotated[str, AfterValidator(_signer)]


def _since(value: object) -> str:
    """A day, which YAML reads as one, or the id of a backup: ids sort as times do."""
    text = value.isoformat() if isinstance(value, date) and not isinstance(value, datetime) else str(value)
    with suppress(ValueError):
        if is_backup_id(text) or text == date.fromisoformat(text).isoformat():
            return text
    raise ValueError("neither a day (2026-11-30) nor the id of a backup (2026-11-30T08-15-00-000Z)")


#: From when on: "" is always.
Since = Annotated[str, BeforeValidator(_since)]


class EncryptionSettings(Strict):
    #: Public keys: each of their owners can open everything that is written from now on.
    recipients: Annotated[tuple[Annotated[str, AfterValidator(_recipient)], ...], AfterValidator(_some)]
    #: What opens it again: the text of an age key file. Backing up does not need it.
    identity: Secret | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        return self.identity.parts if self.identity else ()
