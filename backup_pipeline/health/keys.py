"""`doctor`, of an encrypted vault: is the key where it should be, and only there?"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from backup_pipeline.errors import ConfigError, KeyMissing
from backup_pipeline.model.findings import Finding
from backup_pipeline.vault import crypto
from backup_pipeline.vault.vault import Vault


def inspect_keys(vault: Vault, identity_files: Iterable[Path], *, backs_up: bool = True) -> Iterator[Finding]:
    """`identity_files`: those that the configured identity was read from. `backs_up`: this machine makes backups."""
    keys = vault.keys
    if keys is None:
        return
    if shutil.which("age") is None:
        yield Finding.of("age-missing")
    yield from _files(identity_files)
    if keys.identity is None:
        return
    if not keys.can_open:
        yield Finding.of("identity-absent", why_not=_why_not(keys))
        return
    yield from _fits(keys)
    if backs_up:
        yield Finding.of("identity-on-host")


def inspect_signing(vault: Vault) -> Iterator[Finding]:
    try:
        vault.signing.demand()
    except ConfigError as error:
        yield Finding.of("signing-key", why=error.message, remedy=error.remedy)
    if vault.signing.key is not None and not vault.signing.signers:
        yield Finding.of("signers-missing")


def _why_not(keys: crypto.Keys) -> str:
    try:
        keys.secret()
    except KeyMissing as error:
        return error.message.rpartition("cannot be had: ")[2]
    return "it is empty"


def _fits(keys: crypto.Keys) -> Iterator[Finding]:
    try:
        own = crypto.public_keys(keys.secret())
    except ConfigError as error:
        yield Finding.of("identity-unusable", why=error.message, remedy=error.remedy)
        return
    if not set(own) & set(keys.recipients):
        yield Finding.of("identity-other")


def _files(paths: Iterable[Path]) -> Iterator[Finding]:
    for path in paths:
        try:
            mode = path.stat().st_mode
        except OSError:
            continue
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            yield Finding.of("identity-readable", path=path)
