"""`doctor`, of an encrypted vault: is the key where it should be, and only there?"""

from __future__ import annotations

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
    if crypto.age_program() is None:
        yield Finding(
            "info",
            "age-missing",
            "the program `age` is not installed: encrypting takes about twice the processor time, and RECOVER.md needs it",
            remedy="apt-get install age",
        )
    yield from _files(identity_files)
    if keys.identity is None:
        return
    if not keys.can_open:
        yield Finding(
            "info",
            "identity-absent",
            "the configured identity cannot be had on this machine: backups need none, restores and drills do"
            f" ({_why_not(keys)})",
            remedy="mount or restore the key file before you need it; test it with a drill",
        )
        return
    yield from _fits(keys)
    if backs_up:
        yield Finding(
            "info",
            "identity-on-host",
            "the identity can be read on the machine that makes the backups: who takes the machine can read them all",
            remedy="if drills can run elsewhere, keep it there; a host that backs up needs `recipients:` only",
        )


def inspect_signing(vault: Vault) -> Iterator[Finding]:
    try:
        vault.signing.demand()
    except ConfigError as error:
        yield Finding("error", "signing-key", error.message, remedy=error.remedy)
    if vault.signing.key is not None and not vault.signing.signers:
        yield Finding(
            "warning",
            "signers-missing",
            "this host signs its backups, and no `signers:` say whose signature counts: a forged backup is not told from them",
            remedy="name its public key under `signers:` (`keygen --signing` printed it), here and where backups are restored",
        )


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
        yield Finding("error", "identity-unusable", error.message, remedy=error.remedy)
        return
    if not set(own) & set(keys.recipients):
        yield Finding(
            "error",
            "identity-other",
            "the configured identity is not that of any of the recipients: what is backed up now could not be read with it",
            remedy="name its public key under `recipients:` (`age-keygen -y FILE` prints it), or the right key file",
        )


def _files(paths: Iterable[Path]) -> Iterator[Finding]:
    for path in paths:
        try:
            mode = path.stat().st_mode
        except OSError:
            continue
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            yield Finding(
                "warning",
                "identity-readable",
                f"others can read or change the key file {path}",
                remedy=f"chmod 600 {path}; if it was readable for long, make a new key, and see `rekey`",
            )
