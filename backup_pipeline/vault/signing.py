"""Who wrote a backup: an ed25519 signature over its seal, as `seal.sig` beside it, and over each record of forgetting.

The seal speaks for the manifest, and in an encrypted vault for the files beside it. The manifest speaks for its system,
its id and every object. So one signature holds all of a backup, and that of one backup fits no other. `openssl` can
check it: a public
key is the base64 line of its PEM file.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backup_pipeline.errors import ConfigError, Damaged, NotFound
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.overview import Signature
from backup_pipeline.stores.base import SMALL, Store, read_all
from backup_pipeline.vault import layout
from backup_pipeline.vault.crypto import Deferred

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    from backup_pipeline.vault.backup import Backup
    from backup_pipeline.vault.vault import Vault

#: Of a backup: signed by one of `signers` · without a signature · with one that is none of theirs, or not of these bytes.


@dataclass(frozen=True)
class Signing:
    """The keys of the configuration. Without `signers` nothing is asked of a signature."""

    signers: tuple[str, ...] = ()
    key: Deferred | None = field(default=None, repr=False)
    #: A backup or record with an id from this on must be signed: a day, "2026-11-30", or such an id.
    since: str = ""

    def sign(self, data: bytes) -> bytes | None:
        """None where this host has no key to sign with."""
        return None if self.key is None else _private(self.key.get()).sign(data)

    def demand(self) -> None:
        """Before work that ends with a signature: raise what is in its way."""
        if self.key is None:
            return
        public = public_of(_private(self.key.get()))
        if self.signers and public not in self.signers:
            raise ConfigError(
                "the key under `signing:` is none of `signers:`: what it signs would be refused here",
                remedy=f"add its public key to `signers:`: {public}",
            )

    def accepts(self, data: bytes, signature: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature

        for one in self.signers:
            try:
                _public(one).verify(signature, data)
            except InvalidSignature:
                continue
            return True
        return False

    def judge(self, store: Store, key: str, data: bytes) -> Signature:
        """`key`: where the signature of these bytes lies."""
        try:
            signature = read_all(store, key, SMALL)
        except NotFound:
            return "unsigned"
        except Damaged:
            return "wrong"
        return "signed" if self.accepts(data, signature) else "wrong"

    def must_be_signed(self, identifier: str) -> bool:
        return bool(self.signers) and identifier >= self.since

    def refuses(self, identifier: str, state: Signature | None) -> bool:
        """Whether a backup of this state counts as made by another hand: it is no newest one, and takes no place of others."""
        return state == "wrong" or (state == "unsigned" and self.must_be_signed(identifier))


_WHO = "none of `signers:` wrote it as it lies there, another hand may have made or altered it"
_TAKE = (
    "take a signed one (`list` tells them apart), or from a copy (--from NAME); one that you know to be right, as from before "
    "you signed, is restored, drilled and queried with --unsigned"
)
#: Nothing is signed, and nothing asked of signatures.
NO_SIGNING = Signing()


def put(vault: Vault, key: str, data: bytes) -> None:
    signature = vault.signing.sign(data)
    if signature is not None:
        vault.store.put(key, signature, overwrite=True)


def of_backup(backup: Backup) -> Signature | None:
    """None where the configuration names no signers. It speaks for the manifest that the seal names: see `belonging`."""
    if not backup.vault.signing.signers:
        return None
    try:
        seal = read_all(backup.store, backup.seal_key, SMALL)
    except NotFound:  # its writer was stopped right before; the signature was there before the manifest
        seal = backup.seal_text(backup.stored).encode()
    except Damaged:
        return "wrong"
    found = backup.vault.signing.judge(backup.store, layout.signature_key(backup.system, backup.id), seal)
    return "wrong" if found == "signed" and not backup.seals_hold() else found


def of_record(backup: Backup) -> Signature | None:
    """Of the record that a backup was forgotten."""
    if not backup.vault.signing.must_be_signed(backup.id):
        return None
    key = layout.forgotten_key(backup.system, backup.id)
    try:
        return backup.vault.signing.judge(
            backup.store, key + layout.SIGNATURE, read_all(backup.store, key, SMALL)
        )
    except NotFound:
        return None
    except Damaged:
        return "wrong"


def signature_of_record(backup: Backup) -> bytes | None:
    """As it lies there, for a copy of the record."""
    try:
        return read_all(
            backup.store, layout.forgotten_key(backup.system, backup.id) + layout.SIGNATURE, SMALL
        )
    except (NotFound, Damaged):
        return None


def counts(backup: Backup) -> bool:
    """Whether the record that a backup was forgotten explains that it is gone."""
    return of_record(backup) in (None, "signed")


def foreign(backup: Backup) -> Signature | None:
    """Its state, where it counts as made by another hand."""
    found = of_backup(backup)
    return found if backup.vault.signing.refuses(backup.id, found) else None


def demand(backup: Backup, remedy: str = _TAKE) -> None:
    """Before a backup is restored, drilled or queried, or signed again."""
    found = of_backup(backup)
    if found in (None, "signed"):
        return
    what = "is not signed" if found == "unsigned" else "has a wrong signature"
    raise Damaged(f"{backup} {what}: {_WHO}", remedy=remedy)


def finding(system: str, identifier: str, state: Signature) -> Finding:
    if state == "unsigned":
        return Finding.of("unsigned", identifier=identifier, system=system)
    return Finding.of("signature-wrong", identifier=identifier, system=system)


# ── keys


def is_public_key(text: str) -> bool:
    try:
        _public(text)
    except (ValueError, binascii.Error):
        return False
    return True


def generate() -> tuple[str, str]:
    """A new private key as PEM, and its public key."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    made = Ed25519PrivateKey.generate()
    text = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return text.decode(), public_of(made)


def public_of(private: Ed25519PrivateKey) -> str:
    from cryptography.hazmat.primitives import serialization

    der = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(der).decode()


def _private(text: str) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        found = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError):
        found = None
    if not isinstance(found, Ed25519PrivateKey):
        raise ConfigError(
            "what `signing:` names is not the PEM text of an ed25519 key",
            remedy="`backup-pipeline keygen --signing` writes one",
        )
    return found


def _public(text: str) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    found = load_der_public_key(base64.b64decode(text, validate=True))
    if not isinstance(found, Ed25519PublicKey):
        raise ValueError("not an ed25519 key")
    return found
