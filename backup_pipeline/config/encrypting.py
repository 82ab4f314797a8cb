"""`encryption:`: who can read what is written, and what this machine reads with."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from backup_pipeline.config.references import Secret
from backup_pipeline.config.strict import Strict

_RECIPIENT = re.compile(r"age1[02-9ac-hj-np-z]{58}")


def _recipient(value: str) -> str:
    if not _RECIPIENT.fullmatch(value):
        raise ValueError(
            "this is not the public key of an age identity; it begins with age1 and `backup-pipeline keygen` prints it"
        )
    return value


class EncryptionSettings(Strict):
    #: Public keys: each of their owners can open everything that is written from now on.
    recipients: Annotated[tuple[Annotated[str, AfterValidator(_recipient)], ...], Field(min_length=1)]
    #: What opens it again: the text of an age key file. Backing up does not need it.
    identity: Secret | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        return self.identity.parts if self.identity else ()
