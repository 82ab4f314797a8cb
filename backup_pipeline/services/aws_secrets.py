"""AWS Secrets Manager: the text of a secret, or one key of it, asked for once and kept for a few minutes.

Kept, because one configuration may name a secret ten times; for a few minutes only, because a server that runs for
months must notice that a password was rotated.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from backup_pipeline.errors import ConfigError
from backup_pipeline.services.aws import AwsAccess, Failed, Failure, client, failures

KEPT_SECONDS = 300.0
#: One lost packet must not cost a night's backup.
ATTEMPTS = 3


class NoSecret(Exception):
    """What happened, and what to do; the caller knows the setting."""

    def __init__(self, said: str, remedy: str) -> None:
        super().__init__(said)
        self.said = said
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class SecretName:
    #: A name, or a whole ARN (which says the region as well).
    name: str
    key: str | None = None

    @classmethod
    def parse(cls, text: str) -> SecretName:
        name, _, key = text.partition("#")
        return cls(name.strip(), key.strip() or None)

    @property
    def region(self) -> str | None:
        parts = self.name.split(":")
        return parts[3] if self.name.startswith("arn:") and len(parts) >= 7 else None


@dataclass
class Secrets:
    """Those of one account. One for a process: `shared`."""

    #: Who asks; the ordinary chain of credentials (environment, profile, role) unless a setting says otherwise.
    access: Callable[[], AwsAccess] = AwsAccess
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._kept: dict[tuple[AwsAccess, str], tuple[float, str]] = {}
        self._lock = threading.Lock()

    def value(self, wanted: SecretName) -> str:
        text = self._text(wanted)
        return text if wanted.key is None else _one(text, wanted)

    def _text(self, wanted: SecretName) -> str:
        access = replace(self.access(), attempts=ATTEMPTS)
        if wanted.region is not None:
            access = replace(access, region=wanted.region)
        with self._lock:
            kept = self._kept.get((access, wanted.name))
            if kept is None or self.clock() - kept[0] > KEPT_SECONDS:
                kept = (self.clock(), _asked(access, wanted.name))
                self._kept[access, wanted.name] = kept
            return kept[1]

    def forget(self) -> None:
        with self._lock:
            self._kept.clear()


shared = Secrets()


def _one(text: str, wanted: SecretName) -> str:
    try:
        held = json.loads(text)
    except ValueError:
        held = None
    if not isinstance(held, dict):
        raise NoSecret(
            f"the secret {wanted.name!r} is a plain text and has no key {wanted.key!r}",
            f"write ${{aws-secret:{wanted.name}}}, or store it as key/value pairs",
        )
    if wanted.key not in held:
        # Names of keys are no secrets: without them this could not be mended.
        raise NoSecret(
            f"the secret {wanted.name!r} has no key {wanted.key!r}",
            f"it has: {', '.join(sorted(held)) or 'none'}",
        )
    value = held[wanted.key]
    if isinstance(value, dict | list) or value is None:
        raise NoSecret(
            f"the key {wanted.key!r} of the secret {wanted.name!r} holds no text", "store a text under it"
        )
    return value if isinstance(value, str) else json.dumps(value)


def _asked(access: AwsAccess, name: str) -> str:
    try:
        with failures(Failed):
            answer = client(access, "secretsmanager").get_secret_value(SecretId=name)
    except Failed as error:
        raise _refused(error.failure, name) from error
    except ConfigError as error:
        # No region, or a profile that is not there: it is the client that cannot be made.
        remedy = f"{error.remedy}; the whole ARN of a secret names its region as well"
        raise NoSecret(f"the secret {name!r} cannot be asked for: {error.message}", remedy) from error
    if "SecretString" not in answer:
        raise NoSecret(f"the secret {name!r} is binary", "store it as text")
    return str(answer["SecretString"])


def _refused(failure: Failure, name: str) -> NoSecret:
    if failure.code == "ResourceNotFoundException":
        return NoSecret(
            f"there is no secret {name!r} in this account and region",
            "look at its name with: aws secretsmanager list-secrets; another region is named by the whole ARN",
        )
    if failure.kind == "denied":
        return NoSecret(
            f"the secret {name!r} may not be read",
            "allow secretsmanager:GetSecretValue on it (and kms:Decrypt, where it has a key of its own)",
        )
    if failure.code == "InvalidRequestException":
        return NoSecret(
            f"the secret {name!r} cannot be read: {failure.message}",
            "one that is marked for deletion comes back with: aws secretsmanager restore-secret --secret-id NAME",
        )
    if not failure.code and failure.kind != "busy":
        return NoSecret(
            f"the secret {name!r} cannot be asked for: {failure.message}",
            "give this process AWS credentials: a role, AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    if failure.kind == "busy":
        return NoSecret(
            f"AWS Secrets Manager does not answer for {name!r}: {failure.message}",
            "look at the network, or run it again in a minute",
        )
    return NoSecret(
        f"AWS Secrets Manager refuses {name!r}: {failure.message}",
        failure.remedy or "`aws sts get-caller-identity` says who this process is to AWS",
    )
